"""Saved files that are gone, or others, before they are copied."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from localtrack import Task
from localtrack.bindings import kept_files
from localtrack.bindings.kept_files import keep, release
from localtrack.bindings.model_hooks import record_saves
from localtrack.runtime.binding_context import BindingContext


def saver() -> Any:
    """Return a module whose ``save`` writes a file, and whose ``save_folder`` a folder, both watched."""
    module: Any = ModuleType("framework")

    def save_folder(thing: bytes, f: str) -> None:
        Path(f, "parts").mkdir(parents=True, exist_ok=True)
        Path(f, "parts", "a.bin").write_bytes(thing)
        Path(f, "config.json").write_bytes(b"{}")

    module.save = lambda thing, f: Path(f).write_bytes(thing)
    module.save_folder = save_folder
    ctx = BindingContext("framework", module, failed=_fail)
    for name in ("save", "save_folder"):
        record_saves(ctx, module, name, "PyTorch", 1, "f")
    return module


def _fail(*about: Any) -> None:
    raise AssertionError(about)


@pytest.fixture(params=["one file system", "two file systems"])
def disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let links be made, or refused as between two file systems."""
    if request.param == "two file systems":

        def refuse(*paths: Any, **options: Any) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(kept_files.os, "link", refuse)
        monkeypatch.setattr(kept_files, "_is_remote", lambda folder: False)
    return str(request.param)


def stored(task: Task) -> dict[str, bytes]:
    """Return the stored weights of the task's output models by their names in the task."""
    return {model.name.partition(" - ")[2]: Path(model.get_weights()).read_bytes() for model in task.models["output"]}


def open_files() -> int:
    """Return how many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_files_that_are_gone_at_once_are_stored(start: Callable[..., Task], tmp_path: Path, disks: str) -> None:
    """Deleted, renamed, replaced: each is stored as it was saved, and nothing of the waiting is left."""
    before = open_files()
    task, framework = start(output_uri=True), saver()
    framework.save(b"deleted", str(tmp_path / "deleted.pt"))
    (tmp_path / "deleted.pt").unlink()
    framework.save(b"renamed", str(tmp_path / "renamed.tmp"))
    os.replace(tmp_path / "renamed.tmp", tmp_path / "renamed.pt")
    framework.save(b"replaced", str(tmp_path / "replaced.pt"))
    (tmp_path / "other").write_bytes(b"another one")
    os.replace(tmp_path / "other", tmp_path / "replaced.pt")
    task.close()
    assert stored(task) == {"deleted": b"deleted", "renamed": b"renamed", "replaced": b"replaced"}
    assert [path.name for path in (task._where() / "models").iterdir() if path.name.startswith(".")] == []
    assert open_files() <= before


def test_a_link_of_the_users_is_followed(
    start: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative symbolic link leads nowhere from another folder: what it leads to is kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    os.symlink("real/x.pt", tmp_path / "latest.pt")
    task, framework = start(output_uri=True), saver()
    framework.save(b"first", "latest.pt")
    shutil.rmtree(tmp_path / "real")
    task.close()
    assert stored(task) == {"latest": b"first"}


def test_a_folder_that_is_deleted_at_once_is_stored(start: Callable[..., Task], tmp_path: Path) -> None:
    """As it was saved, although files were added to it since."""
    task, framework = start(output_uri=True), saver()
    framework.save_folder(b"weights", str(tmp_path / "checkpoint-1"))
    (tmp_path / "checkpoint-1" / "later.bin").write_bytes(b"x")
    shutil.rmtree(tmp_path / "checkpoint-1")
    task.close()
    (model,) = task.models["output"]
    folder = Path(model.get_local_copy())
    assert (folder / "parts" / "a.bin").read_bytes() == b"weights"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "parts"]


def test_what_cant_be_kept_is_said_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, a folder of more files than are linked, a network's disk: no path, and nothing is left."""
    place = tmp_path / "models"
    assert keep(str(tmp_path / "none"), place, "t") == ""
    (tmp_path / "folder").mkdir()
    for number in range(3):
        (tmp_path / "folder" / str(number)).write_bytes(b"x")
    monkeypatch.setattr(kept_files, "FILES_LIMIT", 2)
    assert keep(str(tmp_path / "folder"), place, "t") == ""
    assert list(place.iterdir()) == []
    monkeypatch.setattr(kept_files.os, "link", lambda *paths: _refuse())
    monkeypatch.setattr(kept_files, "_is_remote", lambda folder: True)
    assert keep(str(tmp_path / "folder" / "1"), place, "t") == ""
    release("")


def _refuse() -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def test_a_local_disk_is_known_as_one(tmp_path: Path) -> None:
    """Whatever this is, it is found once for a device, and no network's."""
    assert kept_files._is_remote(str(tmp_path)) is False
    assert kept_files._remote[os.stat(tmp_path).st_dev] is False
