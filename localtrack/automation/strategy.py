"""The loop of a search: start tasks with other parameters, watch them, stop those that used up what they may have.

Source: ClearML's clearml.automation.optimization.SearchStrategy.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import BaseJob, ClearmlJob
from localtrack.automation.objective import MultiObjective, Objective, objectives_of, ranked
from localtrack.automation.parameters import Parameter
from localtrack.errors import InvalidValueError, StoreError, TaskNotFoundError
from localtrack.records.parameters import full_name
from localtrack.services.context import open_context
from localtrack.services.search import Search, find

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.index.rows import Row

RUN_KEY = "optimization"
STOP_WAIT_S = 30.0
STEP_S = 0.5
LOG = logging.getLogger("localtrack.optimization")


class Budget:
    """How much of what a search may use is used: jobs, iterations, minutes of computing."""

    class Field:
        """One kind of it.

        Args:
            limit: what there is; None for no limit.
        """

        def __init__(self, limit: float | None = None) -> None:
            self.limit = limit
            self.current: dict[str, float] = {}

        def update(self, uid: str | int, value: float) -> None:
            """Set what one job has used so far."""
            self.current[str(uid)] = float(value)

        @property
        def total(self) -> float:
            """What all jobs have used."""
            return sum(self.current.values())

        @property
        def used(self) -> float | None:
            """The part that is used, 1 for all; None without a limit, or before the first job."""
            return None if not self.limit or not self.current else self.total / self.limit

    def __init__(self, jobs_limit: int | None, iterations_limit: int | None, compute_time_limit: float | None) -> None:
        self.jobs = self.Field(jobs_limit)
        self.iterations = self.Field(iterations_limit)
        self.compute_time = self.Field(compute_time_limit)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return ``{kind: {"limit", "used"}}`` of the kinds that have a limit."""
        kinds = {"jobs": self.jobs, "iterations": self.iterations, "compute_time": self.compute_time}
        return {name: {"limit": kind.limit, "used": kind.used or 0.0} for name, kind in kinds.items() if kind.limit}


class SearchStrategy:
    """Base of all searches: override :meth:`create_job`, and be done.

    Args:
        base_task_id: the task whose parameters are varied.
        hyper_parameters: what is varied.
        objective_metric: what is optimised.
        execution_queue: where jobs wait for agents.
        num_concurrent_workers: how many jobs wait or run at a time, at most.
        pool_period_min: minutes between two looks at the jobs.
        time_limit_per_job: minutes that a job may run; it is aborted then, and its value counts.
        compute_time_limit: minutes that all jobs together may run; all are aborted then.
        min_iteration_per_job: iterations of the objective before which a job is not given up for being bad.
        max_iteration_per_job: iterations of the objective after which a job is aborted, and its value counts.
        total_max_jobs: how many jobs are started, at most.

    Raises:
        TaskNotFoundError: no such base task.
        InvalidValueError: a limit below what makes sense.
    """

    _tag = "optimization"

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective | MultiObjective,
        execution_queue: str,
        num_concurrent_workers: int,
        pool_period_min: float = 2.0,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        min_iteration_per_job: int | None = None,
        max_iteration_per_job: int | None = None,
        total_max_jobs: int | None = None,
        **_: Any,
    ) -> None:
        if num_concurrent_workers < 1:
            raise InvalidValueError(f"a search needs at least one job at a time, not {num_concurrent_workers}")
        self._ctx = open_context()
        self._base = _with_known_names(base_task_id, hyper_parameters)
        self._base_task_id = self._base.id
        self._base_task_name = self._base.name
        self._hyper_parameters = list(hyper_parameters)
        self._objective_metric = objective_metric
        self._execution_queue = execution_queue
        self._num_concurrent_workers = num_concurrent_workers
        self.pool_period_minutes = pool_period_min
        self.time_limit_per_job = time_limit_per_job
        self.compute_time_limit = compute_time_limit
        self.min_iteration_per_job = min_iteration_per_job
        self.max_iteration_per_job = max_iteration_per_job
        self.total_max_jobs = total_max_jobs
        self.budget = Budget(total_max_jobs, _product(max_iteration_per_job, total_max_jobs), compute_time_limit)
        self.run_id = ""
        self._job_class: Callable[..., BaseJob] = ClearmlJob
        self._job_parent_id: str | None = None
        self._job_project: str | None = None
        self._naming_function: Callable[[str, dict[str, Any]], str] | None = None
        self._optimizer_task: Task | None = None
        self._lock = threading.RLock()
        self._running: dict[str, BaseJob] = {}
        self._unlaunched: list[BaseJob] = []
        self._created: dict[str, tuple[BaseJob, dict[str, Any]]] = {}
        self._stop = threading.Event()

    def start(self) -> None:
        """Search, and return when all is done or :meth:`stop` was called; jobs that still run then are aborted."""
        try:
            while not self._stop.is_set() and self._step_safely():
                self._pause()
        finally:
            self.abort_running()

    def stop(self) -> None:
        """End the search, from another thread than that of :meth:`start`."""
        self._stop.set()

    def _step_safely(self) -> bool:
        """Take a step; a store that can't be reached for a while ends no search."""
        try:
            return self.process_step()
        except (StoreError, OSError) as error:
            LOG.warning("the search waits, since a look at the store failed: %s", error)
            return True

    def _pause(self) -> None:
        """Wait for the next look, and less when a job's own process has ended meanwhile."""
        deadline = time.monotonic() + self.pool_period_minutes * 60.0
        watched = [process for job in self.get_running_jobs() if (process := getattr(job, "_agent", None)) is not None]
        while (left := deadline - time.monotonic()) > 0 and not self._stop.wait(min(STEP_S, left)):
            if any(process.poll() is not None for process in watched):
                return

    def process_step(self) -> bool:
        """Look at the running jobs once, and start new ones where there is room.

        Returns:
            Whether the search goes on.
        """
        for job in self.get_running_jobs():
            if not self.monitor_job(job):
                with self._lock:
                    self._running.pop(job.task_id(), None)
        if (self.budget.compute_time.used or 0.0) >= 1.0:
            LOG.info("the search has used its %s minutes of computing", self.compute_time_limit)
            return False
        while not self._stop.is_set() and len(self._running) < self._num_concurrent_workers:
            new = self._next_job()
            if new is None:
                break
            if not new.launch(self._execution_queue):
                LOG.warning("job %s could not be started: it is %s", new.task_id(), new.status())
                continue
            with self._lock:
                self._running[new.task_id()] = new
        return bool(self._running)

    def _next_job(self) -> BaseJob | None:
        if self._unlaunched:
            return self._unlaunched.pop(0)
        if self.total_max_jobs and len(self._created) >= self.total_max_jobs:
            return None
        return None if (self.budget.iterations.used or 0.0) >= 1.0 else self.create_job()

    def create_job(self) -> BaseJob | None:
        """Return the next job, not started yet; None when there is nothing left to try."""
        return None

    def monitor_job(self, job: BaseJob) -> bool:
        """Look at one job, and abort it when it has used up what it may have.

        Returns:
            Whether it goes on.
        """
        within = self.update_budget_per_job(job)
        if job.has_ended():
            return False
        if not within:
            job.abort()
        return within or not job.has_ended()

    def update_budget_per_job(self, job: BaseJob) -> bool:
        """Note what a job has used so far.

        Returns:
            Whether it may go on.
        """
        task_id = job.task_id()
        self.budget.jobs.update(task_id, 1)
        within = True
        if self.time_limit_per_job:
            within = job.elapsed() / 60.0 < self.time_limit_per_job
        if self.compute_time_limit:
            self.budget.compute_time.update(task_id, max(0.0, job.elapsed()) / 60.0)
        if self.max_iteration_per_job:
            iterations = self._get_job_iterations(job)
            if iterations > 0:
                self.budget.iterations.update(task_id, iterations)
            within = within and iterations < self.max_iteration_per_job
        return within

    def _get_job_iterations(self, job: BaseJob) -> int:
        """Return the last iteration of the objective that a job reported; -1 before."""
        try:
            record = job.record()
        except TaskNotFoundError:
            return -1
        from localtrack.automation.job import read_metric

        found = [read_metric(self._ctx, record, one.title, one.series) for one in objectives_of(self._objective_metric)]
        return max((int(summary["last_iteration"]) for summary in found if summary), default=-1)

    def abort_running(self) -> None:
        """Abort all running jobs; those whose process is on this machine are waited for."""
        jobs = self.get_running_jobs()
        for job in jobs:
            job.abort()
        deadline = time.monotonic() + STOP_WAIT_S
        for job in jobs:
            process = getattr(job, "_agent", None)
            while process is not None and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)

    def get_running_jobs(self) -> list[BaseJob]:
        """Return the jobs that wait or run."""
        with self._lock:
            return list(self._running.values())

    def get_created_jobs_ids(self) -> dict[str, dict[str, Any]]:
        """Return the parameters of all jobs so far by id."""
        with self._lock:
            return {task_id: parameters for task_id, (_, parameters) in self._created.items()}

    def get_created_jobs_tasks(self) -> dict[str, BaseJob]:
        """Return all jobs so far by id."""
        with self._lock:
            return {task_id: job for task_id, (job, _) in self._created.items()}

    def get_objective_metric(self) -> tuple[str, str] | list[tuple[str, str]]:
        """Return title and series of the objective, or of each."""
        return self._objective_metric.get_objective_metric()

    def rows(self) -> list[Row]:
        """Return all jobs so far as the index knows them, the oldest first."""
        ids = list(self.get_created_jobs_ids())
        return sorted(find(self._ctx, Search(task_filter={"id": ids})), key=lambda row: row.created) if ids else []

    def get_top_experiments(self, top_k: int) -> list[Task]:
        """Return the best jobs' tasks so far, the best first."""
        from localtrack.api.task import Task

        best = ranked(self._ctx, self.rows(), objectives_of(self._objective_metric))[:top_k]
        return [task for task in (Task.get_task(task_id=row.id) for row, _ in best) if task is not None]

    def get_top_experiments_id_metrics_pair(
        self, top_k: int, all_metrics: bool = False, only_completed: bool = False
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return id and metrics of the best jobs so far, the best first; see :meth:`get_top_experiments_details`."""
        found = self.get_top_experiments_details(top_k, all_metrics, only_completed=only_completed)
        return [(body["task_id"], body["metrics"]) for body in found]

    def get_top_experiments_details(
        self, top_k: int, all_metrics: bool = False, all_hyper_parameters: bool = False, only_completed: bool = False
    ) -> list[dict[str, Any]]:
        """Return the best jobs so far as dicts, the best first.

        Args:
            top_k: how many at most.
            all_metrics: all scalars, not only the objective.
            all_hyper_parameters: all parameters, not only those that are varied.
            only_completed: leave out those that were aborted or still run.

        Returns:
            ``task_id``; ``hyper_parameters`` by name, with their types; ``metrics``: by ``title/series`` dicts of
            ``metric``, ``variant``, ``value``, ``min_value``, ``max_value``.
        """
        objectives = objectives_of(self._objective_metric)
        rows = [row for row in self.rows() if not only_completed or row.status in ("completed", "published")]
        wanted = None if all_metrics else {one.get_objective_metric() for one in objectives}
        known = self.get_created_jobs_ids()
        return [
            {
                "task_id": row.id,
                "hyper_parameters": dict(row.parameters) if all_hyper_parameters else dict(known[row.id]),
                "metrics": self._metrics_of(row, wanted),
            }
            for row, _ in ranked(self._ctx, rows, objectives)[:top_k]
        ]

    def _metrics_of(self, row: Row, wanted: set[tuple[str, str]] | None) -> dict[str, Any]:
        from localtrack.services import reports

        metrics: Mapping[str, Any] = row.metrics
        if row.status in ("in_progress", "stopped"):
            metrics = reports.summarise(reports.scalars(self._ctx.store.root / row.folder))
        return {
            f"{title}/{series}": {
                "metric": title, "variant": series, "value": found.get("last"), "min_value": found.get("min"),
                "max_value": found.get("max"),
            }
            for title, line in metrics.items()
            for series, found in line.items()
            if wanted is None or (title, series) in wanted
        }  # fmt: skip

    def helper_create_job(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        **kwargs: Any,
    ) -> BaseJob:
        """Return a new job of this search, not started yet; the arguments of :class:`ClearmlJob`."""
        parameters = dict(parameter_override or {})
        words = [f"{name}={parameters[name]}" for name in sorted(parameters)]
        named = self._naming_function(self._base_task_name, parameters) if self._naming_function else None
        owner = parent or self._job_parent_id
        mark = {"run": self.run_id, "names": list(parameters), **kwargs.pop("details", {})}
        job = self._job_class(
            base_task_id=base_task_id,
            parameter_override=parameters,
            task_overrides=task_overrides,
            tags=[*(tags or ()), self._tag, f"opt: {owner}" if owner else "opt"],
            parent=owner,
            name=named or (f"{self._base_task_name}: {' '.join(words)}" if words else None),
            comment="\n".join(words) or None,
            project=self._job_project,
            runtime={RUN_KEY: mark},
            **kwargs,
        )
        with self._lock:
            self._created[job.task_id()] = (job, parameters)
        LOG.info("job %s: %s", job.task_id(), " ".join(words))
        return job

    def adopt(self, job: BaseJob, parameters: Mapping[str, Any], details: Mapping[str, Any], *, is_draft: bool) -> None:
        """Take up a job that this search started before its process ended.

        Args:
            job: the job.
            parameters: what was varied.
            details: what :meth:`helper_create_job` was told to keep.
            is_draft: whether it was not started yet.
        """
        with self._lock:
            self._created[job.task_id()] = (job, dict(parameters))
            if is_draft:
                self._unlaunched.append(job)
            elif not job.has_ended():
                self._running[job.task_id()] = job
        self.update_budget_per_job(job)

    def set_job_class(self, job_class: Callable[..., BaseJob]) -> None:
        """Set what makes a job: a subclass of :class:`ClearmlJob`."""
        self._job_class = job_class

    def set_job_default_parent(self, job_parent_task_id: str | None, project_name: str | None = None) -> None:
        """Set the parent, and the project, of the jobs."""
        self._job_parent_id = job_parent_task_id
        self._job_project = project_name

    def set_job_naming_scheme(self, naming_function: Callable[[str, dict[str, Any]], str] | None) -> None:
        """Set what names a job, given the base task's name and the job's parameters."""
        self._naming_function = naming_function

    def set_optimizer_task(self, task: Task) -> None:
        """Set the task of the search itself."""
        self._optimizer_task = task


def find_base(base_task_id: str) -> Task:
    """Return the task that a search starts clones of.

    Raises:
        TaskNotFoundError: no such task.
    """
    from localtrack.api.task import Task

    base = Task.get_task(task_id=base_task_id) if base_task_id else None
    if base is None:
        raise TaskNotFoundError(f"no base task {base_task_id!r} to optimise", task_id=base_task_id)
    return base


def _with_known_names(base_task_id: str, hyper_parameters: Sequence[Parameter]) -> Task:
    """Return the base task, saying which of the parameters it does not have."""
    base = find_base(base_task_id)
    known = base.get_parameters()
    names = sorted({name for one in hyper_parameters for name in _names_of(one)})
    missing = [name for name in names if full_name(name) not in known]
    if missing:
        LOG.warning(
            "base task %s has no parameter %s: a script that does not connect it will not see it (it has %s)",
            base.id, ", ".join(missing), ", ".join(sorted(known)) or "none",
        )  # fmt: skip
    return base


def _names_of(parameter: Parameter) -> set[str]:
    if parameter.name:
        return {parameter.name}
    found: set[str] = set()
    for combination in getattr(parameter, "values", ()):
        for name, value in combination.items():
            found |= _names_of(value) if isinstance(value, Parameter) else {str(name)}
    return found


def _product(one: int | None, other: int | None) -> int | None:
    return one * other if one and other else None
