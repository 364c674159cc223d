"""Artifacts: what goes in comes out, at once, in the same process."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest

from localtrack import Task
from localtrack.errors import ArtifactNotFoundError, CorruptFileError, InvalidValueError, UntrustedPickleError


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
    assert task.artifacts["as text"].get_local_copy().name == "a.txt"
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


def test_delete_artifacts(task: Task) -> None:
    """Removed entries are gone; an unknown name is an error unless told otherwise."""
    task.upload_artifact("a", [1])
    assert task.delete_artifacts(["a"]) is True
    assert list(task.artifacts) == []
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
