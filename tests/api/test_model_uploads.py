"""Weights on their way to another place: what stays, what goes, and what the model says meanwhile."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import Model, OutputModel, Task
from localtrack.errors import StorageError
from localtrack.services import storage, uploads
from localtrack.services import weights as services_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A user's weights file."""
    path = tmp_path / "mine" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights one")
    return path


def _path(url: str) -> Path:
    path = storage.local_path(url)
    assert path is not None
    return path


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make every upload to another host wait for the event that this returns, and fail then."""
    from localtrack.services.remote import RemoteFiles

    go_on = threading.Event()

    def put(self: RemoteFiles, source: Path, url: str) -> None:
        go_on.wait(30)
        raise StorageError(f"{url}: the host is gone", url=url)

    monkeypatch.setattr(RemoteFiles, "put", put)
    return go_on


def test_an_upload_that_fails_removes_nothing(
    task: Task, weights: Path, root: Path, unreachable: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Handed-over weights stay when their upload fails later; the model gets the snapshot, and the error says where."""
    model = OutputModel(task=task, name="best")
    model.update_weights(str(weights), upload_uri="memory://models-of-this-test/y", auto_delete_file=True)
    assert weights.exists(), "it is not uploaded yet"
    weights.write_bytes(b"of the next epoch")
    unreachable.set()
    OutputModel.wait_for_uploads(30)
    assert weights.read_bytes() == b"of the next epoch"
    kept = Path(Model(str(model.id)).get_local_copy())
    assert kept.read_bytes() == b"weights one"
    assert kept.is_relative_to(root)
    assert str(kept) in caplog.text
    assert "update_weights again" in caplog.text
    assert _path(model.url) == kept


def test_a_snapshot_that_the_store_does_not_take_stays_where_it_is(
    task: Task,
    weights: Path,
    unreachable: threading.Event,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When neither the other host nor the store takes the weights, the snapshot is not removed, and the error names it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    model = OutputModel(task=task, name="best")
    model.update_weights(str(weights), upload_uri="memory://models-of-this-test/y")
    monkeypatch.setattr(services_weights, "store_copy", full)
    weights.write_bytes(b"of the next epoch")
    unreachable.set()
    OutputModel.wait_for_uploads(30)
    place = re.search(r"are kept in (\S+),", caplog.text)
    assert place is not None
    assert Path(place[1]).read_bytes() == b"weights one"
    shutil.rmtree(Path(place[1]).parent)


def test_a_package_that_is_not_uploaded_removes_nothing(
    task: Task, tmp_path: Path, unreachable: threading.Event
) -> None:
    """The files of a package stay when its upload fails later."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"a")
    model = OutputModel(task=task, name="pack")
    model.update_weights_package(
        weights_path=str(folder), upload_uri="memory://models-of-this-test/z", auto_delete_file=True
    )
    unreachable.set()
    OutputModel.wait_for_uploads(30)
    assert (folder / "a.bin").read_bytes() == b"a"
    assert (Path(Model(str(model.id)).get_local_copy()) / "a.bin").read_bytes() == b"a"


def test_handed_over_weights_go_when_they_are_uploaded(task: Task, weights: Path, tmp_path: Path) -> None:
    """After an upload in the background the file goes; one that the script wrote meanwhile is another and stays."""
    model = OutputModel(task=task, name="best")
    second = tmp_path / "second.pt"
    second.write_bytes(b"weights two")
    started, go_on = threading.Event(), threading.Event()
    uploads.submit(lambda: (started.set(), go_on.wait(30)), "another upload", after=_filed(model, weights))
    model.update_weights(str(weights), upload_uri="memory://models-of-this-test/v", auto_delete_file=True)
    model.update_weights(str(second), auto_delete_file=True)
    second.write_bytes(b"of the next epoch")
    go_on.set()
    OutputModel.wait_for_uploads(30)
    assert not weights.exists()
    assert second.read_bytes() == b"of the next epoch"
    assert Path(model.get_weights()).read_bytes() == b"weights two", "the last call counts, not the last upload to end"


def _filed(model: OutputModel, weights: Path) -> str:
    model.update_weights(register_uri=str(weights))
    return str(model.id)


def test_publishing_waits_for_the_weights(task: Task, weights: Path) -> None:
    """A model that is published while its weights are on their way gets them first."""
    model = OutputModel(task=task, name="best")
    held = threading.Event()
    go_on = threading.Timer(0.2, held.set)
    uploads.submit(lambda: held.wait(30), "another upload", after=_filed(model, weights))
    url = model.update_weights(str(weights), upload_uri="memory://models-of-this-test/p")
    go_on.start()
    model.publish()
    go_on.join()
    assert Model(str(model.id)).url == url


def test_what_was_not_packed_is_not_removed(start: Callable[..., Task], tmp_path: Path) -> None:
    """Of a folder that is handed over, what was written into it after the zip was made stays; else the folder goes."""
    task = start(output_uri=True)
    folder = tmp_path / "checkpoint"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"a")
    (folder / "sub" / "b.bin").write_bytes(b"b")
    pack = services_weights.pack

    def slow(files: Any, base: Path | None, target: Path) -> None:
        pack(files, base, target)
        (folder / "late.bin").write_bytes(b"late")
        (folder / "a.bin").write_bytes(b"a, but longer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services_weights, "pack", slow)
        OutputModel(task=task, name="pack").update_weights_package(weights_path=str(folder), auto_delete_file=True)
    assert sorted(path.name for path in folder.iterdir()) == ["a.bin", "late.bin"]
    OutputModel(task=task, name="pack").update_weights_package(weights_path=str(folder), auto_delete_file=True)
    assert not folder.exists()


def test_weights_of_another_model_are_not_handed_over(start: Callable[..., Task], weights: Path) -> None:
    """A path that a model gave is the store's only copy: it is not removed for another model."""
    task = start(output_uri=True)
    first = OutputModel(task=task, name="first")
    first.update_weights(str(weights))
    OutputModel(task=task, name="second").update_weights(first.get_weights(), auto_delete_file=True)
    assert Path(first.get_weights()).read_bytes() == b"weights one"
