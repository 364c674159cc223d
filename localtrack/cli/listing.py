"""``localtrack ls``.

Source: docs/reference/cli.md, "ls".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import (
    age_text,
    print_csv,
    print_json,
    print_table,
)
from localtrack.cli.shell import Shell, json_option, note, pass_shell, root_option

if TYPE_CHECKING:
    from localtrack.index.search import Row
    from localtrack.services.context import StoreContext

DEFAULT_COLUMNS = ("id", "status", "project", "name", "updated", "iteration", "tags")
CSV_COLUMNS = ("id", "status", "type", "project", "name", "user", "created", "updated", "iteration", "tags")
ALIASES = {"updated": "last_update", "iteration": "last_iteration"}
TIMES = frozenset({"created", "started", "ended", "last_update", "status_changed"})
SHORT_ID = 8
Reader = Callable[[Any], Any]


@click.command("ls")
@click.option("--project", help="Tasks of this project and of those below it.")
@click.option("--tag", "tags", multiple=True, help="With this tag; -TAG: without it. May be repeated.")
@click.option("--status", "statuses", multiple=True, help="In this state. May be repeated.")
@click.option("--filter", "expression", metavar="EXPR", help="Such as 'params.lr < 0.01 and metrics.loss.min < 0.3'.")
@click.option("--search", "pattern", metavar="RE", help="A regular expression, found in name, comment or id.")
@click.option("--archived", is_flag=True, help="Archived tasks, too.")
@click.option("--sort", "key", metavar="COLUMN", default="-updated", show_default=True, help="-COLUMN: descending.")
@click.option("-n", "--limit", type=click.IntRange(min=0), help="At most so many.")
@click.option("--columns", metavar="A,B", help="Fields, parameters (Args/lr), metrics (accuracy/test).")
@click.option("--jsonl", "as_lines", is_flag=True, help="Print JSON, one task a line.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@root_option
@pass_shell
def ls(
    shell: Shell,
    project: str | None,
    tags: tuple[str, ...],
    statuses: tuple[str, ...],
    expression: str | None,
    pattern: str | None,
    archived: bool,
    key: str,
    limit: int | None,
    columns: str | None,
    as_lines: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """List and search tasks, the last changed first."""
    names = [name.strip() for name in columns.split(",") if name.strip()] if columns else None
    readers = {name: column(name) for name in names or DEFAULT_COLUMNS}
    column(key.lstrip("-"))
    found = _find(shell.ctx, project, tags, statuses, expression or "", pattern, archived)
    rows = sorted_rows(found, key)[:limit]
    if as_json or as_lines:
        print_json([row_json(row) for row in rows], lines=as_lines)
    elif as_csv:
        header = names or list(CSV_COLUMNS)
        print_csv(header, ([_csv_cell(column(name)(row)) for name in header] for row in rows))
    elif not rows:
        note("no task fits" if shell.ctx.index.ids() else "no tasks yet")
    else:
        print_rows(rows, readers if names else filled(rows, readers))


def filled(rows: list[Row], readers: dict[str, Reader]) -> dict[str, Reader]:
    """Leave the column of tags out where no task has any."""
    return {name: read for name, read in readers.items() if name != "tags" or any(row.tags for row in rows)}


def _find(
    ctx: StoreContext,
    project: str | None,
    tags: Sequence[str],
    statuses: Sequence[str],
    expression: str,
    pattern: str | None,
    archived: bool,
) -> list[Row]:
    """Return the tasks that fit; a run that died is failed."""
    from localtrack.records.filters import Query, parse_expression
    from localtrack.records.status import parse_status
    from localtrack.services import search

    states = [parse_status(status).value for status in statuses]
    query = Query(
        project=project or None,
        include_subprojects=True,
        tags=["__$all", *split_tags(tags)] if tags else None,
        task_filter={"search_text": pattern, "status": states or None},
        allow_archived=archived or "archived" in expression,
        conditions=parse_expression(expression),
    )
    rows = search.rows(ctx, query)
    for problem in ctx.index.problems:
        note(f"localtrack: {problem}")
    return rows


def split_tags(tags: Sequence[str]) -> list[str]:
    """Return tags in ClearML's list grammar: ``-TAG`` excludes."""
    return [part for tag in tags for part in (("__$not", tag[1:]) if tag.startswith("-") else (tag,))]


def column(name: str) -> Reader:
    """Return what reads a column from a row.

    Raises:
        InvalidValueError: there is no such field; lists what there is.
    """
    from localtrack.records.fields import Field, parse_field

    plain = ALIASES.get(name, name)
    if "/" in plain and not plain.startswith(("params.", "parameters.", "metrics.", "last_metrics.", "hyperparams.")):
        parameter, metric = Field("parameter", plain), Field("metric", plain)

        def read_either(row: Any) -> Any:
            value = parameter.read(row)
            return metric.read(row) if value is None else value

        return read_either
    return parse_field(plain).read


def sorted_rows(rows: list[Row], key: str) -> list[Row]:
    """Return rows by a column; those that have no value come last, numbers before texts."""
    descending = key.startswith("-")
    read = column(key.lstrip("-"))
    pairs = [(read(row), row) for row in rows]
    held = [pair for pair in pairs if not _is_missing(pair[0])]
    held.sort(key=lambda pair: _order(pair[0]), reverse=descending)
    return [row for _, row in held] + [row for value, row in pairs if _is_missing(value)]


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value


def _order(value: Any) -> tuple[int, float, str]:
    if isinstance(value, (bool, int, float)):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def row_json(row: Row) -> dict[str, Any]:
    """Return a task as ``ls --json`` prints it."""
    return {
        "id": row.id, "name": row.name, "project": row.project, "type": row.type, "status": row.status,
        "tags": row.tags, "system_tags": row.system_tags, "comment": row.comment, "parent": row.parent,
        "user": row.user, "created": row.created, "started": row.started, "ended": row.ended,
        "last_update": row.last_update, "last_iteration": row.last_iteration, "parameters": row.parameters,
        "metrics": row.metrics,
    }  # fmt: skip


def _csv_cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return value


def print_rows(rows: list[Row], readers: dict[str, Reader]) -> None:
    """Print tasks as a table of those columns."""
    now_s = time.time()
    cells = [[_cell(name, reader(row), now_s) for name, reader in readers.items()] for row in rows]
    numeric = [
        number
        for number, name in enumerate(readers)
        if name not in DEFAULT_COLUMNS and all(isinstance(row[number], (int, float, type(None))) for row in cells)
    ]
    if "iteration" in readers:
        numeric.append(list(readers).index("iteration"))
    print_table(list(readers), cells, right=numeric)


def _cell(name: str, value: Any, now_s: float) -> Any:
    if name == "id" or name == "parent":
        return str(value)[:SHORT_ID]
    if ALIASES.get(name, name) in TIMES:
        from localtrack.records.fields import seconds_of

        moment_s = seconds_of(value)
        return None if moment_s is None else f"{age_text(now_s - moment_s)} ago"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return value
