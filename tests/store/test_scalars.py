"""All parts and journals of all writers, merged."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from localtrack.fs.disk import Disk
from localtrack.store import scalars as scalars_module
from localtrack.store.journal import ScalarJournal
from localtrack.store.parts import SUPERSEDES_KEY, fold
from localtrack.store.scalars import read_scalars


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk."""
    return Disk(tmp_path / "tmp")


def _fail(error: OSError) -> None:
    raise error


def _write(disk: Disk, folder: Path, writer: str, steps: range) -> Path:
    pen = ScalarJournal(disk, folder, writer, _fail)
    for step in steps:
        pen.report("loss", "train", float(step), step)
        pen.report("acc", "test", -float(step), step)
    return pen.close()[0]


def test_writers_are_merged_in_order(disk: Disk, tmp_path: Path) -> None:
    """Points of several processes, folded or not, are one series in order of iteration."""
    fold(disk, _write(disk, tmp_path, "b", range(0, 10)), trusted=True)
    _write(disk, tmp_path, "a", range(10, 20))
    fold(disk, _write(disk, tmp_path, "c", range(20, 30)), trusted=False)

    found = read_scalars(tmp_path)
    assert found.problems == []
    assert found.series["loss", "train"].iterations.tolist() == list(range(30))
    assert found.series["acc", "test"].values.tolist() == [-float(step) for step in range(30)]


def test_one_graph_or_line_only(disk: Disk, tmp_path: Path) -> None:
    """A title and a series choose, in journals and in parts."""
    _write(disk, tmp_path, "a", range(3))
    fold(disk, _write(disk, tmp_path, "b", range(3)), trusted=True)

    assert list(read_scalars(tmp_path, "loss").series) == [("loss", "train")]
    assert list(read_scalars(tmp_path, series="test").series) == [("acc", "test")]
    assert read_scalars(tmp_path, "loss", "test").series == {}


def test_equal_iterations_keep_both_points(disk: Disk, tmp_path: Path) -> None:
    """The same iteration twice is two points, by time."""
    pen = ScalarJournal(disk, tmp_path, "a", _fail)
    for time_us, value in ((5, 1.0), (3, 2.0), (4, 3.0)):
        pen.report("a", "b", value, 7, time_us)
    pen.report("a", "b", 0.0, 1, 9)

    points = read_scalars(tmp_path).series["a", "b"]
    assert points.iterations.tolist() == [1, 7, 7, 7]
    assert points.values.tolist() == [0.0, 2.0, 3.0, 1.0]


def test_a_missing_folder_has_no_points(tmp_path: Path) -> None:
    """A task that reported nothing reads empty."""
    assert read_scalars(tmp_path / "nothing").series == {}


def test_hostile_files_hide_no_others(disk: Disk, tmp_path: Path) -> None:
    """Folders, pipes, links and garbage among the files are named as problems; the rest is shown."""
    _write(disk, tmp_path, "good", range(3))
    (tmp_path / "d-1.journal").mkdir()
    (tmp_path / "d-1.parquet").mkdir()
    os.mkfifo(tmp_path / "f-1.journal")
    os.mkfifo(tmp_path / "f-2.parquet")
    (tmp_path / "l-1.journal").symlink_to("/etc/passwd")
    (tmp_path / "l-1.parquet").symlink_to("nowhere")
    (tmp_path / "g-1.journal").write_bytes(b"garbage" * 20)
    (tmp_path / "g-2.parquet").write_bytes(b"")
    (tmp_path / "README").write_text("hello")

    found = read_scalars(tmp_path)
    assert len(found.series["loss", "train"].values) == 3
    assert len(found.problems) == 8
    assert all(str(tmp_path) in problem for problem in found.problems)


def test_a_damaged_part_whose_journal_is_still_there(disk: Disk, tmp_path: Path) -> None:
    """The journal stands in for a part that is not whole."""
    journal = _write(disk, tmp_path, "a", range(3))
    journal.with_suffix(".parquet").write_bytes(b"torn")

    found = read_scalars(tmp_path)
    assert len(found.series["loss", "train"].values) == 3
    assert len(found.problems) == 1


def test_a_part_that_stands_for_others(disk: Disk, tmp_path: Path) -> None:
    """A compacted part hides the parts and journals that it names, so that no point counts twice."""
    for name in ("a", "b"):
        fold(disk, _write(disk, tmp_path, name, range(3)), trusted=True)
    _write(disk, tmp_path, "c", range(3))
    table = pq.read_table(tmp_path / "a-1.parquet")
    table = table.replace_schema_metadata({SUPERSEDES_KEY: b'["a-1.parquet", "b-1.parquet", "c-1.journal"]'})
    pq.write_table(table, tmp_path / "z-1.parquet")

    assert len(read_scalars(tmp_path).series["loss", "train"].values) == 3


def test_a_journal_that_is_folded_while_it_is_read(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose listing is overtaken lists again."""
    journal = _write(disk, tmp_path, "a", range(3))
    real = scalars_module.read_journal

    def overtaken(path: Path) -> object:
        if journal.exists():
            fold(disk, journal, trusted=True)
        return real(path)

    monkeypatch.setattr(scalars_module, "read_journal", overtaken)

    assert len(read_scalars(tmp_path).series["loss", "train"].values) == 3


def test_an_unreadable_file_is_a_problem(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that this user may not read is named; the others are shown."""
    _write(disk, tmp_path, "a", range(3))
    _write(disk, tmp_path, "b", range(3, 6))
    real = scalars_module.read_journal

    def forbidden(path: Path) -> object:
        if path.name.startswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(scalars_module, "read_journal", forbidden)

    found = read_scalars(tmp_path)
    assert found.series["loss", "train"].iterations.tolist() == [3, 4, 5]
    assert "a-1.journal can't be read (Permission denied)" in found.problems[0]
