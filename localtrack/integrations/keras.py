"""Keras 3, which ``tf.keras`` is as well: a callback for ``fit`` and ``evaluate``.

::

    from localtrack.integrations.keras import LocaltrackCallback

    model.fit(x, y, epochs=5, callbacks=[LocaltrackCallback("vision/digits", "baseline", log_model=True)])

Source: docs/how-to/integrations.md; keras.callbacks.Callback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from localtrack.bindings.keras import KERAS
from localtrack.errors import InvalidValueError
from localtrack.integrations.hold import TaskHold, number_of, numbered
from localtrack.integrations.scopes import watch, watch_repetition
from localtrack.runtime import explicit, patches
from localtrack.services.weights import temporary_folder

VALIDATION = "val_"
_BATCHES = "batches"
_FIT_AT, _EVALUATE_AT, _PREDICT_AT = 6, 7, 5


class LocaltrackCallback(keras.callbacks.Callback):  # type: ignore[misc]  # the framework may be absent here
    """Reports a training's metrics as curves, its set-up as parameters, the model at the end.

    A metric is a graph with the series ``train`` and ``validation``, its x axis the epoch. Used for several calls of
    ``fit``, the callback counts on; the callbacks of several trainings in one task have graphs of their own, ``loss - 1``.

    Args:
        project: project of the task that is started when this process has none.
        name: its name.
        log_freq: ``"epoch"``; ``"batch"`` for every batch besides, or a number for every so many, in graphs ``batch_loss``.
        log_model: keep the model at the end as one of the task.
        init: further arguments for ``Task.init``, when the task is started here.

    Raises:
        InvalidValueError: another ``log_freq``.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        log_freq: str | int = "epoch",
        log_model: bool = False,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._every = {"epoch": 0, "batch": 1}.get(log_freq) if isinstance(log_freq, str) else max(0, log_freq)
        if self._every is None:
            raise InvalidValueError(f"log_freq must be 'epoch', 'batch' or a number of batches, not {log_freq!r}")
        self._hold = TaskHold(project, name, init=init)
        self._log_model = log_model
        self._number: int | None = None
        self._next_epoch = self._first_epoch = self._batch = 0
        self._is_fitting = False
        kinds = {explicit.SCALARS, explicit.PARAMETERS}
        if self._every:
            kinds.add(_BATCHES)
            self.on_train_batch_end = self._on_batch  # one that is always there would be waited for after each batch
        self.localtrack_takes = frozenset(kinds)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start the task if there is none, and record the set-up of the training."""
        self._is_fitting = True
        self._first_epoch = -1
        if self._hold.start() is None or self._number is not None:
            return
        self._number = self._hold.begin_training("keras", self)
        optimizer: Any = getattr(self.model, "optimizer", None)
        self._hold.parameters(
            {
                "epochs": self.params.get("epochs"), "steps": self.params.get("steps"), "loss": _text(self.model.loss),
                "optimizer": {} if optimizer is None else _config_of(optimizer),
            },
            numbered("Keras", self._number),
        )  # fmt: skip
        if hasattr(self.model, "to_json"):
            self._hold.attempt("model configuration", self._describe_model)

    def _describe_model(self) -> None:
        self._hold.configuration(numbered("Keras model", self._number or 0), json.loads(self.model.to_json()))

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Find out whether epochs go on from those of an earlier ``fit``, or begin anew and are counted on."""
        if self._first_epoch < 0:
            self._first_epoch = max(0, self._next_epoch - epoch)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Report an epoch's metrics and the learning rate."""
        at = self._first_epoch + epoch
        self._next_epoch = at + 1
        rate = number_of(getattr(getattr(self.model, "optimizer", None), "learning_rate", None))
        for name, value in {**(logs or {}), **({} if rate is None else {"learning_rate": rate})}.items():
            series = "validation" if name.startswith(VALIDATION) else "train"
            self._report(name.removeprefix(VALIDATION), series, value, at)

    def _on_batch(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._batch += 1
        if self._every and self._batch % self._every == 0:
            for name, value in (logs or {}).items():
                self._report(f"batch_{name}", "train", value, self._batch)

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Report the metrics of ``evaluate``, when that is no part of ``fit``, after the last epoch."""
        if not self._is_fitting:
            for name, value in (logs or {}).items():
                self._report(name, "test", value, max(0, self._next_epoch - 1))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Keep the model, where that is wanted."""
        self._is_fitting = False
        if self._log_model and self._hold.task is not None:
            self._hold.attempt("model", self._keep_model)

    def _keep_model(self) -> None:
        with temporary_folder() as folder:
            path = Path(folder) / "model.keras"
            self.model.save(path)
            self._hold.model(path, KERAS, self._next_epoch, name=numbered("model", self._number or 0))

    def _report(self, title: str, series: str, value: Any, at: int) -> None:
        self._hold.scalar(numbered(title, self._number or 0), series, value, at)

    def training_ended(self, result: Any, error: BaseException | None) -> None:
        """Close the task if it was started here."""
        self._is_fitting = False
        self._hold.ended(error)


def _config_of(optimizer: Any) -> dict[str, Any]:
    try:
        config = dict(optimizer.get_config())
    except Exception:  # a user's own
        config = {}
    rate = number_of(getattr(optimizer, "learning_rate", None))
    if rate is not None:
        config["learning_rate"] = rate
    return {"name": type(optimizer).__name__, **config}


def _text(loss: Any) -> Any:
    return (
        loss if isinstance(loss, (str, dict, list)) else getattr(loss, "name", None) or getattr(loss, "__name__", None)
    )


def _parties(at: int) -> Any:
    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = patches.argument(args, kwargs, at, "callbacks")
        found = getattr(found, "callbacks", found)  # a CallbackList
        return found if isinstance(found, (list, tuple)) else [found]

    return find


watch(keras.Model, ("fit",), _parties(_FIT_AT))
watch(keras.Model, ("evaluate",), _parties(_EVALUATE_AT))
watch(keras.Model, ("predict",), _parties(_PREDICT_AT))
watch_repetition(keras.callbacks.TensorBoard, ("on_epoch_end", "on_test_end"), (explicit.SCALARS,))
watch_repetition(keras.callbacks.TensorBoard, ("on_train_batch_end",), (explicit.SCALARS,), only_with=_BATCHES)
