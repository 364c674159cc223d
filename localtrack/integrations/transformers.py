"""Hugging Face transformers: a callback for its ``Trainer``, also by ``TrainingArguments(report_to="localtrack")``.

::

    from localtrack.integrations.transformers import LocaltrackCallback

    trainer = Trainer(model, args, callbacks=[LocaltrackCallback("language", "tuning", log_model=True)])

Source: docs/how-to/integrations.md, "Hugging Face"; transformers.TrainerCallback; the names of its ClearMLCallback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from localtrack.bindings import observing
from localtrack.bindings.torch import PYTORCH
from localtrack.errors import InvalidValueError
from localtrack.integrations import report_to
from localtrack.integrations.hold import TaskHold, numbered
from localtrack.integrations.scopes import watch, watch_repetition
from localtrack.runtime import explicit
from localtrack.services.weights import temporary_folder

PROJECT_VARIABLE, NAME_VARIABLE = "LOCALTRACK_PROJECT", "LOCALTRACK_TASK_NAME"
LOG_MODEL_VARIABLE = "LOCALTRACK_LOG_MODEL"
SECTION, CONFIGURATION = "Transformers", "Model Configuration"
_LOG_MODEL = {
    "": None,
    "true": True,
    "1": True,
    "end": True,
    "all": "all",
    "checkpoint": "all",
    "false": False,
    "0": False,
}
#: What a training reports once.
_SINGLE = frozenset({
    "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos", "epoch",
})  # fmt: skip


class LocaltrackCallback(TrainerCallback):  # type: ignore[misc]  # the framework may be absent where types are checked
    """Reports what the trainer logs into a task: metrics as curves, arguments as parameters, models.

    A metric ``eval_loss`` is the curve ``loss`` in the graph ``eval``, likewise ``test_``; all others are in ``train``. Steps
    are the trainer's own, so that a training resumed from a checkpoint appends. A second training in a task that begins
    anew has graphs of its own, ``train - 1``.

    Args:
        project: project of the task that is started when this process has none; ``LOCALTRACK_PROJECT`` without one.
        name: its name; ``LOCALTRACK_TASK_NAME``, or the arguments' ``run_name``, without one.
        log_model: True keeps the model at the end as one of the task, ``"all"`` every checkpoint, False none at all.
            None leaves model files to the automatic capture, unless ``LOCALTRACK_LOG_MODEL`` says ``true``, ``all`` or ``false``.
        init: further arguments for ``Task.init``, when the task is started here.

    Raises:
        InvalidValueError: another ``log_model``.
    """

    localtrack_is_second = False  # set where report_to made one besides

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        log_model: bool | str | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if log_model is None:
            log_model = os.environ.get(LOG_MODEL_VARIABLE, "").lower()
        if isinstance(log_model, str):
            if log_model not in _LOG_MODEL:
                raise InvalidValueError(f"log_model must be True, False, 'all' or None, not {log_model!r}")
            log_model = _LOG_MODEL[log_model]
        self._log_model = log_model
        self._project = project or os.environ.get(PROJECT_VARIABLE)
        self._name = name or os.environ.get(NAME_VARIABLE)
        self._init = init
        self._hold: TaskHold | None = None
        self._number: int | None = None
        self._has_trained = False
        models = frozenset() if log_model is None else frozenset({explicit.MODELS})
        self.localtrack_takes = frozenset({explicit.SCALARS, explicit.PARAMETERS}) | models
        _watch_trainers()

    def _begin(self, args: Any, state: Any, model: Any, *, is_new: bool) -> TaskHold | None:
        """Return the task's hold, started and told of the arguments if need be; None on ranks other than zero."""
        if not state.is_world_process_zero or self.localtrack_is_second:
            return None
        if self._hold is None or (is_new and state.is_hyper_param_search):
            name = self._name or getattr(args, "run_name", None)
            trial = state.trial_name if state.is_hyper_param_search else None
            self._hold = TaskHold(self._project, " ".join(filter(None, (name, trial))) or None, init=self._init)
        if self._hold.start() is None:
            return None
        if is_new or self._number is None:
            self._number = self._hold.begin_training("transformers", self)
            self._record_inputs(self._hold, args, model)
        return self._hold

    def _record_inputs(self, hold: TaskHold, args: Any, model: Any) -> None:
        values = {key: value for key, value in args.to_dict().items() if not key.endswith("_token")}
        hold.parameters(values, self._numbered(SECTION))
        config: Any = getattr(model, "config", None)
        if hasattr(config, "to_dict"):
            hold.configuration(self._numbered(CONFIGURATION), config.to_dict())

    def _numbered(self, name: str) -> str:
        return numbered(name, self._number or 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Start the task if there is none; record the arguments, and the model's configuration."""
        is_new = state.global_step == 0 and (self._has_trained or state.is_hyper_param_search)
        self._has_trained = True
        self._begin(args, state, model, is_new=is_new)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Report metrics; what is no number is passed over."""
        hold = self._begin(args, state, model, is_new=False)
        for name, value in (logs or {}).items():
            if hold is None:
                break
            if name in _SINGLE:
                hold.single_value(self._numbered(name), value)
            else:
                title, _, series = name.partition("_")
                if title not in ("eval", "test") or not series:
                    title, series = "train", name
                hold.scalar(self._numbered(title), series, value, state.global_step, is_absolute=True)

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Report what a prediction measured."""
        self.on_log(args, state, control, logs=metrics)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep a checkpoint, where every one is wanted."""
        if self._log_model == "all" and self._hold is not None and state.is_world_process_zero:
            self._hold.model(Path(args.output_dir) / f"checkpoint-{state.global_step}", PYTORCH, state.global_step)

    def on_train_end(
        self, args: Any, state: Any, control: Any, model: Any = None, processing_class: Any = None, **kwargs: Any
    ) -> None:
        """Keep the model, where that is wanted; it is the best one when the arguments say so."""
        if self._log_model is not True or self._hold is None or not state.is_world_process_zero:
            return
        import torch

        with temporary_folder() as folder, observing():
            path = Path(folder) / "model"
            path.mkdir()
            plain = getattr(model, "module", model)
            if hasattr(plain, "save_pretrained"):
                plain.save_pretrained(path)
            else:
                torch.save(plain.state_dict(), path / "pytorch_model.bin")
            if hasattr(processing_class, "save_pretrained"):
                processing_class.save_pretrained(path)
            self._hold.model(path, PYTORCH, state.global_step, name=self._numbered("model"))

    def training_ended(self, result: Any, error: BaseException | None) -> None:
        """Close the task if it was started here."""
        if self._hold is not None:
            self._hold.ended(error)


def _watch_trainers() -> None:
    """Watch trainings; transformers' trainer is imported by whoever makes a callback for it."""
    from transformers.trainer import Trainer

    watch(Trainer, ("train", "evaluate", "predict"), lambda args, kwargs: args[0].callback_handler.callbacks)
    watch_repetition(Trainer, ("_save_checkpoint",), (explicit.MODELS,))
    utils = sys.modules[report_to.MODULE]
    board = getattr(utils, "TensorBoardCallback", None)
    if board is not None:
        watch_repetition(board, ("on_train_begin", "on_log"), (explicit.SCALARS, explicit.PARAMETERS))


report_to.install()
