"""What writers were given and nobody has looked at yet: the training goes on while another thread does.

Source: tests/benchmarks, "one add_scalar".
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

DELAY_S = 0.05
ROOM = 100
ROOM_FOR_SMALL = 20_000
SMALL_BYTES = 1 << 16
LOOK_EVERY = 17  # asking an event for its size costs as much as keeping it; a prime keeps step with few scripts


class Source(Protocol):
    """Where items come from: it knows what they are."""

    def read(self, item: Any) -> None:
        """Report an item."""

    def size_of(self, item: Any) -> int:
        """Return about how many bytes an item holds."""


Process = Callable[[Callable[[], Any], "deque[Any]"], object]


class Backlog:
    """A queue with a thread of its own, which starts with the first item and does what has come within 50 ms at once.

    Putting something in costs less than a microsecond. When much waits, whoever puts something in does it all instead.

    Args:
        process: takes sources and items in turn with its first argument, until the second is empty; must not raise.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        #: Sources and items in turn: pairs would be objects for the garbage collector.
        self.items: deque[Any] = deque()
        #: With more than so many the one who puts something in has to call :meth:`tend`; with any while the thread sleeps.
        self.limit = -1
        self._lock = threading.RLock()
        self._state_lock = threading.Lock()  # of the limit and of being awake; never held while anything is done
        self._wake = threading.Event()
        self._is_awake = False
        self._is_over = False
        self._thread: threading.Thread | None = None

    def put(self, source: Source, item: Any) -> None:
        """Add an item."""
        self.items.extend((source, item))  # in one step: no other thread comes between the two
        if len(self.items) > self.limit:
            self.tend(source, item)

    def tend(self, source: Source, item: Any) -> None:
        """Wake the thread, or see to it that what waits stays bounded; the item has just been put in."""
        waiting = len(self.items)
        is_too_much = waiting > 2 * ROOM_FOR_SMALL or (waiting > 2 * ROOM and source.size_of(item) > SMALL_BYTES)
        with self._state_lock:
            if not self._is_awake:
                self._wake_up()
            self.limit = min(max(2 * ROOM, waiting + 2 * LOOK_EVERY), 2 * ROOM_FOR_SMALL)
        if is_too_much:
            self.drain()

    def drain(self) -> None:
        """Do all that waits, in order."""
        with self._lock:
            if self.items:
                self._process(self.items.popleft, self.items)
            with self._state_lock:
                self.limit = 2 * ROOM if self._is_awake else -1

    def close(self) -> None:
        """Do all that waits, and end the thread."""
        self._is_over = True
        self._wake.set()
        self.drain()

    def _wake_up(self) -> None:
        self._is_awake = True
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="localtrack-summaries", daemon=True)
            with contextlib.suppress(RuntimeError):  # the process ends: its end does what waits
                self._thread.start()

    def _run(self) -> None:
        while self._wake.wait() and not self._is_over:
            time.sleep(DELAY_S)
            self._wake.clear()
            with self._state_lock:  # before the items are taken: one that comes meanwhile wakes this thread again
                self._is_awake, self.limit = False, -1
            self.drain()
