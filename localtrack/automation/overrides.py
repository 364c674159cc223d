"""Drafts that are changed before they run, and what tells whether two tasks do the same.

Source: ClearML's parameter, configuration and task overrides of jobs; docs/how-to/optimize.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.records.digests import hex_sha256
from localtrack.records.task import TaskRecord
from localtrack.runtime.starter import script_fields

if TYPE_CHECKING:
    from localtrack.api.task import Task

_CODE = ("repository", "branch", "commit", "entry_point", "working_dir", "argv", "launcher", "binary")


def apply_overrides(
    task: Task,
    parameters: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
    configurations: Mapping[str, str | Mapping[str, Any]] | None = None,
) -> None:
    """Change a draft.

    Args:
        task: the draft.
        parameters: values by ``Section/name``, with their types; a text for a parameter of another type is read as it.
        fields: values by ClearML's dotted names, such as ``script.branch``; None takes a value away. A branch without a
            commit (``script.version_num``) means the branch's last one, found now.
        configurations: dicts or texts by name of the configuration object.

    Raises:
        InvalidValueError: a field that can't be changed so; names it.
    """
    if parameters:
        task.update_parameters(parameters)
    if fields:
        body: dict[str, Any] = {}
        for name, value in fields.items():
            *path, last = name.split(".")
            place = body
            for part in path:
                place = place.setdefault(part, {})
            place[last] = "" if value is None else value
        task.update_task(body)
        if {"script.branch", "script.version_num", "script.tag"} & fields.keys() and not fields.get(
            "script.version_num"
        ):
            _use_head_of_branch(task)
    for name, content in (configurations or {}).items():
        if isinstance(content, str):
            task.set_configuration_object(name, config_text=content)
        else:
            task.set_configuration_object(name, config_dict=content)


def _use_head_of_branch(task: Task) -> None:
    """Let a draft run the last commit of its branch, without the changes that were recorded with another one.

    Raises:
        InvalidValueError: its repository has no such branch, or can't be asked.
    """
    script = task._read().script
    root = str(script.get("root") or "")
    repository = root if root and Path(root).is_dir() else str(script.get("repository") or "")
    if not repository:
        return
    branch = str(script.get("branch") or "") or None
    found = script_fields(repository, branch, None, str(script.get("entry_point") or ""), None, None)
    task._edit(
        lambda record: replace(
            record, script={**record.script, "commit": found["commit"], "diff": None, "bundle": None}
        ),
        "commit of the branch",
    )


def content_hash(record: TaskRecord, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> str:
    """Return what two tasks share that will do the same: code, parameters, configuration, container, input models.

    Args:
        record: the task.
        change: changes the description before it is hashed.
    """
    script = {name: record.script.get(name) for name in _CODE}
    for name in ("diff", "source", "requirements"):
        part = record.script.get(name)
        script[name] = part.get("sha256") if isinstance(part, Mapping) else part
    body: dict[str, Any] = {
        "script": script,
        "hyper_params": {name: item.get("value") for name, item in record.parameters.items()},
        "configs": {name: item.get("sha256") for name, item in record.configuration.items()},
        "docker": dict(record.container),
        "models": [model.get("id") for model in record.input_models],
    }
    text = json.dumps(change(body) if change else body, sort_keys=True, default=str)
    return hex_sha256(text.encode())
