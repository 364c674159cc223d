"""Several processes commit while others search and fold: no task missing, no row stale."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

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
GOING, GONE = -1, -2


def _write(root: Path, seed: int, log: Path) -> None:
    """Create, change, move and trash tasks; note each state once it is committed, a deletion also before."""
    search_module.COMMIT_FOLD_DELTAS, search_module.SEARCH_FOLD_DELTAS = 10, 5
    store, _ = open_indexed(root)
    rng = random.Random(seed)
    mine: dict[str, Path] = {}
    with open(log, "a", buffering=1) as notes:
        for n in range(ROUNDS):
            what = rng.random()
            if what < 0.4 or not mine:
                folder, record = add(store, name=f"w{seed}-{n}", comment="0")
                mine[record.id] = folder
                notes.write(f"{record.id} {record.generation}\n")
                continue
            task_id = rng.choice(sorted(mine))
            folder = mine[task_id]
            if what < 0.8:
                record = change(store, folder, comment=str(n), tags=(f"w{seed}",))
                notes.write(f"{task_id} {record.generation}\n")
            elif what < 0.93:
                record = change(store, folder, project=f"p{n % 3}/q")
                mine[task_id] = store.move_task(folder, record)
                notes.write(f"{task_id} {record.generation}\n")
            else:
                notes.write(f"{task_id} {GOING}\n")
                store.trash_task(folder, metadata.read_latest(TaskLayout(folder)), "deleted", "ada")
                del mine[task_id]
                notes.write(f"{task_id} {GONE}\n")


def _noted(logs: list[Path]) -> dict[str, int]:
    state = {}
    for log in logs:
        for line in log.read_text().splitlines() if log.exists() else ():
            task_id, _, generation = line.partition(" ")
            state[task_id] = int(generation or 0)
    return state


@pytest.mark.parametrize("locks", ["on", "off"])
def test_no_commit_is_missed(tmp_path: Path, locks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that starts after a commit has ended sees it, with and without locks, through folds of all processes."""
    if locks == "off":
        monkeypatch.setenv(NO_LOCKS_VARIABLE, "1")
    monkeypatch.setattr(search_module, "SEARCH_FOLD_DELTAS", 5)
    store, index = open_indexed(tmp_path / "s")
    context = multiprocessing.get_context("spawn")
    logs = [tmp_path / f"{seed}.log" for seed in range(WRITERS)]
    writers = [context.Process(target=_write, args=(store.root, seed, log)) for seed, log in enumerate(logs)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 90
    searches = 0
    while any(writer.is_alive() for writer in writers) and time.monotonic() < deadline:
        before = _noted(logs)
        seen = {row.id: row.generation for row in index.rows()}
        after = _noted(logs)
        searches += 1
        for task_id, generation in before.items():
            if generation == GONE:
                assert task_id not in seen
            elif after[task_id] > 0:
                assert seen.get(task_id, 0) >= generation, (task_id, searches, index.problems)
    for writer in writers:
        writer.join(10)
        assert writer.exitcode == 0
    assert searches > 3
    _assert_equal_to_tree(store, index)
    index.rebuild()
    _assert_equal_to_tree(store, Index(Store.open(store.root)))
    assert index.check() == []


def _assert_equal_to_tree(store: Store, index: Index) -> None:
    tree = {}
    for folder in store.task_folders():
        record = metadata.read_latest(TaskLayout(folder))
        tree[record.id] = (record.generation, record.comment, folder.relative_to(store.root).as_posix())
    assert {row.id: (row.generation, row.comment, row.folder) for row in index.rows()} == tree
    for row in index.search(Query(tags=["w0"])):
        assert row.tags == ("w0",)
