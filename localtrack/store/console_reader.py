"""Reading what the processes of a task printed: all writers in the order of time.

Source: docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator
from pathlib import Path

from localtrack.fs.disk import list_names, open_regular
from localtrack.records.plain import dataclass

CHUNK_BYTES = 1 << 18
_RECORD = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z) ([oel]) (.*)", re.DOTALL)
_SEGMENT = re.compile(r"(.+)-(\d+)\.txt")


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """One printed line: UTC time, stream (``o``, ``e`` or ``l``), text without its newline, and who wrote it."""

    at: str
    stream: str
    text: str
    writer: str


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
