"""What the processes of a task printed: one line a record, in segments that only their writer appends to.

A record is ``<UTC time> <stream> <text>``; stream is ``o`` (stdout), ``e`` (stderr) or ``l`` (reported text).

Source: docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import heapq
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from localtrack.fs.disk import Disk, list_names, open_regular
from localtrack.records.plain import dataclass

SEGMENT_BYTES = 16 << 20
LINE_LIMIT = 1 << 20
CHUNK_BYTES = 1 << 18
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
            self.write_text(stream, "\n".join(lines), at=at)

    def write_text(self, stream: str, text: str, *, at: str = "") -> None:
        """Append whole lines of one stream that are one text: many of them at the cost of a few copies.

        Args:
            stream: ``o``, ``e`` or ``l``.
            text: lines with newlines between them, and none at the end that is not an empty line's.
            at: when they were printed; now without one.
        """
        if len(text) > LINE_LIMIT:
            text = "\n".join([_bounded(line) for line in text.split("\n")])
        head = f"{at or _moment()} {stream} "
        lines = text.replace("\n", f"\n{head}")
        data = f"{head}{lines}\n".encode("utf-8", "backslashreplace")
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


class ConsoleReader:
    """Reads all writers of a task in the order of time, a line at a time however long the logs are, and then what came since.

    Args:
        folder: the task's ``console`` folder; may be changed between two readings, when the task moves.
        without: writers that are left out.
    """

    def __init__(self, folder: Path, without: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self._without = without
        self._places: dict[str, _Place] = {}
        self._unreadable: set[Path] = set()

    def read(self, *, torn: bool = True) -> Iterator[ConsoleLine]:
        """Yield the lines that came since the last reading; lines of one writer keep their order.

        A torn line and foreign text are kept as text: nothing that was printed is hidden.

        Args:
            torn: whether a last line without an end is given, too; it is no more when its end comes.
        """
        segments: dict[str, list[int]] = {}
        for name in list_names(self.folder):
            match = _SEGMENT.fullmatch(name)
            if match and match[1] not in self._without:
                segments.setdefault(match[1], []).append(int(match[2]))
        writers = sorted(segments)
        return heapq.merge(*(self._of(writer, sorted(segments[writer]), torn) for writer in writers), key=_time_of)

    def _of(self, writer: str, numbers: list[int], torn: bool) -> Iterator[ConsoleLine]:
        place = self._places.setdefault(writer, _Place())
        for number in numbers:
            if number < place.number:
                continue
            if number > place.number:
                if number > place.number + 1:
                    yield ConsoleLine(place.at, "l", f"(localtrack: {_left_out(place.number + 1, number - 1)})", writer)
                place.number, place.offset = number, 0
            path = self.folder / f"{writer}-{number}.txt"
            try:
                yield from place.lines(path, writer, torn=torn or number < numbers[-1])
            except FileNotFoundError:
                continue  # its writer left it out a moment ago
            except OSError as error:
                if path in self._unreadable:
                    continue
                self._unreadable.add(path)
                yield ConsoleLine(place.at, "l", f"(localtrack: {path} can't be read: {error.strerror})", writer)


class _Place:
    """How far one writer's log is read."""

    def __init__(self) -> None:
        self.number = 0
        self.offset = 0
        self.at = ""

    def lines(self, path: Path, writer: str, *, torn: bool) -> Iterator[ConsoleLine]:
        while chunk := self._chunk(path, torn=torn):
            self.offset += len(chunk)
            for raw in chunk.removesuffix(b"\n").split(b"\n"):
                text = raw.decode("utf-8", "replace")
                match = _RECORD.fullmatch(text)
                if match:
                    self.at = match[1]
                    yield ConsoleLine(self.at, match[2], match[3], writer)
                elif text:
                    yield ConsoleLine(self.at, "o", text, writer)

    def _chunk(self, path: Path, *, torn: bool) -> bytes:
        """Return the next whole lines; the file is closed in between, as there may be as many as there are ranks."""
        with os.fdopen(open_regular(path), "rb") as stream:
            stream.seek(self.offset)
            data = stream.read(CHUNK_BYTES)
            while data and b"\n" not in data:
                more = stream.read(CHUNK_BYTES)
                if not more:
                    return data if torn else b""
                data += more
            whole = data[: data.rfind(b"\n") + 1]
            return data if torn and not stream.read(1) else whole


def _time_of(line: ConsoleLine) -> str:
    return line.at


def _left_out(first: int, last: int) -> str:
    which = f"segment {first} was" if first == last else f"segments {first} to {last} were"
    return f"{which} left out, as the log is longer than console_limit_bytes"


def read_console(folder: Path, without: frozenset[str] = frozenset()) -> list[ConsoleLine]:
    """Return every line of every writer but those in ``without``, as :class:`ConsoleReader` gives them."""
    return list(ConsoleReader(folder, without).read())
