"""Tasks: made, read, found, edited, cloned, moved, deleted and brought back.

Source: docs/format/v1.md, "Creating a task"; ClearML's Task.create, Task.clone, Task.get_task, Task.delete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import (
    AmbiguousTaskError,
    InvalidValueError,
    LocaltrackError,
    TaskNotFoundError,
    UsageError,
)
from localtrack.fs.disk import Disk, list_names, read_bytes
from localtrack.records.ids import is_task_id, new_task_id, normal_project
from localtrack.records.plain import fields, replace
from localtrack.records.status import Status, TaskTypes, parse_type
from localtrack.records.task import OUTPUT_FIELDS, TaskRecord
from localtrack.services.context import StoreContext, current_user
from localtrack.services.liveness import effective
from localtrack.store import metadata
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.index.search import Row

INPUT_FOLDERS = ("code", "configuration")
UNTITLED = "Untitled"


def folder_of(ctx: StoreContext, task_id: str) -> Path:
    """Return the folder of a task.

    Raises:
        TaskNotFoundError: no such task.
    """
    return ctx.locate(task_id)


def read(ctx: StoreContext, task_id: str, folder: Path | None = None) -> TaskRecord:
    """Return a task as a reader should see it: one whose owner died while it ran is failed, lost.

    Raises:
        TaskNotFoundError: no such task.
        CorruptFileError: none of its metadata is whole.
    """
    if folder is None:
        return find(ctx, task_id)[1]
    record = metadata.read_latest(TaskLayout(folder))
    return effective(record, folder, ctx.settings.lease_s, ctx.store.layout.tmp)


def find(ctx: StoreContext, task_id: str) -> tuple[Path, TaskRecord]:
    """Return a task's folder, and the task as :func:`read` does.

    Raises:
        TaskNotFoundError: no such task.
        CorruptFileError: none of its metadata is whole.
    """
    folder, record = ctx.find(task_id)
    return folder, effective(record, folder, ctx.settings.lease_s, ctx.store.layout.tmp)


def create(
    ctx: StoreContext,
    *,
    name: str,
    project: str,
    task_type: str | TaskTypes | None = None,
    parent: str = "",
    **values: Any,
) -> tuple[Path, TaskRecord]:
    """File a new task as a draft.

    Args:
        ctx: the store.
        name: any text.
        project: path of the project, components divided by ``/``.
        task_type: a member of ``TaskTypes`` or its name.
        parent: id of the parent task.
        **values: further fields of the record.

    Raises:
        InvalidValueError: an unknown type.
        StoreError: the store can't be written.
    """
    at = now()
    record = TaskRecord(
        id=new_task_id(),
        name=name,
        project=normal_project(project) or UNTITLED,
        type=parse_type(task_type).value,
        parent=parent,
        user=current_user(),
        created=at,
        status_changed=at,
        **values,
    )
    return ctx.store.create_task(record, ctx.author)


def edit(
    ctx: StoreContext,
    task_id: str,
    change: Callable[[TaskRecord], TaskRecord],
    label: str,
    *,
    by_owner: bool = False,
    folder: Path | None = None,
    checked: bool = True,
) -> TaskRecord:
    """Commit a change of a task's fields, refusing what its status does not allow.

    Args:
        ctx: the store.
        task_id: the task.
        change: from the record as it is to the record as wanted; may be called several times.
        label: a word or two for the log.
        by_owner: the running task's own process asks.
        folder: where the task lies, when the caller knows.
        checked: whether the status limits which fields may change; outputs are not limited.

    Raises:
        NotEditableError: an input of a task that is no draft.
    """

    def intent(record: TaskRecord) -> TaskRecord:
        wanted = change(record)
        if wanted is record:
            return record
        changed = changed_fields(record, wanted)
        if not changed:
            return record
        if checked:
            record.check_editable(changed, by_owner=by_owner)
        return wanted

    return ctx.store.update(folder or folder_of(ctx, task_id), intent, ctx.author, label)


def changed_fields(before: TaskRecord, after: TaskRecord) -> frozenset[str]:
    """Return the names of the fields in which two records differ."""
    return frozenset(
        f.name
        for f in fields(TaskRecord)
        if f.name not in ("generation", "last_update") and getattr(before, f.name) != getattr(after, f.name)
    )


def without_outputs(record: TaskRecord) -> TaskRecord:
    """Return a record with all that a run produced taken out; inputs stay."""
    defaults = TaskRecord(record.id, record.name, record.project)
    return replace(record, **{name: getattr(defaults, name) for name in OUTPUT_FIELDS})


def copy_inputs(disk: Disk, source: Path, target: Path) -> None:
    """Copy the files that are a task's inputs: code and configuration."""
    for folder in INPUT_FOLDERS:
        for name in list_names(source / folder):
            if (source / folder / name).is_file():
                disk.make_dirs(target / folder)
                disk.publish(read_bytes(source / folder / name), target / folder / name)


def clone(
    ctx: StoreContext,
    source_id: str,
    *,
    name: str | None = None,
    comment: str | None = None,
    parent: str | None = None,
    project: str | None = None,
) -> TaskRecord:
    """Return a new draft with the inputs of a task: code, parameters, configuration, tags, input models.

    Raises:
        TaskNotFoundError: no such source.
    """
    folder = folder_of(ctx, source_id)
    source = read(ctx, source_id, folder)
    at = now()
    draft = replace(
        without_outputs(source),
        id=new_task_id(),
        name=name if name is not None else f"Clone Of {source.name}",
        project=normal_project(project) if project is not None else source.project,
        comment=comment if comment is not None else source.comment,
        parent=parent or source.parent or source.id,
        status=Status.CREATED.value,
        status_reason="",
        status_message="",
        status_changed=at,
        history=(),
        system_tags=tuple(tag for tag in source.system_tags if tag not in ("archived", "development")),
        user=current_user(),
        created=at,
        attempt=0,
    )
    _, record = ctx.store.create_task(draft, ctx.author, prepare=lambda new: copy_inputs(ctx.store.disk, folder, new))
    return record


def delete(ctx: StoreContext, task_id: str, *, force: bool = False) -> str:
    """Move a task to the trash; returns the name of the trash entry.

    Raises:
        UsageError: it is published, or still runs, and ``force`` is not given.
    """
    folder = folder_of(ctx, task_id)
    record = read(ctx, task_id, folder)
    if record.state is Status.PUBLISHED and not force:
        raise UsageError(
            f"task {task_id} is published and stays; force the deletion if it really must go", task_id=task_id
        )
    if record.state is Status.IN_PROGRESS and not force:
        raise UsageError(f"task {task_id} is running: `localtrack abort {task_id[:8]}` first", task_id=task_id)
    return ctx.store.trash_task(folder, record, "deleted", ctx.author.user)


def rename(ctx: StoreContext, task_id: str, *, name: str | None = None, project: str | None = None) -> TaskRecord:
    """Give a task another name or project; its folder follows when nobody writes in it."""
    folder = folder_of(ctx, task_id)

    def change(record: TaskRecord) -> TaskRecord:
        return replace(
            record,
            name=record.name if name is None else name,
            project=record.project if project is None else normal_project(project) or UNTITLED,
        )

    record = edit(ctx, task_id, change, "renamed" if project is None else "moved", folder=folder)
    if effective(record, folder, ctx.settings.lease_s, ctx.store.layout.tmp).state is not Status.IN_PROGRESS:
        ctx.store.move_task(folder, record)
    return record


def find_by_name(ctx: StoreContext, project: str | None, name: str, tags: Sequence[str] = ()) -> Row | None:
    """Return the last modified task of exactly that project and name, archived ones only when there is no other."""
    from localtrack.records.filters import Query

    rows = ctx.index.search(
        Query(project=normal_project(project) if project else None, name=None, tags=list(tags) or None)
    )
    hits = [row for row in rows if row.name == name]
    live = [row for row in hits if "archived" not in row.system_tags] or hits
    return max(live, key=lambda row: row.last_update, default=None)


def resolve(ctx: StoreContext, reference: str) -> str:
    """Return the id that a person means: an id or its unique beginning, ``@last``, ``@-2``, or ``project/name``.

    Raises:
        TaskNotFoundError: nothing answers to it.
        AmbiguousTaskError: several do; the message lists them.
    """
    if is_task_id(reference):
        folder_of(ctx, reference)
        return reference
    if reference.startswith("@"):
        return _resolve_recent(ctx, reference)
    matches = ctx.index.resolve(reference) if reference and set(reference) <= set("0123456789abcdef") else []
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        shown = ", ".join(match[:12] for match in matches[:5])
        raise AmbiguousTaskError(f"{len(matches)} tasks begin with {reference!r}: {shown}; give more digits")
    row = _named(ctx, reference)
    if row is None:
        raise TaskNotFoundError(
            f"no task {reference!r} in the store {ctx.store.root}: give an id, its beginning, @last, or project/name "
            "(`localtrack ls` lists them)",
            task_id=reference,
        )
    return row.id


def _named(ctx: StoreContext, reference: str) -> Row | None:
    """Return the task that ``project/name`` means; both may hold slashes, the longest project that fits wins."""
    parts = reference.split("/")
    for cut in range(len(parts) - 1, -1, -1):
        name = "/".join(parts[cut:])
        row = find_by_name(ctx, "/".join(parts[:cut]) or None, name) if name else None
        if row is not None:
            return row
    return None


def _resolve_recent(ctx: StoreContext, reference: str) -> str:
    text = reference[1:]
    try:
        back = 1 if text == "last" else -int(text)
    except ValueError:
        back = 0
    if back < 1:
        raise InvalidValueError(
            f"{reference!r} is no recent task: use @last, or @-2 for the one before", reference=reference
        )
    rows = sorted(ctx.index.rows(), key=lambda row: row.created, reverse=True)
    if len(rows) < back:
        raise TaskNotFoundError(
            f"the store {ctx.store.root} holds {len(rows)} tasks: no {reference}", task_id=reference
        )
    return rows[back - 1].id


def restore(ctx: StoreContext, reference: str) -> TaskRecord:
    """Bring a task back from the trash, by the entry's name or the beginning of the task's id: the newest that fits.

    Raises:
        TaskNotFoundError: the trash holds none.
    """
    for note in ctx.store.trash_entries():
        if note["entry"] == reference or str(note.get("id", "")).startswith(reference):
            folder = ctx.store.restore_entry(note["entry"], ctx.author)
            return metadata.read_latest(TaskLayout(folder))
    raise TaskNotFoundError(
        f"nothing in the trash answers to {reference!r}; `localtrack restore` lists what is there", task_id=reference
    )


def try_read(ctx: StoreContext, task_id: str) -> TaskRecord | None:
    """Return a task, or None when it can't be read."""
    try:
        return read(ctx, task_id)
    except (LocaltrackError, OSError):
        return None
