"""Tasks: made, found, edited, cloned, moved, deleted and brought back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localtrack.errors import (
    AmbiguousTaskError,
    InvalidValueError,
    NotEditableError,
    TaskNotFoundError,
    UsageError,
)
from localtrack.records.ids import new_task_id
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, tasks
from localtrack.services.context import StoreContext


def test_creation(ctx: StoreContext) -> None:
    """A new task is a draft of its user's; an empty project is Untitled, an unknown type an error."""
    _, record = tasks.create(ctx, name="run", project=" / ", task_type="qc", comment="c")

    assert (record.project, record.type, record.status, record.comment) == ("Untitled", "qc", "created", "c")
    assert record.user == ctx.author.user
    assert record.created == record.status_changed
    with pytest.raises(InvalidValueError, match="unknown task type 'magic'"):
        tasks.create(ctx, name="run", project="p", task_type="magic")


def test_edits_respect_the_status(ctx: StoreContext) -> None:
    """Inputs change in drafts, or by the owner while it runs; labels always; an edit without effect commits nothing."""
    _, record = tasks.create(ctx, name="run", project="p")
    lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS)

    def change(r: TaskRecord) -> TaskRecord:
        return replace(r, parameters={"General/a": {"value": 1, "type": "int"}})

    with pytest.raises(NotEditableError, match="clone it"):
        tasks.edit(ctx, record.id, change, "set")
    number = tasks.edit(ctx, record.id, change, "set", by_owner=True).generation
    assert tasks.edit(ctx, record.id, change, "set").generation == number
    assert tasks.edit(ctx, record.id, lambda r: replace(r, tags=("x",)), "tag").tags == ("x",)


def test_clones_have_inputs_and_no_outputs(ctx: StoreContext) -> None:
    """A clone is a draft of its own with its source's inputs."""
    folder, record = tasks.create(
        ctx, name="run", project="p", tags=("a",), system_tags=("archived", "development", "x")
    )
    for name in ("code", "configuration", "artifacts"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    lifecycle.change_status(
        ctx, record.id, Status.IN_PROGRESS, last_iteration=3, runtime={"a": 1}, attempt=2, errors=("x",),
        artifacts={"a": {"name": "a"}},
    )  # fmt: skip
    clone = tasks.clone(ctx, record.id)
    second = tasks.clone(ctx, clone.id, name="mine", comment="c", project="q/r")

    assert (clone.name, clone.status, clone.parent, clone.tags) == ("Clone Of run", "created", record.id, ("a",))
    assert clone.system_tags == ("x",)
    assert (clone.last_iteration, clone.runtime, clone.attempt, clone.artifacts, clone.history) == (0, {}, 0, {}, ())
    assert (second.name, second.comment, second.project, second.parent) == ("mine", "c", "q/r", record.id)
    place = ctx.index.locate(clone.id)
    assert {path.name for path in place.iterdir()} == {"task", "code", "configuration"}
    assert (place / "code" / "file").read_text() == "code"


def test_deleting_what_must_stay(ctx: StoreContext) -> None:
    """Published and running tasks are kept unless forced."""
    for state in (Status.PUBLISHED, Status.IN_PROGRESS):
        _, record = tasks.create(ctx, name="run", project="p")
        lifecycle.change_status(ctx, record.id, state, force=True)
        with pytest.raises(UsageError, match=record.id):
            tasks.delete(ctx, record.id)
        tasks.delete(ctx, record.id, force=True)
    assert ctx.index.ids() == []
    with pytest.raises(TaskNotFoundError, match="localtrack restore"):
        tasks.restore(ctx, "nothing")


def test_references(ctx: StoreContext) -> None:
    """An id, its beginning, @last, @-2 and project/name name a task; what names none or several says so."""
    ids = []
    for name in ("one", "two", "two"):
        ids.append(tasks.create(ctx, name=name, project="p/q")[1].id)
    lifecycle.set_archived(ctx, ids[2], True)

    assert tasks.resolve(ctx, ids[0]) == tasks.resolve(ctx, ids[0][:12]) == tasks.resolve(ctx, "p/q/one") == ids[0]
    assert tasks.resolve(ctx, "one") == ids[0]
    assert tasks.resolve(ctx, "p/q/two") == ids[1]
    assert (tasks.resolve(ctx, "@last"), tasks.resolve(ctx, "@-3")) == (ids[2], ids[0])
    for reference in ("@0", "@x", "@", "@--1"):
        with pytest.raises(InvalidValueError, match="no recent task"):
            tasks.resolve(ctx, reference)
    for reference in (new_task_id(), "", "nothing", "p/one", "@-9", "/"):
        with pytest.raises(TaskNotFoundError):
            tasks.resolve(ctx, reference)


def test_ambiguous_references(ctx: StoreContext) -> None:
    """A beginning that several ids have is refused, and they are listed."""
    for number in (1, 2):
        ctx.store.create_task(TaskRecord(f"abcdef{number:026x}", "same", "p"), ctx.author)

    with pytest.raises(AmbiguousTaskError, match="2 tasks begin with 'abc'"):
        tasks.resolve(ctx, "abc")


def test_unreadable_tasks(ctx: StoreContext) -> None:
    """A task that can't be read is None where that is asked for, and hides no other."""
    folder, bad = tasks.create(ctx, name="bad", project="p")
    _, good = tasks.create(ctx, name="good", project="p")
    (folder / "task" / "000001.json").write_bytes(b"{")

    assert tasks.try_read(ctx, bad.id) is None
    assert tasks.try_read(ctx, good.id) is not None
    assert good.id in ctx.index.ids()


def test_moving(ctx: StoreContext) -> None:
    """A renamed task's folder follows, unless its process writes in it."""
    folder, record = tasks.create(ctx, name="run", project="p")
    assert tasks.rename(ctx, record.id, name="other").name == "other"
    moved = ctx.index.locate(record.id)
    assert moved != folder
    lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS)
    tasks.rename(ctx, record.id, project="q")
    assert ctx.index.locate(record.id) == moved
    assert tasks.read(ctx, record.id).project == "q"
