"""Small parts become one: the same points, fewer files, and nothing lost whoever dies or looks meanwhile."""

from __future__ import annotations

import math
import os
import random
import signal
import time
import traceback
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk
from localtrack.store import journal as journal_module
from localtrack.store import merging, parts
from localtrack.store.journal import ScalarJournal
from localtrack.store.merging import crowded_writers, merge_parts
from localtrack.store.parts import PartFile, fold
from localtrack.store.scalars import read_scalars

SPECIAL = [0.1, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 1 / 3]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk."""
    return Disk(tmp_path / "tmp")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the scalars lie."""
    return tmp_path / "scalars"


def fail(error: OSError) -> None:
    """No disk fails here."""
    raise error


def write(disk, folder, points, *, each=100, writer="w"):
    """Report points ``(series, value, iteration)`` and fold them, so many in a part."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "ROLL_BYTES", 32 * (each + 1))
        pen = ScalarJournal(disk, folder, writer, fail)
        for number, (series, value, iteration) in enumerate(points):
            pen.report("loss", series, value, iteration, 1_000_000 + number)
        for journal in pen.close():
            fold(disk, journal, trusted=True)


def shown(folder, title=None, series=None):
    """Return all that a reader sees, to the bit."""
    found = read_scalars(folder, title, series)
    assert found.problems == []
    return repr({key: (p.iterations, p.times_us, p.values.tobytes()) for key, p in sorted(found.series.items())})


def names(folder):
    """Return the names in the folder."""
    return sorted(os.listdir(folder))


def mixed(count, seed=7):
    """Return points of a long series, of many short ones, and of one whose iterations come in no order and twice."""
    chance = random.Random(seed)
    for number in range(count):
        kind = number % 4
        series = "long" if kind < 2 else f"short {chance.randrange(40)}" if kind == 2 else "wild"
        step = number if kind < 3 else chance.randrange(count // 8)
        yield series, SPECIAL[number % 8] if number % 5 else number / 7, step


def test_the_same_points_in_one_file(disk: Disk, folder: Path) -> None:
    """Values, times, iterations and the order of equal ones are the same to the bit, whole or series by series."""
    write(disk, folder, mixed(6000))
    assert len(names(folder)) == 60
    wanted = [("loss", "long"), ("loss", "wild"), ("loss", "short 7"), ("loss", None), (None, None), ("other", None)]
    before = [shown(folder, *which) for which in wanted]

    (part,) = merge_parts(disk, folder, "w")

    assert names(folder) == ["w-m1.parquet"]
    assert part == folder / "w-m1.parquet"
    assert [shown(folder, *which) for which in wanted] == before
    assert not list(disk.tmp.iterdir())


def test_the_layout_of_a_merged_part(disk: Disk, folder: Path) -> None:
    """Sorted by series and iteration; a long series has row groups of its own, which the statistics tell; it names its sources."""
    write(disk, folder, mixed(12000))
    merge_parts(disk, folder, "w")

    file = pq.ParquetFile(folder / "w-m1.parquet")
    table = file.read()
    rows = list(zip(*(table[name].to_pylist() for name in ("title", "series", "iteration")), strict=True))
    assert rows == sorted(rows)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    spans = [(group.column(1).statistics.min, group.column(1).statistics.max) for group in groups]
    assert ("long", "long") in spans
    assert ("wild", "wild") in spans
    assert len(groups) < 12
    special = {"DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"}
    supersedes = PartFile.open(folder / "w-m1.parquet").supersedes
    assert {"w-1.parquet", "w-1.journal", "w-120.parquet", "w-120.journal"} <= set(supersedes)
    assert [set(groups[-1].column(number).encodings) & special for number in (2, 3, 4)] == [
        {"DELTA_BINARY_PACKED"}, {"DELTA_BINARY_PACKED"}, {"BYTE_STREAM_SPLIT"},
    ]  # fmt: skip


def test_few_parts_stay_and_large_ones_too(disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen parts are few; what has grown large is not written again; no merge takes more points than its bound."""
    monkeypatch.setattr(merging, "LARGE_POINTS", 3000)
    write(disk, folder, mixed(1600))
    assert merge_parts(disk, folder, "w") == []
    assert crowded_writers(folder) == []
    write(disk, folder, mixed(4600), writer="v")
    assert crowded_writers(folder) == ["v"]
    before = shown(folder)
    assert [PartFile.open(part).rows for part in merge_parts(disk, folder, "v")] == [3000]
    assert len([name for name in names(folder) if name.startswith("v")]) == 17
    monkeypatch.setattr(merging, "FEW", 4)
    assert [PartFile.open(part).rows for part in merge_parts(disk, folder, "v")] == [1600]
    assert len([name for name in names(folder) if name.startswith("v")]) == 2
    assert shown(folder) == before


def test_merged_parts_are_merged_again(disk: Disk, folder: Path) -> None:
    """A merged part that is small is a source like any other, and its own sources stay superseded."""
    write(disk, folder, mixed(2000, seed=1))
    merge_parts(disk, folder, "w")
    old = (folder / "w-m1.parquet").read_bytes()
    pen_number = 21
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "ROLL_BYTES", 32 * 101)
        pen = ScalarJournal(disk, folder, "w", fail, first_number=pen_number)
        for number, (series, value, iteration) in enumerate(mixed(2000, seed=2)):
            pen.report("loss", series, value, iteration, 9_000_000 + number)
        for journal in pen.close():
            fold(disk, journal, trusted=True)
    before = shown(folder)
    (part,) = merge_parts(disk, folder, "w")
    assert part.name == "w-m2.parquet"
    assert names(folder) == ["w-m2.parquet"]
    assert {"w-m1.parquet", "w-1.parquet", "w-3.journal", "w-40.parquet"} <= set(PartFile.open(part).supersedes)
    (folder / "w-m1.parquet").write_bytes(old)  # who merged at the same time and slept over it
    assert shown(folder) == before
    merge_parts(disk, folder, "w")
    assert names(folder) == ["w-m2.parquet"]


def test_equal_iterations_stay_in_the_order_of_their_reporting(disk: Disk, folder: Path) -> None:
    """Twenty parts that all report the same iterations keep their order, and the last value is the last reported."""
    points = [("again", float(number), number % 50) for number in range(2000)]
    write(disk, folder, points)
    (part,) = merge_parts(disk, folder, "w")
    table = pq.read_table(part)
    steps, values = table["iteration"].to_pylist(), table["value"].to_pylist()
    assert steps == sorted(steps)
    assert values == [float(number) for step in range(50) for number in range(step, 2000, 50)]


def test_memory_is_bounded_by_row_groups_in_order(disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A series in order flows through in row groups of bounded length, however long it is."""
    monkeypatch.setattr(merging, "GROUP_POINTS", 2500)
    write(disk, folder, [("long", float(step), step) for step in range(40_000)], each=2000)
    before = shown(folder)
    (part,) = merge_parts(disk, folder, "w")
    metadata = pq.ParquetFile(part).metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert len(sizes) == 10
    assert max(sizes) == 4000
    assert shown(folder) == before


def test_stopping_leaves_all_as_it_was(disk: Disk, folder: Path) -> None:
    """When there is no time any more, the work in hand is dropped without a trace."""
    write(disk, folder, mixed(3000))
    before, answers = names(folder), iter([True] * 5 + [False] * 100)
    assert merge_parts(disk, folder, "w", lambda: next(answers)) == []
    assert names(folder) == before
    assert not list(disk.tmp.iterdir())


def test_a_damaged_part_is_left_out_and_stays(disk: Disk, folder: Path) -> None:
    """A torn part is no source; one with a damaged page ends the merge; both stay, and all else is read."""
    write(disk, folder, mixed(3000))
    (folder / "w-3.parquet").write_bytes(b"torn")
    (part,) = merge_parts(disk, folder, "w")
    assert names(folder) == ["w-3.parquet", "w-m1.parquet"]
    assert PartFile.open(part).rows == 2900
    assert len(read_scalars(folder).problems) == 1

    write(disk, folder, mixed(3000), writer="v")
    data = bytearray((folder / "v-5.parquet").read_bytes())
    data[40] ^= 0xFF
    (folder / "v-5.parquet").write_bytes(data)
    assert merge_parts(disk, folder, "v") == []
    assert "v-5.parquet" in names(folder)
    assert len([name for name in names(folder) if name.startswith("v")]) == 30


def test_a_merged_part_that_is_damaged_hides_nothing(disk: Disk, folder: Path) -> None:
    """Where a merged part turns out to be unreadable, what it stands for is read, as long as it is there."""
    write(disk, folder, mixed(3000))
    before = shown(folder)
    kept = {name: (folder / name).read_bytes() for name in names(folder)}
    (part,) = merge_parts(disk, folder, "w")
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    assert shown(folder) == before
    whole = part.read_bytes()
    for damaged in (whole[:-20], whole[:60] + b"\x00" * 40 + whole[100:]):
        part.write_bytes(damaged)
        found = read_scalars(folder)
        assert len(found.problems) == 1
        got = repr({k: (p.iterations, p.times_us, p.values.tobytes()) for k, p in sorted(found.series.items())})
        assert got == before
        assert merge_parts(disk, folder, "w") in ([], [folder / "w-m2.parquet"])
        for name in set(names(folder)) - {part.name}:
            (folder / name).unlink()
        for name, data in kept.items():
            (folder / name).write_bytes(data)


def test_an_unsorted_part_is_not_merged(disk: Disk, folder: Path) -> None:
    """A part of somebody else's making that is not sorted stays as it is."""
    write(disk, folder, mixed(3000))
    table = pq.read_table(folder / "w-2.parquet")
    pq.write_table(table.take(list(range(table.num_rows - 1, -1, -1))), folder / "w-2.parquet")
    before = names(folder)
    assert merge_parts(disk, folder, "w") == []
    assert names(folder) == before


def test_without_hard_links(disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files are made by name, a merged part is looked at again before what it stands for goes."""

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "link", refuse)
    write(disk, folder, mixed(3000))
    before = shown(folder)
    monkeypatch.setattr(merging, "_is_whole", lambda path, rows: False)
    assert merge_parts(disk, folder, "w") == []
    assert len(names(folder)) == 30
    monkeypatch.undo()
    monkeypatch.setattr(os, "link", refuse)
    assert len(merge_parts(disk, folder, "w")) == 1
    assert shown(folder) == before


def test_reading_one_series_reads_its_row_groups_alone(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a merged part, a reader of one series reads the row groups that may hold it and no others."""
    write(disk, folder, [(f"s{step % 10}", step / 3, step) for step in range(40_000)], each=2000)
    merge_parts(disk, folder, "w")
    seen: list[int] = []
    real = PartFile.read

    def spy(self, groups=None, columns=parts.COLUMNS):
        seen.extend(groups)
        return real(self, groups, columns)

    monkeypatch.setattr(PartFile, "read", spy)
    found = read_scalars(folder, "loss", "s4")
    assert found.of("loss", "s4").values.tolist() == [step / 3 for step in range(4, 40_000, 10)]
    assert seen == [4]


def test_large_parts_are_not_read_whole(disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a bound a part is read through its own descriptor, and none is left open."""
    monkeypatch.setattr(parts, "WHOLE_BYTES", 1000)
    write(disk, folder, mixed(4000))
    before = shown(folder)
    open_files = len(os.listdir("/proc/self/fd"))
    merge_parts(disk, folder, "w")
    assert shown(folder) == before
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > open_files:  # a thread of Arrow's may still be about to let go of one
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_child(action):
    """Run an action in a forked child; return its process number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def end_of(child):
    """Return a child's exit code, None while it runs."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def test_two_merge_at_once(disk: Disk, folder: Path) -> None:
    """Two processes that merge the same parts lose and double none, whoever is first."""
    for seed in range(5):
        write(disk, folder, mixed(3000, seed=seed), writer=f"w{seed}")
        before = shown(folder)
        children = [in_child(lambda seed=seed: merge_parts(disk, folder, f"w{seed}")) for _ in range(2)]
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert shown(folder) == before
        merge_parts(disk, folder, f"w{seed}")
        assert shown(folder) == before
        assert not [name for name in names(folder) if name.startswith(f"w{seed}-") and "-m" not in name]


def test_a_reader_sees_every_point_while_others_fold_and_merge(
    disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look while a run reports, folds and merges shows all points up to some moment, each once, and never fewer than before."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 32 * 101)

    def run() -> None:
        pen = ScalarJournal(disk, folder, "w", fail)
        for number in range(20_000):
            pen.report("loss", "train", number / 7, number)
            if number % 100 == 99:
                for journal in pen.take_rolled():
                    fold(disk, journal, trusted=True)
            if number % 2000 == 1999:
                merge_parts(disk, folder, "w")

    child, code, count, looks = in_child(run), None, 0, 0
    until = time.monotonic() + 60
    try:
        while code is None:
            code = end_of(child)
            found = read_scalars(folder)
            assert found.problems == []
            values = found.of("loss", "train").values.tolist()
            assert values == [number / 7 for number in range(len(values))]
            assert len(values) >= count
            count, looks = len(values), looks + 1
            assert time.monotonic() < until
    finally:
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert code == 0
    assert count == 20_000
    assert looks > 3


def test_a_part_that_loses_points_is_never_published(disk: Disk, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a merge count fewer points than it read, it says so by changing nothing."""
    write(disk, folder, mixed(3000))
    before = names(folder)
    real = merging._row_groups

    def lossy(*arguments):
        groups = list(real(*arguments))
        return iter(groups[:-1])

    monkeypatch.setattr(merging, "_row_groups", lossy)
    assert merge_parts(disk, folder, "w") == []
    assert names(folder) == before


def test_a_missing_folder_and_foreign_names(disk: Disk, folder: Path) -> None:
    """No folder, and names that are none of ours, are passed over."""
    assert crowded_writers(folder) == []
    assert merge_parts(disk, folder, "w") == []
    write(disk, folder, mixed(3000))
    (folder / "notes-m.parquet").write_bytes(b"x")
    (folder / "w-m1.parquet").mkdir()
    made = merge_parts(disk, folder, "w")
    assert [path.name for path in made] == ["w-m2.parquet"]
    with pytest.raises(CorruptFileError):
        PartFile.open(folder / "w-m1.parquet")
