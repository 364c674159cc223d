"""Brings a child's raw output into its task, as far as the child's own process does not.

A process that calls ``Task.init`` records its console itself. What it printed before that, what it never could record
(output of C libraries, the last words of a crash), and all output of a script that never calls ``Task.init`` come from
the raw log, which the agent reads as it grows.

Source: docs/how-to/agent.md, "The console of a task".
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from localtrack.store.console import ConsoleLog
from localtrack.store.console_reader import read_console

HOLD_S = 3.0
TAIL_LINES = 200
CHUNK_BYTES = 1 << 20
LINE_LIMIT = 1 << 16


class ConsoleRelay:
    """Reads the raw log of one run.

    Args:
        log: the file that the child's stdout and stderr go to.
        console: the agent's own console segments of the task.
        folder: the task's ``console`` folder.
        clock: seconds, going forward.
    """

    def __init__(
        self, log: Path, console: ConsoleLog, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._console = console
        self._folder = folder
        self._clock = clock
        self._offset = 0
        self._partial = b""
        self._held: deque[tuple[float, str]] = deque()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._is_attached = False
        self._before = Counter(line.text for line in read_console(folder))

    def tick(self, is_attached: bool) -> None:
        """Read what came in; commit what has waited long enough for the child to record it itself.

        Args:
            is_attached: whether the child's own process has registered as a writer of the task.
        """
        while self._read_chunk():
            self._flush()
        # only now: what was printed before this look may be from before the child attached
        self._is_attached = self._is_attached or is_attached
        self._flush()

    def finish(self, is_attached: bool, *, has_failed: bool) -> None:
        """Read the rest and commit what the task does not have yet.

        Args:
            is_attached: as for :meth:`tick`.
            has_failed: the end of the output is searched for lines that were not recorded.
        """
        self.tick(is_attached)
        if self._partial:
            self._take(self._partial)
            self._partial = b""
        rest = [text for _, text in self._held]
        self._held.clear()
        if self._is_attached:
            rest = self._unrecorded([*rest, *(list(self._tail) if has_failed else [])])
        if rest:
            self._console.write("o", rest)
        self._console.close()

    def _unrecorded(self, lines: list[str]) -> list[str]:
        recorded = Counter(line.text for line in read_console(self._folder)) - self._before
        missing = []
        for line in lines:
            if recorded[line] > 0:
                recorded[line] -= 1
            elif line.strip():
                missing.append(line)
        return missing

    def _read_chunk(self) -> bool:
        try:
            with open(self._log, "rb") as stream:
                stream.seek(self._offset)
                data = stream.read(CHUNK_BYTES)
        except OSError:
            return False
        self._offset += len(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line)
        while len(self._partial) > LINE_LIMIT:
            self._take(self._partial[:LINE_LIMIT])
            self._partial = self._partial[LINE_LIMIT:]
        return len(data) == CHUNK_BYTES

    def _take(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip("\r")
        text = text.rpartition("\r")[2]  # a progress bar leaves its last state
        if self._is_attached:
            self._tail.append(text)
        else:
            self._held.append((self._clock(), text))

    def _flush(self) -> None:
        """Commit lines that came so long ago that the child, had it been attached then, would be known by now."""
        if self._is_attached:
            return
        limit = self._clock() - HOLD_S
        ready = []
        while self._held and self._held[0][0] <= limit:
            ready.append(self._held.popleft()[1])
        if ready:
            self._console.write("o", ready)
