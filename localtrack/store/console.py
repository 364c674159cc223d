"""What the processes of a task printed: one line a record, in segments that only their writer appends to.

A record is ``<UTC time> <stream> <text>``; stream is ``o`` (stdout), ``e`` (stderr) or ``l`` (reported text).

Source: docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.fs.disk import Disk

SEGMENT_BYTES = 16 << 20
LINE_LIMIT = 1 << 20
PIECES_LIMIT = 512  # what every system takes at once
RETRY_S = 0.5
STREAMS = {"stdout": "o", "stderr": "e", "report": "l"}


class ConsoleLog:
    """One process's own console segments; safe to call from any thread.

    Args:
        disk: the store's disk.
        folder: the task's ``console`` folder.
        writer: id of the writer, the stem of the file names.
        on_trouble: told once per outage; never raises into the caller.
        pending_limit_bytes: text kept in memory while the disk takes none.
        limit_bytes: a longer log loses segments from its middle, and keeps the first half and the last; 0 keeps all.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        writer: str,
        on_trouble: Callable[[OSError], None],
        pending_limit_bytes: int = 32 << 20,
        limit_bytes: int = 0,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._writer = writer
        self._on_trouble = on_trouble
        self._limit = pending_limit_bytes
        self._most_segments = max(2, limit_bytes // SEGMENT_BYTES) if limit_bytes > 0 else 0
        self._lock = threading.RLock()
        self._fd = -1
        self._number = 0
        self._bytes = 0
        self._pending = bytearray()
        self._next_try = 0.0
        self._complained = False
        self.dropped_bytes = 0

    def write(self, stream: str, lines: list[str], *, at: str = "") -> None:
        """Append whole lines of one stream.

        Args:
            stream: ``o``, ``e`` or ``l``.
            lines: texts without newlines.
            at: when they were printed; now without one.
        """
        if lines:
            self.write_texts(stream, ["\n".join(lines)], at=at)

    def write_texts(self, stream: str, texts: list[str], *, at: str = "") -> None:
        """Append whole lines of one stream, many of which are one text: at the cost of a few copies, and one write for all.

        Args:
            stream: ``o``, ``e`` or ``l``.
            texts: lines with newlines between them, and none at the end that is not an empty line's.
            at: when they were printed; now without one.
        """
        head = f"{at or _moment()} {stream} ".encode()
        pieces = [_records(text, head) for text in texts]
        with self._lock:
            self._append(pieces)

    def drain(self) -> bool:
        """Try to bring waiting text to the disk; True when none waits."""
        with self._lock:
            if self._pending:
                self._next_try = 0.0
                self._append([])
            return not self._pending

    def sync(self) -> None:
        """Flush what the kernel holds to the medium."""
        fd = self._fd
        if fd >= 0:
            os.fsync(fd)

    def close(self) -> None:
        """Write what waits and close the segment."""
        self.drain()
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """In a forked child: let go of the parent's file without touching it."""
        self._lock = threading.RLock()
        self._fd = -1
        self._pending = bytearray()

    def _append(self, pieces: list[bytes]) -> None:
        waiting = bool(self._pending)
        if waiting:
            data = b"".join(pieces)
            room = max(0, self._limit - len(self._pending))
            self.dropped_bytes += max(0, len(data) - room)
            self._pending += data[:room]
            if time.monotonic() < self._next_try:
                return
            pieces = [bytes(self._pending)]
        try:
            if self._fd < 0 or self._bytes >= SEGMENT_BYTES:
                self._open_next()
            written = _write(self._fd, pieces)
        except OSError as error:
            self._next_try = time.monotonic() + RETRY_S
            if not waiting:
                self._pending = bytearray().join(pieces)
            if not self._complained:
                self._complained = True
                self._on_trouble(error)
            return
        self._bytes += written
        is_whole = written == sum(map(len, pieces))
        self._pending = bytearray() if is_whole else bytearray().join(pieces)[written:]
        self._complained = self._complained and not is_whole

    def _open_next(self) -> None:
        self._disk.make_dir(self._folder)
        fd = self._disk.open_append(self._folder / f"{self._writer}-{self._number + 1}.txt")
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._number += 1
        self._bytes = 0
        self._thin()

    def _thin(self) -> None:
        """Remove the segment that has become the middle of a log longer than its limit."""
        head = self._most_segments // 2
        middle = self._number - (self._most_segments - head)
        if head and middle > head:
            try:
                os.unlink(self._folder / f"{self._writer}-{middle}.txt")
            except OSError:
                pass  # then the log is longer than it should be


def _records(text: str, head: bytes) -> bytes:
    """Return the records of a text's lines."""
    if len(text) > LINE_LIMIT:
        text = "\n".join([_bounded(line) for line in text.split("\n")])
    lines = text.encode("utf-8", "backslashreplace").replace(b"\n", b"\n" + head)  # a third of what it takes in text
    return b"".join((head, lines, b"\n"))


def _write(fd: int, pieces: list[bytes]) -> int:
    """Write once; returns how much of it was written."""
    if 1 < len(pieces) <= PIECES_LIMIT and hasattr(os, "writev"):
        return os.writev(fd, pieces)
    return os.write(fd, b"".join(pieces))


_second = (0, "")


def _moment() -> str:
    """Return the time as :func:`localtrack.store.documents.now` does; a second's text is made once."""
    global _second
    whole, rest = divmod(time.time_ns(), 1_000_000_000)
    known, text = _second
    if known != whole:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = whole, text
    return f"{text}.{rest // 1000:06d}Z"


def _bounded(line: str) -> str:
    """Return a line with its middle left out where it is longer than a line of the log may be."""
    if len(line) <= LINE_LIMIT:
        return line
    half = LINE_LIMIT // 2
    return f"{line[:half]} (localtrack: {len(line) - 2 * half} characters left out) {line[-half:]}"
