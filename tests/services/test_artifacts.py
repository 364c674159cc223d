"""Artifacts: stored and read back as what they were."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from localtrack.errors import ArtifactNotFoundError, CorruptFileError, InvalidValueError, UntrustedPickleError
from localtrack.records.task import TaskRecord
from localtrack.services import artifacts, tasks
from localtrack.services.context import StoreContext


class Thing:
    """Something that only pickle knows."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def task(ctx: StoreContext) -> TaskRecord:
    """Return a draft."""
    return tasks.create(ctx, name="run", project="p")[1]


def _store(ctx: StoreContext, task: TaskRecord, value: Any, **options: Any) -> dict[str, Any]:
    folder = ctx.index.locate(task.id)
    entry = artifacts.upload(ctx, folder, "data", value, artifacts.Options(**options))
    artifacts.commit(ctx, task.id, folder, entry)
    return artifacts.find(tasks.read(ctx, task.id), "data")


def _load(ctx: StoreContext, task: TaskRecord, entry: dict[str, Any], **options: Any) -> Any:
    return artifacts.load(ctx, ctx.index.locate(task.id), entry, **options)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"a": [1, (2,), math.inf], 3: None}, "dict"), ({}, "dict"), ([1, "a"], "JSON"), ((1, 2), "JSON"), (5, "JSON"),
        (True, "JSON"), ("plain text", "string"), ("multi\nline é 🚀", "string"), ("x" * 5000, "string"), (Thing(3), "pickle"),
        ({"a": Thing(1)}, "pickle"), (None, "pickle"), ("", "pickle"), (b"bytes", "pickle"),
    ],
)  # fmt: skip
def test_objects_come_back(ctx: StoreContext, task: TaskRecord, value: Any, kind: str) -> None:
    """Each kind of object is itself again, with its type."""
    entry = _store(ctx, task, value)
    back = _load(ctx, task, entry)

    assert entry["type"] == kind
    assert back == value
    assert type(back) is type(value)


def test_foreign_kinds_come_back(ctx: StoreContext, task: TaskRecord) -> None:
    """Arrays, frames and images are stored in formats that anybody reads."""
    array = np.arange(6, dtype="float32").reshape(2, 3)
    entry = _store(ctx, task, array)
    assert entry["type"] == "numpy"
    assert np.array_equal(_load(ctx, task, entry), array)
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["r", "s"])
    entry = _store(ctx, task, frame)
    assert entry["file"].endswith(".parquet")
    pd.testing.assert_frame_equal(_load(ctx, task, entry), frame)
    image = PIL.Image.new("RGB", (3, 2), (1, 2, 3))
    entry = _store(ctx, task, image)
    assert _load(ctx, task, entry).tobytes() == image.tobytes()
    objects = np.array([Thing(1)], dtype=object)
    assert _store(ctx, task, objects)["type"] == "pickle"


def test_files_folders_and_patterns(ctx: StoreContext, task: TaskRecord, tmp_path: Path) -> None:
    """A path stores the file; a folder, a list and a pattern an archive with the names in it."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.bin"):
        (tmp_path / "in" / name).write_text(name)
    entry = _store(ctx, task, tmp_path / "in" / "a.txt")
    assert (entry["type"], entry["content_type"]) == ("custom", "text/plain")
    assert _load(ctx, task, entry).read_text() == "a.txt"
    whole = _load(ctx, task, _store(ctx, task, str(tmp_path / "in")))
    assert sorted(p.relative_to(whole).as_posix() for p in whole.rglob("*") if p.is_file() and p.name[0] != ".") == [
        "a.txt", "b.txt", "deep/c.bin",
    ]  # fmt: skip
    some = _load(ctx, task, _store(ctx, task, str(tmp_path / "in" / "*.txt")))
    assert {p.name for p in some.iterdir() if p.name[0] != "."} == {"a.txt", "b.txt"}
    with pytest.raises(InvalidValueError, match="no file or folder"):
        _store(ctx, task, tmp_path / "missing")


def test_references_and_own_serialisation(ctx: StoreContext, task: TaskRecord, tmp_path: Path) -> None:
    """An address is only registered; a function of one's own writes the bytes."""
    path = tmp_path / "far" / "a.bin"
    path.parent.mkdir()
    path.write_bytes(b"far away")
    entry = _store(ctx, task, f"file://{path}")
    assert (entry["type"], entry["url"], entry["sha256"]) == ("custom", f"file://{path}", "")
    assert _load(ctx, task, entry) == path
    assert _store(ctx, task, "s3://bucket/key.csv")["content_type"] == "text/csv"
    assert _store(ctx, task, "https://host/with space\nand a second line")["type"] == "string"
    entry = _store(ctx, task, Thing(7), serialize=lambda thing: str(thing.value).encode(), extension=".txt")
    assert _load(ctx, task, entry).read_text() == "7"


def test_each_upload_has_a_place_of_its_own(ctx: StoreContext, task: TaskRecord) -> None:
    """The same name again commits a new entry; the old files stay until they are garbage."""
    first = _store(ctx, task, {"a": 1})
    second = _store(ctx, task, {"a": 2}, metadata={"k": 5}, preview="mine")

    assert first["file"] != second["file"]
    assert _load(ctx, task, first) == {"a": 1}
    assert (second["metadata"], second["preview"]) == ({"k": "5"}, "mine")
    tasks.edit(ctx, task.id, lambda record: artifacts.without_entries(record, ["data"]), "removed")
    with pytest.raises(ArtifactNotFoundError, match=r"no artifact 'data'; there are: none"):
        artifacts.find(tasks.read(ctx, task.id), "data")


@pytest.mark.parametrize("name", ["../../x", "a/b", "a\0b", "x" * 300, "🚀", "CON", ".", "..", "/etc/passwd"])
def test_hostile_names(ctx: StoreContext, task: TaskRecord, name: str, tmp_path: Path) -> None:
    """Any name is kept as data, and its files stay in the task's folder."""
    folder = ctx.index.locate(task.id)
    entry = artifacts.upload(ctx, folder, name, {"a": 1})
    artifacts.commit(ctx, task.id, folder, entry)

    found = artifacts.find(tasks.read(ctx, task.id), name)
    assert artifacts.load(ctx, folder, found) == {"a": 1}
    assert (folder / found["file"]).resolve().is_relative_to(folder / "artifacts")
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_what_can_not_be_stored(ctx: StoreContext, task: TaskRecord) -> None:
    """A nameless one, and an object that can't be pickled, are refused with what to do; no empty folder stays."""
    with pytest.raises(InvalidValueError, match="non-empty text"):
        artifacts.upload(ctx, ctx.index.locate(task.id), "", 1)
    with pytest.raises(InvalidValueError, match="can't be pickled"):
        _store(ctx, task, lambda: 1)
    with pytest.raises(InvalidValueError, match="auto_pickle=True"):
        _store(ctx, task, Thing(1), auto_pickle=False)
    assert not list((ctx.index.locate(task.id)).glob("artifacts/*"))


def test_altered_files_are_found(ctx: StoreContext, task: TaskRecord) -> None:
    """A changed, missing or replaced file is named and never handed out; a pipe does not block."""
    entry = _store(ctx, task, {"a": 1})
    path = ctx.index.locate(task.id) / entry["file"]
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(CorruptFileError, match="does not match its SHA-256"):
        _load(ctx, task, entry)
    path.unlink()
    with pytest.raises(CorruptFileError, match="can't be read"):
        _load(ctx, task, entry)
    os.mkfifo(path)
    with pytest.raises(CorruptFileError, match="no regular file"):
        _load(ctx, task, entry)
    with pytest.raises(CorruptFileError, match="not in the task's folder"):
        _load(ctx, task, {**entry, "file": "../../../../../etc/passwd"})


def test_pickles_of_other_users_need_a_yes(
    ctx: StoreContext, task: TaskRecord, as_another_user: Callable[[Callable[[], None]], None], tmp_path: Path
) -> None:
    """One's own pickle loads; another user's only when that is asked for."""
    entry = _store(ctx, task, Thing(1))
    path = ctx.index.locate(task.id) / entry["file"]
    assert _load(ctx, task, entry) == Thing(1)
    os.chown(path, 12345, 12345)
    with pytest.raises(UntrustedPickleError, match=r"pickle of user 12345: .*allow_pickle=True"):
        _load(ctx, task, entry)
    assert _load(ctx, task, entry, allow_pickle=True) == Thing(1)
    with pytest.raises(UntrustedPickleError):
        _load(ctx, task, _store(ctx, task, Thing(1)), allow_pickle=False)


def test_pickles_are_never_loaded_by_looking(ctx: StoreContext, task: TaskRecord) -> None:
    """Listing and previewing run nobody's code."""
    entry = _store(ctx, task, Thing(1))
    path = ctx.index.locate(task.id) / entry["file"]

    assert pickle.loads(path.read_bytes()) == Thing(1)
    assert "Thing object" in entry["preview"]
