"""Searches for the best parameters of a task.

Source: ClearML's clearml.automation.optimization; docs/how-to/optimize.md.
"""

from __future__ import annotations

import copy
import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.adoption import adopt_jobs, open_run
from localtrack.automation.job import BaseJob, ClearmlJob, LocalClearmlJob, has_agent
from localtrack.automation.objective import MultiObjective, Objective
from localtrack.automation.optimization_report import Report
from localtrack.automation.parameters import Parameter
from localtrack.automation.search import GridSearch, RandomSearch
from localtrack.automation.strategy import LOG, Budget, SearchStrategy, find_base
from localtrack.errors import InvalidValueError, UsageError
from localtrack.services import lifecycle
from localtrack.services.context import open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task

__all__ = [
    "Budget", "GridSearch", "HyperParameterOptimizer", "MultiObjective", "Objective", "RandomSearch", "SearchStrategy",
]  # fmt: skip

Completed = Callable[[str, Any, Any, dict[str, Any], "str | None"], object]
WATCH_S = 1.0
FIRST_REPORT_MIN = 1.0
_BASIC = (str, int, float, bool, list, tuple, dict, type(None))
_KNOWN = {"GridSearch": GridSearch, "RandomSearch": RandomSearch}


class HyperParameterOptimizer:
    """Starts clones of a task with other parameters, watches them, and says which are best.

    Args:
        base_task_id: the task to clone.
        hyper_parameters: what is varied.
        objective_metric_title: graph of the objective; a list for several at once.
        objective_metric_series: line of it; a list of the same length.
        objective_metric_sign: ``min`` or ``max`` of the last value, ``min_global`` or ``max_global`` of all; a list of
            the same length.
        optimizer_class: the search: a :class:`SearchStrategy` class, or an object of one.
        max_number_of_concurrent_tasks: how many jobs wait or run at a time, at most.
        execution_queue: where jobs wait for agents.
        optimization_time_limit: minutes for all of it, from :meth:`start` on.
        compute_time_limit: minutes that all jobs together may run.
        auto_connect_task: keep all arguments with this process's task, so that they can be changed when it is run in
            a queue; a task: with that one; False: with none.
        always_create_task: make a task when this process has none.
        spawn_project: project of the jobs; that of this process's task, or of the base task, without one.
        save_top_k_tasks_only: archive all ended jobs but the best so many; None and less than 1 keep all.
        **optimizer_kwargs: arguments of the search, such as ``total_max_jobs``, ``max_iteration_per_job``,
            ``time_limit_per_job``, ``pool_period_min``.

    Raises:
        TaskNotFoundError: no such base task.
        InvalidValueError: objectives that do not fit together, or an unknown search.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric_title: str | Sequence[str],
        objective_metric_series: str | Sequence[str],
        objective_metric_sign: str | Sequence[str] = "min",
        optimizer_class: type[SearchStrategy] | SearchStrategy = RandomSearch,
        max_number_of_concurrent_tasks: int = 10,
        execution_queue: str = "default",
        optimization_time_limit: float | None = None,
        compute_time_limit: float | None = None,
        auto_connect_task: bool | Task = True,
        always_create_task: bool = False,
        spawn_project: str | None = None,
        save_top_k_tasks_only: int | None = None,
        **optimizer_kwargs: Any,
    ) -> None:
        self._task = _own_task(base_task_id, auto_connect_task, always_create_task)
        options: dict[str, Any] = {
            "base_task_id": base_task_id,
            "objective_metric_title": _plain(objective_metric_title),
            "objective_metric_series": _plain(objective_metric_series),
            "objective_metric_sign": _plain(objective_metric_sign),
            "max_number_of_concurrent_tasks": max_number_of_concurrent_tasks,
            "execution_queue": execution_queue,
            "optimization_time_limit": optimization_time_limit,
            "compute_time_limit": compute_time_limit,
            "spawn_project": spawn_project,
            "save_top_k_tasks_only": save_top_k_tasks_only,
            "optimizer_kwargs": optimizer_kwargs,
        }
        space = list(hyper_parameters)
        if auto_connect_task is not False and self._task is not None:
            optimizer_class, space, options = _connected(self._task, optimizer_class, space, options)
        metric = MultiObjective(
            options["objective_metric_title"], options["objective_metric_series"], options["objective_metric_sign"]
        )
        self._objective_metric = metric.objectives[0] if len(metric.objectives) == 1 else metric
        self._save_top_k = options["save_top_k_tasks_only"]
        self.optimization_time_limit = options["optimization_time_limit"]
        self.execution_queue = str(options["execution_queue"])
        self.optimizer = self._make_strategy(optimizer_class, space, options)
        self.optimizer.set_optimizer_task(self._task) if self._task is not None else None
        self.optimizer.set_job_default_parent(self._task.id if self._task else None, self._project(options))
        self._report = Report(self._task, self.optimizer, space)
        self._report_period_s = 600.0
        self._started_at = 0.0
        self._deadline = 0.0
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._ended = threading.Event()
        self._on_completed: Completed | None = None
        self._seen: set[str] = set()

    def _make_strategy(
        self, kind: type[SearchStrategy] | SearchStrategy, space: list[Parameter], options: Mapping[str, Any]
    ) -> SearchStrategy:
        if isinstance(kind, SearchStrategy):
            return kind
        return kind(
            base_task_id=options["base_task_id"],
            hyper_parameters=space,
            objective_metric=self._objective_metric,
            execution_queue=self.execution_queue,
            num_concurrent_workers=int(options["max_number_of_concurrent_tasks"]),
            compute_time_limit=options["compute_time_limit"],
            **(options["optimizer_kwargs"] or {}),
        )

    def _project(self, options: Mapping[str, Any]) -> str | None:
        return options["spawn_project"] or (self._task.get_project_name() if self._task else None)

    @property
    def objective_metric(self) -> Objective | MultiObjective:
        """What is optimised."""
        return self._objective_metric

    def start(self, job_complete_callback: Completed | None = None) -> bool:
        """Start the search in the background; agents of the queue run the jobs.

        Args:
            job_complete_callback: called when a job has ended with a value: its id, value, iteration, parameters, and
                the id of the best job so far. With several objectives, value and iteration are lists.

        Returns:
            True.

        Raises:
            QueueNotFoundError: no such queue.
            UsageError: it was started already.
        """
        if not issubclass(_class_of(self.optimizer), LocalClearmlJob):
            queue = self.optimizer._execution_queue
            open_context().queues.get(queue)
            if not has_agent(open_context(), queue):
                LOG.warning(
                    "no agent takes tasks from queue %r yet: `localtrack agent start --queue %s` starts one",
                    queue,
                    queue,
                )
        if self._thread is not None:
            raise UsageError("this search was started already: make another HyperParameterOptimizer")
        self._on_completed = job_complete_callback
        self.optimizer.run_id, goes_on = open_run(self._task)
        if goes_on and self._task is not None:
            adopt_jobs(open_context(), self.optimizer, self._task.id)
            self._seen = {
                task_id for task_id, job in self.optimizer.get_created_jobs_tasks().items() if job.has_ended()
            }
        self._started_at = time.time()
        if self.optimization_time_limit and not self._deadline:
            self._deadline = self._started_at + float(self.optimization_time_limit) * 60.0
        self._thread = threading.Thread(target=self._search, name="localtrack-search", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="localtrack-search-report", daemon=True)
        self._thread.start()
        self._watcher.start()
        return True

    def start_locally(self, job_complete_callback: Completed | None = None) -> bool:
        """Start the search in the background; this machine runs the jobs, each in a process of its own.

        They end with this process. See :meth:`start`.
        """
        self.optimizer.set_job_class(LocalClearmlJob)
        return self.start(job_complete_callback)

    def stop(self, timeout: float | None = None, wait_for_reporter: bool | None = True) -> None:
        """End the search: jobs that still run are aborted.

        Args:
            timeout: minutes to wait for that; without end when None.
            wait_for_reporter: wait for the last report as well.
        """
        self.optimizer.stop()
        limit_s = None if timeout is None else timeout * 60.0
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(limit_s)
        if wait_for_reporter and self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join(limit_s)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the search to end.

        Args:
            timeout: minutes to wait at most; until the search's own time limit, if it has one, when None.

        Returns:
            Whether it has ended.
        """
        if self._thread is None:
            return False
        self._ended.wait(None if timeout is None else timeout * 60.0)
        return self._ended.is_set()

    def is_active(self) -> bool:
        """Tell whether the search runs, or was not started yet."""
        return self._thread is None or self._thread.is_alive()

    def is_running(self) -> bool:
        """Tell whether the search runs."""
        return self._thread is not None and self._thread.is_alive()

    def set_time_limit(self, in_minutes: float | None = None, specific_time: dt.datetime | None = None) -> None:
        """Set when the search ends at the latest.

        Args:
            in_minutes: so long from now.
            specific_time: that time; a time without a zone is local.
        """
        if specific_time is not None:
            self._deadline = specific_time.timestamp()
        else:
            self._deadline = 0.0 if in_minutes is None else time.time() + in_minutes * 60.0

    def get_time_limit(self) -> dt.datetime | None:
        """Return when the search ends at the latest, in local time; None without a limit."""
        return dt.datetime.fromtimestamp(self._deadline) if self._deadline else None

    def elapsed(self) -> float:
        """Return minutes since the start; -1 before."""
        return (time.time() - self._started_at) / 60.0 if self._started_at else -1.0

    def reached_time_limit(self) -> bool:
        """Tell whether the time limit has passed while the search runs."""
        return self.is_running() and bool(self._deadline) and time.time() > self._deadline

    def get_num_active_experiments(self) -> int:
        """Return how many jobs wait or run."""
        return len(self.optimizer.get_running_jobs())

    def get_active_experiments(self) -> list[Task]:
        """Return the tasks of the jobs that wait or run."""
        return [job.task for job in self.optimizer.get_running_jobs()]

    def get_top_experiments(self, top_k: int) -> list[Task]:
        """Return the best jobs' tasks so far, the best first; see :meth:`SearchStrategy.get_top_experiments`."""
        return self.optimizer.get_top_experiments(top_k)

    def get_top_experiments_id_metrics_pair(
        self, top_k: int, all_metrics: bool = False, only_completed: bool = False
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return id and metrics of the best jobs so far; see :meth:`SearchStrategy.get_top_experiments_details`."""
        return self.optimizer.get_top_experiments_id_metrics_pair(top_k, all_metrics, only_completed)

    def get_top_experiments_details(
        self, top_k: int, all_metrics: bool = False, all_hyper_parameters: bool = False, only_completed: bool = False
    ) -> list[dict[str, Any]]:
        """Return the best jobs so far as dicts; see :meth:`SearchStrategy.get_top_experiments_details`."""
        return self.optimizer.get_top_experiments_details(top_k, all_metrics, all_hyper_parameters, only_completed)

    def get_optimizer(self) -> SearchStrategy:
        """Return the search itself."""
        return self.optimizer

    def set_default_job_class(self, job_class: Callable[..., BaseJob]) -> None:
        """Set what makes a job: a subclass of :class:`ClearmlJob`."""
        self.optimizer.set_job_class(job_class)

    def set_report_period(self, report_period_minutes: float) -> None:
        """Set how often the search's own task gets its table and plots anew, in minutes; its curves grow at once."""
        self._report_period_s = report_period_minutes * 60.0

    @classmethod
    def get_optimizer_top_experiments(
        cls,
        objective_metric_title: str | Sequence[str],
        objective_metric_series: str | Sequence[str],
        objective_metric_sign: str | Sequence[str],
        optimizer_task_id: str,
        top_k: int,
    ) -> list[Task]:
        """Return the best tasks that a search's task has started, also after it ended; see :meth:`get_top_experiments`."""
        metric = MultiObjective(objective_metric_title, objective_metric_series, objective_metric_sign)
        return metric.get_top_tasks(top_k, optimizer_task_id)

    def _search(self) -> None:
        try:
            self.optimizer.start()
        except Exception:  # a thread of its own: nobody else would say it
            LOG.exception("the search ended by an error")

    def _watch(self) -> None:
        """Report what happens until the search has ended; whatever goes wrong here ends no search."""
        assert self._thread is not None
        next_report = time.monotonic() + min(self._report_period_s, FIRST_REPORT_MIN * 60.0)
        while True:
            is_last = not self._thread.is_alive()
            try:
                if self.reached_time_limit():
                    LOG.info("the search has reached its time limit")
                    self.optimizer.stop()
                if self._tell_completed():
                    self._report.write_curves()
                if is_last or time.monotonic() >= next_report:
                    next_report = time.monotonic() + self._report_period_s
                    self._report.write()
            except Exception:
                LOG.exception("reporting the search failed")
            if is_last:
                break
            self._thread.join(WATCH_S)
        self._ended.set()

    def _tell_completed(self) -> bool:
        """Tell the callback of jobs that have ended since the last look; return whether there are any."""
        jobs = self.optimizer.get_created_jobs_tasks()
        ended = [task_id for task_id, job in jobs.items() if task_id not in self._seen and job.has_ended()]
        if not ended:
            return False
        self._seen.update(ended)
        parameters = self.optimizer.get_created_jobs_ids()
        best = self._report.best()
        for task_id in ended:
            points = self._report.points(task_id)
            if points is None:
                self._report.say_missing(jobs[task_id])
                continue
            self._report.say_ended(jobs[task_id], points, best)
            if self._on_completed is not None:
                iterations, values = [point[0] for point in points], [point[1] for point in points]
                is_one = len(points) == 1
                try:
                    self._on_completed(
                        task_id, values[0] if is_one else values, iterations[0] if is_one else iterations,
                        parameters[task_id], best,
                    )  # fmt: skip
                except Exception:
                    LOG.exception("job_complete_callback failed for job %s", task_id)
        if self._save_top_k and self._save_top_k > 0:
            self._archive(int(self._save_top_k))
        return True

    def _archive(self, top_k: int) -> None:
        """Archive all ended jobs but the best; one that was archived and is among them again comes back."""
        ctx = open_context()
        kept = {task.id for task in self.get_top_experiments(top_k)}
        for row in self.optimizer.rows():
            wanted = row.id in self._seen and row.id not in kept
            if wanted != ("archived" in row.system_tags):
                lifecycle.set_archived(ctx, row.id, wanted)


def _class_of(strategy: SearchStrategy) -> type:
    made: Any = strategy._job_class
    return made if isinstance(made, type) else ClearmlJob


def _own_task(base_task_id: str, wanted: bool | Task, always: bool) -> Task | None:
    from localtrack.api.task import Task

    if not isinstance(wanted, bool):
        return wanted
    current = Task.current_task()
    if current is None and always:
        base = find_base(base_task_id)
        current = Task.init(
            project_name=base.get_project_name(), task_name=f"Optimizing: {base.name}",
            task_type=Task.TaskTypes.optimizer, reuse_last_task_id=False,
        )  # fmt: skip
    return current


def _connected(
    task: Task, kind: Any, space: list[Parameter], options: dict[str, Any]
) -> tuple[Any, list[Parameter], dict[str, Any]]:
    """Keep all arguments with a task, and return those that count: under an agent, those that are stored there."""
    described = {"parameter_optimization_space": [one.to_dict() for one in space]}
    stored = task.connect_configuration(copy.deepcopy(described))
    if stored != described:
        space = [Parameter.from_dict(one) for one in stored["parameter_optimization_space"]]
    complex_ones = {name: value for name, value in options["optimizer_kwargs"].items() if not isinstance(value, _BASIC)}
    simple = {name: value for name, value in options["optimizer_kwargs"].items() if name not in complex_ones}
    asked = {**options, "optimizer_kwargs": simple}
    if isinstance(kind, type):
        asked["optimizer_class"] = kind.__name__
    found = _unwrapped(task.connect({"opt": asked})["opt"])
    name = found.pop("optimizer_class", None)
    if isinstance(kind, type) and name != kind.__name__:
        kind = _strategy_named(str(name))
    found["optimizer_kwargs"] = {**(found.get("optimizer_kwargs") or {}), **complex_ones}
    return kind, space, {**options, **found}


def _strategy_named(name: str) -> type[SearchStrategy]:
    if name == "OptimizerOptuna":
        from localtrack.automation.optuna import OptimizerOptuna

        return OptimizerOptuna
    if name not in _KNOWN:
        raise InvalidValueError(f"no search {name!r}: use one of {', '.join(_KNOWN)}, OptimizerOptuna")
    return _KNOWN[name]


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _unwrapped(item) for name, item in value.items()}
    return value


def _plain(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)
