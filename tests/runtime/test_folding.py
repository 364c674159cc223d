"""The end of a run: journals become Parquet while there is time, and read as well when there was none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types

import pytest

from localtrack.config import Settings
from localtrack.runtime import writer as writer_module
from localtrack.runtime.writer import TaskWriter
from localtrack.services import collection, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store import journal as journal_module
from localtrack.store import parts

POINTS = 500


@pytest.fixture
def writer(ctx, monkeypatch):
    """A writer whose journals are of a hundred points."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 3200)
    folder, record = tasks.create(ctx, name="n", project="p")
    writer = TaskWriter(ctx, record.id, folder, "owner")
    for step in range(POINTS):
        writer.scalars.report("loss", "train", step / 7, step)
    return writer


def kinds(writer):
    """Return the numbers of journals and of parts in the task's folder."""
    names = [path.suffix for path in writer.layout.scalars.iterdir()]
    return names.count(".journal"), names.count(".parquet")


def values(writer):
    """Return what a reader sees."""
    return reports.scalars(writer.folder).of("loss", "train").values.tolist()


def test_all_journals_are_folded_where_there_is_time(writer):
    """With time, only parts are left."""
    writer.fold(writer.close(), within_s=30.0)
    assert kinds(writer) == (0, 6)
    assert values(writer) == [step / 7 for step in range(POINTS)]


def test_folding_ends_with_the_time(writer, monkeypatch):
    """On a slow disk folding ends after the bound and the journal in hand; the rest are read as journals."""
    fold = parts.fold
    passed = 0.0

    def slow(*arguments, **options):
        nonlocal passed
        passed += 0.3
        return fold(*arguments, **options)

    monkeypatch.setattr(parts, "fold", slow)
    journals = writer.close()
    monkeypatch.setattr(writer_module, "time", types.SimpleNamespace(monotonic=lambda: passed))
    writer.fold(journals, within_s=0.5)
    assert kinds(writer) == (4, 2)
    assert values(writer) == [step / 7 for step in range(POINTS)]


def test_no_time_at_all_does_not_even_load_pyarrow(tmp_path):
    """With ``LOCALTRACK_FOLD_WAIT_S=0`` a run ends with its journals, read whole; gc folds them once the process is gone."""
    script = (
        "import sys\nfrom localtrack import Task\n"
        "task = Task.init('p', 'n', auto_resource_monitoring=False)\n"
        "for step in range(10):\n    task.get_logger().report_scalar('loss', 'train', step / 7, step)\n"
        "task.close()\nprint(task.id, 'pyarrow' in sys.modules)\n"
    )
    root = tmp_path / "store"
    environment = {**os.environ, "LOCALTRACK_ROOT": str(root), "LOCALTRACK_FOLD_WAIT_S": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    task_id, loaded = done.stdout.split()
    assert loaded == "False"
    from localtrack.store.root import Store

    ctx = StoreContext(Store.open(root), Settings())
    folder = tasks.folder_of(ctx, task_id)
    assert reports.scalars(folder).of("loss", "train").values.tolist() == [step / 7 for step in range(10)]
    (item,) = [item for item in collection.find(ctx) if item.kind == collection.JOURNAL]
    collection.remove(ctx, item)
    assert [path.suffix for path in (folder / "scalars").iterdir()] == [".parquet"]
    assert reports.scalars(folder).of("loss", "train").values.tolist() == [step / 7 for step in range(10)]


def test_small_parts_are_merged_at_the_end_and_on_the_way(ctx, monkeypatch):
    """A writer merges its parts once they are more than sixteen, in its own thread and at the end; readers see no difference."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 3200)
    folder, record = tasks.create(ctx, name="n", project="p")
    writer = TaskWriter(ctx, record.id, folder, "owner")
    writer.register()
    monkeypatch.setattr("localtrack.runtime.writer.TICK_S", 0.05)
    writer.start()
    until, count = time.monotonic() + 20, 0
    while not list(writer.layout.scalars.glob("*-m1.parquet")) and time.monotonic() < until:
        for _ in range(500):
            writer.scalars.report("loss", "train", count / 7, count)
            count += 1
        time.sleep(0.05)
    assert list(writer.layout.scalars.glob("*-m1.parquet"))
    for step in range(count, count + 3000):
        writer.scalars.report("loss", "train", step / 7, step)
    writer.fold(writer.close(), within_s=30.0)
    (part,) = writer.layout.scalars.iterdir()
    assert part.name.startswith(f"{writer.id}-m")
    assert values(writer) == [step / 7 for step in range(count + 3000)]
