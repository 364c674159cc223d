"""What writers were given and nobody has looked at yet: the training goes on while another thread does.

Source: tests/benchmarks, "one add_scalar".
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

DELAY_S = 0.05
ROOM = 100
ROOM_FOR_SMALL = 20_000
SMALL_BYTES = 1 << 16
Process = Callable[[Any], object]


class Backlog:
    """A queue with a thread of its own, which starts with the first item and does what has come within 50 ms at once.

    Putting something in costs less than a microsecond. When much waits, whoever puts something in does it all instead.

    Args:
        process: does one item; must not raise.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._items: deque[Any] = deque()
        self._lock = threading.RLock()
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._is_awake = False
        self._is_over = False
        self._thread: threading.Thread | None = None

    def put(self, item: Any, size_bytes: Callable[[], int]) -> None:
        """Add an item; ``size_bytes`` is asked only when many wait."""
        items = self._items
        items.append(item)
        if not self._is_awake:
            self._wake_up()
        if len(items) > ROOM and (len(items) > ROOM_FOR_SMALL or size_bytes() > SMALL_BYTES):
            self.drain()

    def drain(self) -> None:
        """Do all that waits, in order."""
        with self._lock:
            items = self._items
            while items:
                self._process(items.popleft())

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
