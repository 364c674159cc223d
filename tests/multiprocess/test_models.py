"""Many processes work on the same models at the same time."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.config import Settings
from localtrack.errors import ModelNotFoundError, StoreError
from localtrack.records.model import ModelRecord
from localtrack.services import model_removal, models, outputs, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.services.outputs import TaskAccess, Weights
from localtrack.store.root import Store

PROCESSES = 4
TURNS = 10
SPAWN = multiprocessing.get_context("spawn")


def _open(root: str) -> StoreContext:
    return StoreContext(Store.open(Path(root)), Settings())


def _access(ctx: StoreContext, task_id: str) -> TaskAccess:
    return TaskAccess(
        ctx,
        task_id,
        lambda: tasks.folder_of(ctx, task_id),
        lambda: tasks.read(ctx, task_id),
        lambda change, label: tasks.edit(ctx, task_id, change, label, checked=False),
    )


def _count(root: str, model_id: str, number: int) -> None:
    ctx = _open(root)
    for _ in range(TURNS):

        def more(record: ModelRecord) -> ModelRecord:
            count = int(record.metadata.get("count", {"value": "0"})["value"]) + 1
            return models.with_metadata(record, {"count": {"value": str(count), "type": "int"}})

        models.edit(ctx, model_id, more, "count")


def _save_own(root: str, task_id: str, number: int) -> None:
    ctx = _open(root)
    access = _access(ctx, task_id)
    source = Path(root).parent / f"{number}.pt"
    for turn in range(TURNS):
        source.write_bytes(b"%d %d" % (number, turn))
        filed = outputs.file_model(access, f"rank {number}", ModelRecord(id="", name=f"rank {number}"))
        wanted = Weights(source, "", "net.pt", ".", turn, False, False, False)
        outputs.put_weights(access, f"rank {number}", filed, wanted)


def _save_shared(root: str, task_id: str, number: int) -> None:
    """Save under a name that all processes use."""
    ctx = _open(root)
    source = Path(root).parent / f"shared {number}.pt"
    source.write_bytes(b"%d" % number)
    for name in ("first", "second", "third"):
        filed = outputs.file_model(_access(ctx, task_id), name, ModelRecord(id="", name=name))
        wanted = Weights(source, "", "net.pt", ".", number, False, False, False)
        outputs.put_weights(_access(ctx, task_id), name, filed, wanted)


def _import(root: str, number: int) -> None:
    ctx = _open(root)
    ids = [
        models.import_model(ctx, f"s3://bucket/{turn}.pt", ModelRecord(id="", name=f"by {number}"))[0].id
        for turn in range(5)
    ]
    (Path(root).parent / f"{number}.ids").write_text(" ".join(ids))


def _import_and_remove(root: str, number: int) -> None:
    """Import an address, and take its model away again: every time somebody else may do the same."""
    ctx = _open(root)
    for _ in range(TURNS):
        record, _ = models.import_model(ctx, "s3://bucket/net.pt", ModelRecord(id="", name=f"by {number}"))
        try:
            model_removal.remove(ctx, record.id)
        except (ModelNotFoundError, StoreError):
            continue  # somebody else did


def _look(root: str, task_id: str, number: int) -> None:
    """Look all the time: every model that is listed has whole weights."""
    ctx = _open(root)
    for _ in range(TURNS):
        for row in models.query(ctx):
            folder, record = models.read(ctx, row.id)
            if record.weights:
                weights.check(weights.local_path(ctx, folder, record), record)


def _run_all(jobs: list[tuple[object, tuple[object, ...]]]) -> None:
    processes = [SPAWN.Process(target=target, args=arguments) for target, arguments in jobs]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0


@pytest.fixture
def task_id(ctx: StoreContext) -> str:
    """Return a task's id."""
    return tasks.create(ctx, name="run", project="p")[1].id


def test_no_edit_is_lost(ctx: StoreContext, task_id: str) -> None:
    """Processes that add to one entry of a model's metadata lose no step."""
    filed = outputs.file_model(_access(ctx, task_id), "best", ModelRecord(id="", name="best"))
    outputs.name_in_task(_access(ctx, task_id), "best", filed.folder, models.read(ctx, filed.id, filed.folder)[1])
    _run_all([(_count, (str(ctx.store.root), filed.id, number)) for number in range(PROCESSES)])
    assert models.read(ctx, filed.id)[1].metadata["count"]["value"] == str(PROCESSES * TURNS)


def test_ranks_save_and_others_look(ctx: StoreContext, task_id: str) -> None:
    """Ranks that save a model each into one task all keep theirs; whoever looks meanwhile sees whole models."""
    root = str(ctx.store.root)
    _run_all(
        [(_save_own, (root, task_id, number)) for number in range(4)]
        + [(_look, (root, task_id, number)) for number in range(2)]
    )
    rows = models.query(ctx)
    assert sorted(row.value("name") for row in rows) == [f"rank {number}" for number in range(4)]
    for row in rows:
        folder, record = models.read(ctx, row.id)
        data = weights.local_path(ctx, folder, record).read_bytes()
        assert data == f"{record.name[5:]} {TURNS - 1}".encode()
        assert len(record.versions) == TURNS - 1
    assert {entry["name"] for entry in tasks.read(ctx, task_id).output_models} == {f"rank {n}" for n in range(4)}
    fresh = _open(root)
    assert {row.id: row.generation for row in fresh.models.rows()} == {row.id: row.generation for row in rows}


def test_one_model_for_one_name(ctx: StoreContext, task_id: str) -> None:
    """Processes that save under the same names at once end with one model for each, and nobody's weights are lost."""
    _run_all([(_save_shared, (str(ctx.store.root), task_id, number)) for number in range(PROCESSES)])
    rows = models.query(ctx)
    assert sorted(row.value("name") for row in rows) == ["first", "second", "third"]
    for row in rows:
        _, record = models.read(ctx, row.id)
        steps = sorted(one["iteration"] for one in (*record.versions, record.weights))
        assert steps == list(range(PROCESSES))
    folder = tasks.folder_of(ctx, task_id) / "models"
    assert len(list(folder.iterdir())) == 3, "the losers' folders are gone"


def test_one_model_for_one_address(ctx: StoreContext) -> None:
    """Processes that import the same addresses at once all get the same model for each, and end with one for each."""
    _run_all([(_import, (str(ctx.store.root), number)) for number in range(PROCESSES)])
    rows = ctx.models.rows()
    assert sorted(row.value("weights")["url"] for row in rows) == [f"s3://bucket/{turn}.pt" for turn in range(5)]
    told = {(ctx.store.root.parent / f"{number}.ids").read_text() for number in range(PROCESSES)}
    assert len(told) == 1
    assert sorted(told.pop().split()) == sorted(row.id for row in rows)
    first = models.edit(ctx, rows[0].id, lambda record: replace(record, comment="c"), "comment")
    assert first.comment == "c"


def test_imports_and_removals_of_one_address(ctx: StoreContext) -> None:
    """Importing never fails because a rival removes the model, and a removed one does not come back by a late helper."""
    _run_all([(_import_and_remove, (str(ctx.store.root), number)) for number in range(PROCESSES)])
    assert ctx.models.rows() == []
    assert list(ctx.store.layout.models.glob("*--*")) == []
    assert list(ctx.store.layout.tmp.iterdir()) == []
    record, is_new = models.import_model(ctx, "s3://bucket/net.pt", ModelRecord(id="", name="last"))
    assert is_new
    assert [row.id for row in ctx.models.rows()] == [record.id]
