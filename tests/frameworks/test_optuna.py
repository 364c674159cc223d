# ruff: noqa: F811 - fixtures of another folder are imported
"""A search that optuna leads: it learns, prunes, takes several objectives, and goes on after its process ended."""

from __future__ import annotations

import time
from typing import Any

import optuna
import pytest

from localtrack import Task
from localtrack.automation import (
    DiscreteParameterRange,
    HyperParameterOptimizer,
    LogUniformParameterRange,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from localtrack.automation.optuna import OptimizerOptuna
from localtrack.records.status import Status
from tests.automation.conftest import SERIES, TITLE, FakeJob, base, fake_job, store_in_force  # noqa: F401


def make(base_id: str, space: list[Any], **options: Any) -> HyperParameterOptimizer:
    """Return a search of jobs that need no process."""
    values: dict[str, Any] = {
        "objective_metric_title": TITLE, "objective_metric_series": SERIES, "optimizer_class": OptimizerOptuna,
        "pool_period_min": 0.0005, "max_number_of_concurrent_tasks": 1, **options,
    }  # fmt: skip
    one = HyperParameterOptimizer(base_id, space, **values)
    one.set_default_job_class(FakeJob)
    return one


def run(one: HyperParameterOptimizer) -> list[dict[str, Any]]:
    """Run a search to its end and return the parameters of its jobs."""
    one.start()
    assert one.wait(1.5)
    return list(one.get_optimizer().get_created_jobs_ids().values())


def test_it_learns_where_the_low_values_are(base: Task, fake_job: type[FakeJob]) -> None:
    """After some tries it stays near the lowest value, with the types of the ranges."""
    fake_job.outcome = staticmethod(
        lambda values: (values["General/lr"] - 0.3) ** 2 + abs(values["General/layers"] - 4)
    )
    space = [UniformParameterRange("General/lr", 0, 1), UniformIntegerParameterRange("General/layers", 1, 9)]
    one = make(base.id, space, total_max_jobs=40)
    tried = run(one)
    assert len(tried) == 40
    assert all(type(values["General/layers"]) is int and type(values["General/lr"]) is float for values in tried)
    late, early = [sum(abs(v["General/layers"] - 4) for v in part) for part in (tried[-10:], tried[:10])]
    assert late < early
    assert (
        one.get_optimizer().study.best_value
        == one.get_top_experiments_details(1)[0]["metrics"][f"{TITLE}/{SERIES}"]["value"]
    )


def test_every_kind_of_range(base: Task, fake_job: type[FakeJob]) -> None:
    """Steps, logarithms, values of any type, and sets with ranges in them."""
    space = [
        UniformParameterRange("a", 0.1, 0.5, step_size=0.1, include_max_value=False),
        LogUniformParameterRange("b", -3, -1, step_size=1),
        LogUniformParameterRange("c", -3, -1),
        DiscreteParameterRange("d", [1, True, None, [1, 2], {"k": 1}]),
        DiscreteParameterRange("e", ["x", "y"]),
        ParameterSet([{"f": 1, "g": UniformIntegerParameterRange("g", 5, 6)}, {"f": 2}]),
    ]
    for values in run(make(base.id, space, total_max_jobs=12)):
        assert values["a"] in (0.1, 0.2, 0.3, 0.4)
        assert values["b"] in (0.001, 0.01, 0.1)
        assert 0.001 <= values["c"] <= 0.1
        assert values["d"] in (1, True, None, [1, 2], {"k": 1})
        assert values["e"] in ("x", "y")
        assert ("g" in values) == (values["f"] == 1)
        assert values.get("g", 5) in (5, 6)


def test_the_study_hears_of_failures(base: Task, fake_job: type[FakeJob]) -> None:
    """A failed job is a failed trial, whatever it had reported."""
    fake_job.outcome = staticmethod(lambda values: Status.FAILED if values["n"] == 1 else 0.5)
    one = make(base.id, [DiscreteParameterRange("n", [1, 2])], total_max_jobs=8)
    tried = run(one)
    states = [trial.state.name for trial in one.get_optimizer().study.trials]
    assert states == ["FAIL" if values["n"] == 1 else "COMPLETE" for values in tried]


def test_a_pruner_ends_bad_jobs(base: Task, fake_job: type[FakeJob]) -> None:
    """The job that lies far above the others is aborted, and its trial is pruned; none before its first iterations."""
    fake_job.stays = True
    pruner = optuna.pruners.ThresholdPruner(upper=10.0)
    space = [DiscreteParameterRange("n", [1])]
    one = make(base.id, space, total_max_jobs=1, optuna_pruner=pruner, min_iteration_per_job=3)
    one.start()
    while not one.get_active_experiments():
        time.sleep(0.01)
    (job,) = one.get_optimizer().get_running_jobs()
    job.report(99.0, 2)
    time.sleep(0.3)
    assert job.status() == "in_progress"
    job.report(99.0, 3)
    assert one.wait(1.0)
    assert job.status() == "stopped"
    assert one.get_optimizer().study.trials[0].state.name == "PRUNED"


def test_a_pruned_job_that_takes_its_time_to_end_is_pruned(
    base: Task,
    fake_job: type[FakeJob],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its agent needs seconds to stop it: the study hears of it when it has ended, and as pruned."""
    fake_job.stays = True
    asked: list[FakeJob] = []
    monkeypatch.setattr(FakeJob, "abort", lambda self: asked.append(self))
    pruner = optuna.pruners.ThresholdPruner(upper=10.0)
    one = make(base.id, [DiscreteParameterRange("n", [1])], total_max_jobs=1, optuna_pruner=pruner)
    one.start()
    while not one.get_active_experiments():
        time.sleep(0.01)
    (job,) = one.get_optimizer().get_running_jobs()
    job.report(99.0, 1)
    while len(asked) < 2:
        time.sleep(0.01)
    job.task.mark_stopped(force=True)
    assert one.wait(1.0)
    assert one.get_optimizer().study.trials[0].state.name == "PRUNED"


def test_several_objectives(base: Task, fake_job: type[FakeJob]) -> None:
    """The study has a direction for each."""
    one = make(
        base.id, [UniformIntegerParameterRange("n", 1, 5)], total_max_jobs=5, objective_metric_title=[TITLE, TITLE],
        objective_metric_series=[SERIES, SERIES], objective_metric_sign=["min", "max"],
    )  # fmt: skip
    run(one)
    assert [direction.name for direction in one.get_optimizer().study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert len(one.get_optimizer().study.best_trials) == 5


def test_a_study_of_before_goes_on(base: Task, fake_job: type[FakeJob]) -> None:
    """One that the user kept counts for what is tried next."""
    first = make(base.id, [DiscreteParameterRange("n", [1, 2])], total_max_jobs=3)
    run(first)
    study = first.get_optimizer().study
    second = make(base.id, [DiscreteParameterRange("n", [1, 2])], total_max_jobs=2, continue_previous_study=study)
    run(second)
    assert len(study.trials) == 5


def test_a_killed_search_teaches_the_next_one(base: Task, fake_job: type[FakeJob]) -> None:
    """The trials come back from the store, those that run included."""
    task = Task.init("search", "optimizer", reuse_last_task_id=False, auto_resource_monitoring=False)
    fake_job.outcome = staticmethod(lambda values: float(values["n"]))
    space = [UniformIntegerParameterRange("n", 1, 50)]
    run(make(base.id, space, total_max_jobs=4))
    fake_job.stays = True
    first = make(base.id, space, total_max_jobs=5)
    first.start()
    while not first.get_active_experiments():
        time.sleep(0.01)
    first.get_optimizer().abort_running = lambda: None  # the process dies: nobody aborts
    first.get_optimizer().stop()
    (running,) = first.get_optimizer().get_running_jobs()
    first._thread.join(60)
    second = make(base.id, space, total_max_jobs=5)
    second.start()
    running.end()
    assert second.wait(1.0)
    trials = second.get_optimizer().study.trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert {trial.params["n"] for trial in trials} == {
        values["n"] for values in second.get_optimizer().get_created_jobs_ids().values()
    }
    task.close()


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Let optuna say nothing of each trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
