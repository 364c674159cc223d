"""What writers were given and nobody has looked at yet: the training goes on while another thread does.

Source: tests/benchmarks, "one add_scalar".
"""

from __future__ import annotations

import contextlib
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
        is_open: whether items may come in any number: from the first until the thread takes them, 50 ms later.
        when_shut: called when that ends, to forget what :meth:`way_of` said.
    """

    def __init__(self, process: Callable[[Runs], object]) -> None:
        self._process = process
        #: Items of the first source, as long as no other puts any in.
        self._alone: deque[Any] = deque()
        self._first: Source | None = None
        self._are_many = False
        #: Sources and items in turn: pairs would be objects for the garbage collector.
        self._mixed: deque[Any] = deque()
        #: With more than so many items the one who adds one looks after them; with any while the thread waits for some.
        self._limit = -1
        self._lock = threading.RLock()
        self._state_lock = threading.RLock()  # of the limit and of being awake; never held while anything is done
        self._wake = threading.Event()
        self._is_awake = self._is_busy = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.is_open = False
        self.when_shut: list[Callable[[], object]] = []

    def put(self, source: Source, item: Any) -> None:
        """Add an item."""
        if self._first is None:
            with self._state_lock:
                self._first = self._first or source
        if source is not self._first and not self._are_many:
            self._are_many = True
            self.shut()
        if self._are_many:
            self._mixed.extend((source, item))  # in one step: no other thread comes between the two
        else:
            self._alone.append(item)
        if self._waiting() > self._limit:
            self._tend(source, item)

    def way_of(self, source: Source) -> Put | None:
        """Return what adds an item of a source at the least cost, until it is shut; None when it is shut.

        Another thread may shut it meanwhile: who keeps the way has to look at :attr:`is_open` once more.
        """
        if not self.is_open:
            return None
        if source is self._first and not self._are_many:
            return self._alone.append
        extend = self._mixed.extend
        return lambda item: extend((source, item))

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
        self._over.set()
        self._wake.set()
        self.shut()
        self.drain()

    def _waiting(self) -> int:
        return len(self._alone) + len(self._mixed) // 2

    def _taken(self) -> Runs:
        """Take some items, first what came when one source was alone."""
        if self._alone and self._first is not None:
            take = self._alone.popleft
            return [(self._first, [take() for _ in range(min(len(self._alone), AT_ONCE))])]
        take = self._mixed.popleft
        some = iter([take() for _ in range(min(len(self._mixed), 2 * AT_ONCE))])
        runs: Runs = []
        for source, item in zip(some, some, strict=True):
            if not runs or runs[-1][0] is not source:
                runs.append((source, []))
            runs[-1][1].append(item)
        return runs

    def _tend(self, source: Source, item: Any) -> None:
        """Wake the thread, or see to it that what waits stays bounded; the item has just been added."""
        waiting = self._waiting()
        is_too_much = waiting > ROOM_FOR_SMALL or (waiting > ROOM and source.size_of(item) > SMALL_BYTES)
        with self._state_lock:
            if not self._is_awake:
                self._wake_up()
            self._limit = min(max(ROOM, waiting + LOOK_EVERY), ROOM_FOR_SMALL)
        if is_too_much:
            self.drain()

    def _wake_up(self) -> None:
        self._is_awake = True
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="localtrack-summaries", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads may be: those who add items do what waits
                self._thread.start()
        self.is_open = not self._is_busy and self._thread.ident is not None

    def _run(self) -> None:
        while not self._over.is_set() and self._wake.wait() and not self._over.is_set():
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
