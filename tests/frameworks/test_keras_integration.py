"""The callback for Keras: what a real ``fit`` reports through it, in which task, and that nothing comes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack.runtime import current
from tests.api.conftest import QUIET
from tests.frameworks.test_boosting_integrations import curves, only_task

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("default")  # the framework's own
X = np.random.default_rng(0).random((8, 3)).astype("float32")
Y = X.sum(axis=1)


def model() -> Any:
    """Return a small model."""
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.05), "mse")
    return made


def fit(made: Any, *callbacks: Any, **options: Any) -> Any:
    """Train for two epochs of two batches."""
    given = {"epochs": 2, "batch_size": 4, "verbose": 0, "validation_data": (X, Y), **options}
    return made.fit(X, Y, callbacks=list(callbacks), **given)


def callback(*args: Any, **options: Any) -> Any:
    """Return our callback."""
    from localtrack.integrations.keras import LocaltrackCallback

    return LocaltrackCallback(*args, **{"init": QUIET, **options})


class Failing(keras.callbacks.Callback):  # type: ignore[misc]
    """Fails at the end of the first epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise ValueError("no more")


def test_callback_starts_and_closes_its_own_task(root: Path) -> None:
    """fit, then evaluate: one task with curves, the set-up, and the model, which can be loaded."""
    own, made = callback("vision", "first", log_model=True), model()
    fit(made, own)
    assert current.get() is None
    assert only_task().status == "completed"
    made.evaluate(X, Y, verbose=0, callbacks=[own])
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("vision", "first", "completed")
    assert curves(task) == {
        "loss/train": [0, 1], "loss/validation": [0, 1], "learning_rate/train": [0, 1], "loss/test": [1],
    }  # fmt: skip
    values = task.get_parameters(cast=True)
    assert (values["Keras/epochs"], values["Keras/optimizer/name"], values["Keras/loss"]) == (2, "sgd", "mse")
    assert values["Keras/optimizer/learning_rate"] == pytest.approx(0.05)
    assert task.get_configuration_object_as_dict("Keras model")["class_name"] == "Sequential"
    (kept,) = task.models["output"]
    assert (kept.name, kept.framework) == ("first - model", "Keras")
    assert keras.models.load_model(kept.get_local_copy()).predict(X, verbose=0).shape == (8, 1)


def test_batches_are_reported_when_asked_for(root: Path) -> None:
    """log_freq="batch" reports each batch, a number every so many."""
    fit(model(), callback("p", "n", log_freq="batch"))
    assert curves(only_task())["batch_loss/train"] == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="'often'"):
        callback(log_freq="often")


def test_further_fits_append(root: Path) -> None:
    """Epochs go on, whether the script counts them or begins anew."""
    own, made = callback("p", "n"), model()
    fit(made, own)
    fit(made, own, initial_epoch=2, epochs=4)
    fit(made, own)
    assert curves(only_task())["loss/train"] == [0, 1, 2, 3, 4, 5]


def test_another_training_in_a_task_has_graphs_of_its_own(start: Any) -> None:
    """Two callbacks in one task do not share curves."""
    task = start()
    fit(model(), callback())
    fit(model(), callback())
    found = curves(task)
    assert (found["loss/train"], found["loss - 1/train"]) == ([0, 1], [0, 1])
    assert "Keras - 1/epochs" in task.get_parameters()
    assert task.status == "in_progress"


def test_failed_training_fails_the_task_that_was_started_for_it(root: Path) -> None:
    """What the training raises reaches the script, and the callback's own task says so."""
    with pytest.raises(ValueError, match="no more"):
        fit(model(), callback("p", "n"), Failing())
    task = only_task()
    assert task.status == "failed"
    assert "no more" in (task.get_status_message() or "")


def test_explicit_and_automatic_record_nothing_twice(start: Any, tmp_path: Path) -> None:
    """Beside TensorBoard in a captured run each metric and model comes once; afterwards all is captured again."""
    pytest.importorskip("tensorflow")
    task = start(auto_connect_frameworks=True)
    board = keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=1)
    saved = keras.callbacks.ModelCheckpoint(tmp_path / "check.keras")
    fit(model(), board, callback(log_model=True), saved)
    assert set(curves(task)) == {"loss/train", "loss/validation", "learning_rate/train"}
    assert any(plot["metric"].endswith("kernel") or "kernel" in plot["variant"] for plot in task.get_reported_plots())
    fit(model(), keras.callbacks.TensorBoard(tmp_path / "second"))
    task.close()
    assert any("epoch_loss" in name for name in curves(task))
    assert sorted(model.name for model in task.models["output"]) == ["n - check", "n - model"]
    assert [text for text in task.capture_errors if "binding" in text] == []
