"""fastai's Learner by a fake of its calls: fastai itself needs a torchvision that goes with no torch without CUDA.

Source: fastai 2.8's ``fastai.learner.Recorder``: the names that the binding reads, as they are there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from localtrack import Task
from localtrack.testing.bindings import BindingContract

Start = Callable[..., Task]
LEARNER = '''
from types import SimpleNamespace as Things

class Recorder:
    """What every learner has: told of each fit, batch and epoch."""

    def __init__(self, learn, has_validation=True):
        self.learn, self.training, self.values = learn, False, []
        self._train_mets = [Things(name="loss", value=0.0)]
        self.opt = Things(hypers=[{"lr": 0.0, "mom": 0.9}])
        self.metrics = [Things(name="accuracy")]
        self.valid_metrics = self.metrics if has_validation else []
        self.cancel_valid = False

    def before_fit(self): self.values = []
    def after_batch(self): return "batch"
    def after_epoch(self): return "epoch"


def fit(recorder, epochs=2, batches=3):
    recorder.before_fit()
    for epoch in range(epochs):
        for batch in range(batches):
            recorder.training = True
            recorder._train_mets[0].value = 1.0 / (1 + epoch * batches + batch)
            recorder.opt.hypers[-1]["lr"] = 0.1 * (batch + 1)
            assert recorder.after_batch() == "batch"
        recorder.training = False
        recorder.after_batch()
        if recorder.valid_metrics:
            recorder.values.append([9.0, 0.5 - epoch / 10, 0.8 + epoch / 10])
        assert recorder.after_epoch() == "epoch"
'''


@pytest.fixture
def learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The fake of ``fastai.learner``."""
    package = tmp_path / "fake" / "fastai"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "learner.py").write_text(LEARNER)
    monkeypatch.syspath_prepend(str(package.parent))
    yield importlib.import_module("fastai.learner")
    for name in ("fastai.learner", "fastai"):
        sys.modules.pop(name, None)


def curves(task: Task) -> dict[str, list[tuple[int, float]]]:
    """Return the points of each curve by ``title/series``."""
    found = task.get_reported_scalars()
    return {
        f"{title}/{series}": list(zip(line["x"], line["y"], strict=True))
        for title, lines in found.items()
        for series, line in lines.items()
    }


def test_losses_metrics_and_hyper_parameters_are_curves(start: Start, learner: Any) -> None:
    """By ClearML's names: the training's loss a batch, the validation's an epoch, the optimizer's values a batch."""
    task = start()
    learner.fit(learner.Recorder(SimpleNamespace(cbs=[])))
    task.close()
    found = curves(task)
    assert set(found) == {
        "metrics_0/train_loss", "metrics_0/valid_loss", "metrics_0/valid_accuracy", "lr_0/lr", "mom_0/mom",
    }  # fmt: skip
    assert found["metrics_0/train_loss"] == [(step, pytest.approx(1 / step)) for step in range(1, 7)]
    assert found["metrics_0/valid_loss"] == [(3, 0.5), (6, pytest.approx(0.4))]
    assert found["metrics_0/valid_accuracy"] == [(3, 0.8), (6, pytest.approx(0.9))]
    assert [value for _, value in found["lr_0/lr"]] == pytest.approx([0.1, 0.2, 0.3] * 2)


def test_each_fit_has_curves_of_its_own(start: Start, learner: Any) -> None:
    """Of the same learner and of another one; without a validation there are none of that."""
    task = start()
    recorder = learner.Recorder(SimpleNamespace(cbs=[]), has_validation=False)
    learner.fit(recorder, epochs=1)
    learner.fit(recorder, epochs=1)
    learner.fit(learner.Recorder(SimpleNamespace(cbs=[])), epochs=1)
    task.close()
    assert {name for name in curves(task) if name.startswith("metrics")} == {
        "metrics_0/train_loss", "metrics_1/train_loss", "metrics_2/train_loss", "metrics_2/valid_loss",
        "metrics_2/valid_accuracy",
    }  # fmt: skip


def test_a_learner_that_shows_it_to_tensorboard_reports_once(start: Start, learner: Any) -> None:
    """What its own callback writes is captured there."""
    task = start()
    board = type("TensorBoardCallback", (), {})()
    learner.fit(learner.Recorder(SimpleNamespace(cbs=[board])))
    task.close()
    assert curves(task) == {}


@pytest.mark.usefixtures("learner")
class TestContract(BindingContract):
    """The binding keeps to what every binding keeps to."""

    binding = "localtrack.bindings.fastai"

    def use(self, folder: Path) -> None:
        """Train."""
        module: Any = sys.modules["fastai.learner"]
        module.fit(module.Recorder(SimpleNamespace(cbs=[])), epochs=1)

    def count(self, task: Task) -> int:
        """Points of all curves."""
        return sum(len(line) for line in curves(task).values())
