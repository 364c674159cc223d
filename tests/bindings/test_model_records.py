"""Folders that a framework saved, on their way into the store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from localtrack import Task
from localtrack.bindings import model_files, model_hooks
from localtrack.bindings.model_files import Event, ModelFiles, Recorded, short_way
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.model_records import record_output
from localtrack.errors import InvalidValueError
from localtrack.runtime.binding_context import BindingContext
from localtrack.runtime.weight_callbacks import CallbackType, ModelInfo, WeightsFileHandler

Start = Callable[..., Task]


def test_an_empty_folder_is_refused_and_leaves_no_model(start: Start, tmp_path: Path) -> None:
    """A folder that its framework emptied meanwhile can't be packed: the error names it, and no model is begun."""
    task = start(output_uri=True)
    folder = tmp_path / "saved_model"
    folder.mkdir()
    session = task._session
    assert session is not None
    with pytest.raises(InvalidValueError, match=r"no files to pack in .*saved_model"):
        record_output(session, Event(str(folder), "TensorFlow", True), Recorded(""))
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
    record_output(session, Event(str(folder), "TensorFlow", True), Recorded(""))
    (model,) = task.models.output
    assert (Path(model.get_local_copy()) / "variables" / "a.index").read_bytes() == b"abc"
    task.output_uri = None
    record_output(session, Event(str(folder), "TensorFlow", True, key="second"), Recorded(""))
    entry = task._read().output_models[-1]
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


def test_one_relative_name_in_two_folders_is_two_files(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By text and by Path: what a name stands for is decided where it was loaded, not where it was seen before."""
    task, framework = start(), loader()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        framework.load("m.bin")
        framework.load(Path("p.bin"))
    framework.load("file:///elsewhere/u.bin")
    task.close()
    wanted = {f"file://{tmp_path}/{name}/{file}.bin" for name in ("one", "two") for file in "mp"}
    assert inputs(task) == wanted | {"file:///elsewhere/u.bin"}


def test_a_callback_that_comes_later_sees_what_is_loaded_then(start: Start, tmp_path: Path) -> None:
    """Loads that were only put by before are each shown to it at once, and none once it has gone."""
    task, framework = start(), loader()
    seen: list[str] = []

    def note(action: CallbackType, info: ModelInfo) -> ModelInfo:
        seen.append(Path(info.local_model_path).name)
        return info

    framework.load(str(tmp_path / "a.bin"))
    framework.load(str(tmp_path / "b.bin"))
    number = WeightsFileHandler.add_pre_callback(note)
    framework.load(str(tmp_path / "c.bin"))
    WeightsFileHandler.remove_pre_callback(number)
    framework.load(str(tmp_path / "d.bin"))
    task.close()
    assert seen == ["c.bin"]
    assert inputs(task) == {f"file://{tmp_path}/{name}.bin" for name in "abcd"}


def test_each_run_has_its_own_loads(start: Start, tmp_path: Path) -> None:
    """What is loaded after a run's end is nobody's, and then the next run's."""
    first, framework = start(), loader()
    for name in ("a", "b"):
        framework.load(str(tmp_path / name))
    first.close()
    assert short_way.put is None
    framework.load(str(tmp_path / "between"))
    assert inputs(first) == {f"file://{tmp_path}/{name}" for name in "ab"}
    second = start(reuse_last_task_id=False)
    for name in ("c", "d"):
        framework.load(str(tmp_path / name))
    second.close()
    assert inputs(second) == {f"file://{tmp_path}/{name}" for name in "cd"}


def test_a_forked_child_does_not_load_for_its_parent(start: Start, tmp_path: Path) -> None:
    """The parent's list is a copy that nobody empties there; a data loader's files are no models."""
    task, framework = start(), loader()
    framework.load(str(tmp_path / "a"))
    assert short_way.put is not None
    child = os.fork()
    if child == 0:
        framework.load(str(tmp_path / "b"))
        os._exit(short_way.put is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    task.close()
    assert inputs(task) == {f"file://{tmp_path}/a"}


def test_what_an_observer_loads_is_not_the_users(start: Start, tmp_path: Path) -> None:
    """Another binding that reads a file while it observes a call does not make that file a model."""
    task, framework = start(), loader()
    other: Any = ModuleType("other")
    other.call = lambda: "called"
    ctx = BindingContext("other", other, failed=lambda *about: None)
    ctx.patch.after(other, "call", lambda result, args, kwargs: framework.load(str(tmp_path / "observed")))
    framework.load(str(tmp_path / "a"))
    assert other.call() == "called"
    ctx.guarded("here", lambda: framework.load(str(tmp_path / "guarded")))
    framework.load(str(tmp_path / "b"))
    task.close()
    assert inputs(task) == {f"file://{tmp_path}/{name}" for name in "ab"}


def test_bindings_with_different_wildcards_see_the_same_files(start: Start, tmp_path: Path) -> None:
    """A file that one binding's wildcards leave out is recorded by another that loads it."""
    task, module = start(), ModuleType("framework")
    module.__dict__.update(load=lambda f: f, read=lambda f: f)
    for name, choice in (("load", "*.onnx"), ("read", "*.pt")):
        ctx = BindingContext(name, module, choice, failed=lambda *about: None)
        record_loads(ctx, module, name, name, 0, "f")
    for file in ("a.pt", "b.onnx"):
        module.load(str(tmp_path / file))
        module.read(str(tmp_path / file))
    task.close()
    assert inputs(task) == {f"file://{tmp_path}/{file}" for file in ("a.pt", "b.onnx")}


def test_who_asks_for_the_models_finds_what_was_saved(start: Start, tmp_path: Path) -> None:
    """At once, as with ClearML, also of a file that is copied first, and what was loaded; the last state of each counts."""
    task, framework = start(output_uri=True), loader()
    began = time.monotonic()
    for number in range(5):
        framework.save(b"x" * (number + 1), str(tmp_path / "a.pt"))
        assert Path(task.models["output"]["a"].get_local_copy()).read_bytes() == b"x" * (number + 1)
    framework.load(str(tmp_path / "a.pt"))
    (tmp_path / "b.pt").write_bytes(b"b")
    framework.load(str(tmp_path / "b.pt"))
    assert list(task.input_models_id) == ["a", "b"]
    assert list(task.output_models_id) == ["a"]
    assert time.monotonic() - began < 5 * model_files.GATHER_S + 2


def test_who_asks_for_the_models_waits_for_a_while_at_most(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the copy of a large file takes long, what is there by then is returned; nothing is lost."""
    monkeypatch.setattr(model_files, "SETTLE_S", 0.2)
    task, framework = start(), loader()
    session = task._session
    assert session is not None
    framework.save(b"x", str(tmp_path / "a.pt"))
    files = model_hooks.files_of(BindingContext("framework", ModuleType("framework"), failed=lambda *about: None))
    assert files is not None
    with files._work:  # as long as somebody else's copy takes
        began = time.monotonic()
        assert task.models["output"] == []
        assert time.monotonic() - began < 2
    monkeypatch.setattr(model_files, "SETTLE_S", 10.0)
    assert [model.name for model in task.models["output"]] == ["n - a"]
    task.close()
    assert len(task.models["output"]) == 1


def test_asking_for_models_in_several_threads_at_the_end_is_over_with_it(start: Start, tmp_path: Path) -> None:
    """Nobody waits for a worker that has ended."""
    task, framework = start(), loader()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            assert task.models is not None

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for number in range(20):
        framework.save(b"x", str(tmp_path / f"{number}.pt"))
    began = time.monotonic()
    task.close()
    stop.set()
    for asker in askers:
        asker.join()
    assert time.monotonic() - began < model_files.SETTLE_S
    assert len(task.models["output"]) == 20
