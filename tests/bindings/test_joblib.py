"""joblib and the recording of model files: by reference, off the script's thread, copied whole where that is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from localtrack import Task
from localtrack.bindings import model_files, model_hooks, model_records
from localtrack.capture.launch import Launch
from localtrack.runtime import current
from localtrack.runtime.ownership import CHILD
from localtrack.runtime.weight_callbacks import ModelInfo, WeightsFileHandler
from localtrack.testing.bindings import BindingContract

Start = Callable[..., Task]


@pytest.fixture
def model() -> LinearRegression:
    """A fitted estimator."""
    return LinearRegression().fit(np.arange(6.0).reshape(3, 2), np.arange(3.0))


class TestContract(BindingContract):
    """The joblib binding keeps to what every binding keeps to."""

    binding = "localtrack.bindings.joblib"
    reports_fail_visibly = False
    number = 0

    def use(self, folder: Path) -> None:
        """Dump an estimator, and wait until it is recorded."""
        joblib.dump(LinearRegression(), folder / "m.joblib")
        known = model_hooks._known
        if known is not None and not known[0].closed:
            deadline = time.monotonic() + 20
            while not known[1]._recorded.ids and time.monotonic() < deadline:
                time.sleep(0.05)

    def count(self, task: Task) -> int:
        """Return how many models are recorded."""
        return len(task.models["output"])


def names(task: Task, kind: str = "output") -> dict[str, Any]:
    """Return a task's models by what it calls them."""
    return dict(zip(task.models[kind].keys(), task.models[kind], strict=True))


def test_saved_and_loaded_files_are_models_by_reference(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """A dumped estimator is an output model, one that is loaded an input model; both name the file where it lies."""
    task = start(name="fit")
    path, other = tmp_path / "m.joblib", tmp_path / "z" / "m.joblib"
    other.parent.mkdir()
    joblib.dump(model, path)
    joblib.dump(model, other, compress=True)
    with (tmp_path / "f.pkl").open("wb") as stream:
        joblib.dump(model, stream)
    joblib.dump(np.zeros(3), tmp_path / "array.joblib")
    joblib.load(path)
    task.close()
    found = names(task)
    assert sorted(found) == ["f", "m", "z/m"]
    assert found["m"].name == "fit - m"
    assert found["m"].framework == "ScikitLearn"
    assert found["m"].url == path.as_uri()
    assert found["z/m"].url == other.as_uri()
    assert found["m"]._record().weights["size_bytes"] == path.stat().st_size
    assert [one.id for one in names(task, "input").values()] == [found["m"].id]


def test_wildcards_choose_files(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """With wildcards in ``auto_connect_frameworks`` only files that fit one are recorded."""
    task = start(auto_connect_frameworks={"joblib": ["*best*", "*.keep"]})
    for name in ("best.joblib", "last.joblib", "a.keep"):
        joblib.dump(model, tmp_path / name)
    task.close()
    assert sorted(names(task)) == ["a", "best"]


def test_other_ranks_record_nothing(
    start: Start, tmp_path: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ranks of one launch the first speaks for all."""
    task = start()
    session = current.get()
    assert session is not None
    with monkeypatch.context() as as_rank_1:
        as_rank_1.setattr(session, "role", CHILD)
        as_rank_1.setattr(session, "launch", Launch("0" * 32, 1, 2, "torchrun", True))
        joblib.dump(model, tmp_path / "m.joblib")
    joblib.dump(model, tmp_path / "n.joblib")
    task.close()
    assert sorted(names(task)) == ["n"]


def test_a_file_that_is_saved_again_is_one_model(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """A checkpoint that is written over all the time is one model, and its last size counts."""
    task = start()
    path = tmp_path / "last.joblib"
    for size in range(20):
        joblib.dump([model] * (size + 1), path)
    task.close()
    (found,) = names(task).values()
    assert found._record().weights["size_bytes"] == path.stat().st_size


def test_copies_are_whole_when_the_run_ends(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """With ``output_uri`` each file is copied, also one that the script removes at once; none is cut short."""
    task = start(output_uri=True)
    path = tmp_path / "last.joblib"
    for size in (10, 3000, 20):
        joblib.dump([np.full(size, 1.5), model], path)
    joblib.dump(model, tmp_path / "gone.joblib")
    os.remove(tmp_path / "gone.joblib")
    task.close()
    found = names(task)
    assert sorted(found) == ["gone", "last"]
    for one in found.values():
        weights = one._record().weights
        copy = Path(one.get_local_copy())
        assert copy.is_relative_to(task._where())
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == weights["sha256"]
    assert Path(found["last"].get_local_copy()).read_bytes() == path.read_bytes()
    assert not [name for name in os.listdir(task._where() / "models") if name.startswith(".")], "a link was left behind"


def test_saving_waits_for_a_copy_of_the_same_file(
    start: Start, tmp_path: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever saves over a file that is being copied waits for the copy: it is of one state, never of two."""
    task = start(output_uri=True)
    path = tmp_path / "last.joblib"
    copying, go_on = threading.Event(), threading.Event()
    during: list[bytes] = []
    real = model_records.record_output

    def slow(*args: Any) -> str:
        during.append(path.read_bytes())
        copying.set()
        go_on.wait(10)
        during.append(path.read_bytes())
        return real(*args)

    monkeypatch.setattr(model_records, "record_output", slow)
    joblib.dump(model, path)
    assert copying.wait(10)
    threading.Timer(0.3, go_on.set).start()
    began = time.monotonic()
    joblib.dump([model, model], path)
    assert time.monotonic() - began > 0.2
    assert during[0] == during[1]
    task.close()
    (found,) = names(task).values()
    assert Path(found.get_local_copy()).read_bytes() == path.read_bytes()


def test_many_loads_are_data(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """A run that loads more files than any model has is reading data: it is recorded up to a limit, and said once."""
    task = start()
    for number in range(model_files.LOAD_LIMIT + 20):
        path = tmp_path / f"{number}.joblib"
        path.write_bytes(_dumped(model))
        joblib.load(path)
    task.close()
    assert len(names(task, "input")) == model_files.LOAD_LIMIT


def _dumped(model: LinearRegression) -> bytes:
    return pickle.dumps(model)


def test_pickle_is_watched_when_asked(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """Estimators that are pickled are models if the user names pickle, and only then; other objects never are."""
    for asked, expected in (({"pickle": True}, ["m"]), (True, [])):
        task = start(auto_connect_frameworks=asked)
        for name, thing in (("m.pkl", model), ("d.pkl", {"fit": 1})):
            with (tmp_path / name).open("wb") as stream:
                pickle.dump(thing, stream)
        task.close()
        assert sorted(names(task)) == expected


@contextlib.contextmanager
def callbacks(before: Any, after: Any) -> Iterator[None]:
    """Add callbacks for a while."""
    numbers = WeightsFileHandler.add_pre_callback(before), WeightsFileHandler.add_post_callback(after)
    try:
        yield
    finally:
        assert WeightsFileHandler.remove_pre_callback(numbers[0])
        assert WeightsFileHandler.remove_post_callback(numbers[1])


def test_callbacks_see_and_change_what_is_recorded(start: Start, tmp_path: Path, model: LinearRegression) -> None:
    """Functions of the user's run around each save, name the model, and keep files out by returning None."""
    seen: list[tuple[str, str]] = []

    def before(action: str, info: ModelInfo) -> ModelInfo | None:
        seen.append(("before", action))
        assert info.model is None
        assert info.framework == "ScikitLearn"
        if info.upload_filename == "secret.joblib":
            return None
        info.upload_filename = "slot_0.joblib"
        info.local_model_id = "slot"
        return info

    def after(action: str, info: ModelInfo) -> ModelInfo:
        seen.append(("after", action))
        info.model.comment = f"saved by {info.task.name}"
        return info

    task = start(output_uri=True)
    with callbacks(before, after):
        for name in ("a.joblib", "secret.joblib", "b.joblib"):
            joblib.dump(model, tmp_path / name)
    task.close()
    (name, found), = names(task).items()  # fmt: skip
    assert name == "slot_0"
    assert found.comment == "saved by n"
    assert Path(found.get_local_copy()).name == "slot_0.joblib"
    assert seen == [("before", "save"), ("after", "save"), ("before", "save"), ("before", "save"), ("after", "save")]


def test_a_save_that_fails_is_the_users_own(start: Start, tmp_path: Path) -> None:
    """An object that can't be dumped raises what it raises, and no model is recorded."""
    task = start()
    with pytest.raises(pickle.PicklingError):
        joblib.dump([lambda: 0, LinearRegression()], tmp_path / "m.joblib")
    task.close()
    assert names(task) == {}
