"""Searches: what they start, with which parameters, when they stop jobs, and what they say in the end."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from localtrack import Task
from localtrack.automation import (
    DiscreteParameterRange,
    GridSearch,
    HyperParameterOptimizer,
    RandomSearch,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from localtrack.automation import optuna as optuna_package
from localtrack.automation.job import ClearmlJob
from localtrack.automation.strategy import SearchStrategy
from localtrack.errors import InvalidValueError, MissingExtraError, QueueNotFoundError, TaskNotFoundError, UsageError
from localtrack.records.status import Status
from localtrack.services.context import StoreContext
from tests.automation.conftest import SERIES, TITLE, FakeJob, lose

SPACE = [
    UniformIntegerParameterRange("General/layers", 1, 3),
    DiscreteParameterRange("Args/optimizer", ["sgd", "adam"]),
]


@pytest.fixture
def search(base: Task, fake_job: type[FakeJob]) -> Callable[..., HyperParameterOptimizer]:
    """Return what makes a search of the base task with jobs that need no process."""

    def make(kind: Any = GridSearch, **options: Any) -> HyperParameterOptimizer:
        values: dict[str, Any] = {
            "base_task_id": base.id, "hyper_parameters": SPACE, "objective_metric_title": TITLE,
            "objective_metric_series": SERIES, "optimizer_class": kind, "pool_period_min": 0.0005, **options,
        }  # fmt: skip
        one = HyperParameterOptimizer(**values)
        one.set_default_job_class(fake_job)
        return one

    return make


def run(one: HyperParameterOptimizer, callback: Any = None) -> HyperParameterOptimizer:
    """Run a search to its end."""
    assert one.start(callback)
    assert one.wait(timeout=1.0)
    one.stop()
    return one


def test_a_grid_tries_every_combination_once_with_native_types(search: Any, base: Task) -> None:
    """Integers stay integers in the clone; what is not varied stays as it was."""
    one = run(search())
    seen = [Task.get_task(task_id=task_id).get_parameters(cast=True) for task_id in FakeJob.launched]
    tried = [(values["General/layers"], values["Args/optimizer"]) for values in seen]
    assert tried == [(n, kind) for n in (1, 2, 3) for kind in ("sgd", "adam")]
    assert all(type(values["General/layers"]) is int for values in seen)
    assert all(values["General/lr"] == 0.1 and values["General/dropout"] is None for values in seen)
    first = one.get_active_experiments() or [Task.get_task(task_id=FakeJob.launched[0])]
    assert first[0].name == "base: Args/optimizer=sgd General/layers=1"
    assert "optimization" in first[0].get_tags()
    assert base.get_parameters(cast=True)["General/layers"] == 2


def test_never_more_jobs_at_a_time_than_allowed(search: Any, fake_job: type[FakeJob]) -> None:
    """With three at a time, the fourth waits for an end."""
    fake_job.stays = True
    one = search(max_number_of_concurrent_tasks=3)
    one.start()
    deadline = time.monotonic() + 60
    for count in (3, 6):
        while len(fake_job.launched) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # for one too many to show
        assert len(fake_job.launched) == count
        assert one.get_num_active_experiments() == 3
        for job in one.get_optimizer().get_running_jobs():
            job.end()
    assert one.wait(1.0)
    assert fake_job.most_at_once == 3


def test_the_best_come_first_and_the_callback_hears_of_each(search: Any, fake_job: type[FakeJob]) -> None:
    """Each job with a value is told once, with its own iteration, and the best so far."""
    heard: list[tuple[Any, ...]] = []
    space = [UniformIntegerParameterRange("layers", 1, 3)]
    fake_job.outcome = staticmethod(lambda values: [9.0, (values["layers"] - 2.2) ** 2])
    one = run(search(hyper_parameters=space), lambda *told: heard.append(told))
    best = one.get_top_experiments(2)
    assert [task.get_parameters(cast=True)["General/layers"] for task in best] == [2, 3]
    assert sorted(told[0] for told in heard) == sorted(fake_job.launched)
    assert {told[2] for told in heard} == {1}
    assert [told[3] for told in heard if told[0] == best[0].id] == [{"layers": 2}]
    assert heard[-1][4] == best[0].id
    details = one.get_top_experiments_details(1, all_metrics=True, all_hyper_parameters=True)[0]
    assert details["hyper_parameters"]["General/layers"] == 2
    assert details["metrics"][f"{TITLE}/{SERIES}"]["max_value"] == 9.0
    pair = one.get_top_experiments_id_metrics_pair(1)[0]
    assert (pair[0], list(pair[1])) == (best[0].id, [f"{TITLE}/{SERIES}"])


def test_what_failed_is_told_and_never_best(
    search: Any, fake_job: type[FakeJob], caplog: pytest.LogCaptureFixture
) -> None:
    """A failed job with the best number of all is neither best nor told to the callback; the log names it."""
    fake_job.outcome = staticmethod(lambda values: Status.FAILED if values["General/layers"] == 1 else 1.0)
    heard: list[str] = []
    with caplog.at_level(logging.WARNING):
        one = run(search(), lambda *told: heard.append(told[0]))
    assert len(heard) == 4
    best = one.get_top_experiments(10)
    assert len(best) == 4
    assert all(task.status == "completed" for task in best)
    assert caplog.text.count("failed") >= 2


def test_a_job_without_the_objective_is_explained(
    search: Any, fake_job: type[FakeJob], caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong title is the usual mistake: the log says once what there is instead."""
    with caplog.at_level(logging.WARNING):
        run(search(objective_metric_title="accuracy"))
    assert caplog.text.count("ended without the objective accuracy/valid: it reported loss/valid") == 1


def test_a_callback_that_fails_ends_no_search(
    search: Any, fake_job: type[FakeJob], caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is logged, and all jobs are run."""

    def broken(*told: Any) -> None:
        raise ValueError("broken callback")

    run(search(), broken)
    assert len(fake_job.launched) == 6
    assert "broken callback" in caplog.text


def test_total_max_jobs_ends_a_search(search: Any, fake_job: type[FakeJob]) -> None:
    """Not one more is started."""
    run(search(RandomSearch, total_max_jobs=4))
    assert len(fake_job.launched) == 4


def test_a_random_search_tries_nothing_twice_and_ends_when_all_is_tried(search: Any, fake_job: type[FakeJob]) -> None:
    """A small space is gone through, and not for ever."""
    run(search(RandomSearch))
    seen = [Task.get_task(task_id=task_id).get_parameters() for task_id in fake_job.launched]
    tried = [(values["General/layers"], values["Args/optimizer"]) for values in seen]
    assert len(set(tried)) == len(tried) <= 6
    assert len(tried) >= 3


def test_a_job_is_aborted_after_its_iterations_and_its_value_counts(search: Any, fake_job: type[FakeJob]) -> None:
    """The iterations are those of the objective; what it had reached by then is its value."""
    fake_job.stays = True
    one = search(hyper_parameters=[DiscreteParameterRange("General/layers", [4])], max_iteration_per_job=5)
    one.start()
    while not one.get_active_experiments():
        time.sleep(0.01)
    job = one.get_optimizer().get_running_jobs()[0]
    job.report(0.5, 4)
    time.sleep(0.2)
    assert job.status() == "in_progress"
    job.report(0.4, 5)
    assert one.wait(1.0)
    assert job.status() == "stopped"
    assert [task.id for task in one.get_top_experiments(3)] == [job.task_id()]
    assert one.get_top_experiments_details(1, only_completed=True) == []


@pytest.mark.parametrize("limit", ["time_limit_per_job", "compute_time_limit", "optimization_time_limit"])
def test_a_time_limit_ends_jobs(search: Any, fake_job: type[FakeJob], limit: str) -> None:
    """A limit for one job, for all jobs together, and for the whole search."""
    fake_job.stays = True
    one = search(hyper_parameters=[DiscreteParameterRange("General/layers", [4])], **{limit: 0.003})
    one.start()
    assert one.wait(1.0)
    task = Task.get_task(task_id=fake_job.launched[0])
    assert task.status == "stopped"
    assert len(fake_job.launched) == 1


def test_times_are_told(search: Any, fake_job: type[FakeJob]) -> None:
    """How long it runs, until when, and whether that has passed."""
    fake_job.stays = True
    one = search()
    assert (one.elapsed(), one.get_time_limit(), one.is_active(), one.is_running()) == (-1, None, True, False)
    assert one.wait(0.001) is False
    one.set_time_limit(in_minutes=10)
    assert abs((one.get_time_limit() - dt.datetime.now()).total_seconds() - 600) < 5
    one.start()
    assert one.is_running()
    assert 0 <= one.elapsed() < 1
    assert not one.reached_time_limit()
    assert one.wait(0.001) is False
    with pytest.raises(UsageError, match="started already"):
        one.start()
    one.set_time_limit(specific_time=dt.datetime.now() - dt.timedelta(seconds=1))
    assert one.wait(1.0)
    assert not one.is_active()


def test_stop_aborts_what_runs(search: Any, fake_job: type[FakeJob]) -> None:
    """Nothing goes on without the search."""
    fake_job.stays = True
    one = search(max_number_of_concurrent_tasks=2)
    one.start()
    while len(fake_job.launched) < 2:
        time.sleep(0.01)
    one.stop()
    assert not one.is_running()
    assert {Task.get_task(task_id=task_id).status for task_id in fake_job.launched} == {"stopped"}


def test_only_the_best_stay_out_of_the_archive(search: Any, fake_job: type[FakeJob]) -> None:
    """The rest is archived, not deleted."""
    fake_job.outcome = staticmethod(lambda values: float(values["General/layers"]))
    one = run(search(hyper_parameters=SPACE[:1], save_top_k_tasks_only=1))
    started = [Task.get_task(task_id=task_id) for task_id in fake_job.launched]
    archived = {task.get_parameter("General/layers", cast=True): task.get_archived() for task in started}
    assert archived == {1: False, 2: True, 3: True}
    assert one.get_top_experiments(3)[0].id == fake_job.launched[0]


def test_the_searchs_own_task_shows_it_all(search: Any, fake_job: type[FakeJob]) -> None:
    """Its arguments as parameters, the space as a configuration, a table, a plot for each objective, curves."""
    task = Task.init("search", "optimizer", task_type="optimizer", auto_resource_monitoring=False)
    fake_job.outcome = staticmethod(lambda values: float(values["General/layers"]))
    one = run(search(hyper_parameters=SPACE[:1], total_max_jobs=3))
    assert task.get_parameters(cast=True)["General/opt/objective_metric_title"] == TITLE
    assert task.get_parameters(cast=True)["General/opt/optimizer_kwargs/total_max_jobs"] == 3
    space = task.get_configuration_object_as_dict("General")["parameter_optimization_space"]
    assert space[0]["type"] == "UniformIntegerParameterRange"
    assert all(child.parent == task.id for child in one.get_top_experiments(5))
    plots = {(plot["metric"], plot["variant"]): plot["plot"] for plot in task.get_reported_plots()}
    assert {title for title, _ in plots} == {"summary", "Optimization Objective", "Parallel Coordinates"}
    figure = plots["Optimization Objective", f"{TITLE}/{SERIES}"]
    assert figure["data"][0]["y"] == [1.0, 2.0, 3.0]
    assert figure["data"][1]["y"] == [1.0, 1.0, 1.0]
    curves = task.get_reported_scalars()
    assert curves[f"{TITLE}/{SERIES}"]["best"]["y"] == [1.0, 1.0, 1.0]
    assert curves["jobs"]["completed"]["y"][-1] == 3
    assert curves["remaining budget"]["jobs %"]["y"][-1] == 0
    found = HyperParameterOptimizer.get_optimizer_top_experiments(TITLE, SERIES, "min", task.id, 1)
    assert [child.id for child in found] == [child.id for child in one.get_top_experiments(1)]
    task.close()


def test_a_search_without_a_task_reports_nowhere(search: Any, fake_job: type[FakeJob]) -> None:
    """It runs all the same, and its jobs are children of the base task."""
    one = run(search(total_max_jobs=1))
    assert Task.current_task() is None
    assert len(one.get_top_experiments(5)) == 1


def test_jobs_go_where_they_are_sent(search: Any, fake_job: type[FakeJob]) -> None:
    """Project and names of the jobs can be chosen."""
    one = search(spawn_project="elsewhere", total_max_jobs=1)
    one.get_optimizer().set_job_naming_scheme(lambda name, values: f"{name} {values['General/layers']}")
    run(one)
    (best,) = one.get_top_experiments(1)
    assert (best.get_project_name(), best.name) == ("elsewhere", "base 1")


def test_several_objectives_rank_by_fronts(base: Task, search: Any, fake_job: type[FakeJob]) -> None:
    """The callback gets a list for each; what nobody beats comes first."""
    fake_job.outcome = staticmethod(lambda values: float(values["General/layers"]))
    heard: list[Any] = []
    one = run(
        search(
            hyper_parameters=SPACE[:1], objective_metric_title=[TITLE, TITLE], objective_metric_series=[SERIES, SERIES],
            objective_metric_sign=["min", "min_global"],
        ),
        lambda *told: heard.append(told[1]),
    )  # fmt: skip
    assert sorted(heard) == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]
    assert [task.get_parameter("General/layers", cast=True) for task in one.get_top_experiments(3)] == [1, 2, 3]


def test_a_killed_search_goes_on_where_it_was(search: Any, fake_job: type[FakeJob]) -> None:
    """The same task continued: what is done is kept, what runs is watched, what was cut short is tried again."""
    task = Task.init("search", "optimizer", reuse_last_task_id=False, auto_resource_monitoring=False)
    fake_job.stays = True
    first = search(max_number_of_concurrent_tasks=3)
    first.start()
    while len(fake_job.launched) < 3:
        time.sleep(0.01)
    first.get_optimizer().abort_running = lambda: None  # the process dies: nobody aborts
    first.get_optimizer().stop()
    jobs = list(first.get_optimizer().get_created_jobs_tasks().values())
    first._thread.join(60)
    done, running, cut_short = jobs
    done.end()
    cut_short.task.stopped(force=True, status_reason="agent stopped")
    fake_job.stays = False
    second = search(max_number_of_concurrent_tasks=3)
    second.start()
    while len(fake_job.launched) < 7:
        time.sleep(0.01)
    running.end()
    assert second.wait(1.0)
    tried = [
        tuple(Task.get_task(task_id=task_id).get_parameters()[name] for name in ("General/layers", "Args/optimizer"))
        for task_id in second.get_optimizer().get_created_jobs_ids()
    ]
    assert sorted(tried) == sorted((str(n), kind) for n in (1, 2, 3) for kind in ("sgd", "adam"))
    assert done.task_id() in second.get_optimizer().get_created_jobs_ids()
    assert running.task_id() in second.get_optimizer().get_created_jobs_ids()
    assert cut_short.task_id() not in second.get_optimizer().get_created_jobs_ids()
    task.close()


def test_what_is_wrong_is_said_before_anything_starts(base: Task, search: Any, fake_job: type[FakeJob]) -> None:
    """A queue or a base task that is not there, a search that nobody knows, no room for a job."""
    one = search(execution_queue="nowhere")
    with pytest.raises(QueueNotFoundError, match="nowhere"):
        one.start()
    with pytest.raises(TaskNotFoundError, match="ffff"):
        search(base_task_id="f" * 32)
    with pytest.raises(TaskNotFoundError, match="base task"):
        search(base_task_id="")
    with pytest.raises(InvalidValueError, match="at least one job"):
        search(max_number_of_concurrent_tasks=0)
    assert fake_job.launched == []


def test_a_parameter_that_the_base_has_not_is_said(search: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelled name is the usual mistake: the log names it and what there is."""
    search(hyper_parameters=[UniformParameterRange("Args/learning_rate", 0, 1)])
    assert "Args/learning_rate" in caplog.text
    assert "General/lr" in caplog.text


def test_a_queue_that_nobody_serves_is_said(search: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The jobs would wait for ever: the warning is the command that starts an agent."""
    run(search(total_max_jobs=1))
    assert "localtrack agent start --queue default" in caplog.text


def test_a_job_is_asked_to_stop_once(search: Any, fake_job: type[FakeJob], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is looked at until it has ended: it may be saving a checkpoint."""
    asked: list[str] = []
    monkeypatch.setattr(FakeJob, "abort", ClearmlJob.abort)
    monkeypatch.setattr(
        "localtrack.automation.job.lifecycle.request_stop", lambda ctx, task_id, message: asked.append(task_id)
    )
    fake_job.stays = True
    one = search(hyper_parameters=[DiscreteParameterRange("General/layers", [4])], time_limit_per_job=0.0001)
    one.start()
    while not asked:
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(asked) == 1
    one.get_optimizer().get_running_jobs()[0].end()
    assert one.wait(1.0)


def test_a_lost_job_that_another_agent_will_run_has_not_ended(
    search: Any, store_in_force: StoreContext, fake_job: type[FakeJob]
) -> None:
    """As long as it is in its queue it holds its place in the search; then it has failed."""
    store_in_force.queues.create("work")
    fake_job.stays = True
    one = search(hyper_parameters=[DiscreteParameterRange("General/layers", [4])], execution_queue="work")
    one.start()
    while not one.get_active_experiments():
        time.sleep(0.01)
    job = one.get_optimizer().get_running_jobs()[0]
    store_in_force.queues.get("work").enqueue(job.task_id())
    lose(store_in_force, job.task_id())
    assert (job.status(), job.will_run_again(), job.has_ended()) == ("failed", True, False)
    time.sleep(0.3)
    assert one.get_num_active_experiments() == 1
    store_in_force.queues.get("work").remove(job.task_id())
    assert one.wait(1.0)
    assert one.get_top_experiments(1) == []


def test_ones_own_strategy_takes_the_place(search: Any, fake_job: type[FakeJob]) -> None:
    """A subclass that makes jobs is all it takes; an object of it works as well as the class."""

    class Twice(SearchStrategy):
        def create_job(self) -> Any:
            if len(self.get_created_jobs_ids()) >= 2:
                return None
            return self.helper_create_job(self._base_task_id, parameter_override={"General/layers": 9})

    run(search(Twice))
    assert len(fake_job.launched) == 2


def test_hpbandster_is_refused_where_it_is_imported() -> None:
    """As with ClearML where it is not installed, a script can fall back; the message names what to use."""
    with pytest.raises(ImportError, match="OptimizerOptuna"):
        from localtrack.automation.hpbandster import OptimizerBOHB  # noqa: F401


def test_optuna_is_asked_for_by_name_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command that installs it; it is an ImportError, which scripts catch."""
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "localtrack.automation.optuna.optuna", raising=False)
    monkeypatch.delitem(vars(optuna_package), "OptimizerOptuna", raising=False)  # another test may have loaded it
    with pytest.raises(MissingExtraError, match=r"localtrack\[hpo\]"):
        from localtrack.automation.optuna import OptimizerOptuna  # noqa: F401
