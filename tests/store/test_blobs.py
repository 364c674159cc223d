"""Files beside the metadata."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from localtrack.errors import CorruptFileError, StoreError
from localtrack.fs.disk import Disk
from localtrack.store.blobs import (
    file_size,
    inside,
    new_upload_folder,
    put_content,
    put_copy,
    put_report,
    put_stream,
    read_content,
    read_reports,
    safe_file_name,
)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk."""
    return Disk(tmp_path / "tmp")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """Return a task's folder."""
    (tmp_path / "task").mkdir()
    return tmp_path / "task"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.pt", "model.pt"), ("../../etc/passwd", "passwd"), ("..", "file"), ("", "file"), (".hidden", "hidden"),
        ("a\\b\\c.txt", "c.txt"), ("a\0b.txt", "a_b.txt"), ("CON", "_CON"), ("nul.txt", "_nul.txt"), ("com1.log", "_com1.log"),
        ("nul.tar.gz", "_nul.tar.gz"), ("🚀.png", "_.png"), ("x" * 300 + ".tar.gz", "x" * 97 + ".gz"), ("trailing. ", "trailing"),
        ("a b (1).txt", "a b (1).txt"), ("/", "file"), ("e\u0301.txt", "e_.txt"),
    ],
)  # fmt: skip
def test_file_names_stay_in_their_folder(name: str, expected: str) -> None:
    """A file's own name is kept as far as every system allows it."""
    assert safe_file_name(name) == expected


def test_content_is_stored_once(disk: Disk, task: Path) -> None:
    """The same bytes have the same name; their record says file, hash and size."""
    first = put_content(disk, task, "code", "diff", ".patch", b"abc")
    second = put_content(disk, task, "code", "diff", ".patch", b"abc")

    assert first == second
    assert first.file == "code/diff-ba7816bf8f01.patch"
    assert (first.size_bytes, read_content(task, first.to_json())) == (3, b"abc")
    assert len(list((task / "code").iterdir())) == 1


def test_altered_and_missing_content_is_found(disk: Disk, task: Path) -> None:
    """What is not what the metadata says is never handed out; the message names the file."""
    stored = put_content(disk, task, "code", "diff", ".patch", b"abc")
    (task / stored.file).write_bytes(b"abd")
    with pytest.raises(CorruptFileError, match=r"diff-.*does not match its checksum"):
        read_content(task, stored.to_json())
    with pytest.raises(StoreError, match="other bytes than its name says"):
        put_content(disk, task, "code", "diff", ".patch", b"abc")
    (task / stored.file).unlink()
    with pytest.raises(CorruptFileError, match=r"diff-.*can't be read"):
        read_content(task, stored.to_json())


@pytest.mark.parametrize("name", ["", "..", "../x", "/etc/passwd", "a/../../x", "a\\..\\x", "a\0b", "code/../../../x"])
def test_metadata_that_points_outside_is_refused(task: Path, name: str) -> None:
    """No path in a task's metadata leads out of its folder."""
    with pytest.raises(CorruptFileError, match="not in the task's folder"):
        inside(task, name)


def test_links_that_lead_outside_are_refused(disk: Disk, task: Path, tmp_path: Path) -> None:
    """A link planted in a task's folder opens no file elsewhere."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"abc")
    (task / "code").symlink_to(tmp_path / "secret")
    with pytest.raises(CorruptFileError, match="by a link"):
        inside(task, "code/key")
    (task / "key").symlink_to(tmp_path / "secret" / "key")
    with pytest.raises(CorruptFileError, match="can't be read"):
        read_content(
            task, {"file": "key", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
        )


def test_upload_folders_count_up(disk: Disk, task: Path) -> None:
    """Each upload has a folder of its own, whatever else lies there."""
    for name in ("data.x", "data.²", "other.9", "data.", "data.007"):
        (task / "artifacts" / name).mkdir(parents=True)

    assert new_upload_folder(disk, task / "artifacts", "Data").name == "data.8"
    assert new_upload_folder(disk, task / "artifacts", "Data").name == "data.9"
    assert new_upload_folder(disk, task / "artifacts", "new").name == "new.1"


def test_streams_and_copies(disk: Disk, task: Path, tmp_path: Path) -> None:
    """What is stored is hashed on the way; a name is never used twice."""
    place = new_upload_folder(disk, task / "artifacts", "data")
    stored = put_stream(disk, task, place / "a.bin", lambda stream: _write(stream, b"abc"))
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    copied = put_copy(disk, task, place / "b.bin", tmp_path / "source")

    assert read_content(task, stored.to_json()) == b"abc"
    assert copied.size_bytes == len(read_content(task, copied.to_json())) == 3_000_000
    assert file_size(place) == 3_000_003
    with pytest.raises(StoreError, match="exists already"):
        put_stream(disk, task, place / "a.bin", lambda stream: _write(stream, b"other"))


def test_a_failed_stream_leaves_nothing(disk: Disk, task: Path) -> None:
    """A filler that raises leaves neither name nor temporary file."""

    def fail(stream: object) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        put_stream(disk, task, task / "x", fail)
    assert not (task / "x").exists()
    assert list(disk.tmp.iterdir()) == []


def test_reports_come_back_in_order(disk: Disk, task: Path) -> None:
    """Plots are read in the order of their making, with NaN, LaTeX and foreign marks as they were."""
    bodies = [
        {
            "schema": "localtrack/plot/1",
            "title": "$x^2$",
            "figure": {"y": [1, None, math.inf], "deep": {"$float": "nan"}},
        },
        {"schema": "localtrack/plot/1", "title": "plain", "figure": {"y": [1.5, 2]}},
    ]
    names = []
    for body in bodies:
        names.append(put_report(disk, task / "plots", body))
        time.sleep(0.002)

    found, problems = read_reports(task / "plots")
    assert [body.pop("_name") for body in found] == names
    assert found == bodies
    assert problems == []
    for name in names:
        json.loads((task / "plots" / name).read_bytes(), parse_constant=_refuse)


def test_damaged_reports_hide_no_others(disk: Disk, task: Path) -> None:
    """A plot that can't be read is named; the others are shown."""
    put_report(disk, task / "plots", {"schema": "localtrack/plot/1", "title": "good"})
    (task / "plots" / "0.json").write_bytes(b"{")
    (task / "plots" / "1.json").write_bytes(b"[1]")
    (task / "plots" / "2.json").mkdir()
    os.mkfifo(task / "plots" / "3.json")
    (task / "plots" / "4.json").write_bytes(b"[" * 100_000)
    (task / "plots" / "image.png").touch()

    found, problems = read_reports(task / "plots")
    assert [body["title"] for body in found] == ["good"]
    assert len(problems) == 5


def _write(stream: object, data: bytes) -> None:
    stream.write(data)  # type: ignore[attr-defined]


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
