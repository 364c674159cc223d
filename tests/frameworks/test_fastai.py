"""fastai's Learner, trained for real on numbers."""

from __future__ import annotations

import pytest

from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Run

pytest.importorskip("fastai")
PREPARE = """
    from localtrack import Task
    task = Task.init("p", "n", auto_resource_monitoring=False)
    import torch
    from fastai.callback.schedule import *
    from fastai.basics import *
    from fastai.metrics import accuracy
    x = torch.rand(64, 4)
    rows = list(zip(x, (x[:, 0] > 0.5).long()))
    data = DataLoaders.from_dsets(rows[:48], rows[48:], bs=8, device="cpu")
    learn = Learner(data, torch.nn.Linear(4, 2), loss_func=torch.nn.CrossEntropyLoss(), metrics=[accuracy])
    def points():
        found = task.get_reported_scalars(max_samples=0)
        return {f"{t}|{s}": list(zip(v["x"], v["y"])) for t, lines in found.items() for s, v in lines.items()}
"""


def test_losses_metrics_and_models(run: Run, ctx: StoreContext) -> None:
    """Each fit has its curves, by ClearML's names and with fastai's own values; what it saves and loads are models."""
    ran = run(
        PREPARE
        + """
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(2, 1e-2)
        first = list(learn.recorder.values), [float(loss) for loss in learn.recorder.losses], learn.recorder.lrs
        learn.fit(1, 1e-3)
    learn.save("weights")
    learn.load("weights")
    found = points()
    assert [step for step, _ in found["metrics_0|train_avg_smooth_loss"]] == list(range(1, 13))
    assert [value for _, value in found["metrics_0|train_avg_smooth_loss"]] == first[1]
    assert [value for _, value in found["lr_0|lr"]] == first[2]
    for place, name in ((1, "valid_loss"), (2, "valid_accuracy")):
        assert found[f"metrics_0|{name}"] == [(6, first[0][0][place]), (12, first[0][1][place])], name
    assert [step for step, _ in found["metrics_1|valid_loss"]] == [6]
    assert {name for name in found if "_1|" in name} == {name.replace("_0|", "_1|") for name in found if "_0|" in name}
    task.close()
    print("GOT", [(m.name, m.framework) for kind in ("output", "input") for m in task.models[kind]])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
    assert all("localtrack" not in type(callback).__module__ for callback in learn.cbs)
    """
    )
    assert ran.lines == ["GOT [('n - weights', 'PyTorch'), ('n - weights', 'PyTorch')]"]


def test_a_training_without_validation(run: Run) -> None:
    """Metrics of the training are recorded where the script wants fastai to compute them; without validation there is none."""
    ran = run(
        PREPARE
        + """
    learn = Learner(
        DataLoaders(data.train, []), torch.nn.Linear(4, 2), loss_func=torch.nn.CrossEntropyLoss(), metrics=[accuracy]
    )
    learn.recorder.train_metrics, learn.recorder.valid_metrics = True, False
    with learn.no_bar(), learn.no_logging():
        learn.fit(2)
    print("GOT", sorted((name, len(curve)) for name, curve in points().items() if name.startswith("metrics")))
    """
    )
    assert ran.lines == ["GOT [('metrics_0|train_accuracy', 12), ('metrics_0|train_avg_smooth_loss', 12)]"]


def test_tensorboard_of_the_learner_is_captured_once(run: Run) -> None:
    """A learner with fastai's TensorBoardCallback is recorded through that alone."""
    ran = run(
        PREPARE
        + """
    from fastai.callback.tensorboard import TensorBoardCallback
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, cbs=TensorBoardCallback("runs", trace_model=False, log_preds=False))
    print("GOT", sorted(name for name in points() if "loss" in name))
    """,
        package="tensorboard",
    )
    assert ran.lines == ["GOT ['train_loss|train_loss', 'valid_loss|valid_loss']"]
