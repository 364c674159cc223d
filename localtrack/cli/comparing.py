"""``localtrack diff``: in what two tasks differ.

Source: docs/reference/cli.md, "diff".
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import coloured, heading, print_json, print_table, printable
from localtrack.cli.shell import TASK, Shell, json_option, note, pass_shell, root_option
from localtrack.records.plain import dataclass

if TYPE_CHECKING:
    from localtrack.records.task import TaskRecord

CODE_FIELDS = ("repository", "branch", "commit", "entry_point", "working_dir", "python", "argv")
MISSING = "(none)"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tasks: its record, and the folder that holds its files."""

    record: TaskRecord
    folder: Path


@click.command("diff")
@click.argument("left", metavar="A", type=TASK)
@click.argument("right", metavar="B", type=TASK)
@click.option("--all", "show_all", is_flag=True, help="What is equal, too.")
@json_option
@root_option
@pass_shell
def diff(shell: Shell, left: str, right: str, show_all: bool, as_json: bool) -> None:
    """Show in what two tasks differ: parameters, packages, code, metrics. The exit code is 0 either way."""
    from localtrack.services import tasks

    sides = []
    for reference in (left, right):
        task_id = shell.resolve(reference)
        folder = tasks.folder_of(shell.ctx, task_id)
        sides.append(Side(tasks.read(shell.ctx, task_id, folder), folder))
    sections = compare(sides[0], sides[1], show_all=show_all)
    patch = _patch_diff(sides[0], sides[1])
    if as_json:
        body: dict[str, Any] = {"a": sides[0].record.id, "b": sides[1].record.id}
        for name, rows in sections.items():
            body[name] = {key: {"a": a, "b": b} for key, a, b in rows}
        print_json({**body, "uncommitted": patch})
    else:
        _print(sides, sections, patch)


def compare(left: Side, right: Side, *, show_all: bool) -> dict[str, list[tuple[str, Any, Any]]]:
    """Return ``{section: [(name, value in A, value in B)]}``; None stands for what one has not."""
    pairs = {
        "task": (_identity(left.record), _identity(right.record)),
        "parameters": (_parameters(left.record), _parameters(right.record)),
        "code": (_code(left.record), _code(right.record)),
        "packages": (_packages(left), _packages(right)),
        "metrics": (_metrics(left.record), _metrics(right.record)),
    }
    return {name: _rows(a, b, show_all) for name, (a, b) in pairs.items()}


def _rows(left: dict[str, Any], right: dict[str, Any], show_all: bool) -> list[tuple[str, Any, Any]]:
    names = sorted({*left, *right})
    return [
        (name, left.get(name), right.get(name))
        for name in names
        if show_all or not _same(left.get(name), right.get(name))
    ]


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and (left == right or (left != left and right != right))


def _identity(record: TaskRecord) -> dict[str, Any]:
    return {"name": record.name, "project": record.project, "status": record.status, "type": record.type}


def _parameters(record: TaskRecord) -> dict[str, Any]:
    from localtrack.services.parameters import as_values

    return as_values(record)


def _code(record: TaskRecord) -> dict[str, Any]:
    code = {name: record.script[name] for name in CODE_FIELDS if record.script.get(name)}
    for name, label in (("diff", "uncommitted diff"), ("source", "script")):
        if record.script.get(name):
            code[label] = f"sha256 {record.script[name]['sha256'][:12]}"
    return code


def _packages(side: Side) -> dict[str, Any]:
    """Return ``{name: requirement's rest}`` from the recorded requirements; unreadable ones are said and left out."""
    text = _text(side, "requirements")
    result: dict[str, Any] = {}
    for line in text.splitlines():
        name, equals, version = line.partition("==")
        result[name.strip()] = version.strip() if equals else line.strip()
    return result


def _metrics(record: TaskRecord) -> dict[str, Any]:
    from localtrack.services.reports import last_metrics

    return {
        f"{title}/{series}": values.get("last")
        for title, by_series in last_metrics(record).items()
        if not title.startswith(":monitor:")
        for series, values in by_series.items()
    }


def _text(side: Side, field: str) -> str:
    from localtrack.errors import CorruptFileError
    from localtrack.store.blobs import read_content

    stored = side.record.script.get(field)
    if not stored:
        return ""
    try:
        return read_content(side.folder, stored).decode("utf-8", "replace")
    except CorruptFileError as error:
        note(f"localtrack: {error}")
        return ""


def _patch_diff(left: Side, right: Side) -> list[str]:
    """Return how the uncommitted changes, or the whole scripts, differ, as lines of a unified diff."""
    result: list[str] = []
    for field in ("diff", "source"):
        before, after = (_text(side, field).splitlines() for side in (left, right))
        if before != after:
            names = (f"a/{left.record.id[:8]}", f"b/{right.record.id[:8]}")
            result += difflib.unified_diff(before, after, *names, lineterm="")
    return result


def _print(sides: list[Side], sections: dict[str, list[tuple[str, Any, Any]]], patch: Iterable[str]) -> None:
    for label, side in zip("AB", sides, strict=True):
        print(f"{label}  {side.record.id[:8]}  {printable(side.record.project)}/{printable(side.record.name)}")
    something = False
    for name, rows in sections.items():
        if rows:
            something = True
            heading(name.capitalize())
            print_table(["name", "A", "B"], [[key, _cell(a), _cell(b)] for key, a, b in rows], indent="  ")
    first, rest = _peek(patch)
    if first:
        something = True
        heading("Uncommitted changes")
        for line in rest:
            code = {"+": "32", "-": "31"}.get(line[:1], "0")
            print(coloured(printable(line), code) if code != "0" else printable(line))
    if not something:
        print("\nno difference")


def _peek(lines: Iterable[str]) -> tuple[bool, Iterable[str]]:
    iterator = iter(lines)
    first = next(iterator, None)
    return (False, ()) if first is None else (True, itertools.chain((first,), iterator))


def _cell(value: Any) -> Any:
    if value is None:
        return MISSING
    return value if isinstance(value, (str, float)) else repr(value)
