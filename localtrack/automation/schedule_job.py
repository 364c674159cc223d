"""What is started, and what was: the records of schedules and triggers.

Source: ClearML's BaseScheduleJob and ExecutedJob.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localtrack.errors import InvalidValueError


@dataclass
class BaseScheduleJob:
    """What is started: a task by its id, or a function of this program.

    Attributes:
        name: tells it from others, over restarts.
        base_task_id: the task; empty for a function.
        base_function: the function.
        queue: where the task goes.
        target_project: project of the task's clone.
        single_instance: leave out what is due while the one before still waits or runs.
        task_parameters: parameters of the clone.
        task_overrides: other fields of the clone, by ClearML's dotted names.
        clone_task: start a clone; False starts the task itself again.
    """

    name: str
    base_task_id: str = ""
    base_function: Callable[..., object] | None = None
    queue: str | None = None
    target_project: str | None = None
    single_instance: bool = False
    task_parameters: dict[str, Any] = field(default_factory=dict)
    task_overrides: dict[str, Any] = field(default_factory=dict)
    clone_task: bool = True
    _executed_instances: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    _EDITABLE: ClassVar[tuple[str, ...]] = (
        "base_task_id",
        "queue",
        "target_project",
        "single_instance",
        "task_parameters",
        "task_overrides",
    )

    def to_dict(self, full: bool = False) -> dict[str, Any]:
        """Return what can be edited in the scheduler's task.

        Args:
            full: also what the scheduler keeps for itself.
        """
        body = {name: getattr(self, name) for name in ("name", *self._EDITABLE)}
        if self.base_function is not None:
            body["base_function"] = getattr(self.base_function, "__qualname__", repr(self.base_function))
        return {**body, "executed_instances": list(self._executed_instances)} if full else body

    def update(self, a_job: Mapping[str, Any]) -> BaseScheduleJob:
        """Take over what was edited; fields that are not there stay."""
        for name in self._EDITABLE:
            if name in a_job:
                setattr(self, name, a_job[name])
        return self

    def verify(self) -> None:
        """Refuse what can't be started.

        Raises:
            InvalidValueError: neither a task nor a function, a task without a queue, or changes of a task that is no clone.
        """
        if not self.base_task_id and self.base_function is None:
            raise InvalidValueError("schedule_task_id or schedule_function must be given: what is to be started?")
        if self.base_task_id and not self.queue:
            raise InvalidValueError(f"{self.name!r} starts a task: it needs a queue", name=self.name)
        if not self.clone_task and (self.task_parameters or self.task_overrides):
            raise InvalidValueError(
                f"{self.name!r}: reuse_task starts the task as it is; task_parameters and task_overrides need a clone",
                name=self.name,
            )

    def get_last_executed_task_id(self) -> str | None:
        """Return the id of the task that was started last; None before."""
        return self._executed_instances[-1] if self._executed_instances else None


@dataclass(frozen=True)
class LaunchDetails:
    """What one firing gives to what it starts.

    Attributes:
        parameters: of the clone.
        tags: of the clone.
        arguments: of the function.
        limit_hours: after so many the task is aborted.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    limit_hours: float | None = None


@dataclass
class ExecutedJob:
    """One thing that was started.

    Attributes:
        name: of the schedule or trigger.
        started: when, UTC.
        task_id: the task; None for a function.
        thread_id: name of the function's thread.
        trigger: what fired: id of the object.
    """

    name: str
    started: dt.datetime
    task_id: str | None = None
    thread_id: str | None = None
    trigger: str = ""
