"""Explicit callbacks of XGBoost and LightGBM: what they record, in which task, and that nothing comes twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task
from localtrack.runtime import current
from tests.api.conftest import QUIET

pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own
X = np.random.default_rng(0).random((60, 3))
Y = (X[:, 0] > 0.5).astype(int)


def curves(task: Task) -> dict[str, list[float]]:
    """Return the steps of each curve, by ``title/series``."""
    found = task.get_reported_scalars()
    return {
        f"{title}/{name}": list(held["x"])
        for title, series in found.items()
        for name, held in series.items()
        if not title.startswith(":")
    }


def only_task() -> Task:
    """Return the one task of the store."""
    (task,) = Task.get_tasks()
    return task


class Xgboost:
    """How XGBoost is used."""

    package = "xgboost"
    curve = "train/rmse"

    def train(self, *callbacks: Any, rounds: int = 3) -> Any:
        """Train."""
        import xgboost

        data = xgboost.DMatrix(X, Y)
        return xgboost.train(
            {"eta": 0.5}, data, rounds, evals=[(data, "train")], callbacks=list(callbacks), verbose_eval=False
        )

    def callback(self, **options: Any) -> Any:
        """Return our callback."""
        from localtrack.integrations.xgboost import LocaltrackCallback

        return LocaltrackCallback(**options)

    def failing(self) -> Any:
        """Return a callback that fails."""
        from xgboost.callback import TrainingCallback

        class Failing(TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                raise ValueError("no more")

        return Failing()

    def check_parameters(self, task: Task) -> None:
        """The booster's configuration is an object of the task."""
        assert "learner" in task.get_configuration_object_as_dict("xgboost")


class Lightgbm:
    """How LightGBM is used."""

    package = "lightgbm"
    curve = "training/l2"

    def train(self, *callbacks: Any, rounds: int = 3) -> Any:
        """Train."""
        import lightgbm

        data = lightgbm.Dataset(X, Y)
        return lightgbm.train(
            {"verbose": -1, "learning_rate": 0.5}, data, rounds, valid_sets=[data], callbacks=list(callbacks)
        )

    def callback(self, **options: Any) -> Any:
        """Return our callback."""
        from localtrack.integrations.lightgbm import LocaltrackCallback

        return LocaltrackCallback(**options)

    def failing(self) -> Any:
        """Return a callback that fails."""

        class Failing:
            def __init__(self) -> None:
                self.order = 99

            def __call__(self, env: Any) -> None:
                raise ValueError("no more")

        return Failing()

    def check_parameters(self, task: Task) -> None:
        """The parameters are hyper-parameters."""
        assert task.get_parameters(cast=True)["General/learning_rate"] == 0.5


@pytest.fixture(params=[Xgboost, Lightgbm])
def library(request: pytest.FixtureRequest, root: Path) -> Any:
    """One of the libraries, in a store of its own."""
    pytest.importorskip(request.param.package)
    return request.param()


def test_callback_starts_and_closes_its_own_task(library: Any) -> None:
    """Without a task the callback starts one of its own arguments, records the training, and ends it."""
    callback = library.callback(project="trees", name="first", log_model=True, init=QUIET)
    library.train(callback)
    assert current.get() is None
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("trees", "first", "completed")
    assert curves(task)[library.curve] == [0, 1, 2]
    library.check_parameters(task)
    (model,) = task.models["output"]
    assert Path(model.get_local_copy()).stat().st_size > 100
    assert any(plot["metric"] == "Feature importance" for plot in task.get_reported_plots())


def test_another_training_goes_on_in_the_same_task(library: Any) -> None:
    """A callback that is used again appends to its task, under the names of a second training."""
    callback = library.callback(project="trees", name="first", log_model=True, init=QUIET)
    library.train(callback)
    library.train(callback, rounds=2)
    task = only_task()
    assert sorted(model.name for model in task.models["output"]) == ["first - model", "first - model - 1"]
    assert task.status == "completed"
    title, series = library.curve.split("/")
    assert curves(task) == {library.curve: [0, 1, 2], f"{title} - 1/{series}": [0, 1]}


def test_failed_training_fails_the_task_that_was_started_for_it(library: Any) -> None:
    """What a training raises reaches the script, and the callback's own task says so."""
    callback = library.callback(project="trees", name="first", init=QUIET)
    with pytest.raises(ValueError, match="no more"):
        library.train(callback, library.failing())
    task = only_task()
    assert task.status == "failed"
    assert "no more" in (task.get_status_message() or "")


def test_explicit_and_automatic_record_nothing_twice(library: Any, start: Any) -> None:
    """In a running task the callback's training is recorded once; the next one without it automatically, and it stays open."""
    task = start(auto_connect_frameworks=True)
    library.train(library.callback())
    assert curves(task)[library.curve] == [0, 1, 2]
    assert task.models["output"] == []
    library.train(rounds=2)
    title, series = library.curve.split("/")
    assert curves(task) == {library.curve: [0, 1, 2], f"{title} - 1/{series}": [0, 1]}
    assert task.status == "in_progress"
    task.close()
    assert [text for text in task.capture_errors if "binding" in text] == []


def test_callback_works_without_automatic_capture(library: Any, start: Any) -> None:
    """With the frameworks switched off the callback still records."""
    task = start(auto_connect_frameworks=False)
    library.train(library.callback())
    library.train()
    assert curves(task) == {library.curve: [0, 1, 2]}


def test_other_ranks_record_nothing(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank other than zero starts no task and reports nothing."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    library.train(library.callback(project="trees", name="first", init=QUIET))
    assert Task.get_tasks() == []


def test_estimators_of_scikit_learn_copy_the_callback(root: Path) -> None:
    """An estimator that scikit-learn clones keeps a callback that works."""
    xgboost = pytest.importorskip("xgboost")
    base = pytest.importorskip("sklearn.base")
    from localtrack.integrations.xgboost import LocaltrackCallback

    callback = LocaltrackCallback(project="trees", name="clone", init=QUIET)
    model = base.clone(xgboost.XGBClassifier(n_estimators=2, callbacks=[callback]))
    model.fit(X, Y, eval_set=[(X, Y)], verbose=False)
    assert curves(only_task()) == {"validation_0/logloss": [0, 1]}


def test_cross_validation_reports_mean_and_deviation(library: Any) -> None:
    """Cross-validation gives two curves a metric."""
    import importlib

    module = importlib.import_module(library.package)
    callback = library.callback(project="trees", name="cv", init=QUIET)
    if library.package == "xgboost":
        module.cv({}, module.DMatrix(X, Y), 2, nfold=2, callbacks=[callback])
    else:
        module.cv({"verbose": -1}, module.Dataset(X, Y), 2, nfold=2, stratified=False, callbacks=[callback])
    found = curves(only_task())
    assert len(found) >= 2
    assert any(name.endswith(" std") for name in found)
    assert all(steps == [0, 1] for steps in found.values())
    assert only_task().status == "completed"


def test_init_arguments_that_are_given_twice_are_refused() -> None:
    """``project_name`` in ``init`` says what to write instead."""
    pytest.importorskip("xgboost")
    from localtrack.integrations.xgboost import LocaltrackCallback

    with pytest.raises(ValueError, match="give project and name"):
        LocaltrackCallback(init={"project_name": "p"})


def test_linear_booster_has_no_importances_and_is_kept(root: Path) -> None:
    """A booster without importances by gain is recorded all the same."""
    xgboost = pytest.importorskip("xgboost")
    from localtrack.integrations.xgboost import LocaltrackCallback

    data = xgboost.DMatrix(X, Y)
    callback = LocaltrackCallback("trees", "linear", log_model=True, init=QUIET)
    xgboost.train({"booster": "gblinear"}, data, 2, evals=[(data, "train")], callbacks=[callback], verbose_eval=False)
    task = only_task()
    assert task.get_reported_plots() == []
    assert len(task.models["output"]) == 1
