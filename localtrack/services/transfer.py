"""A task as one dictionary, in the layout of ClearML's ``export_task``, and back.

What ClearML's layout has no word for stands beside it: each parameter's ``encoded`` value keeps its type, and the key
``localtrack`` holds the rest. A dictionary that ClearML exported can be read as well: there the ``type`` says what a
text means.

Source: ClearML's Task.export_task and import_task, measured; docs/reference/compatibility.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, InvalidValueError
from localtrack.records import entry_points
from localtrack.records.parameters import Entry, entry, parse_text, split_name, text_of, to_bool
from localtrack.records.plain import replace
from localtrack.records.status import parse_type
from localtrack.records.task import Json, TaskRecord
from localtrack.services.context import StoreContext
from localtrack.services.parameters import (
    PROPERTIES,
    dump_configuration,
    put_configuration,
)
from localtrack.services.reports import last_metrics
from localtrack.services.script_edits import with_script
from localtrack.store.blobs import read_content

_SCRIPT_NAMES = {
    "repository": "repository", "branch": "branch", "version_num": "commit", "entry_point": "entry_point",
    "working_dir": "working_dir", "binary": "binary",
}  # fmt: skip
_SCRIPT_FILES = frozenset({"diff", "source", "bundle", "requirements", "freeze"})
_NOT_OWN = _SCRIPT_FILES | set(_SCRIPT_NAMES.values())


def exported(record: TaskRecord, folder: Path, unread: list[str] | None = None) -> Json:
    """Return what a colleague needs to have the same task: its inputs and its names, and none of its outputs.

    Args:
        record: the task.
        folder: its folder.
        unread: takes what is wrong with a file that can't be read, whose text is empty then; without it that raises.

    Raises:
        CorruptFileError: a file of its code or configuration is gone or altered.
    """
    script = record.script

    def text(stored: Json | None) -> str:
        try:
            return _text(folder, stored)
        except (CorruptFileError, OSError) as error:
            if unread is None:
                raise
            unread.append(str(error))
            return ""

    # ClearML has one field for both; a patch that can't be read is not made up for by the script without it
    diff = text(script.get("diff") or script.get("source"))
    return {
        "id": record.id, "name": record.name, "type": record.type, "comment": record.comment, "user": record.user,
        "created": record.created, "parent": record.parent or None, "project": record.project,
        "project_name": record.project, "tags": list(record.tags), "system_tags": list(record.system_tags),
        "status": record.status,
        "script": {
            **{theirs: script.get(ours, "") for theirs, ours in _SCRIPT_NAMES.items()}, "diff": diff,
            "entry_point": entry_points.from_working_dir(script.get("entry_point", ""), script.get("working_dir", "")),
            "requirements": {"pip": text(script.get("requirements")), "freeze": text(script.get("freeze"))},
        },
        "hyperparams": _sections(record),
        "configuration": {
            name: {"name": name, "value": text(item), "type": item.get("type", ""),
                   "description": item.get("description", "")}
            for name, item in record.configuration.items()
        },
        "container": dict(record.container),
        "execution": {"queue": record.runtime.get("queue"), "model_labels": dict(record.labels)},
        "models": {"input": [{**model, "model": model.get("id", "")} for model in record.input_models], "output": []},
        "output": {"destination": record.output_uri},
        "localtrack": {"script": {name: script[name] for name in script if name not in _NOT_OWN}},
    }  # fmt: skip


def described(record: TaskRecord, folder: Path) -> tuple[Json, list[str]]:
    """Return :func:`exported` with state and outputs, as ClearML's ``Task.data`` has them, and what can't be read."""
    unread: list[str] = []
    body = exported(record, folder, unread)
    body["execution"]["artifacts"] = [_artifact(folder, name, item) for name, item in record.artifacts.items()]
    body["models"]["output"] = [{**model, "model": model.get("id", "")} for model in record.output_models]
    told = {
        **body, "status_reason": record.status_reason, "status_message": record.status_message,
        "status_changed": record.status_changed, "started": record.started or None, "completed": record.ended or None,
        "last_update": record.last_update, "last_iteration": record.last_iteration,
        "last_metrics": _metrics(record), "last_worker": record.runtime.get("agent") or record.runtime.get("hostname"),
        "runtime": dict(record.runtime), "progress": record.progress, "last_change": record.last_update,
    }  # fmt: skip
    return told, unread


def _artifact(folder: Path, name: str, item: Json) -> Json:
    """Return an artifact's entry with ClearML's names beside its own."""
    theirs = {
        "key": name, "uri": item.get("url") or str(folder / str(item.get("file", ""))), "mode": "output",
        "content_size": item.get("size_bytes", 0), "hash": item.get("sha256", ""),
        "type_data": {"preview": item.get("preview", ""), "content_type": item.get("content_type", "")},
        "display_data": [list(pair) for pair in item.get("metadata", {}).items()],
    }  # fmt: skip
    return {**item, **theirs}


def _metrics(record: TaskRecord) -> Json:
    """Return the last values by title and series, each with ClearML's names beside its own."""
    return {
        title: {
            name: {**item, "metric": title, "variant": name, "value": item["last"], "min_value": item["min"],
                   "max_value": item["max"], "min_value_iteration": item.get("min_iteration"),
                   "max_value_iteration": item.get("max_iteration")}
            for name, item in series.items()
        }
        for title, series in last_metrics(record).items()
    }  # fmt: skip


def _text(folder: Path, stored: Json | None) -> str:
    return read_content(folder, stored).decode("utf-8", "surrogateescape") if stored else ""


def _sections(record: TaskRecord) -> Json:
    result: Json = {}
    named = [(*split_name(key), item) for key, item in record.parameters.items()]
    named += [(PROPERTIES, name, item) for name, item in record.properties.items()]
    for section, name, item in named:
        result.setdefault(section, {})[name] = {
            "section": section, "name": name, "value": text_of(item), "type": item.get("type", ""),
            "description": item.get("description", ""), "encoded": item.get("value"),
        }  # fmt: skip
    return result


def project_of(body: Mapping[str, Any]) -> str:
    """Return the name of the project that an exported task was in; ``""`` when it does not say."""
    return str(body.get("project_name") or "")


def imported(
    ctx: StoreContext, folder: Path, body: Mapping[str, Any], *, merge: bool
) -> Callable[[TaskRecord], TaskRecord]:
    """Return the change that gives a task the inputs of an exported one.

    Args:
        ctx: the store.
        folder: the task's folder.
        body: what :func:`exported`, or ClearML, made.
        merge: keep parameters and configuration that the body does not name.

    Raises:
        InvalidValueError: not such a dictionary; names the field.
    """
    check(body)
    parameters, properties = _entries(body.get("hyperparams") or _flat_parameters(body))
    fields = _plain_fields(body)
    script, texts = _script(body)
    whole_script = with_script(ctx, folder, script, texts)

    def change(record: TaskRecord) -> TaskRecord:
        result = replace(record, **fields)
        if not merge or parameters:
            result = replace(result, parameters={**(record.parameters if merge else {}), **parameters})
        if properties or not merge:
            result = replace(result, properties={**(record.properties if merge else {}), **properties})
        if body.get("configuration") is not None:
            texts_by_name = {
                name: _configuration(ctx, folder, name, item) for name, item in body["configuration"].items()
            }
            result = replace(result, configuration={**(record.configuration if merge else {}), **texts_by_name})
        return whole_script(result) if body.get("script") else result

    return change


def check(body: Mapping[str, Any]) -> None:
    """Refuse what is no exported task.

    Raises:
        InvalidValueError: names the field.
    """
    if not isinstance(body, Mapping):
        raise InvalidValueError(f"an exported task is a dict, not a {type(body).__qualname__}")
    for name in ("hyperparams", "configuration", "script", "container", "execution", "models", "output"):
        if body.get(name) is not None and not isinstance(body[name], Mapping):
            raise InvalidValueError(
                f"field {name!r} of an exported task must be a dict, not {body[name]!r:.60}", field=name
            )


def _plain_fields(body: Mapping[str, Any]) -> Json:
    fields: Json = {}
    for name in ("name", "comment"):
        if body.get(name) is not None:
            fields[name] = str(body[name])
    if body.get("type"):
        fields["type"] = parse_type(str(body["type"])).value
    for name in ("tags", "system_tags"):
        if body.get(name) is not None:
            fields[name] = tuple(str(tag) for tag in body[name])
    if body.get("container") is not None:
        fields["container"] = dict(body["container"])
    labels = (body.get("execution") or {}).get("model_labels")
    if labels:
        fields["labels"] = {str(label): int(number) for label, number in labels.items()}
    models = (body.get("models") or {}).get("input")
    if models is not None:
        fields["input_models"] = tuple(_input_model(model) for model in models)
    destination = (body.get("output") or {}).get("destination")
    if isinstance(destination, str):
        fields["output_uri"] = destination
    return fields


def _input_model(model: Mapping[str, Any]) -> Json:
    named = {key: value for key, value in model.items() if key != "model"}
    return {"id": str(model.get("model") or ""), "name": "", **named}


def _script(body: Mapping[str, Any]) -> tuple[Json, dict[str, str | None]]:
    script = body.get("script") or {}
    fields: Json = {ours: script[theirs] for theirs, ours in _SCRIPT_NAMES.items() if script.get(theirs) is not None}
    if fields.get("entry_point"):
        fields["entry_point"] = entry_points.from_root(fields["entry_point"], str(fields.get("working_dir") or ""))
    own = (body.get("localtrack") or {}).get("script") or {}
    fields.update({name: value for name, value in own.items() if name not in _NOT_OWN})
    requirements = script.get("requirements") or {}
    if isinstance(requirements, str):
        requirements = {"pip": requirements}
    texts: dict[str, str | None] = {
        "requirements": _lines(requirements.get("pip")),
        "freeze": _lines(requirements.get("freeze")),
    }
    diff = script.get("diff")
    if diff is not None:
        is_code = (
            bool(diff)
            and not fields.get("repository")
            and not fields.get("commit")
            and "diff --git " not in diff[:4096]
        )
        texts.update({"source": diff, "diff": ""} if is_code else {"diff": diff, "source": ""})
    return fields, texts


def _lines(value: Any) -> str | None:
    """Return requirements as lines without ClearML's comments; None where there are none to speak of."""
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip() and not line.startswith("#")]
    return "".join(f"{line}\n" for line in value) if isinstance(value, (list, tuple)) else value


def _flat_parameters(body: Mapping[str, Any]) -> Json:
    """Return the sections of ``execution.parameters``, where old ClearML tasks have theirs."""
    result: Json = {}
    for key, value in ((body.get("execution") or {}).get("parameters") or {}).items():
        section, _, name = key.partition("/") if "/" in key else ("General", "", key)
        result.setdefault(section, {})[name] = {"value": value}
    return result


def _entries(sections: Mapping[str, Any]) -> tuple[dict[str, Entry], dict[str, Entry]]:
    parameters: dict[str, Entry] = {}
    properties: dict[str, Entry] = {}
    for section, items in sections.items():
        for name, item in items.items():
            stored = _entry(item) if isinstance(item, Mapping) else entry(item)
            if section == PROPERTIES:
                properties[str(name)] = stored
            else:
                parameters[f"{section}/{name}"] = stored
    return parameters, properties


def _entry(item: Mapping[str, Any]) -> Entry:
    kind, description = str(item.get("type") or ""), str(item.get("description") or "")
    description = "" if description == "None" else description  # ClearML's word for an argument without help
    if "encoded" in item:
        stored = {"value": item["encoded"], "type": kind}
        return {**stored, "description": description} if description else stored
    return entry(from_text(item.get("value"), kind), description, kind or None)


def from_text(value: Any, kind: str) -> Any:
    """Return the value that ClearML's text and type mean: the text itself where they do not fit."""
    if not isinstance(value, str):
        return value
    if not value and kind != "str":
        return None
    try:
        if kind in ("int", "float"):
            return int(value) if kind == "int" else float(value)
        if kind == "bool":
            return to_bool(value)
        family = kind.partition("/")[0]
        if family in ("list", "dict", "tuple"):
            found = parse_text(value)
            if family == "tuple":
                return tuple(found) if isinstance(found, (list, tuple)) else value
            return found
    except (ValueError, TypeError):
        return value
    return value


def _configuration(ctx: StoreContext, folder: Path, name: str, item: Any) -> Json:
    named = item if isinstance(item, Mapping) else {"value": item}
    text, kind = named.get("value"), str(named.get("type") or "")
    if not isinstance(text, str):
        text, kind = dump_configuration(text), kind or "dictionary"
    elif kind == "dictionary":
        text = _dictionary_text(text)
    return put_configuration(ctx, folder, name, text, kind or "text", str(named.get("description") or ""))


def _dictionary_text(text: str) -> str:
    """Return a connected dictionary's text as localtrack keeps it; ClearML keeps it in HOCON."""
    try:
        json.loads(text)
    except ValueError:
        from localtrack.records import hocon

        try:
            return dump_configuration(hocon.parse(text))
        except (ValueError, RecursionError):
            return text
    return text
