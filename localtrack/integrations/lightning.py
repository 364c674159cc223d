"""Lightning: a logger for ``Trainer(logger=...)``, of the package ``lightning`` as well as of ``pytorch_lightning``.

::

    from localtrack.integrations.lightning import LocaltrackLogger

    trainer = Trainer(logger=LocaltrackLogger("vision/digits", "baseline", log_model=True))

Source: docs/how-to/integrations.md; Lightning's Logger.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.bindings.summaries.names import divided
from localtrack.bindings.torch import PYTORCH
from localtrack.errors import InvalidValueError
from localtrack.integrations.hold import TaskHold, number_of
from localtrack.integrations.scopes import watch, watch_repetition
from localtrack.runtime import explicit

if TYPE_CHECKING:
    from localtrack.api.task import Task

_PACKAGES = {"lightning.pytorch": "lightning", "pytorch_lightning": "pytorch_lightning"}
_LOG_MODEL = (None, False, True, "all")
_MARKS = ("latest", "best")


def _package() -> str:
    """Return the package of Lightning that the script uses, or else one that is installed."""
    for name in _PACKAGES:
        if name in sys.modules:
            return name
    return next((name for name, parent in _PACKAGES.items() if find_spec(parent)), "pytorch_lightning")


_lightning: Any = import_module(_package())
_loggers: Any = import_module(f"{_lightning.__name__}.loggers.logger")
_rank_zero_only: Any = import_module(f"{_lightning.__name__}.utilities.rank_zero").rank_zero_only


class LocaltrackLogger(_loggers.Logger):  # type: ignore[misc]  # the framework may be absent where types are checked
    """Reports what Lightning logs into a task: metrics as curves, hyper-parameters, checkpoints as models.

    A metric's curve is named as the automatic capture of TensorBoard names it: ``val/loss`` has the title ``val`` and
    the series ``loss``, ``loss`` alone is both. The step is Lightning's own, so that a training resumed from a checkpoint
    appends. ``experiment`` is the task.

    Args:
        project: project of the task that is started when this process has none.
        name: its name.
        task_id: id of a task to go on with, when this process has none.
        save_dir: folder below which Lightning keeps its checkpoints, in ``<project>/<task's id>/checkpoints``.
        log_model: True keeps the checkpoints that are left at the end as models of the task, ``"all"`` every one as it
            is saved, False none at all. None leaves model files to the automatic capture.
        prefix: put before each metric's name, with a ``-``.
        init: further arguments for ``Task.init``, when the task is started here.

    Raises:
        InvalidValueError: another ``log_model``.
    """

    LOGGER_JOIN_CHAR = "-"

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        task_id: str | None = None,
        save_dir: str | os.PathLike[str] = "lightning_logs",
        log_model: bool | str | None = None,
        prefix: str = "",
        init: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if log_model not in _LOG_MODEL:
            raise InvalidValueError(f"log_model must be True, False, 'all' or None, not {log_model!r}")
        self._hold = TaskHold(project, name, task_id, init)
        self._project = project
        self._save_dir = os.fspath(save_dir)
        self._log_model = log_model
        self._prefix = prefix
        self._checkpoints: Any = None
        self._kept: dict[str, int] = {}
        self._best: dict[str, str] = {}  # of each callback
        self._marked: dict[str, tuple[str, tuple[str, ...]]] = {}
        _watch_trainers()
        models = frozenset() if log_model is None else frozenset({explicit.MODELS})
        self.localtrack_takes = frozenset({explicit.SCALARS, explicit.PARAMETERS}) | models

    def __getstate__(self) -> dict[str, Any]:
        """A process that Lightning spawns finds the task by itself."""
        return {**self.__dict__, "_checkpoints": None}

    @property
    @_loggers.rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> Task:
        """The task, started when the process has none: ``self.logger.experiment.get_logger().report_image(...)``."""
        task = self._hold.start()
        return _loggers.DummyExperiment() if task is None else task

    @property
    def name(self) -> str | None:
        """The task's project, or what was given for one that is not started yet."""
        task = self._hold.latest
        return task.get_project_name() if task is not None else self._project

    @property
    def version(self) -> str | None:
        """The task's id; None where no task was started yet, and on ranks other than zero."""
        return self._hold.task_id

    @property
    def save_dir(self) -> str:
        """The folder below which checkpoints are kept."""
        return self._save_dir

    @property
    def root_dir(self) -> str | None:
        """The folder of all tasks of the project."""
        return None if self.name is None else os.path.join(self._save_dir, self.name)

    @property
    def log_dir(self) -> str | None:
        """The folder of this task's checkpoints."""
        return None if self.root_dir is None or self.version is None else os.path.join(self.root_dir, self.version)

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Report metrics; what is no number is passed over."""
        for name, value in metrics.items():
            title, series = divided(f"{self._prefix}{self.LOGGER_JOIN_CHAR}{name}" if self._prefix else name)
            self._hold.scalar(title, series, value, step or 0, is_absolute=True)

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace | None = None,
        metrics: Mapping[str, Any] | None = None,
        *_: Any,
        **__: Any,
    ) -> None:
        """Record hyper-parameters in the section ``General``; ``metrics`` that come with them are single values."""
        values = vars(params) if isinstance(params, Namespace) else params or {}
        self._hold.parameters(values)
        for name, value in (metrics or {}).items():
            self._hold.single_value(name, value)

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def save(self) -> None:
        """Bring what was reported to the medium."""
        if self._hold.task is not None:
            self._hold.task.flush()

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep what ``ModelCheckpoint`` has saved, now or at the end."""
        if self._log_model == "all" or (
            self._log_model is True and getattr(checkpoint_callback, "save_top_k", 1) == -1
        ):
            self._keep(checkpoint_callback)
        elif self._log_model is True:
            self._checkpoints = checkpoint_callback

    @_rank_zero_only  # type: ignore[untyped-decorator]
    def finalize(self, status: str) -> None:
        """Keep the checkpoints that are left, and close the task if it was started here."""
        if self._hold.task is None:
            return
        if self._checkpoints is not None:
            self._keep(self._checkpoints)
            self._checkpoints = None
        error = sys.exc_info()[1]
        if status in ("success", "finished"):
            self._hold.release()
        elif error is not None:
            self._hold.ended(error)
        else:
            self._hold.release(status)

    def _keep(self, callback: Any) -> None:
        """Keep the checkpoints that have been written since they were kept last."""
        best = getattr(callback, "best_model_path", "")
        scores = {
            getattr(callback, "last_model_path", ""): getattr(callback, "current_score", None),
            best: getattr(callback, "best_model_score", None),
            **getattr(callback, "best_k_models", {}),
        }
        found = [(Path(name).stat().st_mtime_ns, name) for name in scores if name and Path(name).exists()]
        new = [(at, name) for at, name in sorted(found) if self._kept.get(name) != at]
        self._kept.update({name: at for at, name in new})
        self._best[str(getattr(callback, "state_key", ""))] = best  # Lightning tells callbacks of a trainer apart by it
        for _, name in new:
            known = {
                "score": number_of(scores[name]), "monitor": getattr(callback, "monitor", None),
                "mode": getattr(callback, "mode", None),
            }  # fmt: skip
            metadata = {key: item for key, item in known.items() if item is not None}
            marks = self._marks_of(name)
            model_id = self._hold.model(Path(name), PYTORCH, _step_of(name, callback), tags=marks, metadata=metadata)
            self._marked[name] = (model_id, marks)
        self._mark_again()

    def _marks_of(self, name: str) -> tuple[str, ...]:
        """Return what a checkpoint is now: the latest of all, the best of a callback, both or neither."""
        latest = max(self._kept, key=lambda one: (self._kept[one], one))
        return (*(["latest"] if name == latest else []), *(["best"] if name in self._best.values() else []))

    def _mark_again(self) -> None:
        """Take the tags from those that are no longer what these say, and give them to those that are now."""
        for name, (model_id, marks) in self._marked.items():
            now = self._marks_of(name)
            if model_id and now != marks:
                self._hold.mark(model_id, now, _MARKS)
                self._marked[name] = (model_id, now)


def _step_of(path: str, callback: Any) -> int:
    """Return the step that a checkpoint's name says; that of the last one saved without."""
    _, found, rest = Path(path).stem.rpartition("step=")
    digits = rest.split("-")[0]
    return int(digits) if found and digits.isdigit() else int(getattr(callback, "_last_global_step_saved", 0))


def _watch_trainers() -> None:
    """Watch the trainers of both packages, as far as they are imported: a logger of ours may go to either."""
    for package in map(sys.modules.get, _PACKAGES):
        trainer, loggers = getattr(package, "Trainer", None), getattr(package, "loggers", None)
        if trainer is not None and loggers is not None:
            if not issubclass(LocaltrackLogger, loggers.Logger):
                loggers.Logger.register(LocaltrackLogger)  # what asks for a logger of its package takes it, too
            watch(trainer, ("fit", "validate", "test", "predict", "_run"), lambda args, kwargs: args[0].loggers)
            watch_repetition(trainer, ("save_checkpoint",), (explicit.MODELS,))
            board, names = loggers.TensorBoardLogger, ("log_metrics", "log_hyperparams")
            watch_repetition(board, names, (explicit.SCALARS, explicit.PARAMETERS))


_watch_trainers()
