"""Starts tasks and functions at given times.

Source: ClearML's clearml.automation.TaskScheduler; docs/how-to/schedule.md.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from localtrack.automation.schedule_job import BaseScheduleJob, ExecutedJob, LaunchDetails
from localtrack.automation.schedule_times import Schedule, make_schedule, next_time
from localtrack.automation.scheduling import (
    LONGEST_WAIT_S,
    UTC,
    BaseScheduler,
    id_of,
    parse,
    unique_name,
    written,
)
from localtrack.errors import InvalidValueError

if TYPE_CHECKING:
    from localtrack.api.task import Task

__all__ = ["BaseScheduleJob", "BaseScheduler", "ExecutedJob", "ScheduleJob", "TaskScheduler"]

LOCAL = "local"
_TIMES = ("minute", "hour", "day", "weekdays", "month", "year")


@dataclass
class ScheduleJob(BaseScheduleJob):
    """What is started at given times; see :meth:`TaskScheduler.add_task`.

    Attributes:
        execution_limit_hours: a task that runs for longer is aborted.
        recurring: whether it is started again and again.
        starting_time: when it was scheduled: the times count from there.
        minute: see :func:`make_schedule`, for this and the following.
    """

    execution_limit_hours: float | None = None
    recurring: bool = True
    starting_time: dt.datetime = field(default_factory=lambda: dt.datetime.now(UTC))
    minute: float | None = None
    hour: float | None = None
    day: float | None = None
    weekdays: list[str] | None = None
    month: float | None = None
    year: float | None = None
    execute_immediately: bool = False
    zone: dt.tzinfo | None = UTC
    _last_executed: dt.datetime | None = None
    _schedule: Schedule = field(default_factory=Schedule)

    _EDITABLE: ClassVar[tuple[str, ...]] = (*BaseScheduleJob._EDITABLE, "execution_limit_hours", "recurring", *_TIMES)

    def verify(self) -> None:
        """Refuse what can't be started, or is never due.

        Raises:
            InvalidValueError: names what is wrong.
        """
        super().verify()
        self._schedule = make_schedule(**{name: getattr(self, name) for name in _TIMES})

    def next_run(self) -> dt.datetime | None:
        """Return when it is due next, in UTC; None when it is not any more."""
        if self._last_executed is None and self.execute_immediately:
            return self.starting_time
        if self._last_executed is not None and not self.recurring:
            return None
        return next_time(self._schedule, self.starting_time, self._last_executed or self.starting_time, self.zone)

    def describe(self) -> str:
        """Return when it is due in a few words."""
        return self._schedule.describe()


class TaskScheduler(BaseScheduler):
    """Starts tasks and functions at given times.

    Without a task of this process it makes its own, ``DevOps/Scheduler``, and goes on with that when the script is
    started again: what was due meanwhile is started once, and nothing twice.

    Args:
        sync_frequency_minutes: minutes between two updates of the tables in its task.
        force_create_task_name: name of its own task.
        force_create_task_project: project of its own task.
        timezone: whose days, hours and minutes are meant: ``UTC`` as with ClearML, ``local`` for those of this machine,
            a name such as ``Europe/Berlin``, or a ``tzinfo``.

    Raises:
        InvalidValueError: no such time zone.
    """

    def __init__(
        self,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
        *,
        timezone: str | dt.tzinfo = "UTC",
    ) -> None:
        self._zone = _zone_of(timezone)
        self._schedule_jobs: list[ScheduleJob] = []
        super().__init__(sync_frequency_minutes, force_create_task_name, force_create_task_project)

    def add_task(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_function: Callable[..., object] | None = None,
        queue: str | None = None,
        name: str | None = None,
        target_project: str | None = None,
        minute: int | None = None,
        hour: int | None = None,
        day: int | None = None,
        weekdays: list[str] | None = None,
        month: int | None = None,
        year: int | None = None,
        limit_execution_time: float | None = None,
        single_instance: bool = False,
        recurring: bool = True,
        execute_immediately: bool = False,
        reuse_task: bool = False,
        task_parameters: dict[str, Any] | None = None,
        task_overrides: dict[str, Any] | None = None,
    ) -> bool:
        """Schedule a task or a function.

        The longest of the time fields says how often, the shorter ones say when: ``minute=15`` every 15 minutes;
        ``hour=1, minute=30`` at every half hour; ``day=1, hour=22`` daily at 22:00; ``day=0, weekdays=["saturday"], hour=8``
        on Saturdays at 8:00; ``weekdays=["saturday"], hour=2`` every two hours on Saturdays; ``month=1, day=5`` on the 5th of
        each month; ``year=1, month=3, day=4`` every March 4th.

        Args:
            schedule_task_id: the task, of which a clone is started each time.
            schedule_function: a function instead, called in a thread of this process.
            queue: where the clones go.
            name: tells it from others, over restarts; the task or function and its times without one.
            target_project: project of the clones.
            minute: minutes between two starts, or the minute of the hour.
            hour: hours between two starts, or the hour of the day.
            day: days between two starts, or the day of the month.
            weekdays: names of days, such as ``monday``.
            month: months between two starts, or the month.
            year: years between two starts; a year from this one on for one start.
            limit_execution_time: hours after which the task is aborted.
            single_instance: leave out what is due while the one before still waits or runs.
            recurring: False for one start.
            execute_immediately: start it at once as well.
            reuse_task: start the task itself again, which is reset for that: what it held goes to the trash.
            task_parameters: parameters of the clones.
            task_overrides: other fields of the clones by ClearML's dotted names, such as ``script.branch``.

        Returns:
            True.

        Raises:
            InvalidValueError: both or neither of task and function, no queue, times without sense, a name that is taken.
        """
        task_id = id_of(schedule_task_id)
        if task_id and schedule_function is not None:
            raise InvalidValueError("schedule_task_id or schedule_function, one of them")
        job = ScheduleJob(
            name="", base_task_id=task_id, base_function=schedule_function, queue=queue, target_project=target_project,
            single_instance=bool(single_instance), task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}), clone_task=not reuse_task,
            execution_limit_hours=limit_execution_time, recurring=bool(recurring), starting_time=self._clock(),
            minute=minute, hour=hour, day=day, weekdays=weekdays, month=month, year=year,
            execute_immediately=bool(execute_immediately), zone=self._zone,
        )  # fmt: skip
        job.verify()
        what = task_id or getattr(schedule_function, "__qualname__", "function")
        job.name = unique_name(name, f"{what}, {job.describe()}", self._schedule_jobs)
        self._warn_of_missing(job)
        self._schedule_jobs.append(job)
        return True

    def get_scheduled_tasks(self) -> list[ScheduleJob]:
        """Return what is scheduled."""
        return list(self._schedule_jobs)

    def remove_task(self, task_id: str | Task | Callable[..., object]) -> bool:
        """Take out all that starts a task or a function.

        Args:
            task_id: the task, its id, or the function.

        Returns:
            Whether there was any.
        """
        is_function = callable(task_id) and not hasattr(task_id, "id")
        kept = [
            job
            for job in self._schedule_jobs
            if (job.base_function is not task_id if is_function else job.base_task_id != id_of(task_id))  # type: ignore[arg-type]
        ]
        found = len(kept) < len(self._schedule_jobs)
        self._schedule_jobs = kept
        return found

    def _jobs(self) -> Sequence[ScheduleJob]:
        return self._schedule_jobs

    def _plan(self) -> list[str]:
        due = [(job, job.next_run()) for job in self._schedule_jobs]
        return [f"{job.name!r} is due {f'next at {_shown(at)} UTC' if at else 'never again'}" for job, at in due]

    def _step(self) -> float:
        moment = self._clock()
        waits = []
        for job in sorted(self._schedule_jobs, key=lambda one: one.next_run() or dt.datetime.max.replace(tzinfo=UTC)):
            due = job.next_run()
            if due is not None and due <= moment:
                self._fire(job)
                due = job.next_run()
            if due is not None:
                waits.append((due - self._clock()).total_seconds())
        return min([*waits, self._end_overdue()], default=LONGEST_WAIT_S)

    def _details(self, job: BaseScheduleJob, trigger: str) -> LaunchDetails:
        limit = job.execution_limit_hours if isinstance(job, ScheduleJob) else None
        return LaunchDetails(parameters=job.task_parameters, limit_hours=limit)

    def _settle(self, job: BaseScheduleJob, at: dt.datetime, trigger: str, *, skipped: bool) -> None:
        if isinstance(job, ScheduleJob):
            job._last_executed = at

    def _state(self) -> dict[str, Any]:
        return {
            "schedules": {
                job.name: {
                    "when": job.describe(), "anchor": written(job.starting_time),
                    "last": written(job._last_executed) if job._last_executed else "",
                }
                for job in self._schedule_jobs
            }
        }  # fmt: skip

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take up when each schedule began and was last due; one whose times were changed begins anew."""
        known = state.get("schedules") or {}
        for job in self._schedule_jobs:
            kept = known.get(job.name)
            if isinstance(kept, Mapping) and kept.get("when") == job.describe():
                job.starting_time = parse(str(kept["anchor"]))
                job._last_executed = parse(str(kept["last"])) if kept.get("last") else None

    def _tables(self) -> Mapping[str, list[list[Any]]]:
        rows: list[list[Any]] = [["name", "when", "next, UTC", "last, UTC", "task or function", "queue", "recurring"]]
        for job in self._schedule_jobs:
            what = job.base_task_id or getattr(job.base_function, "__qualname__", "")
            rows.append(
                [job.name, job.describe(), _shown(job.next_run()), _shown(job._last_executed), what, job.queue or "",
                 str(job.recurring)]
            )  # fmt: skip
        return {"schedules": rows}


def _shown(moment: dt.datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _zone_of(wanted: str | dt.tzinfo) -> dt.tzinfo | None:
    """Return a time zone; None for that of this machine."""
    if isinstance(wanted, dt.tzinfo):
        return wanted
    if wanted == LOCAL:
        return None
    if wanted.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(wanted)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValueError(
            f"no time zone {wanted!r}: use UTC, local, or a name such as Europe/Berlin (pip install tzdata where the system "
            "has none)"
        ) from None
