"""What the processes of a task printed: one line a record, in segments that only their writer appends to.

A record is ``<UTC time> <stream> <text>``; stream is ``o`` (stdout), ``e`` (stderr) or ``l`` (reported text).

Source: docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.fs.disk import Disk, list_names, read_bytes
from localtrack.records.plain import dataclass

SEGMENT_BYTES = 16 << 20
RETRY_S = 0.5
STREAMS = {"stdout": "o", "stderr": "e", "report": "l"}
_RECORD = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z) ([oel]) (.*)", re.DOTALL)
_SEGMENT = re.compile(r"(.+)-(\d+)\.txt")


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """One printed line: UTC time, stream (``o``, ``e`` or ``l``), text without its newline, and who wrote it."""

    at: str
    stream: str
    text: str
    writer: str


class ConsoleLog:
    """One process's own console segments; safe to call from any thread.

    Args:
        disk: the store's disk.
        folder: the task's ``console`` folder.
        writer: id of the writer, the stem of the file names.
        on_trouble: told once per outage; never raises into the caller.
        pending_limit_bytes: text kept in memory while the disk takes none.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        writer: str,
        on_trouble: Callable[[OSError], None],
        pending_limit_bytes: int = 32 << 20,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._writer = writer
        self._on_trouble = on_trouble
        self._limit = pending_limit_bytes
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
        head = f"{at or _moment()} {stream} "
        data = "".join(f"{head}{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        with self._lock:
            self._append(data)

    def drain(self) -> bool:
        """Try to bring waiting text to the disk; True when none waits."""
        with self._lock:
            if self._pending:
                self._next_try = 0.0
                self._append(b"")
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

    def _append(self, data: bytes) -> None:
        waiting = bool(self._pending)
        if waiting:
            room = max(0, self._limit - len(self._pending))
            self.dropped_bytes += max(0, len(data) - room)
            self._pending += data[:room]
            if time.monotonic() < self._next_try:
                return
            data = bytes(self._pending)
        try:
            if self._fd < 0 or self._bytes >= SEGMENT_BYTES:
                self._open_next()
            written = os.write(self._fd, data)
        except OSError as error:
            self._next_try = time.monotonic() + RETRY_S
            if not waiting:
                self._pending = bytearray(data)
            if not self._complained:
                self._complained = True
                self._on_trouble(error)
            return
        self._bytes += written
        self._pending = bytearray(data[written:])
        self._complained = self._complained and written < len(data)

    def _open_next(self) -> None:
        self._disk.make_dir(self._folder)
        fd = self._disk.open_append(self._folder / f"{self._writer}-{self._number + 1}.txt")
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._number += 1
        self._bytes = 0


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


def read_console(folder: Path, without: frozenset[str] = frozenset()) -> list[ConsoleLine]:
    """Return every line of every writer but those in ``without``, by time; lines of one writer keep their order.

    A torn last line and foreign text are kept as text: nothing that was printed is hidden.
    """
    lines: list[ConsoleLine] = []
    segments = [match for name in list_names(folder) if (match := _SEGMENT.fullmatch(name))]
    for match in sorted(segments, key=lambda m: (m[1], int(m[2]))):
        if match[1] in without:
            continue
        lines += _read_segment(folder / match[0], match[1])
    lines.sort(key=lambda line: line.at)
    return lines


def _read_segment(path: Path, writer: str) -> list[ConsoleLine]:
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        return [ConsoleLine("", "l", f"(localtrack: {path} can't be read: {error.strerror})", writer)]
    lines: list[ConsoleLine] = []
    at = ""
    for raw in text.split("\n"):
        match = _RECORD.fullmatch(raw)
        if match:
            at = match[1]
            lines.append(ConsoleLine(at, match[2], match[3], writer))
        elif raw:
            lines.append(ConsoleLine(at, "o", raw, writer))
    return lines
