"""Finding tasks: ClearML's arguments turned into a query, and rows turned into what callers ask for.

Source: ClearML's Task.get_tasks and Task.query_tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from localtrack.records.ids import normal_project
from localtrack.records.status import Status
from localtrack.records.values import decode
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.index.search import Row

_LATE = frozenset({"status", "page", "page_size"})


def find(
    ctx: StoreContext,
    project: str | Sequence[str] | None = None,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    allow_archived: bool = True,
    task_filter: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Return the rows of all tasks that fit.

    Args:
        ctx: the store.
        project: exactly this project, or one of these.
        name: a regular expression that the name must contain.
        tags: ClearML's list grammar.
        allow_archived: whether archived tasks count.
        task_filter: further conditions.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    from localtrack.records.filters import Query

    projects: Any = project
    if isinstance(project, str):
        projects = normal_project(project)
    elif project is not None:
        projects = [normal_project(item) for item in project]
    wanted = dict(task_filter or {})
    query = Query(
        project=projects, name=name, tags=list(tags) if tags else None, allow_archived=allow_archived,
        task_filter={key: value for key, value in wanted.items() if key not in _LATE} if "status" in wanted else wanted,
    )  # fmt: skip
    rows = seen_rows(ctx, ctx.index.search(query))
    if "status" not in wanted:
        return rows
    # only now is a run whose process is gone known as failed
    late = Query(task_filter={key: value for key, value in wanted.items() if key in (*_LATE, "order_by")})
    return late.plan().apply(rows)


def seen_rows(ctx: StoreContext, rows: list[Row]) -> list[Row]:
    """Return rows as a reader should see them: a task whose process is gone is failed."""
    seen: list[Row] = []
    for row in rows:
        record = tasks.try_read(ctx, row.id) if row.status == Status.IN_PROGRESS.value else None
        if record is not None and record.status != row.status:
            full = reports.with_reported_metrics(record, ctx.store.root / row.folder)
            row = replace(
                row,
                status=record.status,
                status_reason=record.status_reason,
                status_message=record.status_message,
                last_iteration=full.last_iteration,
                metrics=decode(full.last_metrics),
            )
        seen.append(row)
    return seen


def last_modified(
    ctx: StoreContext,
    project: str | None,
    name: str | None,
    tags: Sequence[str] | None,
    allow_archived: bool,
    task_filter: Mapping[str, Any] | None,
) -> Row | None:
    """Return the last modified row of exactly that project and name; archived ones only when there is no other."""
    rows = find(ctx, project, None, tags, allow_archived, task_filter)
    hits = [row for row in rows if name is None or row.name == name]
    live = [row for row in hits if "archived" not in row.system_tags] or hits
    return max(live, key=lambda row: row.last_update, default=None)


def fields_of(row: Row, names: Sequence[str]) -> dict[str, Any]:
    """Return the named fields of a row, dots leading into nested ones; what it has not is None."""
    result: dict[str, Any] = {"id": row.id}
    for name in names:
        value: Any = row
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
        result[name] = value
    return result
