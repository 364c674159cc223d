"""Scalar journals: one ``write(2)`` a report, on the caller's thread, so that an acknowledged point is in the kernel.

A journal is a header and records of 32 bytes; the names of its series lie beside it, one JSON line each, written
before the first point that uses them.

Source: docs/format/v1.md, "scalars/<writer>-<n>.journal".
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from localtrack.fs.disk import Disk, remove_files
from localtrack.records.plain import dataclass, field
from localtrack.store.journal_records import BODY, CHECK, HEADER, MAGIC, RECORD_BYTES, SeriesState, records_of

ROLL_BYTES = 2 << 20
GRACE_S = 5.0
_BURIED: list[tuple[float, int]] = []
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1

Reported = tuple[str, str, float, int, int]
Columns = tuple[str, str, Any, Any, Any]


@dataclass(slots=True)
class _Pending:
    """Points that the disk did not take, bounded."""

    points: list[tuple[str, str, int, int, float]] = field(default_factory=list)
    dropped: int = 0


class ScalarJournal:
    """One process's own journals of one task; safe to call from any thread.

    Args:
        disk: the store's disk.
        folder: the task's ``scalars`` folder.
        writer: id of the writer, the stem of the file names.
        on_trouble: told once per outage with the error; never raises into the caller.
        pending_limit: points kept in memory while the disk takes none.
        first_number: number of the first journal.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        writer: str,
        on_trouble: Callable[[OSError], None],
        pending_limit: int = 1_000_000,
        first_number: int = 1,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._writer = writer
        self._on_trouble = on_trouble
        self._pending_limit = pending_limit
        self._lock = threading.RLock()
        self._number = first_number - 1
        self._open_number = 0
        self._fd = -1
        self._series_fd = -1
        self._bytes = 0
        self._pending = _Pending()
        self._last_error: OSError | None = None
        self._is_open = False
        self.series: dict[tuple[str, str], SeriesState] = {}
        self.points = 0
        self.rolled: list[Path] = []
        self._ripe: list[Path] = []
        self._unsynced_names = False

    def report(self, title: str, series: str, value: float, iteration: int, time_us: int = 0) -> None:
        """Append one point; when this returns, the point survives the death of the process.

        Args:
            title: the graph.
            series: the line in it.
            value: any float, NaN and infinities included.
            iteration: any 64-bit integer.
            time_us: microseconds since 1970; 0 stands for now.

        Raises:
            ValueError: a value that is no number, or an iteration or time that is no 64-bit integer.
        """
        if value.__class__ is not float:
            value = _to_float(title, series, value)
        try:
            state = self.series[title, series]
        except (KeyError, TypeError):
            state = self._define(title, series)
        try:
            body = BODY.pack(state.number, iteration, time_us or time.time_ns() // 1000, value)
        except struct.error:
            iteration = _to_integer(title, series, "iteration", iteration)
            time_us = _to_integer(title, series, "time in us", time_us)
            body = BODY.pack(state.number, iteration, time_us or time.time_ns() // 1000, value)
        try:
            if os.write(self._fd, CHECK.pack(zlib.crc32(body)) + body) != RECORD_BYTES:
                self._fail(OSError(errno.ENOSPC, "the disk took only a part of a record"), state, body)
        except OSError as error:
            self._fail(error, state, body)
        state.count += 1  # SeriesState.take, written out: this is on the way of every report
        if iteration >= state.last_iteration:
            state.last = value
            state.last_iteration = iteration
        if value < state.low:
            state.low = value
            state.low_iteration = iteration
        if value > state.high:
            state.high = value
            state.high_iteration = iteration
        self._bytes += RECORD_BYTES
        if self._bytes >= ROLL_BYTES:
            self._roll()

    def report_many(self, points: Sequence[Reported]) -> None:
        """Append several points at a lower cost each: one ``write(2)`` for all.

        When this returns they survive the death of the process, as those of :meth:`report` do.

        Args:
            points: title, series, value, iteration and ``time_us`` of each, as for :meth:`report`.

        Raises:
            ValueError: as :meth:`report`; the other points are kept.
        """
        records, states, refused = self._packed(points)
        self._append(b"".join(records), states)
        if refused is not None:
            raise refused

    def report_columns(self, columns: Iterable[Columns]) -> None:
        """Append points that are columns of several series, as :meth:`report_many` does and at a fraction of its cost.

        Args:
            columns: title, series, and of the points values (float64), iterations and ``time_us`` (int64, not 0): NumPy
                arrays of one length, not empty.
        """
        records: list[bytes] = []
        states: list[SeriesState] = []
        for title, series, values, iterations, times_us in columns:
            state = self.series.get((title, series)) or self._define(title, series)
            records.append(records_of(state.number, values, iterations, times_us))
            states += [state] * len(values)
            state.take_all(values, iterations)
        self._append(b"".join(records), states)

    def _append(self, records: bytes, states: Sequence[SeriesState]) -> None:
        """Write records, each of which is of that series."""
        try:
            written = os.write(self._fd, records)
            error = OSError(errno.ENOSPC, "the disk took only a part of the records")
        except OSError as failure:
            written, error = 0, failure
        whole = written // RECORD_BYTES
        for number in range(whole, len(states)):
            body = records[number * RECORD_BYTES + CHECK.size : (number + 1) * RECORD_BYTES]
            self._append_again(error if number == whole else None, states[number], body)
        self._bytes += len(records)
        if self._bytes >= ROLL_BYTES:
            self._roll()

    def _packed(self, points: Sequence[Reported]) -> tuple[list[bytes], list[SeriesState], ValueError | None]:
        """Return the records, their series, and the error of what can't be one."""
        records: list[bytes] = []
        states: list[SeriesState] = []
        refused: ValueError | None = None
        known, pack, check, crc32 = self.series, BODY.pack, CHECK.pack, zlib.crc32
        for title, series, value, iteration, time_us in points:
            try:
                state = known.get((title, series)) or self._define(title, series)
                body = pack(state.number, iteration, time_us or time.time_ns() // 1000, value)
            except (struct.error, TypeError):
                try:
                    self.report(title, series, value, iteration, time_us)
                except ValueError as error:
                    refused = refused or error
                continue
            records += (check(crc32(body)), body)
            states.append(state)
            state.take(value, iteration)
        return records, states, refused

    def _append_again(self, error: OSError | None, state: SeriesState, body: bytes) -> None:
        """Append a record that a write of many did not take: the first with that error, those after it anew."""
        if error is None:
            try:
                _write_all(self._fd, CHECK.pack(zlib.crc32(body)) + body)
            except OSError as refused:
                error = refused
        if error is not None:
            self._fail(error, state, body)

    def _report_each(self, points: Sequence[Reported]) -> None:
        refused: ValueError | None = None
        for point in points:
            try:
                self.report(*point)
            except ValueError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    @property
    def fd(self) -> int:
        """Descriptor of the open journal, -1 when none is."""
        return self._fd if self._is_open else -1

    @property
    def waiting(self) -> int:
        """Number of points in memory that the disk has not taken yet."""
        return len(self._pending.points)

    @property
    def dropped(self) -> int:
        """Number of points lost since memory was full as well."""
        return self._pending.dropped

    def current_path(self) -> Path | None:
        """Return the journal that is open now."""
        return self._path(self._open_number) if self._is_open else None

    def drain(self) -> bool:
        """Try to bring waiting points to the disk; True when none waits."""
        with self._lock:
            if not self._pending.points:
                return True
            waiting, self._pending.points = self._pending.points, []
            done = 0
            try:
                self._open_next()
                for title, series, iteration, time_us, value in waiting:
                    body = BODY.pack(self.series[title, series].number, iteration, time_us, value)
                    _write_all(self._fd, CHECK.pack(zlib.crc32(body)) + body)
                    done += 1
            except OSError as error:
                self._last_error = error
                self._retire()
            self._pending.points = waiting[done:] + self._pending.points
            return not self._pending.points

    def sync(self) -> None:
        """Flush what the kernel holds to the medium, names first; errors are the caller's to report."""
        with self._lock:
            if not self._is_open:
                return
            fds = [os.dup(fd) for fd in (self._series_fd, self._fd)]
            names_too, self._unsynced_names = self._unsynced_names, False
        try:
            if names_too:
                os.fsync(fds[0])
                self._disk.sync_dir(self._folder)
            os.fsync(fds[1])
        finally:
            for fd in fds:
                os.close(fd)

    def take_rolled(self) -> list[Path]:
        """Return the journals that were finished before the call before this one.

        A thread may still be on its way to the journal that was open a moment ago; what it writes must not come after
        the journal was folded.
        """
        with self._lock:
            ripe, self._ripe, self.rolled = self._ripe, self.rolled, []
            return ripe

    def close(self) -> list[Path]:
        """Close the journal; return every finished journal that was not taken yet."""
        self.drain()
        with self._lock:
            self._retire()
            if self._fd >= 0:
                _bury(self._fd)
                self._fd = -1
            rolled, self._ripe, self.rolled = self._ripe + self.rolled, [], []
            return rolled

    def forget(self) -> None:
        """In a forked child: let go of the parent's files without touching them."""
        self._lock = threading.RLock()
        self._fd = self._series_fd = -1
        self._is_open = False
        self._pending = _Pending()
        self.rolled, self._ripe = [], []

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._writer}-{number}.journal"

    def _define(self, title: str, series: str) -> SeriesState:
        title, series = str(title), str(series)
        with self._lock:
            state = self.series.get((title, series))
            if state is not None:
                return state
            state = SeriesState(len(self.series) + 1, title, series)
            try:
                if not self._is_open and not self._pending.points:
                    self._open_next()
                self._write_series(state)
            except OSError as error:
                self._last_error = error
                self._retire()
            self.series[title, series] = state
            return state

    def _write_series(self, state: SeriesState) -> None:
        if self._is_open:
            _write_all(self._series_fd, state.line())
            self._unsynced_names = True

    def _open_next(self) -> None:
        self._disk.make_dir(self._folder)
        self._number += 1
        path = self._path(self._number)
        opened: list[int] = []
        try:
            opened.append(self._disk.open_append(path.with_suffix(".series")))
            _write_all(opened[0], b"".join(state.line() for state in self.series.values()))
            opened.append(self._disk.open_append(path))
            _write_all(opened[1], HEADER.pack(MAGIC, time.time_ns() // 1000, 0, 0))
            self._point_at(opened[1])
        except OSError:
            for fd in opened:
                os.close(fd)
            if not isinstance(sys.exc_info()[1], FileExistsError):
                remove_files([path, path.with_suffix(".series")])
            raise
        self._close_series()
        self._series_fd = opened[0]
        self._open_number = self._number
        self._is_open = True
        self._bytes = HEADER.size
        self._unsynced_names = True

    def _point_at(self, fd: int) -> None:
        """Let the journal's descriptor number stand for another file from now on, and close what it stood for.

        The number stays the same for life: a thread that has read it and not yet written must never find it closed,
        or worse, given to a file of somebody else.
        """
        if self._fd < 0:
            self._fd = fd
            return
        old = os.dup(self._fd)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        try:
            os.close(old)  # NFSv3 reports a full disk only here
        except OSError as error:
            self._on_trouble(error)

    def _retire(self) -> None:
        """End the open journal: it is finished, and can be folded. Writes are refused until the next one is open."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._point_at(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return  # no descriptor left: late points still go to the old journal, which is not folded then
        self.rolled.append(self._path(self._open_number))
        self._close_series()

    def _close_series(self) -> None:
        if self._series_fd >= 0:
            try:
                os.close(self._series_fd)
            except OSError as error:
                self._on_trouble(error)
        self._series_fd = -1

    def _roll(self) -> None:
        with self._lock:
            if self._bytes < ROLL_BYTES or not self._is_open:
                return
            finished = self._path(self._open_number)
            try:
                self._open_next()
            except OSError as error:
                self._last_error = error
                self._retire()
                self._on_trouble(error)
            else:
                self.rolled.append(finished)

    def _fail(self, error: OSError, state: SeriesState, body: bytes) -> None:
        """Keep the point in memory; the journal with the torn tail ends here and the next drain opens another."""
        _, iteration, time_us, value = BODY.unpack(body)
        with self._lock:
            self._retire()
            first = not self._pending.points
            if len(self._pending.points) >= self._pending_limit:
                self._pending.dropped += 1
                return
            self._pending.points.append((state.title, state.series, iteration, time_us, value))
        if first and error.errno == errno.EBADF:  # no journal was open: the first try is here
            first = not self.drain()
            error = self._last_error or error
        if first:
            self._on_trouble(error)


def _write_all(fd: int, data: bytes) -> None:
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, "the disk took only a part of the data")


def _bury(fd: int) -> None:
    """Close a closed journal's descriptor number a while later, when no thread can be on its way to it any more."""
    moment = time.monotonic()
    while _BURIED and _BURIED[0][0] < moment - GRACE_S:
        os.close(_BURIED.pop(0)[1])
    _BURIED.append((moment, fd))


def _to_float(title: str, series: str, value: Any) -> float:
    """Return a foreign number as a float, which also lets go of the tensor that it came from."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, ArithmeticError):
        raise ValueError(f"scalar {title!r}/{series!r}: the value must be a number, not {value!r}") from None


def _to_integer(title: str, series: str, name: str, given: Any) -> int:
    try:
        number = int(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"scalar {title!r}/{series!r}: the {name} must be an integer, not {given!r}") from None
    if not MIN_INT64 <= number <= MAX_INT64:
        raise ValueError(f"scalar {title!r}/{series!r}: {name} {number} is beyond 64 bits")
    return number
