"""The life cycle: status changes, reset, queueing, abort."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import IllegalTransitionError, QueueNotFoundError, StoreError, UsageError
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, tasks
from localtrack.services.context import StoreContext
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout


@pytest.fixture
def task(ctx: StoreContext) -> TaskRecord:
    """Return a draft."""
    return tasks.create(ctx, name="run", project="p")[1]


def _states(ctx: StoreContext, task_id: str) -> list[tuple[str, str]]:
    return [(change["from"], change["to"]) for change in tasks.read(ctx, task_id).history]


def test_changes_are_signed(ctx: StoreContext, task: TaskRecord) -> None:
    """A change says who, when and why, and further fields go with it."""
    record = lifecycle.change_status(
        ctx, task.id, Status.IN_PROGRESS, reason="started", message="by hand", attempt=1, comment="c"
    )

    assert record.history[-1]["by"] == f"{ctx.author.user}@{ctx.author.host}"
    assert (record.status_reason, record.status_message, record.attempt, record.comment) == (
        "started",
        "by hand",
        1,
        "c",
    )


def test_the_same_state_again_commits_nothing(ctx: StoreContext, task: TaskRecord) -> None:
    """Nothing is written where nothing changes."""
    assert lifecycle.change_status(ctx, task.id, Status.CREATED).generation == task.generation


def test_illegal_changes_name_both_states(ctx: StoreContext, task: TaskRecord) -> None:
    """A draft can't be completed; with force it can."""
    with pytest.raises(IllegalTransitionError, match="created to completed"):
        lifecycle.change_status(ctx, task.id, Status.COMPLETED)
    assert lifecycle.change_status(ctx, task.id, Status.COMPLETED, force=True).status == "completed"


def test_reset_keeps_inputs_and_trashes_outputs(ctx: StoreContext, task: TaskRecord) -> None:
    """The draft has the inputs and their files; the run lies in the trash, whole, and can be restored beside it."""
    folder = ctx.index.locate(task.id)
    for name in ("code", "scalars"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    tasks.edit(
        ctx, task.id, lambda r: replace(r, tags=("a",), parameters={"General/x": {"value": 1, "type": "int"}}), "edit"
    )
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS, last_iteration=5, attempt=1)
    ended = lifecycle.change_status(ctx, task.id, Status.STOPPED)
    again = lifecycle.reset(ctx, task.id, reason="again")
    draft, entry = again.record, again.entry

    place = ctx.index.locate(task.id)
    assert again.folder == place
    assert (draft.status, draft.tags, draft.last_iteration, draft.started, draft.ended) == (
        "created",
        ("a",),
        0,
        "",
        "",
    )
    assert draft.parameters == ended.parameters
    assert draft.generation > ended.generation
    assert (place / "code" / "file").read_text() == "code"
    assert not (place / "scalars").exists()
    restored = tasks.restore(ctx, entry)
    assert (restored.status, restored.last_iteration) == ("stopped", 5)
    assert (ctx.index.locate(restored.id) / "scalars" / "file").read_text() == "scalars"


def test_reset_again_and_again(ctx: StoreContext, task: TaskRecord) -> None:
    """Every reset finds a free folder, and generations only grow."""
    numbers = [task.generation]
    for _ in range(3):
        lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
        lifecycle.change_status(ctx, task.id, Status.FAILED)
        numbers.append(lifecycle.reset(ctx, task.id).record.generation)

    assert numbers == sorted(set(numbers))
    assert len(ctx.store.trash_entries()) == 3
    assert len(list(ctx.store.task_folders())) == 1


@pytest.mark.parametrize(("state", "message"), [(Status.PUBLISHED, "clone it instead"), (Status.IN_PROGRESS, "abort")])
def test_what_may_not_be_reset(ctx: StoreContext, task: TaskRecord, state: Status, message: str) -> None:
    """Published tasks stay, running ones must be stopped first; the message says what to do."""
    lifecycle.change_status(ctx, task.id, state, force=True)

    with pytest.raises(IllegalTransitionError, match=message):
        lifecycle.reset(ctx, task.id)


def test_a_reset_that_fails_leaves_the_run(
    ctx: StoreContext, task: TaskRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the run can't be moved, the draft goes and the run is the task as before."""
    lifecycle.change_status(ctx, task.id, Status.FAILED, force=True)
    before = tasks.read(ctx, task.id)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(StoreError, match="no permission"):
            lifecycle.reset(ctx, task.id)
    assert tasks.read(ctx, task.id) == before
    assert len(list(ctx.store.task_folders())) == 1
    assert ctx.index.ids() == [task.id]


def test_enqueue_and_dequeue(ctx: StoreContext, task: TaskRecord) -> None:
    """A queued task waits once, and gets back the state that it had, also after a second enqueue."""
    tasks.edit(ctx, task.id, lambda r: replace(r, system_tags=("development",)), "tag")
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    lifecycle.change_status(ctx, task.id, Status.STOPPED)
    ctx.queues.create("other")
    lifecycle.enqueue(ctx, task.id, "default")
    record = lifecycle.enqueue(ctx, task.id, "other", priority=5)

    assert (record.status, record.runtime["queue"], record.system_tags) == ("queued", "other", ())
    assert ctx.queues.get("default").count() == 0
    assert [ref.priority for ref in ctx.queues.get("other").entries()] == [5]
    assert lifecycle.dequeue(ctx, task.id).status == "stopped"
    assert ctx.queues.get("other").count() == 0
    assert _states(ctx, task.id)[-2:] == [("stopped", "queued"), ("queued", "stopped")]


def test_enqueueing_keeps_what_others_change(
    ctx: StoreContext, task: TaskRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag that somebody sets between the look and the commit stays."""
    real = ctx.store.update
    done: list[int] = []

    def meanwhile(folder: Path, *args: object, **kwargs: object) -> TaskRecord:
        if not done:
            done.append(1)
            real(folder, lambda r: replace(r, system_tags=("archived",), runtime={"x": 1}), ctx.author, "rival")
        return real(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ctx.store, "update", meanwhile)
    record = lifecycle.enqueue(ctx, task.id, "default")

    assert (record.system_tags, record.runtime) == (("archived",), {"x": 1, "queue": "default"})


def test_dequeue_does_not_stop_a_task_that_started(
    ctx: StoreContext, task: TaskRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that began to run between the look and the commit is left running."""
    lifecycle.enqueue(ctx, task.id, "default")
    real = ctx.store.update

    def meanwhile(folder: Path, *args: object, **kwargs: object) -> TaskRecord:
        monkeypatch.setattr(ctx.store, "update", real)
        lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
        return real(folder, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ctx.store, "update", meanwhile)
    with pytest.raises(UsageError, match="became in_progress meanwhile"):
        lifecycle.dequeue(ctx, task.id)
    assert tasks.read(ctx, task.id).status == "in_progress"


def test_what_can_not_be_queued(ctx: StoreContext, task: TaskRecord) -> None:
    """An unknown queue is named with those that exist; a completed task needs force, and is reset then."""
    with pytest.raises(QueueNotFoundError, match="no queue 'nowhere'"):
        lifecycle.enqueue(ctx, task.id, "nowhere")
    assert tasks.read(ctx, task.id).status == "created"
    lifecycle.change_status(ctx, task.id, Status.COMPLETED, force=True)
    with pytest.raises(IllegalTransitionError, match="completed to queued"):
        lifecycle.enqueue(ctx, task.id, "default")
    assert lifecycle.enqueue(ctx, task.id, "default", force=True).status == "queued"
    assert len(ctx.store.trash_entries()) == 1
    with pytest.raises(UsageError, match="not queued"):
        lifecycle.dequeue(ctx, tasks.clone(ctx, task.id).id)


def test_requests_to_stop(ctx: StoreContext, task: TaskRecord) -> None:
    """A running task gets a request; a queued one is stopped at once; for any other there is nothing to stop."""
    with pytest.raises(UsageError, match="nothing to stop"):
        lifecycle.request_stop(ctx, task.id)
    lifecycle.enqueue(ctx, task.id, "default")
    assert lifecycle.request_stop(ctx, task.id, "enough").status == "stopped"
    assert ctx.queues.get("default").count() == 0
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    lifecycle.request_stop(ctx, task.id, "really")
    (path,) = TaskLayout(ctx.index.locate(task.id)).requests.iterdir()
    body = json.loads(path.read_bytes())
    assert (body["kind"], body["message"], body["by"]["user"]) == ("stop", "really", ctx.author.user)


def test_a_lost_run_is_admitted_before_anything_else(ctx: StoreContext, task: TaskRecord) -> None:
    """A run whose process is gone is shown as lost, and the loss is written down by the next change."""
    from localtrack.capture.host import capture_host

    host = capture_host()
    gone = {
        "writer": "w", "host": "h", "machine": host.machine_id, "boot": host.boot_id, "pid": os.getpid(), "start": "0",
        "pidns": host.pid_namespace,
    }  # fmt: skip
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS, owner=gone)
    if not host.machine_id:
        pytest.skip("this machine has no id")
    shown = tasks.read(ctx, task.id)
    assert (shown.status, shown.status_reason, shown.exit["failure_class"]) == ("failed", "lost", "lost")
    on_disk = metadata.read_latest(TaskLayout(ctx.index.locate(task.id)))
    assert on_disk.status == "in_progress"

    lifecycle.change_status(ctx, task.id, Status.STOPPED)
    assert _states(ctx, task.id)[-2:] == [("in_progress", "failed"), ("failed", "stopped")]


def test_archiving(ctx: StoreContext, task: TaskRecord) -> None:
    """The archive is a system tag, in any state, set once."""
    lifecycle.change_status(ctx, task.id, Status.PUBLISHED, force=True)
    lifecycle.set_archived(ctx, task.id, True)
    number = lifecycle.set_archived(ctx, task.id, True).generation

    assert tasks.read(ctx, task.id).system_tags == ("archived",)
    assert number == 3
    assert lifecycle.set_archived(ctx, task.id, False).system_tags == ()
