"""The callback for Optuna: a study in one task, or a task a trial."""

from __future__ import annotations

from typing import Any

import pytest

from localtrack import Task
from localtrack.errors import UsageError
from localtrack.runtime import current
from tests.api.conftest import QUIET
from tests.frameworks.test_boosting_integrations import curves, only_task

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("default")  # the framework's own


def callback(*args: Any, **options: Any) -> Any:
    """Return our callback."""
    from localtrack.integrations.optuna import LocaltrackCallback

    return LocaltrackCallback(*args, **{"init": QUIET, **options})


def objective(trial: Any) -> float:
    """Return a value that falls, rises, falls; the fourth trial is pruned."""
    trial.suggest_categorical("kind", ["a", "b"])
    trial.suggest_int("depth", 1, 3)
    trial.report(0.5, 1)
    if trial.number == 3:
        raise optuna.TrialPruned
    return float([3.0, 1.0, 2.0][trial.number % 3])


def study(**options: Any) -> Any:
    """Return a study that gives the same every time."""
    return optuna.create_study(study_name="s", sampler=optuna.samplers.RandomSampler(seed=0), **options)


def table_of(task: Task) -> str:
    """Return the table of trials as JSON."""
    (plot,) = task.get_reported_plots()
    return str(plot)


def test_study_is_one_task(root: Any) -> None:
    """By default a study's task has curves over its trials, a table, and the best trial; it is closed at the end."""
    ours, own = callback("search", "first", metric_name="loss"), study()
    own.optimize(objective, n_trials=4, callbacks=[ours])
    assert current.get() is None
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("search", "first", "completed")
    found = task.get_reported_scalars()
    assert (found["objective"]["loss"]["x"], found["objective"]["loss"]["y"]) == ([0, 1, 2], [3.0, 1.0, 2.0])
    assert found["best"]["loss"]["y"] == [3.0, 1.0, 1.0]
    assert found["parameters"]["depth"]["x"] == [0, 1, 2, 3]
    assert "kind" not in found["parameters"]
    assert task.get_reported_single_values() == {"best loss": 1.0, "best trial": 1.0}
    assert task.artifacts["best trial"].get()["params"] == own.best_params
    assert task.get_parameters(cast=True)["Study/sampler"] == "RandomSampler"
    assert "pruned" in table_of(task)


def test_study_goes_on(root: Any) -> None:
    """Another optimize of the same study with the same callback appends, and knows the best so far."""
    own, ours = study(direction="maximize"), callback("search")
    own.optimize(objective, n_trials=2, callbacks=[ours])
    own.optimize(objective, n_trials=1, callbacks=[ours])
    task = only_task()
    assert task.name == "s"
    assert curves(task)["objective/value"] == [0, 1, 2]
    assert task.get_reported_scalars()["best"]["value"]["y"] == [3.0, 3.0, 3.0]
    assert task.status == "completed"


def test_running_task_is_used_and_stays_open(start: Any) -> None:
    """In a running task the study is recorded there; trials in threads, too, and several objectives."""
    task = start()

    def two(trial: Any) -> tuple[float, float]:
        return trial.suggest_float("x", 0, 1), 1.0

    own = study(directions=["minimize", "maximize"])
    own.set_metric_names(["loss", "accuracy"])
    own.optimize(two, n_trials=4, n_jobs=2, callbacks=[callback()])
    assert task.status == "in_progress"
    found = curves(task)
    assert (found["objective/loss"], found["objective/accuracy"]) == ([0, 1, 2, 3], [0, 1, 2, 3])
    assert "best/loss" not in found


def test_failed_study_fails_the_task_that_was_started_for_it(root: Any) -> None:
    """What an objective raises reaches the script, and the callback's own task says so, and has what was before."""

    def failing(trial: Any) -> float:
        if trial.number == 1:
            raise ValueError("no more")
        return 1.0

    ours = callback("p", "n")
    with pytest.raises(ValueError, match="no more"):
        study().optimize(failing, n_trials=3, callbacks=[ours])
    task = only_task()
    assert task.status == "failed"
    assert curves(task)["objective/value"] == [0]


def test_each_trial_is_a_task_when_asked_for(root: Any) -> None:
    """as_multirun makes a task a trial, with parameters, values, what was reported meanwhile, and its state."""
    study().optimize(objective, n_trials=4, callbacks=[callback("search", "first", as_multirun=True)])
    tasks = {task.name: task for task in Task.get_tasks()}
    assert sorted(tasks) == [f"first trial {number}" for number in range(4)]
    assert [tasks[name].status for name in sorted(tasks)] == ["completed"] * 3 + ["stopped"]
    one = tasks["first trial 1"]
    assert one.get_reported_single_values() == {"value": 1.0}
    assert set(one.get_parameters()) == {"General/kind", "General/depth"}
    assert curves(one) == {"value/intermediate": [1]}
    assert set(one.get_tags()) == {"s", "complete"}


def test_tasks_of_trials_belong_to_the_running_task(start: Any) -> None:
    """Beside a running task the trials' tasks are its children, in its project."""
    parent = start(project="mine")
    study().optimize(objective, n_trials=2, callbacks=[callback(as_multirun=True)])
    children = [task for task in Task.get_tasks() if task != parent]
    assert {(task.get_project_name(), task.parent) for task in children} == {("mine", parent.id)}
    assert parent.status == "in_progress"


def test_objective_runs_in_its_trials_task(root: Any) -> None:
    """With track, what the objective reports is in its trial's task, also when the trial is pruned or fails."""
    ours = callback("search", "first", as_multirun=True)

    @ours.track
    def tracked(trial: Any) -> float:
        task = Task.current_task()
        assert task is not None
        task.get_logger().report_scalar("inside", "s", 1.0, trial.number)
        if trial.number == 2:
            raise ValueError("no more")
        return objective(trial)

    study().optimize(tracked, n_trials=4, callbacks=[ours], catch=ValueError)
    tasks = {task.name: task for task in Task.get_tasks()}
    assert sorted(tasks) == [f"first trial {number}" for number in range(4)]
    for number in range(4):
        assert curves(tasks[f"first trial {number}"])["inside/s"] == [number]
    assert tasks["first trial 2"].status == "failed"
    assert tasks["first trial 0"].get_reported_single_values() == {"value": 3.0}
    assert [tasks[f"first trial {number}"].status for number in (0, 3)] == ["completed", "stopped"]
    with pytest.raises(UsageError, match="as_multirun=True"):
        callback().track(objective)
