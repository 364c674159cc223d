"""What a scalar journal is made of, and how one is read that may still be growing.

A journal is a header and records of 32 bytes; the names of its series lie beside it, one JSON line each.

Source: docs/format/v1.md, "scalars/<writer>-<n>.journal".
"""

from __future__ import annotations

import errno
import functools
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import read_bytes
from localtrack.records.plain import dataclass

MAGIC = b"LTJRNL01"
HEADER = struct.Struct("<8sQQQ")
RECORD_BYTES = 32
BODY = struct.Struct("<Iqqd")
CHECK = struct.Struct("<I")
RECORD = struct.Struct("<IIqqd")

Point = tuple[int, int, int, float]


@dataclass(slots=True)
class SeriesState:
    """What a writer remembers of one series: its number in the journal and the values that a search asks for.

    The last value is that of the highest iteration, of several the one reported last.
    """

    number: int
    title: str
    series: str
    last: float = float("nan")
    last_iteration: int = -(2**63)
    low: float = float("inf")
    low_iteration: int = 0
    high: float = float("-inf")
    high_iteration: int = 0
    count: int = 0

    def take(self, value: float, iteration: int) -> None:
        """Remember a point. :meth:`ScalarJournal.report` has this written out: it is on the way of every report."""
        self.count += 1
        if iteration >= self.last_iteration:
            self.last = value
            self.last_iteration = iteration
        if value < self.low:
            self.low = value
            self.low_iteration = iteration
        if value > self.high:
            self.high = value
            self.high_iteration = iteration

    def take_all(self, values: Any, iterations: Any) -> None:
        """Remember points, given as arrays, as one :meth:`take` after the other does."""
        low, high = values.argmin(), values.argmax()
        if values[low] != values[low]:  # there is a NaN
            for value, iteration in zip(values.tolist(), iterations.tolist(), strict=True):
                self.take(value, iteration)
            return
        self.count += len(values)
        latest = len(iterations) - 1 - iterations[::-1].argmax()
        if iterations[latest] >= self.last_iteration:
            self.last, self.last_iteration = float(values[latest]), int(iterations[latest])
        if values[low] < self.low:
            self.low, self.low_iteration = float(values[low]), int(iterations[low])
        if values[high] > self.high:
            self.high, self.high_iteration = float(values[high]), int(iterations[high])

    def line(self) -> bytes:
        """Return the series' line beside the journal."""
        return json.dumps([self.number, self.title, self.series]).encode() + b"\n"


def records_of(number: int, values: Any, iterations: Any, times_us: Any) -> bytes:
    """Return points of one series as records, at a tenth of the cost of packing each.

    Args:
        number: the series'.
        values: (n,) array, float64.
        iterations: (n,) array, int64.
        times_us: (n,) array, int64.
    """
    import numpy

    kind = numpy.dtype([("check", "<u4"), ("number", "<u4"), ("iteration", "<i8"), ("time", "<i8"), ("value", "<f8")])
    records: Any = numpy.empty(len(values), kind)
    records["number"], records["iteration"], records["time"], records["value"] = number, iterations, times_us, values
    records["check"] = _checks_of(records.view(numpy.uint8).reshape(-1, RECORD_BYTES)[:, CHECK.size :])
    return bytes(records.tobytes())


def _checks_of(bodies: Any) -> Any:
    """Return the CRC-32 of each row: that of zeros, changed for each byte by what this byte changes at its place."""
    changes = _changes()
    checks = changes[0].take(bodies[:, 0]) ^ zlib.crc32(bytes(BODY.size))
    for place in range(1, BODY.size):
        checks ^= changes[place].take(bodies[:, place])
    return checks


@functools.cache
def _changes() -> Any:
    """Return by place and byte how a body's CRC-32 differs from that of zeros, (28, 256): it is linear in the bits."""
    import numpy

    plain = zlib.crc32(bytes(BODY.size))
    found = [
        [plain ^ zlib.crc32(bytes(place) + bytes([byte]) + bytes(BODY.size - 1 - place)) for byte in range(256)]
        for place in range(BODY.size)
    ]
    return numpy.array(found, numpy.uint32)


def read_journal(path: Path) -> tuple[dict[int, tuple[str, str]], list[Point], int]:
    """Read a journal that may still be growing, or whose owner died at any byte.

    Returns:
        The series by number, the points as ``(series number, iteration, time in us, value)`` in the order of their
        reporting, and the number of damaged records before the last good one.

    Raises:
        OSError: it can't be read.
        CorruptFileError: it is no journal.
    """
    data = read_bytes(path)
    if len(data) < HEADER.size:
        return {}, [], 0
    if data[:8] != MAGIC:
        raise CorruptFileError(
            f"{path} is no scalar journal; move it away to read the other series of this task", path=str(path)
        )
    names = read_series(path.with_suffix(".series"))
    if not names and not path.exists():
        raise FileNotFoundError(errno.ENOENT, "it became a part while it was read", str(path))
    points: list[Point] = []
    damaged = trailing = 0
    crc32, view = zlib.crc32, memoryview(data)
    if (len(data) - HEADER.size) % RECORD_BYTES:
        return names, *_resynchronised(view, names)
    offset = HEADER.size
    for check, number, iteration, time_us, value in RECORD.iter_unpack(view[HEADER.size :]):
        if crc32(view[offset + 4 : offset + RECORD_BYTES]) == check and number in names:
            points.append((number, iteration, time_us, value))
            damaged, trailing = damaged + trailing, 0
        else:
            trailing += 1
        offset += RECORD_BYTES
    return names, points, damaged


def _resynchronised(view: memoryview, names: dict[int, tuple[str, str]]) -> tuple[list[Point], int]:
    """Read a journal with a torn record in it: on a full disk another thread's record may follow the torn one."""
    points: list[Point] = []
    damaged = trailing = 0
    offset = HEADER.size
    while offset + RECORD_BYTES <= len(view):
        for start in range(offset, min(offset + RECORD_BYTES, len(view) - RECORD_BYTES + 1)):
            record = view[start : start + RECORD_BYTES]
            check, number, iteration, time_us, value = RECORD.unpack(record)
            if zlib.crc32(record[4:]) == check and number in names:
                points.append((number, iteration, time_us, value))
                damaged, trailing = damaged + trailing + (start > offset), 0
                offset = start
                break
        else:
            trailing += 1
        offset += RECORD_BYTES
    return points, damaged


def read_series(path: Path) -> dict[int, tuple[str, str]]:
    """Return the names of a journal's series by number; torn lines are left out."""
    names: dict[int, tuple[str, str]] = {}
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return names
    for line in _lines(data):
        try:
            number, title, series = json.loads(line)
            names[int(number)] = (str(title), str(series))
        except (ValueError, TypeError):
            continue
    return names


def _lines(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line)
