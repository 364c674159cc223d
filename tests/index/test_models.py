"""The index of models shows what the tree holds, whatever becomes of the tasks, the index and the models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from localtrack.config import Settings
from localtrack.errors import ModelNotFoundError
from localtrack.index import models as index_models
from localtrack.records.model import ModelRecord
from localtrack.records.status import Status
from localtrack.services import lifecycle, models, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.store.root import Store
from tests.services.model_world import save


def _fresh(ctx: StoreContext) -> StoreContext:
    return StoreContext(Store.open(ctx.store.root), Settings())


def _state(ctx: StoreContext) -> dict[str, tuple[str, int]]:
    return {row.id: (row.folder, row.generation) for row in ctx.models.rows()}


def _same_as_tree(ctx: StoreContext) -> dict[str, tuple[str, int]]:
    """Return what the index says, after a look whether a scan of the tree alone says the same."""
    indexed = _state(_fresh(ctx))
    away = ctx.store.root / "index-away"
    os.rename(ctx.store.layout.index, away)
    scanned = _state(_fresh(ctx))
    shutil.rmtree(ctx.store.layout.index)
    os.rename(away, ctx.store.layout.index)
    assert indexed == scanned
    return indexed


@pytest.fixture
def run(ctx: StoreContext) -> str:
    """Return a task with two models, known to the index."""
    task_id = tasks.create(ctx, name="run", project="p/q")[1].id
    save(ctx, task_id, "a")
    save(ctx, task_id, "b", b"other")
    assert len(_same_as_tree(ctx)) == 2
    return task_id


def test_a_moved_task_takes_its_models_along(ctx: StoreContext, run: str) -> None:
    """After a move the models are found in the new place, with their weights, though nobody told their index."""
    before = set(_state(ctx))
    tasks.rename(ctx, run, project="elsewhere", name="new name")
    after = _same_as_tree(ctx)
    assert set(after) == before
    for model_id, (folder, _) in after.items():
        assert folder.startswith("projects/elsewhere/")
        place, record = models.read(_fresh(ctx), model_id)
        assert weights.local_path(ctx, place, record).exists()


def test_deleted_reset_and_restored_tasks(ctx: StoreContext, run: str) -> None:
    """Models go and come with their task; a reset takes them out; a restored run brings them back."""
    before = _state(ctx)
    tasks.delete(ctx, run)
    assert _same_as_tree(ctx) == {}
    for model_id in before:
        with pytest.raises(ModelNotFoundError):
            models.read(_fresh(ctx), model_id)
    tasks.restore(ctx, run)
    assert _same_as_tree(ctx) == before
    lifecycle.change_status(ctx, run, Status.IN_PROGRESS)
    lifecycle.change_status(ctx, run, Status.COMPLETED)
    lifecycle.reset(ctx, run)
    assert _same_as_tree(ctx) == {}
    new = save(ctx, run, "a")
    assert set(_same_as_tree(ctx)) == {new}


def test_published_models_of_a_restored_task_count_once(ctx: StoreContext, run: str) -> None:
    """A model that was moved out for its task's deletion stays where it is when the task comes back."""
    kept = models.query(ctx, name="a")[0].id
    models.publish(ctx, kept)
    tasks.delete(ctx, run)
    assert list(_same_as_tree(ctx)) == [kept]
    tasks.restore(ctx, run)
    found = _same_as_tree(ctx)
    assert len(found) == 2
    assert found[kept][0].startswith("models/")


def test_edits_by_others_are_seen(ctx: StoreContext, run: str) -> None:
    """A change by another process is in the next listing, also one that was not announced when hits are few."""
    _state(ctx)
    other = _fresh(ctx)
    (row,) = models.query(other, name="a")
    models.edit(other, row.id, lambda r: replace(r, tags=("new",)), "tags")
    assert [one.id for one in models.query(ctx, tags=["new"])] == [row.id]
    shutil.rmtree(ctx.models.deltas)
    models.edit(other, row.id, lambda r: replace(r, tags=("newer",)), "tags")
    shutil.rmtree(ctx.models.deltas)
    assert models.query(ctx, name="a")[0].value("tags") == ("newer",)


@pytest.mark.parametrize("damage", ["gone", "empty", "torn", "foreign", "other version", "strange rows", "a folder"])
def test_a_damaged_checkpoint_is_made_anew(ctx: StoreContext, run: str, damage: str) -> None:
    """Whatever lies in the checkpoint's place, the listing is right."""
    before = _state(ctx)
    (path,) = ctx.store.layout.index.glob("models-*.json")
    data = path.read_bytes()
    path.unlink()
    if damage == "empty":
        path.touch()
    elif damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "foreign":
        path.write_bytes(b'{"models": 3}')
    elif damage == "other version":
        path.write_bytes(data.replace(b'"version":2', b'"version":1'))
    elif damage == "strange rows":
        path.write_bytes(b'{"version":2,"models":[\n["x",1],\n[1]\n]}\n')
    elif damage == "a folder":
        path.mkdir()
    fresh = _fresh(ctx)
    assert _state(fresh) == before
    for model_id in before:
        assert models.read(fresh, model_id)[1].id == model_id


def test_folding_keeps_up(ctx: StoreContext, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many commits the announcements are folded away, by a listing or by a committer, and nothing is lost."""
    (row,) = models.query(ctx, name="a")
    count = index_models.FOLD_CHANGES + 2
    for number in range(count):
        models.edit(ctx, row.id, lambda r, n=number: replace(r, comment=str(n)), "comment")
    assert models.query(_fresh(ctx), name="a")[0].value("comment") == str(count - 1)
    assert len(list(ctx.models.deltas.iterdir())) <= 1
    monkeypatch.setattr(index_models, "COMMIT_FOLD_DELTAS", 5)
    monkeypatch.setattr(index_models, "FOLD_CHANGES", 5)
    for number in range(40):
        models.edit(ctx, row.id, lambda r, n=number: replace(r, comment=f"more {n}"), "comment")
    assert len(list(ctx.models.deltas.iterdir())) < 40
    assert _same_as_tree(ctx)[row.id][1] == models.read(ctx, row.id)[1].generation
    assert len(list(ctx.store.layout.index.glob("models-*.json"))) <= 2


def test_a_damaged_model_hides_no_other(ctx: StoreContext, run: str) -> None:
    """Of a model of which nothing is whole, what its task says is shown, and that is said; the others are as they were."""
    (row,) = models.query(ctx, name="a")
    folder = ctx.store.root / row.folder
    for path in (folder / "model").iterdir():
        path.write_bytes(b"{")
    shutil.rmtree(ctx.store.layout.index)
    fresh = _fresh(ctx)
    found = {one.value("name"): one for one in fresh.models.rows()}
    assert set(found) == {"a", "b"}
    assert (found["a"].folder, found["a"].generation) == ("", 0)
    assert [line for line in fresh.models.problems if row.folder in line and "can't be read" in line]
    place, record = models.read(fresh, row.id)
    assert weights.local_path(fresh, place, record).read_bytes() == b"weights"


def test_a_reader_without_rights_to_write_lists(
    ctx: StoreContext, run: str, as_another_user: Callable[[Callable[[], None]], None]
) -> None:
    """Somebody who may only read sees every model."""
    before = _state(ctx)
    for folder in (ctx.store.root, *ctx.store.root.parents):
        if str(folder).startswith("/tmp"):
            os.chmod(folder, folder.stat().st_mode | 0o055)

    def look() -> None:
        assert _state(_fresh(ctx)) == before

    as_another_user(look)


def test_names_that_lead_outside(ctx: StoreContext, run: str) -> None:
    """A task's entry or an announcement that names a folder outside is never followed."""
    secret = ctx.store.root.parent / "secret"
    (secret / "models").mkdir(parents=True)
    shutil.copytree(ctx.store.root / models.query(ctx, name="a")[0].folder, secret / "models" / "x--00000000")
    entry = {"id": "0" * 32, "name": "evil", "folder": "../../../../secret/models/x--00000000", "file": "../../x"}
    tasks.edit(ctx, run, lambda r: replace(r, output_models=(*r.output_models, entry)), "evil", checked=False)
    (ctx.models.deltas).mkdir(exist_ok=True)
    (ctx.models.deltas / f"{'0' * 32}.9.abcdef").write_text("../secret/models/x--00000000")
    fresh = _fresh(ctx)
    found = {row.id: row.folder for row in fresh.models.rows()}
    assert found["0" * 32] == ""
    folder, record = models.read(fresh, "0" * 32)
    with pytest.raises(ValueError, match="not in the task's folder"):
        weights.local_path(fresh, folder, record)


def test_ids_resolve(ctx: StoreContext, run: str) -> None:
    """An id, its beginning, a name, and project/name find a model; what fits several ids is refused."""
    save(ctx, run, "net")
    (row,) = models.query(ctx, name="net")
    for reference in (row.id, row.id[:10], "net", "/net"):
        assert models.resolve(ctx, reference) == row.id, reference
    imported, _ = models.import_model(ctx, "/x/a.pt", ModelRecord(id="", name="net", project="zoo"))
    assert models.resolve(ctx, "net") == imported.id, "the newest"
    assert models.resolve(ctx, "zoo/net") == imported.id
    with pytest.raises(LookupError):
        models.resolve(ctx, "none")
    with pytest.raises(LookupError):
        models.resolve(ctx, "f" * 32)
