"""What models take on the disk, and when it is free again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.records.model import ModelRecord
from localtrack.records.status import Status
from localtrack.services import collection, lifecycle, model_removal, models, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.store.blobs import file_size
from localtrack.store.layout import ModelLayout
from tests.services.model_world import save

DAY_S = 86400
LARGE = 200_000


@pytest.fixture
def run(ctx: StoreContext) -> str:
    """Return a task."""
    return tasks.create(ctx, name="run", project="p")[1].id


def _make_old(*paths: Path) -> None:
    for path in paths:
        for inner in (path, *path.rglob("*")):
            when = inner.stat().st_mtime - 2 * DAY_S
            os.utime(inner, (when, when))


def _gc(ctx: StoreContext) -> list[str]:
    found = list(collection.find(ctx))
    for item in found:
        collection.remove(ctx, item)
    return [item.kind for item in found]


def _folder(ctx: StoreContext, model_id: str) -> Path:
    folder = models.locate(ctx, model_id)
    assert folder is not None
    return folder


def test_a_removed_model_takes_its_earlier_weights_along(ctx: StoreContext, run: str) -> None:
    """All weights of a removed model are in the trash, come back with it, and are free when gc has emptied that."""
    model_id = ""
    for data in (b"a", b"b", b"c"):
        model_id = save(ctx, run, "best", data * LARGE)
    model_removal.remove(ctx, model_id)
    assert file_size(tasks.folder_of(ctx, run)) < LARGE
    assert file_size(ctx.store.layout.trash) > 3 * LARGE
    model_removal.restore(ctx, model_id)
    folder = _folder(ctx, model_id)
    assert sorted(path.name for path in folder.glob("weights.*")) == ["weights.1", "weights.2", "weights.3"]
    model_removal.remove(ctx, model_id)
    assert _gc(ctx) == ["trash"]
    assert file_size(ctx.store.root) < LARGE


@pytest.mark.parametrize(("keep", "expected"), [(-1, [b"a", b"b", b"c"]), (2, [b"b", b"c"]), (1, [b"c"]), (0, [])])
def test_as_many_earlier_weights_as_are_wanted(ctx: StoreContext, run: str, keep: int, expected: list[bytes]) -> None:
    """The setting bounds what earlier weights a model keeps in the store; all of them without it, and never the last."""
    ctx = StoreContext(ctx.store, replace(ctx.settings, earlier_weights=keep))
    model_id = [save(ctx, run, "best", data) for data in (b"a", b"b", b"c", b"d")][-1]
    folder, record = models.read(ctx, model_id)
    assert folder is not None
    assert weights.local_path(ctx, folder, record).read_bytes() == b"d"
    assert [(folder / one["file"]).read_bytes() for one in record.versions] == expected
    assert len(list(folder.glob("weights.*"))) == len(expected) + 1
    assert record.weights["iteration"] == 1


def test_weights_that_no_model_names_are_garbage_after_a_day(ctx: StoreContext, run: str) -> None:
    """What a process stored and never named goes with gc, in tasks and beside them; what is named or young stays."""
    model_id = save(ctx, run, "best")
    named = _folder(ctx, model_id)
    published = save(ctx, run, "published")
    models.publish(ctx, published)
    source = Path.cwd() / "net.pt"
    for folder in (named, _folder(ctx, published)):
        weights.store_copy(ctx, folder, source, "late.pt")
    assert _gc(ctx) == []
    _make_old(tasks.folder_of(ctx, run) / "models")
    lifecycle.change_status(ctx, run, Status.IN_PROGRESS)
    assert _gc(ctx) == [], "a running task may be about to name them"
    lifecycle.change_status(ctx, run, Status.COMPLETED)
    assert _gc(ctx) == ["weights", "weights"]
    assert sorted(path.name for path in named.glob("weights.*")) == ["weights.1"]
    tasks.delete(ctx, run)
    alone = _folder(ctx, published)
    assert alone.parent == ctx.store.layout.models
    weights.store_copy(ctx, alone, source, "late.pt")
    _make_old(alone)
    assert sorted(_gc(ctx)) == ["trash", "weights"]
    folder, record = models.read(ctx, published)
    assert weights.local_path(ctx, folder, record).read_bytes() == b"weights"


def test_a_damaged_model_has_no_garbage(ctx: StoreContext, run: str) -> None:
    """While the newest metadata of a model can't be read, what older metadata do not name stays."""
    model_id = save(ctx, run, "best", b"one")
    save(ctx, run, "best", b"two")
    folder = _folder(ctx, model_id)
    newest = ModelLayout(folder).generation(models.read(ctx, model_id)[1].generation)
    newest.chmod(0o644)
    newest.write_bytes(b"{")
    _make_old(folder)
    assert _gc(ctx) == []
    assert (folder / "weights.2" / "net.pt").read_bytes() == b"two"


def test_hostile_metadata_removes_nothing_outside(ctx: StoreContext, run: str) -> None:
    """Earlier weights that lie outside the model's folder, as metadata of others may say, are not removed with it."""
    ctx = StoreContext(ctx.store, replace(ctx.settings, earlier_weights=0))
    model_id = save(ctx, run, "best")
    folder = _folder(ctx, model_id)

    def hostile(record: ModelRecord) -> ModelRecord:
        return replace(record, weights={"file": "../../task/x", "sha256": "0" * 64, "size_bytes": 1})

    models.edit(ctx, model_id, hostile, "hostile", folder=folder)
    outside = tasks.folder_of(ctx, run) / "task" / "x"
    outside.write_bytes(b"not of the model")
    save(ctx, run, "best", b"two")
    assert outside.read_bytes() == b"not of the model"
    assert tasks.read(ctx, run).id == run
    assert weights.local_path(ctx, *models.read(ctx, model_id)).read_bytes() == b"two"
