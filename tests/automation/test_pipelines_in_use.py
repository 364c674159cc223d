"""Pipelines as users write them: their own classes and modules, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.services.context import StoreContext

OWN_CLASSES = """
import dataclasses
from localtrack import PipelineController
import beside

@dataclasses.dataclass
class Size:
    width: int = 1

class Model(beside.Base):
    def __init__(self, weight, size):
        self.weight, self.size = weight, size
    def predict(self, value):
        return self.weight * value * self.size.width

def train(weight):
    return [Model(weight, Size(2))], {Size: "by class"}

def use(models, by_class, value=5):
    (kind,) = by_class
    assert isinstance(models[0].size, kind) and models[0].named() == "base"
    return models[0].predict(value)

def again(models):
    assert type(models[0]) is Model
    return models[0].weight

if __name__ == "__main__":
    pipe = PipelineController("classes", "lines")
    pipe.add_function_step("train", train, {"weight": 3}, ["models", "by_class"])
    pipe.add_function_step("use", use, {"models": "${train.models}", "by_class": "${train.by_class}"}, ["value"])
    pipe.add_function_step("again", again, {"models": "${train.models}"}, ["weight"])
    pipe.start_locally(run_pipeline_steps_locally=True)
"""

GIVEN = """
from localtrack import PipelineController

class Model:
    weight = 3

def use(model):
    return model.weight

def knows(model: Model):
    return model.weight

if __name__ == "__main__":
    pipe = PipelineController("given", "lines")
    pipe.add_function_step("use", use, {"model": Model()}, ["weight"])
    pipe.add_function_step("knows", knows, {"model": Model()}, ["weight"])
    pipe.start_locally(run_pipeline_steps_locally=True)
"""


@pytest.fixture
def folder(store_in_force: StoreContext, tmp_path: Path) -> Path:
    """A folder with a module of the user's."""
    place = tmp_path / "code"
    place.mkdir()
    (place / "beside.py").write_text("class Base:\n    def named(self):\n        return 'base'\n")
    return place


def run(folder: Path, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script in another folder than its own."""
    script = folder / "pipe.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, str(script), *args], capture_output=True, text=True, cwd=folder.parent, env={**os.environ}
    )  # fmt: skip


def named(name: str) -> Task:
    """Return the one task of that name."""
    (found,) = Task.get_tasks(task_name=f"^{name}$")
    return found


def test_objects_of_the_scripts_own_classes_go_from_step_to_step(folder: Path) -> None:
    """A step that never names the class of what it is given gets the object all the same, and its class is one."""
    ended = run(folder, OWN_CLASSES)
    assert ended.returncode == 0, ended.stderr
    assert named("use").artifacts["value"].get() == 30
    assert named("again").artifacts["weight"].get() == 3


def test_an_argument_of_a_class_that_the_step_does_not_know_is_told_as_that(folder: Path) -> None:
    """The pipeline's script is not run again in a step; a step that names the class has it."""
    ended = run(folder, GIVEN)
    assert ended.returncode == 0
    assert "holds an object of Model, which the pipeline's script defines and this step does not know" in ended.stderr
    assert named("use").status == "failed"
    assert named("knows").artifacts["weight"].get() == 3
