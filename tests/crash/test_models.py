"""A process that works on models dies at every call to the file system: nothing is torn, nothing acknowledged is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.config import Settings
from localtrack.errors import ModelNotFoundError
from localtrack.fs.disk import remove_tree
from localtrack.records.model import ModelRecord
from localtrack.services import model_removal, models, outputs, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.services.outputs import TaskAccess, Weights
from localtrack.store.root import Store
from tests.crash.reaper import Say, deaths

World = tuple[StoreContext, TaskAccess, Path]


def _quick(store: Store) -> StoreContext:
    """Return a context whose work before and after the death needs no flushing."""
    store.disk.sync = False
    return StoreContext(store, Settings())


def _access(ctx: StoreContext, task_id: str) -> TaskAccess:
    return TaskAccess(
        ctx,
        task_id,
        lambda: tasks.folder_of(ctx, task_id),
        lambda: tasks.read(ctx, task_id),
        lambda change, label: tasks.edit(ctx, task_id, change, label, checked=False),
    )


def _save(access: TaskAccess, source: Path, step: int) -> str:
    filed = outputs.file_model(access, "best", ModelRecord(id="", name="best", tags=("t",)))
    wanted = Weights(source, "", "net.pt", ".", step, False, False, False)
    return outputs.put_weights(access, "best", filed, wanted)[0]


def _worlds(base: Path, *, saved: bool = True, published: bool = False) -> Callable[[int], World]:
    def prepare(number: int) -> World:
        remove_tree(base)
        ctx = _quick(Store.create(base / str(number)))
        _, record = tasks.create(ctx, name="run", project="p")
        access = _access(ctx, record.id)
        source = base / "net.pt"
        source.write_bytes(b"one")
        if saved:
            _save(access, source, 1)
        if published:
            models.publish(ctx, str(access.read().output_models[0]["id"]))
        source.write_bytes(b"two")
        ctx.store.disk.sync = True
        return ctx, access, source

    return prepare


def _checked(ctx: StoreContext) -> StoreContext:
    """Open the store as a new process would; every model that it lists is whole, and its weights are what they say."""
    after = _quick(Store.open(ctx.store.root))
    indexed = {row.id: row.generation for row in after.models.rows()}
    remove_tree(after.store.layout.index)
    fresh = _quick(Store.open(ctx.store.root))
    assert {row.id: row.generation for row in fresh.models.rows()} == indexed, "the index shows what the tree holds"
    assert fresh.models.problems == []
    for model_id in indexed:
        folder, record = models.read(fresh, model_id)
        if record.weights.get("file"):
            weights.check(weights.local_path(fresh, folder, record), record)
    return fresh


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return where the worlds lie."""
    return tmp_path / "worlds"


@pytest.mark.parametrize("saved", [False, True])
def test_saving_weights(base: Path, saved: bool) -> None:
    """A model has its old weights or its new ones, or is not there yet; saving again works, and makes no second model."""

    def operation(world: World, say: Say) -> None:
        _, access, source = world
        say(_save(access, source, 2))

    seen = set()
    for (ctx, access, source), death in deaths(_worlds(base, saved=saved), operation, step=3):
        after = _checked(ctx)
        rows = after.models.rows()
        assert len(rows) in ((1,) if saved else (0, 1))
        steps = [row.value("weights").get("iteration") for row in rows]
        assert not death.said or steps == [2]
        assert set(steps) <= ({1, 2} if saved else {2})
        seen.add(tuple(steps))
        again = _access(after, access.id)
        _save(again, source, 3)
        (row,) = after.models.rows()
        assert row.value("weights")["iteration"] == 3
        entry = again.read().output_models
        assert [(one["id"], one["iteration"]) for one in entry] == [(row.id, 3)]
    assert len(seen) == 2


def test_editing_and_publishing(base: Path) -> None:
    """An edit is there whole or not at all, and the next one builds on what is shown."""

    def operation(world: World, say: Say) -> None:
        ctx, access, _ = world
        model_id = str(access.read().output_models[0]["id"])
        models.edit(ctx, model_id, lambda r: replace(r, tags=("t", "new"), comment="c"), "edit")
        say("edited")
        models.publish(ctx, model_id)
        say("published")

    for (ctx, access, _), death in deaths(_worlds(base), operation):
        after = _checked(ctx)
        model_id = str(access.read().output_models[0]["id"])
        record = models.read(after, model_id)[1]
        assert (record.tags, record.comment, record.published) in (
            (("t",), "", False), (("t", "new"), "c", False), (("t", "new"), "c", True),
        )  # fmt: skip
        assert "edited" not in death.said or record.comment == "c"
        assert "published" not in death.said or record.published
        models.edit(after, model_id, lambda r: replace(r, comment="later"), "edit")
        assert models.query(after)[0].value("comment") == "later"


def test_a_published_model_survives_the_deletion_of_its_task(base: Path) -> None:
    """At every moment of the deletion the published model is found once, with its weights."""

    def operation(world: World, say: Say) -> None:
        ctx, access, _ = world
        tasks.delete(ctx, access.id)
        say("deleted")

    for (ctx, access, _), death in deaths(_worlds(base, published=True), operation):
        after = _checked(ctx)
        (row,) = after.models.rows()
        folder, record = models.read(after, row.id)
        assert weights.local_path(after, folder, record).read_bytes() == b"one"
        assert (access.id in after.index.ids()) is not bool(death.said) or not death.said


def test_removing_and_restoring(base: Path) -> None:
    """A model is there or in the trash, or a folder of no name is left for gc; what is in the trash comes back whole."""

    def operation(world: World, say: Say) -> None:
        ctx, access, _ = world
        model_removal.remove(ctx, str(access.read().output_models[0]["id"]))
        say("removed")

    for (ctx, access, _), death in deaths(_worlds(base), operation, step=2):
        after = _checked(ctx)
        rows = after.models.rows()
        if not death.said:
            continue
        assert rows == []
        (entry,) = [path.name for path in after.store.layout.trash.iterdir()]
        record = model_removal.restore(after, entry)
        folder, found = models.read(after, record.id)
        assert weights.local_path(after, folder, found).read_bytes() == b"one"
        assert [one["id"] for one in tasks.read(after, access.id).output_models] == [record.id]


def test_importing(base: Path) -> None:
    """An imported model is there whole or not at all, and importing again gives one model."""

    def operation(world: World, say: Say) -> None:
        say(models.import_model(world[0], "s3://bucket/net.pt", ModelRecord(id="", name="net"))[0].id)

    for (ctx, _, _), death in deaths(_worlds(base, saved=False), operation):
        after = _checked(ctx)
        known = [row.id for row in after.models.rows()]
        assert len(known) <= 1
        assert set(death.said) <= set(known)
        record, _ = models.import_model(after, "s3://bucket/net.pt", ModelRecord(id="", name="net"))
        assert [record.id] == [row.id for row in after.models.rows()]
        with pytest.raises(ModelNotFoundError):
            models.read(after, "0" * 32)
