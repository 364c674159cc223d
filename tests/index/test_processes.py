"""Several processes commit while others search and fold: no task missing, no row stale."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest

from localtrack.fs.locks import NO_LOCKS_VARIABLE
from localtrack.index import search as search_module
from localtrack.index.search import Index
from localtrack.records.filters import Query
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store
from tests.index.store_of import add, change, open_indexed

WRITERS = 3
ROUNDS = 40


def _write(root: Path, seed: int, results: Any) -> None:
    """Create, change, move and trash tasks, telling each committed state only after its commit."""
    search_module.COMMIT_FOLD_DELTAS, search_module.SEARCH_FOLD_DELTAS = 10, 5
    store, _ = open_indexed(root)
    rng = random.Random(seed)
    mine: dict[str, Path] = {}
    for n in range(ROUNDS):
        what = rng.random()
        if what < 0.4 or not mine:
            folder, record = add(store, name=f"w{seed}-{n}", comment="0")
            mine[record.id] = folder
            results.put((record.id, record.generation))
            continue
        task_id = rng.choice(sorted(mine))
        folder = mine[task_id]
        if what < 0.8:
            record = change(store, folder, comment=str(n), tags=(f"w{seed}",))
            results.put((task_id, record.generation))
        elif what < 0.93:
            record = change(store, folder, project=f"p{n % 3}/q")
            mine[task_id] = store.move_task(folder, record)
            results.put((task_id, record.generation))
        else:
            record = metadata.read_latest(TaskLayout(folder))
            store.trash_task(folder, record, "deleted", "ada")
            results.put((mine.pop(task_id) and task_id, -1))


@pytest.mark.parametrize("locks", ["on", "off"])
def test_no_commit_is_missed(tmp_path: Path, locks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that starts after a commit has ended sees it, with and without locks, through folds of all processes."""
    if locks == "off":
        monkeypatch.setenv(NO_LOCKS_VARIABLE, "1")
    monkeypatch.setattr(search_module, "SEARCH_FOLD_DELTAS", 5)
    store, index = open_indexed(tmp_path / "s")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    writers = [context.Process(target=_write, args=(store.root, seed, results)) for seed in range(WRITERS)]
    for writer in writers:
        writer.start()
    committed: dict[str, int] = {}
    deadline = time.monotonic() + 90
    searches = 0
    while (any(writer.is_alive() for writer in writers) or not results.empty()) and time.monotonic() < deadline:
        while not results.empty():
            task_id, generation = results.get()
            committed[task_id] = generation
        seen = {row.id: row.generation for row in index.rows()}
        searches += 1
        for task_id, generation in committed.items():
            if generation > 0:
                later = _told_later(results, committed)
                assert seen.get(task_id, 0) >= generation or task_id in later, (task_id, generation)
            else:
                assert task_id not in seen
    for writer in writers:
        writer.join(10)
        assert writer.exitcode == 0
    assert searches > 3
    _assert_equal_to_tree(store, index)
    index.rebuild()
    _assert_equal_to_tree(store, Index(Store.open(store.root)))
    assert index.check() == []


def _told_later(results: Any, committed: dict[str, int]) -> set[str]:
    """Return tasks that went to the trash since: they may be gone from a search before that is told."""
    later: set[str] = set()
    while not results.empty():
        task_id, generation = results.get()
        if generation < 0:
            later.add(task_id)
    _ = committed
    return later


def _assert_equal_to_tree(store: Store, index: Index) -> None:
    tree = {}
    for folder in store.task_folders():
        record = metadata.read_latest(TaskLayout(folder))
        tree[record.id] = (record.generation, record.comment, folder.relative_to(store.root).as_posix())
    assert {row.id: (row.generation, row.comment, row.folder) for row in index.rows()} == tree
    for row in index.search(Query(tags=["w0"])):
        assert row.tags == ("w0",)
