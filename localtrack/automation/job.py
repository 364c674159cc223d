"""One task that another program starts and watches: cloned, given other parameters, queued or run here.

Source: ClearML's clearml.automation.job; docs/how-to/optimize.md.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from localtrack.api.policy import refuse
from localtrack.automation.overrides import apply_overrides, content_hash
from localtrack.errors import InvalidValueError, LocaltrackError, TaskNotFoundError, UsageError
from localtrack.records.filters import Query
from localtrack.records.ids import tags_of
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, reports, tasks
from localtrack.services.context import StoreContext, open_context
from localtrack.store.documents import seconds

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.automation.local_agent import LocalAgent

ENDED = frozenset({Status.STOPPED, Status.COMPLETED, Status.FAILED, Status.PUBLISHED, Status.CLOSED})
POLL_LIMIT_S = 1.0
ASK_AGAIN_S = 60.0
HASH_KEY = "content_hash"
QUEUE_PREFIX = "local-"  # of queues that one agent of this machine serves, and nobody else


class BaseJob:
    """A task that is watched from outside: what it is now is read from the store each time.

    Args:
        task: the task.
    """

    _hashing_callback: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def __init__(self, task: Task) -> None:
        self.task = task
        self.task_parameter_override: dict[str, Any] = {}
        self._is_cached = False
        self._asked_to_stop = -math.inf
        self._ctx: StoreContext = open_context()

    def record(self) -> TaskRecord:
        """Return the task as it is now; a run whose process died is failed.

        Raises:
            TaskNotFoundError: it was deleted.
        """
        return tasks.read(self._ctx, self.task.id)

    def task_id(self) -> str:
        """Return the task's id."""
        return self.task.id

    def launch(self, queue_name: str | None = None) -> bool:
        """Put the task into a queue.

        Args:
            queue_name: the queue; ``default`` without one.

        Returns:
            Whether it was queued: only a draft is.

        Raises:
            QueueNotFoundError: no such queue.
        """
        if self.record().state is not Status.CREATED:
            return False
        lifecycle.enqueue(self._ctx, self.task.id, queue_name or "default")
        return True

    def abort(self) -> None:
        """Ask the task to stop, or take it out of its queue; one that has ended is left alone.

        Asking again does nothing for a minute: the task may be saving a checkpoint.
        """
        if time.monotonic() - self._asked_to_stop < ASK_AGAIN_S:
            return
        self._asked_to_stop = time.monotonic()
        try:
            lifecycle.request_stop(self._ctx, self.task.id, "aborted by the program that started it")
        except (UsageError, TaskNotFoundError):
            pass  # it has ended by itself, or is gone

    def status(self, force: bool = False) -> str:
        """Return the status; ``failed`` for a task that was deleted.

        Args:
            force: kept for ClearML's signature; the store is read each time.
        """
        try:
            return self.record().status
        except TaskNotFoundError:
            return Status.FAILED.value

    def status_message(self) -> str:
        """Return what the last status change said."""
        try:
            record = self.record()
        except TaskNotFoundError:
            return "the task was deleted"
        return record.status_message or record.status_reason

    @classmethod
    def update_status_batch(cls, jobs: Sequence[BaseJob]) -> None:
        """Do nothing: a status is read from the store when it is asked for."""

    def elapsed(self) -> float:
        """Return seconds since the task started, up to its end; -1 before."""
        try:
            record = self.record()
        except TaskNotFoundError:
            return -1.0
        if not record.started:
            return -1.0
        end = seconds(record.ended) if record.ended else time.time()
        return max(0.0, end - seconds(record.started))

    def iterations(self) -> int:
        """Return the highest iteration reported so far; -1 before the task started."""
        return self.task.get_last_iteration() if self.started() else -1

    def get_metric(self, title: str, series: str) -> tuple[float | None, float | None, float | None]:
        """Return lowest, highest and last value of a scalar so far; three times None when there is none."""
        found = read_metric(self._ctx, self.record(), title, series)
        return (None, None, None) if found is None else (found["min"], found["max"], found["last"])

    def get_console_output(self, number_of_reports: int = 1) -> list[str]:
        """Return the last lines of the console."""
        return self.task.get_reported_console_output(number_of_reports)

    def worker(self) -> str | None:
        """Return the agent or host that runs the task; None while it waits."""
        return self.task.last_worker if self.started() else None

    def wait(
        self,
        timeout: float | None = None,
        pool_period: float = 30.0,
        aborted_nonresponsive_as_running: bool = False,
    ) -> bool:
        """Wait until the task has ended.

        Args:
            timeout: minutes to wait at most; without end when None.
            pool_period: seconds between two looks, at most.
            aborted_nonresponsive_as_running: see :meth:`is_stopped`.

        Returns:
            Whether it has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout * 60.0
        while not self.is_stopped(aborted_nonresponsive_as_running):
            pause_s = min(pool_period, POLL_LIMIT_S)
            if deadline is not None:
                pause_s = min(pause_s, deadline - time.monotonic())
                if pause_s <= 0:
                    return False
            time.sleep(pause_s)
        return True

    def is_running(self) -> bool:
        """Tell whether the task runs now; waiting in a queue does not count."""
        return self.status() == Status.IN_PROGRESS

    def is_stopped(self, aborted_nonresponsive_as_running: bool = False) -> bool:
        """Tell whether the task has ended, however.

        Args:
            aborted_nonresponsive_as_running: take a task whose process was lost as running: its agent may come back.
        """
        try:
            record = self.record()
        except TaskNotFoundError:
            return True
        if aborted_nonresponsive_as_running and record.exit.get("failure_class") == "lost":
            return False
        return record.state in ENDED

    def will_run_again(self) -> bool:
        """Tell whether a lost task is still in a queue: when the lease of its dead agent is over, another one runs it."""
        try:
            record = self.record()
        except TaskNotFoundError:
            return False
        return record.exit.get("failure_class") == "lost" and is_in_a_queue(self._ctx, record.id)

    def has_ended(self) -> bool:
        """Tell whether the task has ended for good."""
        return self.is_stopped() and not self.will_run_again()

    def is_failed(self) -> bool:
        """Tell whether the task has failed."""
        return self.status() == Status.FAILED

    def is_completed(self) -> bool:
        """Tell whether the task has ended well."""
        return self.status() in (Status.COMPLETED, Status.PUBLISHED)

    def is_aborted(self) -> bool:
        """Tell whether the task was stopped from outside."""
        return self.status() == Status.STOPPED

    def is_pending(self) -> bool:
        """Tell whether the task waits to be run."""
        return self.status() in (Status.QUEUED, Status.CREATED)

    def started(self) -> bool:
        """Tell whether the task has been started."""
        return not self.is_pending()

    def delete(self) -> bool:
        """Move the task to the trash, if it was never launched.

        Returns:
            Whether it went.
        """
        if self.status() != Status.CREATED:
            return False
        try:
            return self.task.delete()
        except LocaltrackError:
            return False

    def is_cached_task(self) -> bool:
        """Tell whether the task is an earlier run that stands in for this one."""
        return self._is_cached

    @staticmethod
    def get_metric_req_params(title: str, series: str) -> NoReturn:
        """Raise: these are the fields of a request to ClearML's server.

        Raises:
            UnsupportedError: always.
        """
        refuse("ClearmlJob.get_metric_req_params", "makes fields of a request to ClearML's server", "use get_metric")

    @classmethod
    def register_hashing_callback(cls, a_function: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Set what changes the description of a task by which ``allow_caching`` compares tasks.

        Args:
            a_function: takes and returns a dict: ``script``, ``hyper_params``, ``configs``, ``docker``, ``models``.

        Raises:
            InvalidValueError: it is no function.
        """
        if not callable(a_function):
            raise InvalidValueError(f"a hashing callback must be a function, not {a_function!r:.60}")
        BaseJob._hashing_callback = staticmethod(a_function)


class ClearmlJob(BaseJob):
    """A clone of a task with other parameters, for a queue.

    Args:
        base_task_id: the task to clone.
        parameter_override: parameters of the clone by name, with their types.
        task_overrides: other fields by ClearML's dotted names, such as ``script.branch``.
        configuration_overrides: configuration objects by name: dicts or texts.
        tags: added to those of the base task.
        parent: id of the clone's parent; the base task without one.
        disable_clone_task: run the base task itself, which must be a draft.
        allow_caching: take a task of before that completed with the same code, parameters, configuration, container and
            input models in place of a new one; such a job can't be launched.
        target_project: the clone's project; that of the base task without one.
        output_uri: where the clone's models go.
        enable_local_imports: kept for ClearML's signature; an agent runs the recorded code.
        **kwargs: ``name``, ``comment`` and ``project`` of the clone; ``runtime``: facts to keep with it.

    Raises:
        TaskNotFoundError: no such base task.
        UsageError: it is to be run itself and is no draft.
    """

    def __init__(
        self,
        base_task_id: str,
        parameter_override: Mapping[str, Any] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        configuration_overrides: Mapping[str, str | Mapping[str, Any]] | None = None,
        tags: Sequence[str] | None = None,
        parent: str | None = None,
        disable_clone_task: bool = False,
        allow_caching: bool = False,
        target_project: str | None = None,
        output_uri: str | bool | None = None,
        enable_local_imports: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(_planned(base_task_id, parent, disable_clone_task, target_project, kwargs))
        self.task_parameter_override = dict(parameter_override or {})
        apply_overrides(self.task, parameter_override, task_overrides, configuration_overrides)
        if output_uri is not None:
            self.task.output_uri = output_uri
        facts = dict(kwargs.get("runtime") or {})
        if not disable_clone_task:
            facts[HASH_KEY] = content_hash(self.record(), BaseJob._hashing_callback)
            if allow_caching and self._take_same(facts[HASH_KEY]):
                return
        self._finish(tags_of(tags), facts)

    def _take_same(self, digest: str) -> bool:
        """Take a task of before that ran the same, in place of the clone; return whether there is one."""
        same = find_same(self._ctx, HASH_KEY, digest)
        if not same:
            return False
        drafted = self.task
        self.task = _task_of(same)
        self._is_cached = True
        drafted.delete()
        return True

    def _finish(self, tags: Sequence[str], facts: Mapping[str, Any]) -> None:
        """Commit what tells the draft from others, at last: a draft that has it is whole."""
        tasks.edit(
            self._ctx, self.task.id, lambda one: replace(
                one, tags=tuple(dict.fromkeys((*one.tags, *tags))), runtime={**one.runtime, **facts}
            ),
            "job", checked=False,
        )  # fmt: skip


class LocalClearmlJob(ClearmlJob):
    """A job that this machine runs itself, under an agent of its own that ends with this process."""

    _agent: LocalAgent | None = None

    def launch(self, queue_name: str | None = None) -> bool:
        """Start the task in a process of its own.

        Args:
            queue_name: kept for ClearML's signature; no other agent takes the task.

        Returns:
            Whether it was started: only a draft is.
        """
        from localtrack.automation import local_agent

        if self.record().state is not Status.CREATED:
            return False
        self._agent = local_agent.launch(self._ctx, self.task.id)
        return True

    def wait_for_process(self, timeout: int | None = None) -> int | None:
        """Wait for the end of the process.

        Args:
            timeout: seconds to wait at most; without end when None.

        Returns:
            0 when the task ended well, 1 when not; None when it was not started, or still runs.
        """
        if self._agent is None:
            return None
        try:
            self._agent.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return 0 if self.is_completed() else 1

    def record(self) -> TaskRecord:
        """Return the task as it is now; one that waits for an agent that is gone is failed."""
        found = super().record()
        if self._agent is None or found.state is not Status.QUEUED or self._agent.poll() is None:
            return found
        found = super().record()  # it may have taken the task just before it left
        if found.state is not Status.QUEUED:
            return found
        lifecycle.dequeue(self._ctx, self.task.id)
        message = f"its agent ended early, with code {self._agent.poll()}; the last that it said: {self._agent.said()}"
        self.task.mark_failed(force=True, status_reason="launch failed", status_message=message)
        return super().record()


class RunningJob(BaseJob):
    """A task that runs already, or has ended, as a job.

    Args:
        existing_task: the task or its id.

    Raises:
        TaskNotFoundError: no such task.
    """

    def __init__(self, existing_task: Task | str) -> None:
        super().__init__(_task_of(existing_task) if isinstance(existing_task, str) else existing_task)


TrainsJob = ClearmlJob


def find_same(ctx: StoreContext, key: str, digest: str, name: str = "") -> str:
    """Return the task that ended well last and did the same; ``""`` without one.

    Args:
        ctx: the store.
        key: under which of a task's facts its hash is kept.
        digest: the hash.
        name: only tasks of that name.
    """
    ended = [Status.COMPLETED.value, Status.PUBLISHED.value]
    rows = ctx.index.search(Query(task_filter={"status": ended}, allow_archived=False, search_hidden=True))
    same = [row for row in rows if row.runtime.get(key) == digest and name in ("", row.name)]
    return max(same, key=lambda row: row.ended).id if same else ""


def is_in_a_queue(ctx: StoreContext, task_id: str) -> bool:
    """Tell whether any agent will run a task: one that a killed program said to be queued may be in none."""
    names = (name for name in ctx.queues.names() if not name.startswith(QUEUE_PREFIX))
    return any(ref.task_id == task_id for name in names for ref in ctx.queues.get(name).entries())


def has_agent(ctx: StoreContext, queue: str) -> bool:
    """Tell whether an agent that is not known to be dead takes tasks from a queue."""
    from localtrack.queue.agents import Agents
    from localtrack.services.liveness import owner_alive

    return any(queue in one.queues and owner_alive(one.owner) is not False for one in Agents(ctx.store).list())


def read_metric(ctx: StoreContext, record: TaskRecord, title: str, series: str) -> dict[str, Any] | None:
    """Return ``last``, ``min``, ``max`` of a scalar with their iterations, up to date; None when there is none.

    A run in progress tells its metadata of them only now and then, a killed one not all, and one that is being stopped
    only after its status: there the points count.
    """
    told = None
    if record.state not in (Status.IN_PROGRESS, Status.STOPPED) and record.exit.get("failure_class") != "lost":
        told = reports.last_metrics(record).get(title, {}).get(series)
    return told or read_points(tasks.folder_of(ctx, record.id), title, series)


def read_points(folder: Path, title: str, series: str) -> dict[str, Any] | None:
    """Return the summary of a scalar from its points; None when there is none."""
    return reports.summarise(reports.scalars(folder, title, series)).get(title, {}).get(series)


def _planned(
    base_task_id: str, parent: str | None, is_itself: bool, project: str | None, more: Mapping[str, Any]
) -> Task:
    from localtrack.api.task import Task

    base = _task_of(base_task_id)
    if is_itself:
        if base.status != Status.CREATED:
            raise UsageError(
                f"task {base.id} is {base.status}: only a draft can be run itself; clone it, or reset it",
                task_id=base.id,
            )
        return base
    return Task.clone(
        base, name=more.get("name"), comment=more.get("comment"), parent=parent or base.id,
        project=project or more.get("project"),
    )  # fmt: skip


def _task_of(task_id: str) -> Task:
    from localtrack.api.task import Task

    found = Task.get_task(task_id=task_id)
    if found is None:
        raise TaskNotFoundError(f"no task {task_id}", task_id=task_id)
    return found
