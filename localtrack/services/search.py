"""Finding tasks: ClearML's arguments turned into a query, and rows turned into what callers ask for.

Source: ClearML's Task.get_tasks and Task.query_tasks.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError, ProjectNotFoundError
from localtrack.records.fields import TIME_FIELDS, Field, parse_field, seconds_of
from localtrack.records.ids import normal_project
from localtrack.records.late import late_logger
from localtrack.records.plain import dataclass, field, replace
from localtrack.records.status import Status
from localtrack.records.values import decode
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.index.search import Row
    from localtrack.records.filters import Query

LOG = late_logger("localtrack.search")
WHOLE = frozenset({"parameters", "metrics", "last_metrics", "hyperparams", "script", "runtime"})
_ID, _FOLDER = Field("plain", "id"), Field("plain", "folder")
_LAST_UPDATE, _SYSTEM_TAGS = Field("plain", "last_update"), Field("plain", "system_tags")


@dataclass(frozen=True, slots=True)
class Search:
    """What ClearML's calls take.

    Attributes:
        project: exactly this project, or one of these.
        name: a regular expression that the name must contain.
        tags: ClearML's list grammar.
        allow_archived: whether archived tasks count.
        task_filter: further conditions.
    """

    project: str | Sequence[str] | None = None
    name: str | None = None
    tags: Sequence[str] | str | None = None
    allow_archived: bool = True
    task_filter: Mapping[str, Any] | None = field(default=None)

    def query(self) -> Query:
        """Return it as the index takes it."""
        from localtrack.records.filters import Query

        project: Any = None
        if isinstance(self.project, str):
            project = normal_project(self.project) if self.project else None
        elif self.project is not None:
            project = [normal_project(item) for item in self.project] or None
        tags = [self.tags] if isinstance(self.tags, str) else list(self.tags) if self.tags else None
        return Query(
            project=project, name=self.name or None, tags=tags, allow_archived=self.allow_archived,
            task_filter=dict(self.task_filter or {}),
        )  # fmt: skip


def rows(ctx: StoreContext, query: Query) -> list[Row]:
    """Return the tasks that a query asks for, as readers should see them: a run whose process is gone is failed.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    return ctx.index.search(query, partial(seen_rows, ctx))


def find(ctx: StoreContext, wanted: Search) -> list[Row]:
    """Return the rows of all tasks that fit.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    return rows(ctx, wanted.query())


def ids(ctx: StoreContext, wanted: Search) -> list[str]:
    """Return the ids of all tasks that fit.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    return [str(task_id) for task_id in ctx.index.select(wanted.query(), (_ID,), partial(seen_rows, ctx))[0]]


def places(ctx: StoreContext, wanted: Search) -> list[tuple[str, str]]:
    """Return ids and absolute folders of all tasks that fit.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    found, folders = ctx.index.select(wanted.query(), (_ID, _FOLDER), partial(seen_rows, ctx))
    root = f"{ctx.store.root}/"
    return [(task_id, root + folder) for task_id, folder in zip(found, folders, strict=True)]


def fields(ctx: StoreContext, wanted: Search, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``id`` and the named fields of all tasks that fit; times as ``datetime``, what a task has not as None.

    Args:
        ctx: the store.
        wanted: which tasks.
        names: names that a filter takes, and ``parameters``, ``metrics``, ``script``, ``runtime`` for whole ones; dots
            lead into nested ones.

    Raises:
        InvalidValueError: a filter that can't be understood; names the field.
    """
    names = [names] if isinstance(names, str) else list(names)
    known = [_field_of(name) for name in names]
    chosen = [one for one in known if one is not None]
    if len(chosen) == len(names):
        columns = ctx.index.select(wanted.query(), (_ID, *chosen), partial(seen_rows, ctx))
    else:
        found = rows(ctx, wanted.query())
        columns = [[row.id for row in found]]
        for one, name in zip(known, names, strict=True):
            columns.append([one.read(row) if one is not None else _inside(row, name) for row in found])
    shown = [columns[0], *(_shown(one, column) for one, column in zip(known, columns[1:], strict=True))]
    keys = ("id", *names)
    return [dict(zip(keys, values, strict=True)) for values in zip(*shown, strict=True)]


def _field_of(name: str) -> Field | None:
    if name.partition(".")[0] in WHOLE and "." not in name:
        return None
    try:
        return parse_field(name)
    except InvalidValueError:
        return None


def _shown(one: Field | None, column: list[Any]) -> list[Any]:
    """Return a field's values as callers get them."""
    if one is not None and one.kind == "plain" and one.name in TIME_FIELDS:
        return [_moment(value) for value in column]
    if one is not None and one.name == "parent":
        return [value or None for value in column]
    if one is not None and one.name in ("tags", "system_tags", "input_models", "output_models"):
        return [list(value or ()) for value in column]
    return column


def _moment(text: Any) -> dt.datetime | None:
    seconds = seconds_of(text)
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def _inside(row: Row, name: str) -> Any:
    """Return what a dotted name leads to in a row."""
    head, _, rest = name.partition(".")
    value: Any = getattr(row, {"last_metrics": "metrics", "hyperparams": "parameters"}.get(head, head), None)
    for part in rest.split(".") if rest else ():
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


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


def last_modified(ctx: StoreContext, wanted: Search) -> tuple[str, Path] | None:
    """Return id and folder of the last modified task of exactly that name; archived ones only when there is no other.

    Raises:
        ProjectNotFoundError: no task lies in that project.
        InvalidValueError: a filter that can't be understood; names the field.
    """
    query = replace(wanted, name=None).query()
    if wanted.name:
        query = replace(query, conditions=(*query.conditions, _is_named(wanted.name)))
    chosen = (_ID, _FOLDER, _LAST_UPDATE, _SYSTEM_TAGS)
    found = list(zip(*ctx.index.select(query, chosen, partial(seen_rows, ctx)), strict=True))
    live = [values for values in found if "archived" not in (values[3] or ())] or found
    if not live:
        if query.project is not None and not projects(ctx, query.project):
            raise ProjectNotFoundError(f"no project {wanted.project!r} holds a task", project=wanted.project)
        return None
    task_id, folder, at, _ = max(live, key=lambda values: str(values[2]))
    if len(live) > 1:
        LOG.warning("%d tasks fit; the last modified one is taken: %s, of %s", len(live), task_id, at)
    return task_id, ctx.store.root / folder


def _is_named(name: str) -> Any:
    from localtrack.records.filters import Condition

    return Condition((Field("plain", "name"),), lambda value: value == name)


def projects(ctx: StoreContext, among: str | Sequence[str] | None = None) -> list[str]:
    """Return the names of all projects that hold tasks, those of which the tasks changed last first.

    Args:
        ctx: the store.
        among: look only at these.
    """
    from localtrack.records.filters import Query

    query = Query(project=among, search_hidden=True, order_by="-last_update")
    (found,) = ctx.index.select(query, (Field("plain", "project"),))
    return list(dict.fromkeys(map(str, found)))
