"""The task that an integration reports to, whatever the framework: started when there is none, and then closed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError
from localtrack.integrations.hold import TaskHold, number_of
from localtrack.runtime import current
from tests.api.conftest import QUIET, root, start

__all__ = ["root", "start"]


@pytest.fixture(autouse=True)
def no_run_left(root: Path) -> Any:
    """End what a test left running."""
    yield
    session = current.get()
    if session is not None:
        session.close()
    current.put(None)


def hold(**options: Any) -> TaskHold:
    """Return a hold that captures little."""
    return TaskHold(**{"project": "p", "name": "n", "init": QUIET, **options})


def test_own_task_is_closed_and_goes_on(root: Path) -> None:
    """A task that was started is completed at the release; the next start continues it, and adds nothing to iterations."""
    held = hold()
    held.scalar("t", "s", 1.0, 5)
    held.release()
    (task,) = Task.get_tasks()
    assert (task.get_project_name(), task.name, task.status) == ("p", "n", "completed")
    held.scalar("t", "s", 2.0, 6)
    held.release()
    assert Task.get_tasks() == [task]
    assert task.get_reported_scalars()["t"]["s"]["x"] == [5, 6]


def test_two_holds_have_two_tasks(root: Path) -> None:
    """The second does not take the first one's up again."""
    for _ in range(2):
        held = hold()
        held.start()
        held.release()
    assert len(Task.get_tasks()) == 2


def test_running_task_is_not_closed(start: Callable[..., Task]) -> None:
    """Whoever started the task ends it, also when the training failed."""
    task = start(name="mine")
    held = hold()
    assert held.start() is task
    held.ended(ValueError("no more"))
    assert task.status == "in_progress"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "completed"), (ValueError("no more"), "failed"), (KeyboardInterrupt(), "stopped"),
        (SystemExit(0), "completed"), (SystemExit(3), "failed"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_end_says_how_the_training_ended(root: Path, error: BaseException | None, status: str) -> None:
    """Failed with the exception's text, stopped by Ctrl-C, completed otherwise."""
    held = hold()
    held.start()
    held.ended(error)
    (task,) = Task.get_tasks()
    assert task.status == status
    if status == "failed":
        assert str(error) in str(task.get_status_message())


def test_offsets_are_added_only_to_steps_that_begin_anew(start: Callable[..., Task]) -> None:
    """In a continued task a step that counts on by itself stays what it is."""
    start().close()
    task = start(continue_last_task=100)
    held = hold()
    held.scalar("own", "s", 1.0, 7, is_absolute=True)
    held.scalar("new", "s", 1.0, 7)
    found = task.get_reported_scalars()
    assert (found["own"]["s"]["x"], found["new"]["s"]["x"]) == ([7], [107])


def test_what_is_no_number_is_passed_over(root: Path) -> None:
    """Texts and lists are no points."""
    held = hold()
    for value in ("text", [1, 2], None):
        held.scalar("t", "s", value, 0)
        held.single_value("v", value)
    assert held.task is not None
    assert held.task.get_reported_scalars() == {}
    assert number_of(True) == 1.0


def test_model_that_cannot_be_kept_is_said_and_the_training_goes_on(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure to copy weights reaches nobody but the reader of stderr."""
    held = hold()
    held.start()
    file = tmp_path / "a.bin"
    file.write_bytes(b"1")
    monkeypatch.setattr("localtrack.api.model.OutputModel.update_weights", lambda *args, **kwargs: 1 / 0)
    monkeypatch.setattr("sys.__stderr__", sys.stderr)
    held.model(file, "PyTorch", 1)
    assert "model a.bin: ZeroDivisionError" in capsys.readouterr().err


def test_files_of_one_name_are_two_models(root: Path, tmp_path: Path) -> None:
    """Weights of the same name in two folders do not replace each other."""
    held = hold()
    held.start()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.bin").write_text(name)
        held.model(tmp_path / name / "w.bin", "PyTorch", 1, tags=("best",), metadata={"score": 0.5})
    held.release()
    (task,) = Task.get_tasks()
    kept = task.models["output"]
    assert {Path(model.get_local_copy()).read_text() for model in kept} == {"a", "b"}
    assert [model.tags for model in kept] == [["best"], ["best"]]
    assert kept[0].get_metadata("score") == "0.5"


def test_copy_of_a_hold_knows_the_task(root: Path) -> None:
    """Another process that gets a pickled copy continues the same task."""
    held = hold()
    held.start()
    copy = pickle.loads(pickle.dumps(held))
    held.release()
    assert copy.task_id == held.task_id
    copy.scalar("t", "s", 1.0, 1)
    copy.release()
    assert len(Task.get_tasks()) == 1


def test_other_ranks_have_no_task(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a rank other than zero nothing is started, and everything can be called."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    held = hold()
    assert held.start() is None
    held.scalar("t", "s", 1.0, 0)
    held.parameters({"a": 1})
    held.configuration("c", {"a": 1})
    held.release()
    assert Task.get_tasks() == []


def test_names_that_are_given_twice_are_refused() -> None:
    """The message says what to write."""
    with pytest.raises(InvalidValueError, match="give project and name"):
        hold(init={"task_name": "n"})


def test_package_imports_no_framework() -> None:
    """Neither the package nor Task brings a framework along, nor an integration."""
    code = (
        "import sys, localtrack.integrations; from localtrack import Task\n"
        "names = {'torch', 'transformers', 'keras', 'tensorflow', 'xgboost', 'lightgbm', 'optuna', 'lightning'}\n"
        "print(sorted(names & set(sys.modules)), 'localtrack.integrations.hold' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "False"]
