"""Section: a task as data: looked at as a whole, exported, imported, taken over from ClearML's offline mode.

Source: ClearML's Task.data, export_task, import_task, update_task, import_offline_session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError, TaskNotFoundError
from localtrack.records.late import LateModule, late_logger
from localtrack.records.task import TaskRecord
from localtrack.services import tasks
from localtrack.services.context import open_context
from localtrack.store.documents import seconds

if TYPE_CHECKING:
    import datetime as dt

    from localtrack.api.task import Task
    from localtrack.services import models, transfer
else:
    dt = LateModule("datetime")
    models = LateModule("localtrack.services.models")
    transfer = LateModule("localtrack.services.transfer")

LOG = late_logger()


class TaskData(Mapping[str, Any]):
    """A look at a task, or a part of it: fields as attributes and as keys, in ClearML's layout; it never changes.

    Args:
        body: the fields.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"a task's data has no field {name!r} here: {', '.join(sorted(self))}") from None

    def __getitem__(self, name: str) -> Any:
        return _look(self._body[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return dict(self._body)

    def __repr__(self) -> str:
        return f"TaskData({dict(self._body)!r})"


class WholeTask(TaskData):
    """The data of a task: its times are ``datetime`` objects in UTC, as ClearML's are; ``to_dict`` has them as texts."""

    _TIMES = frozenset({"created", "started", "completed", "status_changed", "last_update", "last_change"})

    def __getitem__(self, name: str) -> Any:
        value = self._body[name]
        if name == "last_metrics":
            return HashedData(value)
        if name in self._TIMES and value:
            return dt.datetime.fromtimestamp(seconds(value), dt.timezone.utc)
        return _look(value)


class HashedData(TaskData):
    """Values by title or series; also by the MD5 of that, under which ClearML has them."""

    def __getitem__(self, name: str) -> Any:
        if name not in self._body:
            from localtrack.records.fields import md5_name

            name = next((known for known in self._body if md5_name(known) == name), name)
        value = self._body[name]
        return HashedData(value) if any(isinstance(item, dict) for item in value.values()) else TaskData(value)


class TasksFound:
    """What :meth:`Task.get_all` returns, after ClearML's response: the tasks are ``response.tasks``.

    Args:
        tasks: the data of the tasks.
    """

    def __init__(self, tasks: list[WholeTask]) -> None:
        self._tasks = tasks

    @property
    def tasks(self) -> list[WholeTask]:
        """The data of the tasks."""
        return self._tasks

    @property
    def response(self) -> TasksFound:
        """What was found: this very object."""
        return self

    @property
    def response_data(self) -> dict[str, Any]:
        """The same as dicts, under ``tasks``."""
        return {"tasks": [task.to_dict() for task in self._tasks]}

    def ok(self) -> bool:
        """Return True: what goes wrong raises here."""
        return True

    def __repr__(self) -> str:
        return f"TasksFound({len(self._tasks)} tasks)"


def _look(value: Any) -> Any:
    if isinstance(value, dict):
        return TaskData(value)
    return [_look(item) for item in value] if isinstance(value, list) else value


class TransferSection(Section):
    """The whole of a task."""

    @property
    def data(self) -> WholeTask:
        """All of the task as it is now, by ClearML's field names: ``task.data.script.repository``.

        Times are ``datetime`` objects. A text whose file is gone or altered is empty here, which is logged.
        """
        body, unread = transfer.described(self._record_now(), self._where())
        for problem in unread:
            LOG.warning("task %s: %s", self._id, problem)
        return WholeTask(body)

    def _record_now(self) -> TaskRecord:
        """Return the task's record with what its models say themselves."""
        return models.with_models_now(self._ctx, self._read(), self._where())

    def export_task(self) -> dict[str, Any]:
        """Return the task's inputs and names as a dict that JSON can hold, in ClearML's layout; no outputs.

        Raises:
            CorruptFileError: a file of its code or configuration is gone or altered.
        """
        return transfer.exported(self._record_now(), self._where())

    def update_task(self, task_data: dict[str, Any]) -> bool:
        """Change the task by an exported one; what that does not name stays.

        Returns:
            True.

        Raises:
            InvalidValueError: not an exported task; names the field.
            NotEditableError: the task is neither a draft nor run by this process.
        """
        self._edit(transfer.imported(self._ctx, self._where(), task_data, merge=True), "updated")
        return True

    @classmethod
    def import_task(
        cls, task_data: dict[str, Any], target_task: Task | str | None = None, update: bool = False
    ) -> Task | None:
        """Make a draft of an exported task, ClearML's too, or change a task by it.

        Args:
            task_data: what ``export_task`` gave.
            target_task: the task to change, or its id; a new draft without one.
            update: keep what the data does not name.

        Raises:
            InvalidValueError: not an exported task; names the field.
            NotEditableError: the target is no draft.
            TaskNotFoundError: no such target.
        """
        from localtrack.api.task import Task

        ctx = open_context()
        if isinstance(target_task, Section):
            target_id = target_task._id
        elif isinstance(target_task, str):
            target_id = tasks.resolve(ctx, target_task)
        elif target_task is None:
            transfer.check(task_data)
            name = str(task_data.get("name") or tasks.UNTITLED)
            target_id = tasks.create(ctx, name=name, project=transfer.project_of(task_data))[1].id
        else:
            raise InvalidValueError(f"target_task is a task or its id, not a {type(target_task).__qualname__}")
        target = Task.get_task(task_id=target_id)
        if target is None:
            raise TaskNotFoundError(f"no task {target_id}", task_id=target_id)
        change = transfer.imported(ctx, target._where(), task_data, merge=update)
        target._edit(change, "updated" if update else "imported")
        return target

    @classmethod
    def import_offline_session(
        cls, session_folder_zip: str, previous_task_id: str | None = None, iteration_offset: int | None = 0
    ) -> str | None:
        """Take over a session that ClearML wrote in its offline mode: inputs, scalars, plots, images, console, artifacts.

        Pickles are kept as files. What could not be taken over is said. localtrack's own tasks need no import.

        Args:
            session_folder_zip: the session's folder or zip.
            previous_task_id: the task to go on with; a new one without one.
            iteration_offset: added to every iteration.

        Returns:
            The task's id.

        Raises:
            InvalidValueError: no session there.
            CorruptFileError: an archive that does not unpack.
            TaskNotFoundError: no such task.
        """
        from localtrack.services import offline_session

        task_id, left_out = offline_session.take_over(
            open_context(), Path(session_folder_zip), previous_task_id or "", int(iteration_offset or 0)
        )
        for problem in left_out:
            LOG.warning("offline session %s: left out: %s", session_folder_zip, problem)
        return task_id
