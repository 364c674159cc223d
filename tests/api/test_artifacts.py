"""Artifacts: what goes in comes out, at once, in the same process."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pandas as pd
import PIL.Image
import pytest

from localtrack import Task
from localtrack.errors import (
    ArtifactNotFoundError,
    CorruptFileError,
    InvalidValueError,
    StorageError,
    UntrustedPickleError,
)


class Thing:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


PLAIN: dict[str, tuple[Any, str]] = {
    "dict": ({"a": (1, 2), "n": None, "f": float("inf")}, "dict"), "list": ([1, "x", None], "JSON"),
    "tuple": ((1, 2), "JSON"), "text": ("some text\nmore", "string"), "number": (3, "JSON"), "none": (None, "pickle"),
    "empty": ("", "pickle"), "object": (Thing(4), "pickle"), "int keys": ({1: "x"}, "dict"), "set": ({1, 2}, "JSON"),
    "long text": ("a" * 300, "string"), "longer text": ("b" * 3000, "string"), "home of nobody": ("~nouserx/y", "string"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values(task: Task, name: str) -> None:
    """Every kind of value comes back equal, of the same type."""
    value, kind = PLAIN[name]
    assert task.upload_artifact(name, value) is True
    artifact = task.artifacts[name]
    assert artifact.get() == value
    assert type(artifact.get()) is type(value)
    assert artifact.type == kind
    assert len(artifact.hash) == 64
    assert artifact.size == os.path.getsize(artifact.url)


def test_images_that_png_cannot_hold(task: Task) -> None:
    """They come back all the same."""
    image = PIL.Image.new("CMYK", (2, 2), (1, 2, 3, 4))
    assert task.upload_artifact("cmyk", image) is True
    assert task.artifacts["cmyk"].get().tobytes() == image.tobytes()


def test_foreign_values(task: Task) -> None:
    """numpy, pandas and PIL objects come back as such."""
    pandas = pytest.importorskip("pandas")
    array = numpy.arange(12.0).reshape(3, 4)
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["i", "j"])
    image = PIL.Image.fromarray(numpy.arange(48, dtype="uint8").reshape(4, 4, 3))
    task.upload_artifact("array", array)
    task.upload_artifact("frame", frame)
    task.upload_artifact("image", image)
    task.upload_artifact("objects", numpy.array([{"a": 1}], dtype=object))
    assert numpy.array_equal(task.artifacts["array"].get(), array)
    pandas.testing.assert_frame_equal(task.artifacts["frame"].get(), frame)
    assert task.artifacts["image"].get().tobytes() == image.tobytes()
    assert task.artifacts["objects"].get()[0] == {"a": 1}
    assert "3, 4" in task.artifacts["array"].preview


def test_files_folders_and_patterns(task: Task, tmp_path: Path) -> None:
    """A file comes back as a path, a folder or pattern as a folder; the originals stay."""
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a.txt").write_text("A")
    (tmp_path / "d" / "sub" / "b.bin").write_bytes(b"\0B")
    task.upload_artifact("file", tmp_path / "d" / "a.txt")
    task.upload_artifact("as text", str(tmp_path / "d" / "a.txt"))
    task.upload_artifact("folder", tmp_path / "d")
    task.upload_artifact("pattern", str(tmp_path / "d" / "**" / "*.bin"))
    assert task.artifacts["file"].get().read_text() == "A"
    assert Path(task.artifacts["as text"].get_local_copy() or "").name == "a.txt"
    assert (task.artifacts["folder"].get() / "sub" / "b.bin").read_bytes() == b"\0B"
    assert [path.name for path in task.artifacts["pattern"].get().rglob("*.bin")] == ["b.bin"]
    assert zipfile.is_zipfile(task.artifacts["folder"].get_local_copy(extract_archive=False))
    assert (tmp_path / "d" / "a.txt").exists()


def test_same_name_replaces(task: Task) -> None:
    """The entry is replaced, and a reader of the old file is not disturbed."""
    task.upload_artifact("a", {"v": 1})
    old = task.artifacts["a"]
    task.upload_artifact("a", {"v": 2})
    assert task.artifacts["a"].get() == {"v": 2}
    assert old.get() == {"v": 1}
    assert len(task.artifacts) == 1


def test_options(task: Task, tmp_path: Path) -> None:
    """Metadata, own preview, own serialisation, deletion of the source when asked."""
    task.upload_artifact("m", [1], metadata={"k": 1}, preview="short")
    assert task.artifacts["m"].metadata == {"k": "1"}
    assert task.artifacts["m"].preview == "short"
    task.upload_artifact("s", 7, serialization_function=lambda v: str(v).encode(), extension_name=".num")
    assert task.artifacts["s"].get(deserialization_function=lambda b: int(b)) == 7
    assert task.artifacts["s"].url.endswith(".num")
    (tmp_path / "gone.txt").write_text("x")
    task.upload_artifact("d", tmp_path / "gone.txt", delete_after_upload=True)
    assert not (tmp_path / "gone.txt").exists()
    assert task.artifacts["d"].get().read_text() == "x"


def test_refusals(task: Task, tmp_path: Path) -> None:
    """No such artifact, no such file, an object that can't be kept: each says what there is or what to do."""
    task.upload_artifact("here", [1])
    with pytest.raises(ArtifactNotFoundError, match="here"):
        task.artifacts["nothing"]
    with pytest.raises(InvalidValueError, match=r"missing\.bin"):
        task.upload_artifact("x", tmp_path / "missing.bin")
    with pytest.raises(InvalidValueError, match="auto_pickle"):
        task.upload_artifact("x", Thing(1), auto_pickle=False)
    with pytest.raises(InvalidValueError, match="serialization_function"):
        task.upload_artifact("x", lambda: 1)
    with pytest.raises(InvalidValueError, match="non-empty"):
        task.upload_artifact("", [1])
    assert list(task.artifacts) == ["here"]


def test_altered_file_is_refused(task: Task) -> None:
    """A file that no longer has its hash is named instead of being loaded."""
    task.upload_artifact("a", {"v": 1})
    Path(task.artifacts["a"].url).write_text("{}")
    with pytest.raises(CorruptFileError, match="SHA-256"):
        task.artifacts["a"].get()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of another user")
def test_pickle_of_another_user(task: Task) -> None:
    """A pickle that another user wrote runs only after an explicit yes."""
    task.upload_artifact("p", Thing(3))
    os.chown(task.artifacts["p"].url, 4321, 4321)
    with pytest.raises(UntrustedPickleError, match="4321"):
        task.artifacts["p"].get()
    assert task.artifacts["p"].get(allow_pickle=True) == Thing(3)


def test_another_place_for_the_files(start: Callable[..., Task], tmp_path: Path) -> None:
    """With output_uri the file goes there, under project, task and name; an upload writes over no earlier one."""
    pytest.importorskip("fsspec")
    far = tmp_path / "far away"
    task = start("vision/digits", "run 1", output_uri=str(far))
    task.upload_artifact("data/x", {"v": 1}, wait_on_upload=True)
    old = task.artifacts["data/x"]
    task.upload_artifact("data/x", {"v": 2})
    task.upload_artifact("files", [tmp_path / "store" / "store.json"])

    assert (old.get(), task.artifacts["data/x"].get()) == ({"v": 1}, {"v": 2})
    assert old.url.startswith(f"file://{far}/vision/digits/run 1.{task.id}/artifacts/data_x/")
    assert (task.artifacts["files"].get() / "store.json").is_file()
    assert not (task._where() / "artifacts").exists()
    Path(task.artifacts["data/x"].url.removeprefix("file://")).write_text("{}")
    with pytest.raises(CorruptFileError, match="SHA-256"):
        task.artifacts["data/x"].get()
    assert task.delete_artifacts(["data/x"])
    assert len(list(far.rglob("*.json"))) == 1


def test_a_place_that_takes_nothing(
    start: Callable[..., Task], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When the other place fails, the file is kept in the store, and that is said; nothing is lost."""
    task = start(output_uri=str(tmp_path / "far"))
    (tmp_path / "far").rmdir() if (tmp_path / "far").is_dir() else None
    (tmp_path / "far").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert task.upload_artifact("a", {"v": 1}, retries=1) is True
    assert task.artifacts["a"].get() == {"v": 1}
    assert "'a' is kept in the store instead" in caplog.text
    assert "is tried again" in caplog.text


def test_urls(task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A URL is registered, not fetched; get brings the file; one that can't be reached is an error, or None."""
    (tmp_path / "data.bin").write_bytes(b"abc")
    task.upload_artifact("local", f"file://{tmp_path}/data.bin", metadata={"a": 1})
    task.upload_artifact("gone", f"file://{tmp_path}/gone.bin")
    artifact = task.artifacts["local"]
    assert (artifact.url, artifact.size, artifact.hash) == (f"file://{tmp_path}/data.bin", 0, "")
    assert artifact.get().read_bytes() == b"abc"
    assert artifact.get_local_copy() == str(tmp_path / "data.bin")
    with pytest.raises(StorageError):
        task.artifacts["gone"].get()
    with pytest.raises(StorageError):
        task.artifacts["gone"].get_local_copy(raise_on_error=True)
    assert task.artifacts["gone"].get_local_copy() is None
    assert "no local copy of artifact 'gone'" in caplog.text
    task.delete_artifacts(["local"])
    assert (tmp_path / "data.bin").exists()


@pytest.mark.parametrize("how", ["argument", "setting", "clearml"])
def test_pickles_can_be_blocked(task: Task, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """An argument, a setting and ClearML's variable refuse even one's own pickles; other kinds load."""
    task.upload_artifact("p", Thing(1))
    task.upload_artifact("a", numpy.arange(3))
    if how == "clearml":
        monkeypatch.setenv("CLEARML_BLOCK_PICKLED_ARTIFACTS", "1")
    if how == "setting":
        monkeypatch.setenv("LOCALTRACK_BLOCK_PICKLED_ARTIFACTS", "1")
        found = Task.create(project_name="p", task_name="other")
        found.upload_artifact("p", Thing(1))
        artifact, word = found.artifacts["p"], "LOCALTRACK_BLOCK_PICKLED_ARTIFACTS"
    else:
        artifact, word = task.artifacts["p"], "CLEARML_BLOCK" if how == "clearml" else "this call"
    with pytest.raises(UntrustedPickleError, match=word):
        artifact.get(block_unsafe_artifacts=how == "argument")
    assert task.artifacts["a"].get(block_unsafe_artifacts=True).tolist() == [0, 1, 2]


def test_set_artifacts(task: Task, draft: Task) -> None:
    """Artifacts of another task, and what ClearML's objects describe, are referred to; the others stay."""
    task.upload_artifact("mine", {"a": 1})
    task.upload_artifact("pickled", Thing(2))
    draft.upload_artifact("own", 1)
    described = SimpleNamespace(
        key="far", uri="s3://bucket/x", type="custom", content_size=7, hash="", display_data=[("k", 1)]
    )
    found = draft.set_artifacts([task.artifacts["mine"], task.artifacts["pickled"], described])
    assert {one.name for one in found} == {"own", "mine", "pickled", "far"}
    assert draft.artifacts["mine"].get() == {"a": 1}
    assert draft.artifacts["pickled"].get() == Thing(2)
    assert (draft.artifacts["far"].size, draft.artifacts["far"].metadata) == (7, {"k": "1"})
    draft.delete_artifacts(["mine", "pickled"])
    assert task.artifacts["mine"].get() == {"a": 1}
    with pytest.raises(InvalidValueError, match="takes a list"):
        draft.set_artifacts(None)
    with pytest.raises(InvalidValueError, match="needs a key and a uri"):
        draft.set_artifacts([3])


def test_delete_artifacts(task: Task) -> None:
    """Removed entries are gone; an unknown name is an error unless told otherwise."""
    task.upload_artifact("a", [1])
    task.upload_artifact("kept file", [1])
    place = Path(task.artifacts["kept file"].url)
    assert task.delete_artifacts(["a"]) is True
    assert task.delete_artifacts(["kept file"], delete_from_storage=False) is True
    assert list(task.artifacts) == []
    assert [path.name for path in (task._where() / "artifacts").iterdir()] == [place.parent.name]
    assert place.exists()
    with pytest.raises(ArtifactNotFoundError):
        task.delete_artifacts(["a"])
    assert task.delete_artifacts(["a"], raise_on_errors=False) is False


def test_model_file_is_stored(task: Task, tmp_path: Path) -> None:
    """An output model is copied, the source stays, the same name replaces the entry."""
    path = tmp_path / "net.pt"
    path.write_bytes(pickle.dumps([1, 2]))
    stored = task.update_output_model(str(path), model_name="net")
    assert Path(stored.removeprefix("file://")).read_bytes() == path.read_bytes()
    task.update_output_model(str(path), model_name="net")
    (model,) = task.models["output"]
    assert (model.name, model.framework) == ("net", "PyTorch")
    assert path.exists()


def test_odd_ways_to_store_are_named(task: Task) -> None:
    """Metadata that is no dict and a serializer that gives no bytes are refused; a preview may be a DataFrame."""
    with pytest.raises(InvalidValueError, match="metadata is a dict, not a list"):
        task.upload_artifact("a", {"x": 1}, metadata=["tag"])  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="returns bytes, not a str"):
        task.upload_artifact("a", {"x": 1}, serialization_function=lambda value: "text")  # type: ignore[arg-type,return-value]
    assert task.upload_artifact("a", {"x": 1}, preview=pd.DataFrame({"column": [1]}))
    assert "column" in task.artifacts["a"].preview
