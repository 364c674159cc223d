"""``localtrack show``: everything about one task on one screen, or as JSON.

Source: docs/reference/cli.md, "show".
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import (
    age_text,
    coloured,
    heading,
    number_text,
    print_json,
    print_pairs,
    printable,
    size_text,
)
from localtrack.cli.shell import TASK, Shell, json_option, pass_shell, root_option

if TYPE_CHECKING:
    from localtrack.records.task import TaskRecord

STATUS_COLOURS = {"completed": "32", "published": "32", "failed": "31", "in_progress": "34", "queued": "33"}


@click.command("show")
@click.argument("reference", metavar="TASK", type=TASK, default="@last")
@json_option
@root_option
@pass_shell
def show(shell: Shell, reference: str, as_json: bool) -> None:
    """Show one task: status, code, parameters, last metrics, artifacts. Without TASK, the newest one."""
    from localtrack.services import models, tasks

    task_id = shell.resolve(reference)
    folder = tasks.folder_of(shell.ctx, task_id)
    record = models.with_models_now(shell.ctx, tasks.read(shell.ctx, task_id, folder), folder)
    if as_json:
        print_json(task_json(record, folder))
    else:
        _print_record(record, folder)


def task_json(record: TaskRecord, folder: Path) -> dict[str, Any]:
    """Return a task as ``show --json`` prints it: the metadata's fields, values decoded, and the task's folder."""
    from localtrack.records.values import decode
    from localtrack.services.reports import last_metrics

    body = record.to_json()
    body["parameters"] = {
        name: {**stored, "value": decode(stored.get("value"))} for name, stored in _sorted(body, "parameters")
    }
    body["properties"] = {
        name: {**stored, "value": decode(stored.get("value"))} for name, stored in _sorted(body, "properties")
    }
    body["last_metrics"] = last_metrics(record)
    return {**body, "generation": record.generation, "folder": str(folder)}


def _sorted(body: dict[str, Any], field: str) -> list[tuple[str, Any]]:
    return sorted(body[field].items())


def _print_record(record: TaskRecord, folder: Path) -> None:
    title = f"{record.project}/{record.name}" if record.project else record.name
    print(coloured(printable(title), "1"))
    print_pairs(_identity(record, folder), "  ", {"status": STATUS_COLOURS.get(record.status, "36")})
    if record.script:
        heading("Code")
        print_pairs(_code(record), "  ")
    if record.parameters:
        heading("Parameters")
        print_pairs(_parameters(record), "  ")
    if record.properties:
        heading("Properties")
        print_pairs(((name, _value(stored)) for name, stored in sorted(record.properties.items())), "  ")
    if record.configuration:
        heading("Configuration")
        print_pairs(
            ((name, _stored_file(c, str(c.get("type", "")))) for name, c in sorted(record.configuration.items())), "  "
        )
    _print_metrics(record)
    if record.artifacts:
        heading("Artifacts")
        print_pairs(
            ((name, _stored_file(a, str(a.get("type", "")))) for name, a in sorted(record.artifacts.items())), "  "
        )
    if record.output_models:
        heading("Models")
        print_pairs(((str(m.get("name", "")), _model(m)) for m in record.output_models), "  ")
    for error in record.errors:
        print(f"\nnot captured: {printable(error)}")


def _identity(record: TaskRecord, folder: Path) -> list[tuple[str, str]]:
    why = ", ".join(part for part in (record.status_reason, record.status_message) if part)
    pairs = [("id", record.id), ("status", f"{record.status} ({why})" if why else record.status), ("type", record.type)]
    if record.exit.get("code") is not None:
        pairs.append(("exit code", str(record.exit["code"])))
    pairs += [(name, text) for name, text in _times(record) if text]
    pairs += [
        (name, value)
        for name, value in (
            ("user", record.user),
            ("tags", ", ".join(record.tags)),
            ("system tags", ", ".join(record.system_tags)),
            ("comment", record.comment),
            ("parent", record.parent),
        )
        if value
    ]
    return [*pairs, ("folder", str(folder))]


def _times(record: TaskRecord) -> list[tuple[str, str]]:
    from localtrack.store.documents import seconds

    result = [("created", moment_text(record.created)), ("started", moment_text(record.started))]
    if record.started and record.ended:
        ran_s = seconds(record.ended) - seconds(record.started)
        result.append(("ended", f"{moment_text(record.ended)}, after {age_text(ran_s)}"))
    return result


def moment_text(at: str) -> str:
    """Return a stored UTC time in local time, with its age; empty for an empty one."""
    from localtrack.store.documents import seconds

    if not at:
        return ""
    when_s = seconds(at)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(when_s))} ({age_text(time.time() - when_s)} ago)"


def _code(record: TaskRecord) -> list[tuple[str, str]]:
    script = record.script
    pairs = [
        ("repository", script.get("repository") or script.get("root") or ""),
        ("branch", script.get("branch") or ""),
        ("commit", script.get("commit") or ""),
        ("entry point", script.get("entry_point") or ""),
        ("working dir", script.get("working_dir") or ""),
        ("python", script.get("python") or ""),
    ]
    if script.get("diff"):
        pairs.append(("uncommitted", f"{script['diff']['file']} ({size_text(script['diff']['size_bytes'])})"))
    if script.get("source"):
        pairs.append(("script", script["source"]["file"]))
    return [(name, printable(value)) for name, value in pairs if value]


def _parameters(record: TaskRecord) -> list[tuple[str, str]]:
    return [(name, _value(stored)) for name, stored in sorted(record.parameters.items())]


def _value(stored: dict[str, Any]) -> str:
    from localtrack.records.parameters import value_of

    value = value_of(stored)
    return number_text(value) if isinstance(value, str) else printable(repr(value))


def _stored_file(entry: dict[str, Any], kind: str) -> str:
    size = entry.get("size_bytes")
    where = entry.get("url") or entry.get("file") or ""
    return "  ".join(part for part in (kind, size_text(size) if size is not None else "", str(where)) if part)


def _model(entry: dict[str, Any]) -> str:
    """Return what a task's model is: its own name as well, where the task calls it otherwise."""
    own = str(entry.get("model_name") or "")
    return _stored_file(entry, f"model {own!r}" if own and own != entry.get("name") else "model")


def _print_metrics(record: TaskRecord) -> None:
    from localtrack.cli.output import print_table
    from localtrack.services.reports import SINGLE_VALUE_ITERATION, last_metrics

    rows = []
    for title, series in sorted(last_metrics(record).items()):
        if title.startswith(":monitor:"):
            continue
        for name, values in sorted(series.items()):
            step = values.get("last_iteration")
            single = step == SINGLE_VALUE_ITERATION
            rows.append(
                [title, name, values.get("last"), None if single else values.get("min"),
                 None if single else values.get("max"), None if single else step]
            )  # fmt: skip
    if rows:
        heading("Metrics")
        print_table(["title", "series", "last", "min", "max", "iteration"], rows, right=(2, 3, 4, 5), indent="  ")
