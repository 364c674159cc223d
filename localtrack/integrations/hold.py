"""The task that an integration reports to: the one of this process, or one that it starts and ends itself.

Source: docs/how-to/integrations.md, "Which task it is".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext
from localtrack.bindings.model_files import is_other_rank as is_other_torch_rank
from localtrack.bindings.model_hooks import files_of
from localtrack.bindings.trainings import Trainings
from localtrack.errors import InvalidValueError
from localtrack.integrations.scopes import say_failed
from localtrack.records.model import ModelRecord
from localtrack.records.plain import replace
from localtrack.runtime import current
from localtrack.runtime.reporting import SessionReports
from localtrack.runtime.starter import is_other_rank

if TYPE_CHECKING:
    from localtrack.api.task import Task

_THIS_MODULE = ModuleType(__name__)


class TaskHold:
    """An integration's hold on its task. On ranks other than zero there is none.

    Args:
        project: project of the task that is started when the process has none; as for ``Task.init``.
        name: its name.
        task_id: id of a task that is continued when the process has none; it counts its iterations itself.
        init: further arguments for ``Task.init``.

    Raises:
        InvalidValueError: ``init`` has what is given otherwise.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        task_id: str | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        self._init = {"reuse_last_task_id": False, **(init or {})}
        for key in ("project_name", "task_name"):
            if key in self._init:
                raise InvalidValueError(f"the integration's init has {key!r}: give project and name to it instead")
        self._init.update(project_name=project, task_name=name)
        self._task_id = task_id
        self._task: Task | None = None
        self._is_own = False
        self._trainings: Trainings | None = None
        self._trained = 0

    def __getstate__(self) -> dict[str, Any]:
        """A process that gets a copy looks for the task itself."""
        return {**self.__dict__, "_task": None, "_is_own": False, "_task_id": self.task_id, "_trainings": None}

    @property
    def task_id(self) -> str | None:
        """The task's id, once there is one."""
        return self._task.id if self._task is not None else self._task_id

    @property
    def latest(self) -> Task | None:
        """The task that was used last, also when it has ended."""
        return self._task

    @property
    def task(self) -> Task | None:
        """The task, when it runs."""
        task = self._task
        return task if task is not None and task._owned else None

    def start(self) -> Task | None:
        """Return the task, started if there is none; None on ranks other than zero."""
        if self.task is not None:
            return self._task
        if is_other_rank() or is_other_torch_rank():
            return None
        from localtrack.api.task import Task

        running = Task.current_task()
        self._is_own = running is None
        self._task = running or self._started()
        self._task_id = self._task.id
        return self._task

    def _started(self) -> Task:
        from localtrack.api.task import Task

        if self._task_id is None:
            return Task.init(**self._init)
        return Task.init(**{**self._init, "reuse_last_task_id": self._task_id, "continue_last_task": 0})

    def release(self, failure: str = "") -> None:
        """A training has ended: write what waits, and close the task if it was started here.

        Args:
            failure: how it failed; empty when it did not.
        """
        task = self.task
        if task is None:
            return
        if not self._is_own:
            task.flush()
            return
        if failure:
            task.mark_failed(status_reason="training failed", status_message=failure)
        task.close()

    def ended(self, error: BaseException | None) -> None:
        """Like :meth:`release`, with what the training raised; a task that was interrupted is stopped."""
        if isinstance(error, KeyboardInterrupt) and self._is_own and self.task is not None:
            self.task.mark_stopped(status_message="interrupted")
        is_failure = not (error is None or isinstance(error, KeyboardInterrupt) or _is_good_exit(error))
        self.release(f"{type(error).__name__}: {error}" if is_failure else "")

    # -- what is reported ------------------------------------------------------------------------------------------

    def context(self, name: str) -> BindingContext:
        """Return what the automatic captures report through, for those parts of them that an integration uses."""
        return BindingContext(name, _THIS_MODULE, failed=lambda _, place, error: say_failed(place, error))

    def trainings(self, name: str) -> Trainings:
        """Return the trainings of one framework, which are told apart by the numbers that the automatic capture counts."""
        if self._trainings is None:
            self._trainings = Trainings(self.context(name))
        return self._trainings

    def begin_training(self, name: str, training: Any) -> int:
        """Give a training its number in the task, also where that was closed in between, and return it."""
        number = self.trainings(name).begin(training, self._trained)
        self._trained = number + 1
        return number

    def scalar(self, title: str, series: str, value: Any, step: int, *, is_absolute: bool = False) -> None:
        """Report one point; what is no number is passed over.

        Args:
            title: the graph.
            series: the curve.
            value: a number, or what becomes one.
            step: its iteration.
            is_absolute: the step counts on by itself where a training is resumed: no offset of the task is added.
        """
        task = self.start()
        number = number_of(value)
        if task is None or number is None:
            return
        offset = task.get_initial_iteration() if is_absolute else 0
        task.get_logger().report_scalar(title, series, number, int(step) - offset)

    def single_value(self, name: str, value: Any) -> None:
        """Report a value without an iteration; what is no number is passed over."""
        task, number = self.start(), number_of(value)
        if task is not None and number is not None:
            task.get_logger().report_single_value(name, number)

    def parameters(self, values: Mapping[str, Any], section: str = "General") -> None:
        """Record hyper-parameters; nested ones by ``a/b`` names. What can't be recorded is said."""
        task, session = self.start(), current.get()
        if task is not None and session is not None:
            plain = {str(key): value for key, value in values.items() if not callable(value)}
            reports = SessionReports(session)
            self.attempt("parameters", lambda: reports.parameters(section, plain, "hyper-parameters"))

    def configuration(self, name: str, values: Mapping[str, Any]) -> None:
        """Record a configuration object. What can't be recorded is said."""
        task = self.start()
        if task is not None:
            self.attempt("configuration", lambda: task.set_configuration_object(name, config_dict=values))

    def model(
        self,
        path: Path,
        framework: str,
        iteration: int,
        *,
        name: str = "",
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a saved file or folder as an output model: where the task's ``output_uri`` says, else in the store.

        What can't be kept is said.

        Args:
            path: what was saved.
            framework: ClearML's name of the framework.
            iteration: when.
            name: what the task calls the model; the file's stem without one, with more of its path where another file has
                that name.
            tags: replace those that it had.
            metadata: values to keep with it.

        Returns:
            The model's id; empty where none was kept.
        """
        task = self.start()
        if task is None or not path.exists():
            return ""
        from localtrack.api.model import OutputModel

        kept: list[str] = []

        def keep() -> None:
            files, called, where = files_of(self.context("models")), name or path.stem, str(path.absolute())
            if files is not None:
                called = files.name_of(self, name) if name else files.name_for(where)
            full = f"{task.name} - {called if name else path.stem}"
            model = OutputModel(task=task, name=full, framework=framework, tags=list(tags))
            model._file_key = files.key_of(where) if files is not None and not name else ""
            model.connect(task, name=called)
            uri: Any = None if task.output_uri else True
            model.update_weights(str(path), upload_uri=uri, iteration=max(0, int(iteration)))
            kept.append(str(model.id or ""))
            if tags:
                model.tags = list(tags)
            for key, value in (metadata or {}).items():
                model.set_metadata(key, str(value))

        self.attempt(f"model {path.name}", keep)
        return kept[0] if kept else ""

    def mark(self, model_id: str, marks: Sequence[str], among: Sequence[str]) -> None:
        """Give a model tags of which the others of ``among`` go; those of somebody else stay. A failure is said."""
        task = self.latest
        if task is None:
            return
        from localtrack.services import models

        def change(record: ModelRecord) -> ModelRecord:
            return replace(record, tags=(*(tag for tag in record.tags if tag not in among), *marks))

        self.attempt("tags", lambda: models.edit(task._ctx, model_id, change, "tags"))

    def attempt(self, place: str, action: Callable[[], object]) -> None:
        """Do something of which a failure must not end the training; the captures don't see what it does."""
        self.context("integrations").guarded(place, action)


def _is_good_exit(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code in (None, 0)


def number_of(value: Any) -> float | None:
    """Return a value as a number: of an array or a tensor with one element that; None for anything else."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def numbered(name: str, number: int) -> str:
    """Return the name of a training's model; that of a task's second one ends in ``- 1``, as its curves do."""
    return f"{name} - {number}" if number else name
