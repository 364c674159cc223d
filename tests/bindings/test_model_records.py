"""Folders that a framework saved, on their way into the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from localtrack import Task
from localtrack.bindings import model_hooks
from localtrack.bindings.model_files import Event, ModelFiles, Recorded
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.model_records import record_output
from localtrack.errors import InvalidValueError
from localtrack.runtime.binding_context import BindingContext

Start = Callable[..., Task]


def test_an_empty_folder_is_refused_and_leaves_no_model(start: Start, tmp_path: Path) -> None:
    """A folder that its framework emptied meanwhile can't be packed: the error names it, and no model is begun."""
    task = start(output_uri=True)
    folder = tmp_path / "saved_model"
    folder.mkdir()
    session = task._session
    assert session is not None
    with pytest.raises(InvalidValueError, match=r"no files to pack in .*saved_model"):
        record_output(session, Event(str(folder), "TensorFlow", True), Recorded())
    assert task.output_models_id == {}
    assert not list((task._where() / "models").glob("*--*"))


def test_a_folder_is_packed_whole(start: Start, tmp_path: Path) -> None:
    """Of a folder with output_uri a zip with all files is kept; without, the folder is named with the size of its files."""
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "a.index").write_bytes(b"abc")
    (folder / "graph.pb").write_bytes(b"de")
    task = start(output_uri=True)
    session = task._session
    assert session is not None
    record_output(session, Event(str(folder), "TensorFlow", True), Recorded())
    (model,) = task.models.output
    assert (Path(model.get_local_copy()) / "variables" / "a.index").read_bytes() == b"abc"
    task.output_uri = None
    record_output(session, Event(str(folder), "TensorFlow", True, key="second"), Recorded())
    (entry,) = task._read().output_models
    assert (entry["url"], entry["size_bytes"]) == (f"file://{folder}", 5)


def loader(failed: Callable[..., None] = lambda *about: None) -> Any:
    """Return a module whose ``load`` and ``save`` are watched."""
    module: Any = ModuleType("framework")
    module.load = lambda f: {"from": f}
    module.save = lambda thing, f: Path(f).write_bytes(thing)
    ctx = BindingContext("framework", module, failed=failed)
    record_loads(ctx, module, "load", "PyTorch", 0, "f")
    record_saves(ctx, module, "save", "PyTorch", 1, "f")
    return module


def inputs(task: Task) -> set[str]:
    """Return the addresses of the task's input models."""
    return {str(model.url) for model in task.models["input"]}


def test_a_relative_path_is_that_of_the_moment(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was loaded by a relative path is found although the script has gone to another folder since."""
    task, framework = start(), loader()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.bin").write_bytes(b"x")
        monkeypatch.chdir(tmp_path / name)
        assert framework.load(f"{name}.bin") == {"from": f"{name}.bin"}
    framework.load(tmp_path / "one" / "one.bin")
    task.close()
    assert inputs(task) == {f"file://{tmp_path}/{name}/{name}.bin" for name in ("one", "two")}


def test_loading_starts_no_thread(start: Start, tmp_path: Path) -> None:
    """What a load costs the script is noting it; a thread for the models begins with the run's next tick."""
    task, framework = start(), loader()
    before = set(threading.enumerate())
    for number in range(300):
        framework.load(str(tmp_path / f"{number}.bin"))
    assert set(threading.enumerate()) == before
    task.close()
    assert len(inputs(task)) == 100


def test_a_file_that_is_loaded_over_and_over_is_handed_on_once(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its absolute path and by a relative one; the thread that records is not kept busy by a loop that loads."""
    task, framework = start(), loader()
    (tmp_path / "m.bin").write_text("x")
    monkeypatch.chdir(tmp_path)
    handed: list[Any] = []
    hand_over = ModelFiles._hand_over
    monkeypatch.setattr(ModelFiles, "_hand_over", lambda self, load: (handed.append(load), hand_over(self, load)))
    for _ in range(300):
        framework.load(str(tmp_path / "m.bin"))
        framework.load("m.bin")
    task.close()
    assert len(handed) == 2
    assert inputs(task) == {f"file://{tmp_path}/m.bin"}


def test_a_broken_note_does_not_break_the_load(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a load can't be noted, the script gets what it loaded, and the binding's failure is told."""
    start()
    told: list[object] = []
    framework = loader(lambda *about: told.append(about))

    def refuse(*about: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("localtrack.bindings.model_files.ModelFiles.loaded", refuse)
    assert framework.load("x.bin") == {"from": "x.bin"}
    assert "no room" in str(told)


def test_what_is_loaded_from_its_own_file_is_the_model_that_was_saved(start: Start, tmp_path: Path) -> None:
    """A script that saves and loads one file by turns has one model, output and input; what it found there is another."""
    task, framework = start(), loader()
    path, found = tmp_path / "mine.bin", tmp_path / "found.bin"
    found.write_bytes(b"before")
    framework.load(str(found))
    for number in range(3):
        framework.save(b"%d" % number, str(path))
        framework.load(str(path))
    framework.save(b"mine", str(found))
    task.close()
    outputs = {model.name: model.id for model in task.models["output"]}
    assert set(outputs) == {"n - mine", "n - found"}
    names = {model.name: model.id for model in task.models["input"]}
    assert names["n - mine"] == outputs["n - mine"]
    assert set(names) == {"n - mine", "found"}


def test_a_load_that_the_tending_thread_hands_on_as_the_run_ends_comes_after_the_save(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the saved file is still to be recorded: what was loaded from it is no other model."""
    task = start()
    module = loader()
    may_record = threading.Event()
    record = ModelFiles._record

    def slow(files: ModelFiles, event: Event) -> str:
        if event.is_save:
            assert may_record.wait(20)
        return record(files, event)

    monkeypatch.setattr(ModelFiles, "_record", slow)
    module.save(b"weights", str(tmp_path / "m.pt"))
    module.load(str(tmp_path / "m.pt"))
    known = model_hooks._known
    assert known is not None
    files = known[1]

    def tend() -> None:
        while not files._is_over:
            time.sleep(0.01)
        files._hand_loads_over()
        may_record.set()

    tending = threading.Thread(target=tend)
    tending.start()
    task.close()
    tending.join()
    assert set(task.input_models_id.values()) == set(task.output_models_id.values()) != set()
