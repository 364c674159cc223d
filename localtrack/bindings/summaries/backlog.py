"""What writers were given and nobody has looked at yet: the training goes on while another thread does.

Source: tests/benchmarks, "one add_scalar".
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

DELAY_S = 0.05
ROOM = 100
ROOM_FOR_SMALL = 20_000
AT_ONCE = 2048
SMALL_BYTES = 1 << 16
LOOK_EVERY = 17  # asking an event for its size costs as much as keeping it; a prime keeps step with few scripts


class Source:
    """Where items come from: it knows what they are."""

    def read(self, item: Any) -> None:
        """Report an item."""
        raise NotImplementedError

    def read_all(self, items: list[Any]) -> bool:
        """Report items at once if that can be done as one after the other would be; else report none, and return False."""
        return False

    def without(self, kinds: frozenset[str]) -> Source:
        """Return a source of the same that passes over what an explicit integration records."""
        raise NotImplementedError

    def size_of(self, item: Any) -> int:
        """Return about how many bytes an item holds."""
        raise NotImplementedError


class _Mixed(Source):
    """What comes from many sources in turn: each item is a source and an item of its."""

    def read(self, item: Any) -> None:
        source, own = item
        source.read(own)

    def size_of(self, item: Any) -> int:
        source, own = item
        return int(source.size_of(own))


class Lane:
    """The items of one source that wait their turn."""

    __slots__ = ("_append", "_turns", "source", "take")

    def __init__(self, source: Source, turns: deque[Lane]) -> None:
        items: deque[Any] = deque()
        self.source = source
        self._append, self.take = items.append, items.popleft
        self._turns = turns

    def put(self, item: Any) -> None:
        """Add an item, then its turn, so that who takes a turn finds an item."""
        self._append(item)
        self._turns.append(self)


Put = Callable[[Any], object]
#: Items of a source in their order, then those of the next.
Runs = list[tuple[Source, list[Any]]]


class Backlog:
    """A queue with a thread of its own, which starts with the first item and does what has come within 50 ms at once.

    Putting something in costs less than a tenth of a microsecond where :meth:`way_of` tells how. When much waits, whoever
    puts something in does it all instead.

    Args:
        process: does items in their order; must not raise.

    Attributes:
        is_open: whether items may come in any number: while the thread sleeps for a moment, and does them all then.
        when_shut: called when that ends, to forget what :meth:`way_of` said.
    """

    def __init__(self, process: Callable[[Runs], object]) -> None:
        self._process = process
        self._turns: deque[Lane] = deque()
        self._mixed = Lane(_Mixed(), self._turns)
        #: Items of the first lane, as long as nothing else puts any in: they need no turns.
        self._alone: deque[Any] = deque()
        self._first: Lane | None = None
        self._are_many = False
        #: With more than so many items the one who adds one looks after them; with any while the thread waits for some.
        self._limit = -1
        self._lock = threading.RLock()
        self._state_lock = threading.Lock()  # of the limit and of being awake; never held while anything is done
        self._wake = threading.Event()
        self._is_awake = self._is_busy = False
        self._is_over = False
        self._thread: threading.Thread | None = None
        self.is_open = False
        self.when_shut: list[Callable[[], object]] = []

    def lane(self, source: Source) -> Lane:
        """Return a lane for the items of a source that has many."""
        made = Lane(source, self._turns)
        if self._first is None:
            self._first = made
        return made

    def put(self, source: Source, item: Any) -> None:
        """Add an item."""
        self.add(self._mixed, (source, item))

    def add(self, lane: Lane, item: Any) -> None:
        """Add an item to a lane."""
        if lane is not self._first and not self._are_many:
            self._are_many = True
            self.shut()
        (lane.put if self._are_many else self._alone.append)(item)
        if self._waiting() > self._limit:
            self._tend(lane, item)

    def way_of(self, lane: Lane) -> Put | None:
        """Return what adds an item to a lane at the least cost, until it is shut; None when it is shut.

        Another thread may shut it meanwhile: who keeps the way has to look at :attr:`is_open` once more.
        """
        if not self.is_open:
            return None
        return lane.put if self._are_many or lane is not self._first else self._alone.append

    def shut(self) -> None:
        """Let each who adds an item look whether too much waits."""
        self.is_open = False
        for forget in self.when_shut:
            forget()

    def drain(self) -> None:
        """Do all that waits, in order."""
        with self._lock:
            while self._waiting():
                self._process(self._taken())
            with self._state_lock:
                self._limit = ROOM if self._is_awake else -1

    def close(self) -> None:
        """Do all that waits, and end the thread."""
        self._is_over = True
        self._wake.set()
        self.shut()
        self.drain()

    def _waiting(self) -> int:
        return len(self._alone) + len(self._turns)

    def _taken(self) -> Runs:
        if self._alone and self._first is not None:
            take = self._alone.popleft
            return [(self._first.source, [take() for _ in range(min(len(self._alone), AT_ONCE))])]
        turn = self._turns.popleft
        turns = [turn() for _ in range(min(len(self._turns), AT_ONCE))]
        return [(lane.source, [lane.take() for lane in run]) for lane, run in itertools.groupby(turns)]

    def _tend(self, lane: Lane, item: Any) -> None:
        """Wake the thread, or see to it that what waits stays bounded; the item has just been added."""
        waiting = self._waiting()
        is_too_much = waiting > ROOM_FOR_SMALL or (waiting > ROOM and lane.source.size_of(item) > SMALL_BYTES)
        with self._state_lock:
            if not self._is_awake:
                self._wake_up()
            self._limit = min(max(ROOM, waiting + LOOK_EVERY), ROOM_FOR_SMALL)
        if is_too_much:
            self.drain()

    def _wake_up(self) -> None:
        self._is_awake = True
        self.is_open = not self._is_busy
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="localtrack-summaries", daemon=True)
            with contextlib.suppress(RuntimeError):  # the process ends: its end does what waits
                self._thread.start()

    def _run(self) -> None:
        while self._wake.wait() and not self._is_over:
            self.is_open = True
            time.sleep(DELAY_S)
            self._wake.clear()
            with self._state_lock:  # before the items are taken: one that comes meanwhile wakes this thread again
                self._is_awake, self._is_busy, self._limit = False, True, -1
            self.shut()
            self.drain()
            self._is_busy = False
            if not self._wake.wait(DELAY_S):
                self.drain()  # of one who knew the way when it was shut, and had not gone it yet
