"""Many processes change the same task at the same time."""

from __future__ import annotations

import json
import multiprocessing
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.records.ids import new_task_id
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import Author
from localtrack.store.root import Store

PROCESSES = 8
INCREMENTS = 50
SPAWN = multiprocessing.get_context("spawn")


def _author(number: int = 0) -> Author:
    return Author("ada", "here", number)


def _increment(root: str, folder: str, number: int) -> None:
    store = Store.open(Path(root))
    for _ in range(INCREMENTS):
        store.update(
            Path(folder),
            lambda record: replace(
                record,
                last_iteration=record.last_iteration + 1,
                runtime={**record.runtime, str(number): record.runtime.get(str(number), 0) + 1},
            ),
            _author(number),
            "count",
        )


def _create_many(root: str, number: int) -> None:
    store = Store.open_or_create(Path(root))
    for turn in range(10):
        store.create_task(TaskRecord(new_task_id(), f"same name {turn % 2}", "crowd/deep"), _author(number))


def _run_all(target: object, arguments: list[tuple[object, ...]]) -> None:
    processes = [SPAWN.Process(target=target, args=args) for args in arguments]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        assert process.exitcode == 0


@pytest.mark.parametrize("locks", ["on", "off"])
def test_no_update_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch, locks: str) -> None:
    """Eight processes that add to one counter lose no step, with locks and without."""
    if locks == "off":
        monkeypatch.setenv("LOCALTRACK_NO_LOCKS", "1")
    folder, _ = store.create_task(TaskRecord(new_task_id(), "counter", "p"), _author())

    _run_all(_increment, [(str(store.root), str(folder), number) for number in range(PROCESSES)])

    layout = TaskLayout(folder)
    record = metadata.read_latest(layout)
    assert record.last_iteration == PROCESSES * INCREMENTS
    assert record.runtime == {str(number): INCREMENTS for number in range(PROCESSES)}
    assert metadata.generations(layout) == list(range(1, PROCESSES * INCREMENTS + 2))
    for number in metadata.generations(layout):
        body = json.loads(layout.generation(number).read_bytes())
        assert body["generation"] == number
        assert body["parent_generation"] == number - 1
    assert list(store.layout.tmp.iterdir()) == []


def test_threads_of_one_process_lose_nothing_when_their_clock_stands_still(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that commit the same change in the same microsecond count as two."""
    monkeypatch.setattr(metadata, "now", lambda: "2026-01-01T00:00:00.000000Z")
    folder, _ = store.create_task(TaskRecord(new_task_id(), "counter", "p"), _author())

    def add() -> None:
        for _ in range(25):
            store.update(folder, lambda r: replace(r, last_iteration=r.last_iteration + 1), _author(), "count")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert metadata.read_latest(TaskLayout(folder)).last_iteration == 100


def test_a_commit_between_read_and_listing_is_not_skipped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that another writer makes while the intent runs is built upon, not passed over."""
    folder, _ = store.create_task(TaskRecord(new_task_id(), "counter", "p"), _author())
    rival_came: list[int] = []

    def intent(record: TaskRecord) -> TaskRecord:
        if not rival_came:
            rival_came.append(1)
            store.update(folder, lambda r: replace(r, tags=(*r.tags, "rival")), _author(2), "tag")
        return replace(record, tags=(*record.tags, "mine"))

    committed = store.update(folder, intent, _author(1), "tag")

    assert committed.tags == ("rival", "mine")
    assert metadata.generations(TaskLayout(folder)) == [1, 2, 3]


def test_creation_of_store_and_tasks_at_once(store_root: Path) -> None:
    """Eight processes that make the store and file tasks of the same names at once all succeed."""
    _run_all(_create_many, [(str(store_root), number) for number in range(PROCESSES)])

    store = Store.open(store_root)
    folders = list(store.task_folders())
    records = [metadata.read_latest(TaskLayout(folder)) for folder in folders]
    assert len(records) == len({record.id for record in records}) == PROCESSES * 10
