"""What writers were given and nobody has looked at yet: the training goes on while another thread does.

Source: tests/benchmarks, "one add_scalar".
"""

from __future__ import annotations

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
        self._items: deque[Any] = deque()  # sources and items in turn: pairs would be objects for the garbage collector
        self._lock = threading.RLock()
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._is_awake = False
        self._is_over = False
        self._next_look = 2 * ROOM
        self._thread: threading.Thread | None = None

    def put(self, source: Source, item: Any) -> None:
        """Add an item."""
        items = self._items
        items.extend((source, item))  # in one step: no other thread comes between the two
        if not self._is_awake:
            self._wake_up()
        if len(items) > self._next_look:
            self._make_room(source, item)

    def _make_room(self, source: Source, item: Any) -> None:
        waiting = len(self._items)
        if waiting > 2 * ROOM_FOR_SMALL or source.size_of(item) > SMALL_BYTES:
            self.drain()
        else:
            self._next_look = min(waiting + 2 * LOOK_EVERY, 2 * ROOM_FOR_SMALL)

    def drain(self) -> None:
        """Do all that waits, in order."""
        with self._lock:
            if self._items:
                self._process(self._items.popleft, self._items)
            self._next_look = 2 * ROOM

    def close(self) -> None:
        """Do all that waits, and end the thread."""
        self._is_over = True
        self._wake.set()
        self.drain()

    def _wake_up(self) -> None:
        with self._start_lock:
            self._is_awake = True
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="localtrack-summaries", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._wake.wait() and not self._is_over:
            time.sleep(DELAY_S)
            self._wake.clear()
            self._is_awake = False  # before the items are taken: one that comes meanwhile wakes this thread again
            self.drain()
