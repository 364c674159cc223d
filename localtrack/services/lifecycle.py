"""The life cycle: status changes, reset, publish, queueing, abort.

Source: docs/format/v1.md, "Status"; ClearML's mark_*, reset, publish, enqueue, dequeue.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack.errors import IllegalTransitionError, StoreError, UsageError
from localtrack.fs.disk import remove_tree
from localtrack.records.ids import new_sortable_id
from localtrack.records.plain import dataclass, replace
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext
from localtrack.services.liveness import LOST_REASON, effective
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

DEFAULT_QUEUE = "default"
PUBLISH_KEY = "publish_on_completion"


def change_status(
    ctx: StoreContext,
    task_id: str,
    target: Status,
    *,
    reason: str = "",
    message: str = "",
    force: bool = False,
    folder: Path | None = None,
    **values: Any,
) -> TaskRecord:
    """Commit a status change, with who, when and why.

    Args:
        ctx: the store.
        task_id: the task.
        target: the new state.
        reason: a short cause.
        message: a text for people.
        force: whether the life cycle's limits are waived.
        folder: where the task lies, when the caller knows.
        **values: further fields to set in the same commit.

    Raises:
        IllegalTransitionError: the life cycle does not allow it; names both states.
    """
    where = folder or tasks.folder_of(ctx, task_id)

    def intent(record: TaskRecord) -> TaskRecord:
        record = admit_loss(ctx, record, where)
        if record.state is target and not values:
            return record
        changed = record.with_status(target, at=now(), by=_person(ctx), reason=reason, message=message, force=force)
        return replace(published_if_wished(changed, _person(ctx)), **values)

    return with_models_published(ctx, ctx.store.update(where, intent, ctx.author, f"status: {target.value}"))


def with_models_published(ctx: StoreContext, record: TaskRecord) -> TaskRecord:
    """Publish the last model that a published task made, and return the task's record as it is."""
    if record.state is Status.PUBLISHED and record.output_models:
        from localtrack.services import models

        models.publish_last_of(ctx, record)
    return record


def admit_loss(ctx: StoreContext, record: TaskRecord, folder: Path) -> TaskRecord:
    """Write down that a run was lost before anything else happens to the task."""
    seen = effective(record, folder, ctx.settings.lease_s, ctx.store.layout.tmp)
    if seen is record or record.owner is None or record.owner.get("writer") == ctx.writer:
        return record
    lost = record.with_status(
        Status.FAILED, at=now(), by=ctx.author.user, reason=LOST_REASON, message=seen.status_message
    )
    return replace(reports.with_reported_metrics(lost, folder), exit=seen.exit)


@dataclass(frozen=True, slots=True)
class ResetTask:
    """What a reset leaves.

    Attributes:
        record: the draft.
        folder: where it lies.
        entry: name of the trash entry with what was there before.
    """

    record: TaskRecord
    folder: Path
    entry: str


def reset(
    ctx: StoreContext,
    task_id: str,
    *,
    force: bool = False,
    reason: str = "reset",
    renewed: Callable[[TaskRecord], TaskRecord] | None = None,
) -> ResetTask:
    """Make a task a draft again. What the run produced goes to the trash, whole, and can be restored.

    The draft is there before the old folder goes, so that the task can be read at every moment: of two folders with
    the same id, the one with the higher generation is the task.

    Args:
        ctx: the store.
        task_id: the task.
        force: though it runs.
        reason: why, for the history.
        renewed: returns the draft with other inputs, whose files are not taken along then; without it they stay.

    Raises:
        IllegalTransitionError: it is published, or still runs and ``force`` is not given.
    """
    folder, record = tasks.find(ctx, task_id)
    if record.state is Status.PUBLISHED:
        raise IllegalTransitionError(
            f"task {task_id} can't go from published to created: what is published stays; clone it instead",
            task_id=task_id,
            current="published",
            target="created",
        )
    if record.state is Status.IN_PROGRESS and not force:
        raise IllegalTransitionError(
            f"task {task_id} can't go from in_progress to created while its process lives: "
            f"`localtrack abort {task_id[:8]}` first",
            task_id=task_id,
            current="in_progress",
            target="created",
        )
    if record.state is Status.QUEUED:
        dequeue(ctx, task_id)
        record = tasks.read(ctx, task_id, folder)
    draft = tasks.without_outputs(record).with_status(
        Status.CREATED, at=now(), by=ctx.author.user, reason=reason, force=True
    )
    draft = replace(draft, history=(draft.history[-1],), started="", ended="")

    def take_along(new_folder: Path) -> None:
        if renewed is None:
            tasks.copy_inputs(ctx.store.disk, folder, new_folder)

    new_folder, committed = ctx.store.create_task(
        draft if renewed is None else renewed(draft), ctx.author, number=record.generation + 2, prepare=take_along
    )
    try:
        entry = ctx.store.trash_task(folder, record, reason, ctx.author.user, announce=False)
    except StoreError:
        remove_tree(new_folder)
        raise
    return ResetTask(committed, new_folder, entry)


def enqueue(ctx: StoreContext, task_id: str, queue_name: str, *, priority: int = 0, force: bool = False) -> TaskRecord:
    """Put a task into a queue: its status first, then the entry, so that a dead process leaves no entry unowned.

    Raises:
        QueueNotFoundError: no such queue; the message lists those that exist.
        IllegalTransitionError: the task runs or is completed; ``force`` resets a completed one.
    """
    queue = ctx.queues.create(queue_name) if queue_name == DEFAULT_QUEUE else ctx.queues.get(queue_name)
    record = tasks.read(ctx, task_id)
    if record.state is Status.COMPLETED and force:
        record = reset(ctx, task_id).record
    if record.state is Status.QUEUED:
        for other in ctx.queues.names():
            ctx.queues.get(other).remove(task_id)
    folder = tasks.folder_of(ctx, task_id)

    def intent(current: TaskRecord) -> TaskRecord:
        current = admit_loss(ctx, current, folder)
        queued = current.with_status(Status.QUEUED, at=now(), by=_person(ctx), message=f"queue {queue_name}")
        if current.state is Status.QUEUED:
            queued = replace(queued, history=current.history)
        return replace(without_development(queued), runtime={**current.runtime, "queue": queue_name})

    changed = ctx.store.update(folder, intent, ctx.author, "status: queued")
    queue.enqueue(task_id, priority=priority)
    return changed


def without_development(record: TaskRecord) -> TaskRecord:
    """Return the record without the tag of runs by hand, which ``Task.init`` may take up again."""
    return replace(record, system_tags=tuple(tag for tag in record.system_tags if tag != "development"))


def dequeue(ctx: StoreContext, task_id: str) -> TaskRecord:
    """Take a task out of every queue and give it back the state that it had before.

    Raises:
        UsageError: it is not queued.
    """
    record = tasks.read(ctx, task_id)
    if record.state is not Status.QUEUED:
        raise UsageError(
            f"task {task_id} is {record.status}, not queued: there is nothing to take back", task_id=task_id
        )
    for name in ctx.queues.names():
        ctx.queues.get(name).remove(task_id)

    def intent(current: TaskRecord) -> TaskRecord:
        if current.state is not Status.QUEUED:
            raise UsageError(
                f"task {task_id} became {current.status} meanwhile: there is nothing to take back", task_id=task_id
            )
        target = _state_before_queueing(current)
        return current.with_status(target, at=now(), by=_person(ctx), reason="dequeued", force=True)

    return ctx.store.update(tasks.folder_of(ctx, task_id), intent, ctx.author, "status: dequeued")


def _state_before_queueing(record: TaskRecord) -> Status:
    for change in reversed(record.history):
        if change.get("to") == Status.QUEUED.value:
            before = change.get("from")
            return Status(before) if before in (Status.STOPPED.value, Status.FAILED.value) else Status.CREATED
    return Status.CREATED


def _person(ctx: StoreContext) -> str:
    return f"{ctx.author.user}@{ctx.author.host}"


def request_stop(ctx: StoreContext, task_id: str, message: str = "") -> TaskRecord:
    """Ask a running task to stop: its own process, or its agent, sees the request within its poll interval.

    A queued task is taken out of its queue and stopped at once; one whose owner is dead becomes failed, lost.

    Raises:
        UsageError: there is nothing to stop.
    """
    folder = tasks.folder_of(ctx, task_id)
    record = tasks.read(ctx, task_id, folder)
    if record.state is Status.QUEUED:
        dequeue(ctx, task_id)
        return change_status(ctx, task_id, Status.STOPPED, reason="aborted", message=message, force=True)
    if record.state is Status.FAILED and record.status_reason == LOST_REASON:
        return change_status(ctx, task_id, Status.FAILED)
    if record.state is not Status.IN_PROGRESS:
        raise UsageError(f"task {task_id} is {record.status}: there is nothing to stop", task_id=task_id)
    layout = TaskLayout(folder)
    body = {
        "schema": "localtrack/request/1",
        "kind": "stop",
        "at": now(),
        "by": ctx.author.to_json(),
        "message": message,
    }
    ctx.store.disk.make_dirs(layout.requests)
    ctx.store.disk.publish(json.dumps(body).encode(), layout.requests / f"{new_sortable_id()}.json")
    return record


def publish(ctx: StoreContext, task_id: str, *, force: bool = False) -> TaskRecord:
    """Publish an ended task and the last model that it made: it can be neither reset nor deleted any more.

    Raises:
        IllegalTransitionError: it has not ended.
    """
    return change_status(ctx, task_id, Status.PUBLISHED, reason="published", force=force)


def set_archived(ctx: StoreContext, task_id: str, archived: bool) -> TaskRecord:
    """Put a task into the archive or take it out: a system tag, in any state."""
    label = "archived" if archived else "unarchived"
    return tasks.edit(ctx, task_id, lambda record: with_archived(record, archived), label)


def with_archived(record: TaskRecord, archived: bool) -> TaskRecord:
    """Return the record in the archive, or out of it."""
    kept = tuple(tag for tag in record.system_tags if tag != "archived")
    return replace(record, system_tags=(*kept, "archived") if archived else kept)


def with_publication(record: TaskRecord, wanted: bool) -> TaskRecord:
    """Return the record with the wish to be published once it is completed, or without."""
    runtime = {key: value for key, value in record.runtime.items() if key != PUBLISH_KEY}
    return replace(record, runtime={**runtime, PUBLISH_KEY: True} if wanted else runtime)


def published_if_wished(record: TaskRecord, by: str) -> TaskRecord:
    """Return a completed record published, where that was wished for."""
    if record.state is not Status.COMPLETED or not record.runtime.get(PUBLISH_KEY):
        return record
    return record.with_status(Status.PUBLISHED, at=now(), by=by, reason="published on completion")
