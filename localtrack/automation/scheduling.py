"""What schedules and triggers share: their task, their state in it, and how a firing starts something exactly once.

A firing is written down before it starts anything, and again when it has. A scheduler that was killed in between looks,
after its restart, whether the task that bears the firing's name is there, and starts it only if not.

Source: ClearML's clearml.automation.scheduler.BaseScheduler; docs/how-to/schedule.md.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import ClearmlJob, RunningJob, is_in_a_queue
from localtrack.automation.schedule_job import BaseScheduleJob, ExecutedJob, LaunchDetails
from localtrack.errors import InvalidValueError, LocaltrackError, UsageError
from localtrack.records.ids import new_sortable_id
from localtrack.records.status import Status
from localtrack.services import lifecycle, search, tasks
from localtrack.services.context import open_context
from localtrack.services.search import Search
from localtrack.store.documents import seconds, stamp

if TYPE_CHECKING:
    from localtrack.api.task import Task

LOG = logging.getLogger("localtrack.scheduler")
STATE_KEY = "scheduler"
MARK_KEY = "started_by"
LONGEST_WAIT_S = 60.0
RETRY_S = 15.0
MOST_SHOWN = 100
MOST_REMEMBERED = 20
RUNNING = (Status.QUEUED, Status.IN_PROGRESS)
UTC = dt.timezone.utc


class BaseScheduler:
    """Starts tasks and functions by itself; what it has done is kept in its task.

    Args:
        sync_frequency_minutes: minutes between two updates of the tables in its task.
        force_create_task_name: make a task of that name, also where this process has one.
        force_create_task_project: the project of it.
        pooling_frequency_minutes: minutes between two looks.
    """

    _configuration_section = "schedule"

    def __init__(
        self,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
        pooling_frequency_minutes: float | None = None,
    ) -> None:
        self._sync_frequency_minutes = sync_frequency_minutes
        self._pooling_frequency_minutes = pooling_frequency_minutes
        self._task = _service_task(force_create_task_name, force_create_task_project)
        self._stop = threading.Event()
        self._clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(UTC)
        self._executed: list[ExecutedJob] = []
        self._timeouts: dict[str, dt.datetime] = {}
        self._firing: dict[str, Any] | None = None
        self._next_sync: dt.datetime | None = None

    def start(self) -> None:
        """Start what is due, for ever: this does not return, unless :meth:`stop` is called."""
        self._prepare()
        while not self._stop.is_set():
            try:
                wait_s = self._step()
                self._sync()
            except (LocaltrackError, OSError) as error:
                self._log(f"a look failed, the next one is in {RETRY_S:g} s: {error}", logging.WARNING)
                wait_s = RETRY_S
            self._stop.wait(min(max(0.0, wait_s), LONGEST_WAIT_S))  # the clock may be set meanwhile

    def start_remotely(self, queue: str = "services") -> None:
        """Go on in a queue: this process ends, and an agent runs the scheduler.

        Args:
            queue: the queue.

        Raises:
            QueueNotFoundError: no such queue; this process goes on.
        """
        self._load()
        self._save()
        self._task.execute_remotely(queue_name=queue, exit_process=True)
        self.start()

    def stop(self) -> None:
        """Let :meth:`start` return, from another thread; what was started goes on."""
        self._stop.set()

    def _jobs(self) -> Sequence[BaseScheduleJob]:
        """Return all schedules or triggers."""
        raise NotImplementedError(f"{type(self).__name__}._jobs")

    def _step(self) -> float:
        """Start what is due; return seconds until something may be due again."""
        raise NotImplementedError(f"{type(self).__name__}._step")

    def _state(self) -> dict[str, Any]:
        """Return the state of a subclass, for JSON."""
        return {}

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a subclass; empty in the beginning."""

    def _tables(self) -> Mapping[str, list[list[Any]]]:
        """Return the tables that a subclass shows, by title."""
        return {}

    def _prepare(self) -> None:
        """Take up the state, and what was edited, and finish a firing that was cut short."""
        described = [job.to_dict() for job in self._jobs()]
        stored = self._task.connect_configuration(copy.deepcopy(described), name=self._configuration_section)
        by_name = {job.name: job for job in self._jobs()}
        for body in stored if isinstance(stored, list) else ():
            known = by_name.get(str(body.get("name"))) if isinstance(body, Mapping) else None
            if known is not None and body not in described:
                known.update(body)
                known.verify()
                self._log(f"{known.name!r} is as it was edited in the scheduler's task")
        self._load()
        if self._firing is not None:
            self._finish_firing(self._firing)
        self._save()
        self._sync()
        for line in self._plan():
            self._log(line)

    def _plan(self) -> Sequence[str]:
        """Return what is said in the beginning."""
        return ()

    def _load(self) -> None:
        state = self._task._read().runtime.get(STATE_KEY) or {}
        self._firing = state.get("firing")
        self._timeouts = {task_id: parse(text) for task_id, text in (state.get("timeouts") or {}).items()}
        kept = state.get("executed") or {}
        for job in self._jobs():
            job._executed_instances = list(kept.get(job.name) or job._executed_instances)
        self._restore(state)

    def _save(self) -> None:
        """Commit the state: when this returns, it survives the death of the process."""
        kept = (self._task._read().runtime.get(STATE_KEY) or {}).get("executed") or {}
        now_kept = {
            job.name: job._executed_instances[-MOST_REMEMBERED:] for job in self._jobs() if job._executed_instances
        }
        state = {
            "script": _script_name(),
            "firing": self._firing,
            "timeouts": {task_id: written(moment) for task_id, moment in self._timeouts.items()},
            "executed": {**kept, **now_kept},
            **self._state(),
        }
        self._task._edit(
            lambda record: replace(record, runtime={**record.runtime, STATE_KEY: state}), "schedule", checked=False
        )

    def _details(self, job: BaseScheduleJob, trigger: str) -> LaunchDetails:
        """Return what a firing gives to what it starts."""
        return LaunchDetails(parameters=job.task_parameters)

    def _settle(self, job: BaseScheduleJob, at: dt.datetime, trigger: str, *, skipped: bool) -> None:
        """Note that a firing is over."""

    def _fire(self, job: BaseScheduleJob, trigger: str = "") -> bool:
        """Start what a schedule or trigger starts, written down before and after.

        Args:
            job: the schedule or trigger.
            trigger: id of the object that fired it.

        Returns:
            Whether something was started.
        """
        at = self._clock()
        details = self._details(job, trigger)
        self._firing = {"id": new_sortable_id(), "name": job.name, "at": written(at), "trigger": trigger}
        self._save()
        skipped = self._is_skipped(job)
        done = False
        if job.base_task_id and not skipped:
            done = self._launch_task(job, str(self._firing["id"]), details, trigger)
        if job.base_function is not None and not skipped:
            self._launch_function(job, details.arguments, trigger)
            done = True
        self._firing = None
        self._settle(job, at, trigger, skipped=skipped)
        self._save()
        return done

    def _is_skipped(self, job: BaseScheduleJob) -> bool:
        """Tell, and say, whether the one before still waits or runs and only one may."""
        if job.single_instance and job._thread is not None and job._thread.is_alive():
            self._log(f"{job.name!r} is left out: the call of before has not returned")
            return True
        last = job.get_last_executed_task_id() if job.clone_task else job.base_task_id
        if not last or not (job.single_instance or not job.clone_task):
            return False
        record = tasks.try_read(open_context(), last)
        if record is None or record.state not in RUNNING:
            return False
        self._log(f"{job.name!r} is left out: task {last} of before is still {record.status}")
        return True

    def _launch_task(self, job: BaseScheduleJob, firing: str, details: LaunchDetails, trigger: str) -> bool:
        ctx = open_context()
        try:
            ctx.queues.get(str(job.queue))
            if job.clone_task:
                made = ClearmlJob(
                    job.base_task_id, parameter_override=details.parameters, task_overrides=job.task_overrides,
                    target_project=job.target_project, tags=details.tags, runtime={MARK_KEY: firing},
                )  # fmt: skip
                lifecycle.enqueue(ctx, made.task_id(), str(job.queue))
                task_id = made.task_id()
            else:
                task_id = job.base_task_id
                if tasks.read(ctx, task_id).state is not Status.CREATED:
                    lifecycle.reset(ctx, task_id, reason="scheduled again")
                _mark(task_id, firing)
                lifecycle.enqueue(ctx, task_id, str(job.queue))
        except (LocaltrackError, OSError) as error:
            self._log(f"{job.name!r} could not be started: {error}", logging.WARNING)
            return False
        self._note(job, task_id, details.limit_hours, trigger)
        return True

    def _note(self, job: BaseScheduleJob, task_id: str, limit_hours: float | None, trigger: str) -> None:
        job._executed_instances.append(task_id)
        if limit_hours:
            self._timeouts[task_id] = self._clock() + dt.timedelta(hours=limit_hours)
        self._executed.append(ExecutedJob(job.name, self._clock(), task_id=task_id, trigger=trigger))
        self._log(f"{job.name!r}: task {task_id} is in queue {job.queue}")

    def _launch_function(self, job: BaseScheduleJob, arguments: Sequence[Any], trigger: str) -> None:
        function = job.base_function
        assert function is not None

        def call() -> None:
            try:
                function(*arguments)
            except Exception:
                LOG.exception("function of %r failed", job.name)

        thread = threading.Thread(target=call, name=f"{job.name}-{len(self._executed)}", daemon=True)
        job._thread = thread
        self._executed.append(ExecutedJob(job.name, self._clock(), thread_id=thread.name, trigger=trigger))
        self._log(f"{job.name!r}: its function is called in thread {thread.name}")
        thread.start()

    def _finish_firing(self, firing: Mapping[str, Any]) -> None:
        """Bring a firing to its end that a killed scheduler had begun."""
        job = next((job for job in self._jobs() if job.name == firing.get("name")), None)
        at, trigger = parse(str(firing.get("at"))), str(firing.get("trigger") or "")
        self._firing = None
        if job is None:
            return
        if not job.base_task_id:
            self._log(f"whether {job.name!r} was called before this restart is not known: it is not called again")
            self._settle(job, at, trigger, skipped=False)
            return
        ctx = open_context()
        found = [row for row in search.find(ctx, Search()) if row.runtime.get(MARK_KEY) == firing.get("id")]
        if not found:
            self._fire(job, trigger)
            return
        if found[0].status in (Status.CREATED, Status.QUEUED) and not is_in_a_queue(ctx, found[0].id):
            lifecycle.enqueue(ctx, found[0].id, str(job.queue))
        self._note(job, found[0].id, self._details(job, trigger).limit_hours, trigger)
        self._settle(job, at, trigger, skipped=False)

    def _end_overdue(self) -> float:
        """Abort tasks that ran for too long; return seconds until the next one may have."""
        moment = self._clock()
        for task_id, limit in list(self._timeouts.items()):
            job = RunningJob(task_id) if tasks.try_read(open_context(), task_id) else None
            if job is None or job.is_stopped():
                del self._timeouts[task_id]
            elif limit <= moment:
                self._log(f"task {task_id} is aborted: it has run for as long as it may")
                job.abort()
                del self._timeouts[task_id]
                self._save()
        left = [(limit - moment).total_seconds() for limit in self._timeouts.values()]
        return min(left, default=LONGEST_WAIT_S)

    def _sync(self) -> None:
        """Show the state in the scheduler's task, now and then."""
        moment = self._clock()
        if self._next_sync is not None and moment < self._next_sync:
            return
        self._next_sync = moment + dt.timedelta(minutes=self._sync_frequency_minutes)
        logger = self._task.get_logger()
        for title, table in self._tables().items():
            if len(table) > 1:
                logger.report_table(title, " ", iteration=0, table_plot=table)
        header = ["trigger", "name", "task id", "started", "function"]
        done = [
            [one.trigger, one.name, one.task_id or "", f"{one.started:%Y-%m-%d %H:%M:%S} UTC", one.thread_id or ""]
            for one in reversed(self._executed[-MOST_SHOWN:])
        ]
        if done:
            logger.report_table(f"last {MOST_SHOWN} executions", " ", iteration=0, table_plot=[header, *done])

    def _log(self, message: str, level: int = logging.INFO) -> None:
        """Say something: what is usual in the task's console, what is wrong in the log as well."""
        if level >= logging.WARNING:
            LOG.log(level, message)
        else:
            self._task.get_logger().report_text(f"{written(self._clock())[:19].replace('T', ' ')} UTC: {message}")

    def _warn_of_missing(self, job: BaseScheduleJob) -> None:
        """Say at once what would go wrong when it is due."""
        if job.base_task_id and tasks.try_read(open_context(), job.base_task_id) is None:
            LOG.warning("%r: there is no task %r yet", job.name, job.base_task_id)
        if job.base_task_id and job.queue not in (*open_context().queues.names(), lifecycle.DEFAULT_QUEUE):
            LOG.warning(
                "%r: there is no queue %r yet; `localtrack queue create %s` makes it", job.name, job.queue, job.queue
            )


def written(moment: dt.datetime) -> str:
    """Return a moment as the state holds it."""
    return stamp(moment.timestamp())


def parse(text: str) -> dt.datetime:
    """Return the moment that the state holds."""
    return dt.datetime.fromtimestamp(seconds(text), UTC)


def id_of(task: Task | str | None) -> str:
    """Return the id of a task given by it or as itself; ``""`` for none."""
    return "" if task is None else task if isinstance(task, str) else task.id


def unique_name(name: str | None, fallback: str, others: Sequence[BaseScheduleJob]) -> str:
    """Return a name that no other schedule has, the same one in every run of a script.

    Raises:
        InvalidValueError: the given one is taken.
    """
    taken = {job.name for job in others}
    if name:
        if name in taken:
            raise InvalidValueError(f"there is a schedule {name!r} already: what was done is kept by name", name=name)
        return name
    number = 1
    while (made := fallback if number == 1 else f"{fallback} #{number}") in taken:
        number += 1
    return made


def _mark(task_id: str, firing: str) -> None:
    ctx = open_context()
    tasks.edit(
        ctx, task_id, lambda record: replace(record, runtime={**record.runtime, MARK_KEY: firing}), "scheduled",
        checked=False,
    )  # fmt: skip


def _service_task(name: str | None, project: str | None) -> Task:
    """Return the task of the scheduler: that of this process, or one of its own, which goes on where it ended."""
    from localtrack.api.task import Task

    current = Task.current_task()
    if current is not None and not name:
        return current
    if current is not None:
        raise UsageError(
            f"this process runs task {current.id} already: give no force_create_task_name, or make the scheduler before "
            "Task.init",
            task_id=current.id,
        )
    project, name = project or "DevOps", name or "Scheduler"
    earlier = _earlier(project, name) if Task.running_locally() else None
    return Task.init(
        project_name=project, task_name=name, task_type=Task.TaskTypes.service, auto_resource_monitoring=False,
        reuse_last_task_id=False, continue_last_task=earlier or False,
    )  # fmt: skip


def _earlier(project: str, name: str) -> str | None:
    """Return the last task of this script's scheduler that ended: what it did is not done again."""
    wanted = Search(project, f"^{re.escape(name)}$", task_filter={"order_by": ["-last_update"]})
    for row in search.find(open_context(), wanted):
        state = row.runtime.get(STATE_KEY)
        if isinstance(state, Mapping) and state.get("script") == _script_name():
            if row.status in (Status.STOPPED, Status.FAILED, Status.COMPLETED):
                return row.id
            LOG.warning("task %s, a scheduler of this script, is %s: both will start things", row.id, row.status)
            return None
    return None


def _script_name() -> str:
    return os.path.basename(sys.argv[0]) if sys.argv else ""
