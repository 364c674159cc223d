"""Scalar journals: an acknowledged point is in the kernel."""

from __future__ import annotations

import errno
import math
import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk
from localtrack.store import journal as journal_module
from localtrack.store.journal import MAX_INT64, MIN_INT64, Reported, ScalarJournal
from localtrack.store.journal_records import HEADER, MAGIC, RECORD_BYTES, read_journal


class Trouble:
    """Remembers what a writer complained about."""

    def __init__(self) -> None:
        self.errors: list[OSError] = []

    def __call__(self, error: OSError) -> None:
        self.errors.append(error)


@pytest.fixture
def trouble() -> Trouble:
    """Return a place for complaints."""
    return Trouble()


@pytest.fixture
def pen(tmp_path: Path, trouble: Trouble) -> ScalarJournal:
    """Return a journal in an empty folder."""
    return ScalarJournal(Disk(tmp_path / "tmp"), tmp_path / "scalars", "w", trouble)


def _points(folder: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("*.journal"), key=lambda p: int(p.stem.rpartition("-")[2])):
        names, points, _ = read_journal(path)
        for number, iteration, _, value in points:
            found.setdefault(names[number], []).append((iteration, value))
    return found


def test_a_reported_point_is_in_the_file_at_once(pen: ScalarJournal, tmp_path: Path) -> None:
    """Nothing waits for a flush or a close."""
    pen.report("loss", "train", 0.5, 3, 1_000_000)

    names, points, damaged = read_journal(tmp_path / "scalars" / "w-1.journal")
    assert (names, points, damaged) == ({1: ("loss", "train")}, [(1, 3, 1_000_000, 0.5)], 0)


def test_the_layout_of_a_journal(pen: ScalarJournal, tmp_path: Path) -> None:
    """The bytes are what the format says: 32 bytes of header, 32 bytes a point, names as JSON lines."""
    pen.report("loss", "train", -0.25, -7, 42)
    pen.report("loss", "test", math.inf, 2**62, 43)

    data = (tmp_path / "scalars" / "w-1.journal").read_bytes()
    assert data[:8] == MAGIC == b"LTJRNL01"
    assert len(data) == 32 * 3
    assert struct.unpack("<Iqqd", data[36:64]) == (1, -7, 42, -0.25)
    assert struct.unpack("<I", data[32:36])[0] == zlib.crc32(data[36:64])
    assert struct.unpack("<Iqqd", data[68:96]) == (2, 2**62, 43, math.inf)
    names = (tmp_path / "scalars" / "w-1.series").read_text()
    assert names == '[1, "loss", "train"]\n[2, "loss", "test"]\n'


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (1, 1.0), (True, 1.0), (np.float32(0.5), 0.5), (np.array(2.0), 2.0), ("0.25", 0.25), (math.nan, math.nan),
        (-math.inf, -math.inf), (5e-324, 5e-324), (-0.0, -0.0),
    ],
)  # fmt: skip
def test_any_number_is_kept(pen: ScalarJournal, tmp_path: Path, value: Any, stored: float) -> None:
    """Every kind of number arrives as the float that it is."""
    pen.report("a", "b", value, 0)

    assert repr(_points(tmp_path / "scalars")["a", "b"]) == repr([(0, stored)])
    assert type(pen.series["a", "b"].last) is float


@pytest.mark.parametrize(
    ("value", "iteration", "message"),
    [
        ("x", 0, "value must be a number"), (None, 0, "value must be a number"), (np.zeros(3), 0, "must be a number"),
        (10**400, 0, "must be a number"), (0.5, "x", "iteration must be an integer"), (0.5, None, "must be an integer"),
        (0.5, math.nan, "must be an integer"), (0.5, 2**63, "beyond 64 bits"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(pen: ScalarJournal, value: Any, iteration: Any, message: str) -> None:
    """Misuse raises and names the scalar; the next good point is kept."""
    with pytest.raises(ValueError, match=f"scalar 'a'/'b': .*{message}"):
        pen.report("a", "b", value, iteration)
    pen.report("a", "b", 1.0, np.int64(4))
    pen.report("a", "b", 1.0, 5.0)  # type: ignore[arg-type]

    assert pen.series["a", "b"].count == 2


def test_many_at_once_are_as_one_by_one(pen: ScalarJournal, tmp_path: Path) -> None:
    """Points reported together are the same records in the same order, and what can't be one costs no other."""
    pen.report("t", "a", 0.5, 0, 1)
    with pytest.raises(ValueError, match="beyond 64 bits"):
        pen.report_many(
            [
                ("t", "a", 1.5, 1, 5),
                ("t", "b", math.inf, 1, 5),
                ("t", "a", 9.0, 2**63, 5),
                ("t", "a", 9.0, 2, 10**300),
                ("t", "a", -2.0, 2, 6),
            ]
        )
    path = pen.current_path()
    assert path is not None
    names, points, damaged = read_journal(path)
    assert names == {1: ("t", "a"), 2: ("t", "b")}
    assert points == [(1, 0, 1, 0.5), (1, 1, 5, 1.5), (2, 1, 5, math.inf), (1, 2, 6, -2.0)]
    assert damaged == 0
    state = pen.series["t", "a"]
    assert (state.count, state.last, state.low, state.low_iteration, state.high) == (3, -2.0, -2.0, 2, 1.5)


def arrays(points: list[tuple[float, int, int]]) -> Iterator[Any]:
    """Return values, iterations and times of points."""
    for column, kind in zip(zip(*points, strict=True), (np.float64, np.int64, np.int64), strict=True):
        yield np.array(column, kind)


@given(
    columns=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.lists(
                st.tuples(
                    st.floats() | st.sampled_from([0.0, -0.0, math.nan]),
                    st.integers(-5, 5) | st.integers(MIN_INT64, MAX_INT64),
                    st.integers(1, MAX_INT64),
                ),
                min_size=1,
                max_size=8,
            ),
        ),
        max_size=5,
    )
)
def test_columns_are_as_one_by_one(columns: list[tuple[str, list[tuple[float, int, int]]]]) -> None:
    """Points of a series that are given as columns are the same records, and are remembered as the same."""
    with tempfile.TemporaryDirectory() as folder:
        pens = [
            ScalarJournal(Disk(Path(folder) / "tmp"), Path(folder) / name, "w", lambda error: None)
            for name in ("columns", "single")
        ]
        pens[0].report_columns(("t", series, *arrays(points)) for series, points in columns)
        for series, points in columns:
            for value, iteration, time_us in points:
                pens[1].report("t", series, value, iteration, time_us)
        assert repr(pens[0].series) == repr(pens[1].series)  # NaN is not equal to itself
        read = [[read_journal(path) for path in (Path(folder) / n).glob("*.journal")] for n in ("columns", "single")]
        for pen in pens:
            pen.close()
    assert repr(read[0]) == repr(read[1])


def _as_columns(pen: ScalarJournal, points: list[Reported]) -> None:
    by_series: dict[tuple[str, str], list[tuple[float, int, int]]] = {}
    for title, series, value, step, time_us in points:
        by_series.setdefault((title, series), []).append((value, step, time_us))
    pen.report_columns((*names, *arrays(held)) for names, held in by_series.items())


@pytest.mark.parametrize("report", [ScalarJournal.report_many, _as_columns])
@pytest.mark.parametrize("taken", [0, 32, 50])
def test_many_at_once_outlive_a_full_disk(
    pen: ScalarJournal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: int,
    report: Callable[[ScalarJournal, list[Reported]], None],
) -> None:
    """Of points reported together, those that the disk did not take are kept and written later, none twice."""
    pen.report("t", "a", 0.0, 0, 1)
    write = os.write

    def short(fd: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write)
        if not taken:
            raise OSError(errno.ENOSPC, "no space left")
        return write(fd, data[:taken])

    monkeypatch.setattr(os, "write", short)
    report(pen, [("t", "a", float(step), step, 1) for step in range(1, 5)])
    assert pen.drain()
    report(pen, [("t", "a", 5.0, 5, 1)])
    found = [point for path in sorted(tmp_path.rglob("*.journal")) for point in read_journal(path)[1]]
    assert sorted(found) == [(1, step, 1, float(step)) for step in range(6)]


def test_rolling_loses_nothing(pen: ScalarJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full journal is followed by the next one, which knows all names."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 320)
    for step in range(25):
        pen.report("a", str(step % 3), float(step), step)

    assert pen.take_rolled() == []
    assert pen.take_rolled() == [tmp_path / "scalars" / f"w-{n}.journal" for n in (1, 2)]
    assert sorted(s for series in _points(tmp_path / "scalars").values() for s, _ in series) == list(range(25))
    assert pen.close() == [tmp_path / "scalars" / "w-3.journal"]


def test_threads_lose_nothing(pen: ScalarJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that report while journals roll and series appear lose no point."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 3200)

    def work(number: int) -> None:
        for step in range(500):
            pen.report(f"t{number}", f"s{step % 7}", float(step), step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pen.close()

    assert sum(len(points) for points in _points(tmp_path / "scalars").values()) == 2000


def test_summary_of_a_series(pen: ScalarJournal) -> None:
    """Last, lowest and highest are those of the points; NaN is neither lowest nor highest."""
    for step, value in enumerate([2.0, math.nan, -1.0, 5.0, 3.0]):
        pen.report("a", "b", value, step)

    state = pen.series["a", "b"]
    assert (state.low, state.low_iteration, state.high, state.high_iteration) == (-1.0, 2, 5.0, 3)
    assert (state.last, state.last_iteration, state.count) == (3.0, 4, 5)


def test_full_disk(small_disk: Path, fill_up: Callable[[Path], Path], trouble: Trouble) -> None:
    """On a disk that fills up and gets room again nothing raises, nothing is lost, and one complaint is made."""
    pen = ScalarJournal(Disk(small_disk / "tmp"), small_disk / "scalars", "w", trouble)
    pen.report("a", "b", 0.0, 0)
    filler = fill_up(small_disk)
    for step in range(1, 1000):
        pen.report("a", "b", float(step), step)
    pen.report("new", "series", 1.0, 1)
    waiting = pen.waiting
    files_during = len(list((small_disk / "scalars").iterdir()))
    fds_during = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert not pen.drain()
    assert len(list((small_disk / "scalars").iterdir())) == files_during
    assert len(os.listdir("/proc/self/fd")) <= fds_during

    filler.unlink()
    assert pen.drain()
    pen.report("a", "b", 1000.0, 1000)
    pen.close()

    assert waiting > 0
    assert [error.errno for error in trouble.errors] == [errno.ENOSPC]
    found = _points(small_disk / "scalars")
    assert found["a", "b"] == [(step, float(step)) for step in range(1001)]
    assert found["new", "series"] == [(1, 1.0)]
    assert pen.dropped == 0


def test_pending_points_are_bounded(tmp_path: Path, trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds so many points and counts those that it could not hold."""
    pen = ScalarJournal(Disk(tmp_path / "tmp"), tmp_path / "scalars", "w", trouble, pending_limit=10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _refuse)
        for step in range(15):
            pen.report("a", "b", float(step), step)
    pen.close()

    assert (pen.dropped, len(trouble.errors), trouble.errors[0].errno) == (5, 1, errno.ENOSPC)
    assert _points(tmp_path / "scalars")["a", "b"] == [(step, float(step)) for step in range(10)]


def test_short_write_of_a_record(pen: ScalarJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that the disk took only in part is written again, whole, in the next journal."""
    pen.report("a", "b", 0.0, 0)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        pen.report("a", "b", 1.0, 1)
    pen.report("a", "b", 2.0, 2)
    pen.drain()
    pen.close()

    assert _points(tmp_path / "scalars")["a", "b"] == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_torn_record_hides_none_of_those_after_it(pen: ScalarJournal, tmp_path: Path) -> None:
    """Points that another thread wrote behind a torn record are found again."""
    for step in range(6):
        pen.report("a", "b", float(step), step)
    path = tmp_path / "scalars" / "w-1.journal"
    data = path.read_bytes()
    torn = HEADER.size + 2 * RECORD_BYTES
    path.write_bytes(data[: torn + 10] + data[torn + RECORD_BYTES :])

    _, points, damaged = read_journal(path)
    assert [point[1] for point in points] == [0, 1, 3, 4, 5]
    assert damaged == 1


def test_reports_after_the_close_are_kept(pen: ScalarJournal, tmp_path: Path) -> None:
    """A point that comes late, for an old series or a new one, is on disk as well."""
    pen.report("a", "b", 0.0, 0)
    pen.close()
    pen.report("a", "b", 1.0, 1)
    pen.report("c", "d", 2.0, 2)
    pen.close()

    assert _points(tmp_path / "scalars") == {("a", "b"): [(0, 0.0), (1, 1.0)], ("c", "d"): [(2, 2.0)]}


def test_every_truncation_is_readable(pen: ScalarJournal, tmp_path: Path) -> None:
    """Cut at any byte, a journal gives all its whole points and no error."""
    for step in range(4):
        pen.report("a", "b", float(step), step)
    path = tmp_path / "scalars" / "w-1.journal"
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        _, points, damaged = read_journal(path)
        assert [point[1] for point in points] == list(range(max(0, (size - HEADER.size) // RECORD_BYTES)))
        assert damaged == 0


def test_every_flipped_byte_costs_one_point_at_most(pen: ScalarJournal, tmp_path: Path) -> None:
    """A flipped bit is never shown as a value: its record is left out, the others stay."""
    for step in range(4):
        pen.report("a", "b", float(step), step)
    path = tmp_path / "scalars" / "w-1.journal"
    data = path.read_bytes()
    for position in range(HEADER.size, len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        _, points, _ = read_journal(path)
        hit = (position - HEADER.size) // RECORD_BYTES
        assert [point[1] for point in points] == [step for step in range(4) if step != hit]


def test_a_zero_filled_tail_is_no_point(pen: ScalarJournal, tmp_path: Path) -> None:
    """The zeros that a power cut leaves are not read as points."""
    pen.report("a", "b", 1.0, 1)
    path = tmp_path / "scalars" / "w-1.journal"
    path.write_bytes(path.read_bytes() + bytes(640))

    assert len(read_journal(path)[1]) == 1


def test_torn_names(pen: ScalarJournal, tmp_path: Path) -> None:
    """Points whose series has no whole name are left out; the others stay."""
    pen.report("a", "b", 1.0, 1)
    pen.report("c", "d", 2.0, 2)
    names = tmp_path / "scalars" / "w-1.series"
    for text in (names.read_text()[:-9], '[1, "a", "b"]\n{"no": 1}\n[1]\nnull\n\xff\n'):
        names.write_text(text, encoding="latin-1")
        assert [point[1] for point in read_journal(tmp_path / "scalars" / "w-1.journal")[1]] == [1]


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file that is no journal is named."""
    (tmp_path / "x.journal").write_bytes(b"something else, longer than a header is")

    with pytest.raises(CorruptFileError, match=r"x\.journal is no scalar journal"):
        read_journal(tmp_path / "x.journal")


def test_sync_flushes_names_before_points(pen: ScalarJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut no point has lost its name: names, folder, points, in that order, and names once."""
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))
    pen.sync()
    pen.report("a", "b", 1.0, 1)
    pen.sync()
    pen.sync()

    assert flushed == ["w-1.series", "scalars", "w-1.journal", "w-1.journal"]


def test_forget_leaves_the_parent_alone(pen: ScalarJournal, tmp_path: Path) -> None:
    """A forked child that lets go writes nothing into its parent's journal."""
    pen.report("a", "b", 1.0, 1)
    pid = os.fork()
    if pid == 0:
        pen.forget()
        pen.close()
        os._exit(0)
    os.waitpid(pid, 0)
    pen.report("a", "b", 2.0, 2)

    assert _points(tmp_path / "scalars")["a", "b"] == [(1, 1.0), (2, 2.0)]


def _refuse(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_task_that_is_deleted_meanwhile(tmp_path: Path, trouble: Trouble) -> None:
    """Reports to a task that is gone raise nothing, complain once, and bring back no part of its folder."""
    task = tmp_path / "task"
    task.mkdir()
    pen = ScalarJournal(Disk(tmp_path / "tmp"), task / "scalars", "w", trouble)
    task.rename(tmp_path / "trash")
    for step in range(5):
        pen.report("a", "b", float(step), step)

    assert not task.exists()
    assert [error.errno for error in trouble.errors] == [errno.ENOENT]
    (tmp_path / "trash").rename(task)
    assert pen.drain()
    assert len(_points(task / "scalars")["a", "b"]) == 5


def test_a_journal_is_finished_when_the_next_can_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When rolling fails, the journal that was full is the one that can be folded, and no point of it is lost."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 32 * 4)
    disk = Disk(tmp_path / "tmp")
    troubles: list[OSError] = []
    pen = ScalarJournal(disk, tmp_path / "s", "w", troubles.append)
    real, refuses = Disk.open_append, [False]

    def open_append(self: Disk, path: Path) -> int:
        if refuses[0]:
            raise OSError(30, "read-only", str(path))
        return real(self, path)

    monkeypatch.setattr(Disk, "open_append", open_append)
    for step in range(5):
        refuses[0] = step >= 2
        pen.report("loss", "train", float(step), step)
    assert [path.name for path in pen.rolled] == ["w-1.journal"]
    refuses[0] = False
    assert pen.drain()
    assert {path.name for path in pen.close()} == {"w-1.journal", *(p.name for p in (tmp_path / "s").glob("*.journal"))}
    points = [point for path in sorted((tmp_path / "s").glob("*.journal")) for point in read_journal(path)[1]]
    assert [point[3] for point in points] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(troubles) >= 1
