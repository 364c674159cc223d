"""A user's search and schedules, which type checkers accept at their strictest; checked, not run."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

from localtrack import Task
from localtrack.automation import (
    DiscreteParameterRange,
    HyperParameterOptimizer,
    LogUniformParameterRange,
    ParameterSet,
    RandomSearch,
    TaskScheduler,
    TriggerScheduler,
    UniformIntegerParameterRange,
    UniformParameterRange,
)


def tell(job_id: str, value: float, iteration: int, parameters: dict[str, Any], best: str | None) -> None:
    """Hear of a job."""
    print(job_id, value, iteration, parameters, best)


def search() -> None:
    """Search for parameters."""
    task = Task.init("vision", "search", Task.TaskTypes.optimizer)
    optimizer = HyperParameterOptimizer(
        base_task_id=task.id,
        hyper_parameters=[
            UniformParameterRange("Args/lr", min_value=0.1, max_value=0.5, step_size=0.1),
            LogUniformParameterRange("Args/decay", -5, -1),
            UniformIntegerParameterRange("Args/layers", 1, 3),
            DiscreteParameterRange("Args/kind", values=["a", "b"]),
            ParameterSet([{"Args/a": 1, "Args/b": 2.0}]),
        ],
        objective_metric_title=["loss", "accuracy"],
        objective_metric_series=["valid", "valid"],
        objective_metric_sign=["min", "max"],
        optimizer_class=RandomSearch,
        total_max_jobs=10,
        time_limit_per_job=10.0,
    )
    optimizer.set_report_period(0.5)
    optimizer.start(job_complete_callback=tell)
    optimizer.set_time_limit(in_minutes=90.0)
    optimizer.wait()
    assert_type(optimizer.get_top_experiments(top_k=3), list[Task])
    optimizer.stop()


def schedule() -> None:
    """Start things by the clock, and when something happens."""
    scheduler = TaskScheduler()
    scheduler.add_task(schedule_task_id="0123", queue="default", hour=1, minute=30, weekdays=["monday"])
    scheduler.add_task(schedule_function=schedule, name="again", day=1, recurring=True)
    trigger = TriggerScheduler(pooling_frequency_minutes=1.0)
    trigger.add_task_trigger(schedule_function=print, trigger_on_status=["completed"], name="done")
    trigger.add_model_trigger(schedule_task_id="0123", schedule_queue="default", trigger_on_tags=["deploy"])
    scheduler.start_remotely(queue="services")
