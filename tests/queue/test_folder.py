"""Queues as folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.errors import InvalidValueError, QueueNotFoundError, UsageError
from localtrack.queue.claims import read_end
from localtrack.queue.folder import Queue, Queues
from localtrack.records.ids import new_task_id
from localtrack.store.root import Store


@pytest.fixture
def queues(store: Store) -> Queues:
    """The queues of an empty store."""
    return Queues(store)


@pytest.fixture
def queue(queues: Queues) -> Queue:
    """An empty queue."""
    return queues.create("gpu")


def _order(queue: Queue) -> list[str]:
    return [ref.task_id for ref in queue.entries()]


def _fill(queue: Queue, count: int) -> list[str]:
    tasks: list[str] = [new_task_id() for _ in range(count)]
    for task in tasks:
        queue.enqueue(task)
    return tasks


class TestQueues:
    def test_a_queue_is_made_once(self, queues: Queues) -> None:
        """Creating a queue twice gives the same queue, and its display name is kept."""
        first = queues.create("GPU big / 8")
        first.enqueue(new_task_id())
        assert queues.create("GPU big / 8").count() == 1
        assert queues.names() == ["GPU big / 8"]

    def test_an_unknown_queue_is_told_with_the_known_ones(self, queues: Queues) -> None:
        """The error lists the queues there are and the command that makes one."""
        queues.create("cpu")
        with pytest.raises(QueueNotFoundError, match=r"'cpu'.*localtrack queue create nope"):
            queues.get("nope")

    def test_the_default_queue_is_always_there(self, queues: Queues) -> None:
        """Nothing has to be made before the first enqueue."""
        assert queues.get("default").count() == 0

    def test_two_names_never_share_a_folder(self, queues: Queues) -> None:
        """A name whose folder another queue has is refused, and names that queue."""
        queues.create("a b")
        with pytest.raises(InvalidValueError, match="'a b'"):
            queues.create("a-b")
        with pytest.raises(QueueNotFoundError):
            queues.get("a-b")

    @pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 201])
    def test_an_impossible_name_is_refused(self, queues: Queues, name: str) -> None:
        """Names must be printable and not too long."""
        with pytest.raises(InvalidValueError):
            queues.create(name)

    @pytest.mark.parametrize("name", ["../../out", "con", "🚀", "/etc", "a" * 200])
    def test_no_name_leads_outside(self, queues: Queues, store: Store, name: str) -> None:
        """Any printable name works and stays in the store's queues folder."""
        queue = queues.create(name)
        assert queue.paths.folder.parent == store.layout.queues
        assert queues.get(name).enqueue(new_task_id())
        assert queues.names() == [name.strip()]

    def test_a_broken_queue_folder_hides_no_other(self, queues: Queues, store: Store) -> None:
        """Folders without a readable queue.json are no queues."""
        queues.create("good")
        (store.layout.queues / "stray").mkdir()
        (store.layout.queues / "torn").mkdir()
        (store.layout.queues / "torn" / "queue.json").write_text("{")
        assert queues.names() == ["good"]

    def test_only_an_empty_queue_is_removed(self, queues: Queues, queue: Queue) -> None:
        """A queue with a waiting task stays; an emptied one goes."""
        task = new_task_id()
        queue.enqueue(task)
        with pytest.raises(UsageError, match="holds 1 task"):
            queues.remove("gpu")
        queue.remove(task)
        queues.remove("gpu")
        assert queues.names() == []
        with pytest.raises(QueueNotFoundError):
            queue.enqueue(new_task_id())


class TestEntries:
    def test_priority_then_first_come(self, queue: Queue) -> None:
        """Higher priority runs first; equal ones in the order of their coming."""
        low, high, mid, high2 = (new_task_id() for _ in range(4))
        for task, priority in ((low, -1), (high, 10), (mid, 0), (high2, 10)):
            queue.enqueue(task, priority=priority)
        assert _order(queue) == [high, high2, mid, low]
        assert queue.position(mid) == 2
        assert queue.position(new_task_id()) is None

    def test_a_document_says_who_asked(self, queue: Queue) -> None:
        """An entry carries the task, the limit of attempts and who enqueued it."""
        task = new_task_id()
        queue.enqueue(task, attempt_limit=5)
        entry = queue.read(queue.entries()[0])
        assert entry is not None
        assert (entry.task_id, entry.attempt_limit, entry.enqueued_by["uid"]) == (task, 5, os.getuid())

    def test_enqueueing_twice_keeps_the_place(self, queue: Queue) -> None:
        """A task that waits already gets no second entry."""
        first, _ = _fill(queue, 2)
        assert queue.enqueue(first) == queue.entries()[0].name
        assert queue.count() == 2

    def test_a_dequeued_task_can_come_back(self, queue: Queue) -> None:
        """Removing leaves a record, and a new entry of the same task has a new name."""
        task = new_task_id()
        name = queue.enqueue(task)
        assert queue.remove(task)
        assert not queue.remove(task)
        assert (read_end(queue.paths.done / name) or {})["outcome"] == "dequeued"
        assert queue.enqueue(task) != name
        assert _order(queue) == [task]

    def test_a_claimed_task_is_not_dequeued(self, queue: Queue) -> None:
        """An agent that was first keeps the task; the error names it and says what to do."""
        task = new_task_id()
        name = queue.enqueue(task)
        assert queue.claims.take(name, 1, agent="robot-1", owner={"host": "far"})
        with pytest.raises(UsageError, match=r"robot-1 on host far.*localtrack abort"):
            queue.remove(task)
        assert queue.count() == 0
        assert len(queue.entries()) == 1

    def test_what_is_not_a_task_id_is_refused(self, queue: Queue) -> None:
        """Only whole task ids are enqueued: they become part of a file name."""
        with pytest.raises(InvalidValueError, match="32 hexadecimal"):
            queue.enqueue("../../../etc/passwd")


class TestMove:
    @pytest.mark.parametrize(
        ("which", "where", "expected"),
        [
            (2, "front", [2, 0, 1, 3]),
            (1, "back", [0, 2, 3, 1]),
            (2, "forward", [0, 2, 1, 3]),
            (1, "backward", [0, 2, 1, 3]),
            (0, "forward", [0, 1, 2, 3]),
            (3, "backward", [0, 1, 2, 3]),
        ],
    )
    def test_moves(self, queue: Queue, which: int, where: str, expected: list[int]) -> None:
        """The four moves of ClearML, no entry lost, none twice."""
        tasks = _fill(queue, 4)
        queue.move(tasks[which], where)
        assert _order(queue) == [tasks[i] for i in expected]

    def test_later_entries_come_behind_moved_ones(self, queue: Queue) -> None:
        """A new entry of the same priority is last, one of a higher priority first."""
        tasks = _fill(queue, 3)
        queue.move(tasks[2], "front")
        late, urgent = new_task_id(), new_task_id()
        queue.enqueue(late)
        queue.enqueue(urgent, priority=1)
        assert _order(queue) == [urgent, tasks[2], tasks[0], tasks[1], late]

    def test_a_bad_move_is_refused(self, queue: Queue) -> None:
        """Another word, or a task that does not wait here, is an error that says so."""
        (task,) = _fill(queue, 1)
        with pytest.raises(InvalidValueError, match="front, back"):
            queue.move(task, "sideways")
        with pytest.raises(UsageError, match="does not wait"):
            queue.move(new_task_id(), "front")

    def test_a_torn_order_is_ignored(self, queue: Queue) -> None:
        """A damaged order costs the wish, not the queue, and the next move works."""
        tasks = _fill(queue, 2)
        (queue.paths.order / "000001.json").write_text("{torn")
        assert _order(queue) == tasks
        queue.move(tasks[1], "front")
        assert _order(queue) == tasks[::-1]

    def test_orders_do_not_pile_up(self, queue: Queue) -> None:
        """Old generations of the order are removed."""
        tasks = _fill(queue, 3)
        for turn in range(40):
            queue.move(tasks[turn % 3], "front")
        assert len(list(queue.paths.order.iterdir())) <= 12


class TestHostileEntries:
    def test_things_that_are_no_entries(self, store: Store) -> None:
        """A fifo, a folder, a link, a sparse gigabyte and foreign names are skipped, with one warning each."""
        told: list[str] = []
        queue = Queues(store, warn=told.append).create("gpu")
        good = new_task_id()
        names = [f"40000-{'0' * 25}{n}-{new_task_id()}" for n in range(5)]
        pending = queue.paths.pending
        os.mkfifo(pending / names[0])
        (pending / names[1]).mkdir()
        (pending / names[2]).symlink_to("/etc/passwd")
        with open(pending / names[3], "wb") as stream:
            stream.truncate(1 << 30)
        (pending / names[4]).write_bytes(b'{"schema":"localtrack/entry/1"}')
        (pending / "README").write_text("hello")
        queue.enqueue(good)
        readable: list[str] = []

        def look() -> None:
            for _ in range(3):
                readable[:] = [entry.task_id for ref in queue.entries() if (entry := queue.read(ref))]

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "a hostile entry blocked the reader"
        assert readable == [good]
        assert len(told) == 6
        assert all(str(pending) in text for text in told)

    def test_entries_of_others_do_not_run(
        self, tmp_path: Path, as_another_user: Callable[[Callable[[], None]], None]
    ) -> None:
        """An entry whose file belongs to a user who is not trusted is skipped, whatever it says about itself."""
        store = Store.create(tmp_path / "open")
        told: list[str] = []
        queue = Queues(store, warn=told.append).create("gpu")
        for folder in (*queue.paths.parts(), store.layout.tmp):
            folder.chmod(0o777)
        for parent in (tmp_path, *tmp_path.parents[:-1]):
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        task = new_task_id()
        as_another_user(lambda: Queues(Store.open(tmp_path / "open")).get("gpu").enqueue(task) and None)
        (ref,) = queue.entries()
        assert queue.read(ref) is None
        assert "does not trust" in told[0]
        trusting = Queues(store, also_trusted=frozenset({65534})).get("gpu")
        assert trusting.read(ref) is not None


class TestSweep:
    def test_old_records_go_and_young_ones_stay(self, queue: Queue) -> None:
        """What ended long ago by the store's own clock leaves no files; the rest stays."""
        old, young, live = (new_task_id() for _ in range(3))
        for task in (old, young, live):
            queue.enqueue(task)
        name = queue.entries()[0].name
        queue.remove(old)
        queue.remove(young)
        os.utime(queue.paths.done / name, (1, 1))
        assert queue.sweep() == 1
        assert len(list(queue.paths.done.iterdir())) == 1
        assert len(list(queue.paths.claims.iterdir())) == 1
        assert _order(queue) == [live]
