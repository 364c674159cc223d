"""A SummaryWriter that writes TensorBoard's files and the task, of both packages, with nothing twice."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task
from localtrack.runtime import current
from tests.api.conftest import QUIET
from tests.frameworks.test_boosting_integrations import curves, only_task

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own
PACKAGES = {"tensorboard": "torch.utils.tensorboard", "tensorboardx": "tensorboardX"}


@pytest.fixture(params=list(PACKAGES))
def package(request: pytest.FixtureRequest, root: Path) -> str:
    """One of the packages, in a store of its own."""
    pytest.importorskip(PACKAGES[request.param])
    return str(request.param)


def make(package: str, folder: Path, **options: Any) -> Any:
    """Return our writer."""
    module = importlib.import_module(f"localtrack.integrations.{package}")
    return module.SummaryWriter(str(folder), **{"init": QUIET, **options})


def files_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars in TensorBoard's files of one folder."""
    loading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = loading.EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def write(writer: Any) -> None:
    """Write a little of all kinds."""
    for step in range(3):
        writer.add_scalar("train/loss", 1.0 / (step + 1), step)
    writer.add_scalars("group", {"a": 1.0, "b": 2.0}, 5)
    writer.add_histogram("weights", np.arange(10.0), 1)
    writer.add_image("picture", np.zeros((3, 4, 4), dtype="uint8"), 1)
    writer.add_text("note", "hello", 1)


def test_both_the_files_and_the_task_have_it(package: str, tmp_path: Path) -> None:
    """Without a task the writer starts one of its own arguments; both sides hold the same, and the task ends with it."""
    with make(package, tmp_path / "run", project="boards", name="first") as writer:
        write(writer)
        assert writer.task.id == only_task().id
    assert current.get() is None
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("boards", "first", "completed")
    found = curves(task)
    assert found["train/loss"] == [0, 1, 2]
    assert len([name for name in found if name.startswith("group")]) == 2
    assert files_of(tmp_path / "run")["train/loss"][:3] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert {plot["metric"] for plot in task.get_reported_plots()} == {"Histograms"}
    assert len(task.get_debug_samples("Images", "picture")) == 1
    assert len(task.get_debug_samples("note", "text_summary")) == 1


@pytest.mark.parametrize("captured", [True, False])
def test_explicit_and_automatic_record_nothing_twice(package: str, tmp_path: Path, start: Any, captured: bool) -> None:
    """In a running task each event is there once, whether writers are captured or not; other writers are as ever."""
    task = start(auto_connect_frameworks=captured)
    writer = make(package, tmp_path / "ours")
    plain = importlib.import_module(PACKAGES[package]).SummaryWriter(str(tmp_path / "plain"))
    write(writer)
    plain.add_scalar("other/loss", 1.0, 0)
    writer.add_hparams({"lr": 0.1}, {"score": 1.0})
    writer.close()
    plain.close()
    assert task.status == "in_progress"
    task.close()
    found = curves(task)
    assert found["train/loss"] == [0, 1, 2]
    assert len([name for name in found if name.startswith("group")]) == 2
    assert ("other/loss" in found) is captured
    assert task.get_parameters(cast=True)["TB_hparams/lr"] == 0.1
    assert len(task.get_reported_plots()) == 1


def test_failed_training_fails_the_task_that_was_started_for_it(package: str, tmp_path: Path) -> None:
    """An exception within the writer's ``with`` is how its own task ends."""
    with pytest.raises(KeyError), make(package, tmp_path, project="p", name="n"):
        raise KeyError("lost")
    assert only_task().status == "failed"


def test_writer_that_is_used_again_goes_on(package: str, tmp_path: Path) -> None:
    """After close() a writer opens new files, and its task goes on."""
    writer = make(package, tmp_path, project="p", name="n")
    writer.add_scalar("a/b", 1.0, 0)
    writer.close()
    writer.add_scalar("a/b", 2.0, 1)
    writer.close()
    assert curves(only_task()) == {"a/b": [0, 1]}
    assert only_task().status == "completed"


def test_other_ranks_write_files_alone(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank other than zero has TensorBoard's files and no task."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with make(package, tmp_path / "run", project="p", name="n") as writer:
        writer.add_scalar("a/b", 1.0, 0)
        assert writer.task is None
    assert Task.get_tasks() == []
    assert files_of(tmp_path / "run") == {"a/b": [(0, 1.0)]}
