"""Finding tasks: ClearML's arguments turned into a query, and rows turned into what callers ask for.

Source: ClearML's Task.get_tasks and Task.query_tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.records.ids import normal_project
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.index.search import Row


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
    query = Query(
        project=projects,
        name=name,
        tags=list(tags) if tags else None,
        task_filter=dict(task_filter or {}),
        allow_archived=allow_archived,
    )
    return ctx.index.search(query)


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
