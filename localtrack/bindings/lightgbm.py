"""LightGBM: metrics of every round become curves, the parameters hyper-parameters, saved and loaded boosters models.

A curve's title is the name of the data set, its series the metric; from a process's second training on, the title ends in
its number: ``valid_0 - 1``.

Source: https://clear.ml/docs/latest/docs/integrations/lightgbm, measured; lightgbm's callbacks.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.trainings import Trainings
from localtrack.runtime import explicit

FRAMEWORK = "lightgbm"
MODULES = ("lightgbm.basic", "lightgbm.engine", "lightgbm.sklearn", "lightgbm")
LIGHTGBM = "LightGBM"
_CALLBACKS_AT = 8
_thread = threading.local()


def install(ctx: BindingContext) -> Undo:
    """Bind ``lightgbm.basic`` for models, and each module that holds ``train`` for metrics.

    What a ``train`` that was imported by name before calls tells of its trainings.
    """
    module: Any = ctx.module
    if module.__name__ == "lightgbm.basic":
        TrainingsByName(ctx).install(module.Booster)
        record_saves(ctx, module.Booster, "save_model", LIGHTGBM, 1, "filename")
        record_loads(ctx, module.Booster, "__init__", LIGHTGBM, 3, "model_file")
        return ctx.patch.undo
    trainings = Trainings(ctx)

    def train(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if getattr(_thread, "is_training", False):  # the modules pass one function on, and each place of it is hooked
            return call(*args, **kwargs)
        before = argument(args, kwargs, _CALLBACKS_AT, "callbacks") or []
        if explicit.SCALARS in explicit.taken_by(before):
            return call(*args, **kwargs)
        training = object()
        trainings.begin(training)
        record_parameters(ctx, argument(args, kwargs, 0, "params"))

        def report(env: Any) -> None:
            def put() -> None:
                for data, metric, value, *_ in env.evaluation_result_list or ():
                    trainings.report(training, data, metric, value, env.iteration)

            ctx.guarded("report", put)

        if len(args) > _CALLBACKS_AT:
            args = (*args[:_CALLBACKS_AT], [*before, report], *args[_CALLBACKS_AT + 1 :])
        else:
            kwargs = {**kwargs, "callbacks": [*before, report]}
        _thread.is_training = True
        try:
            return call(*args, **kwargs)
        finally:
            _thread.is_training = False

    ctx.patch.around(module, "train", train)
    return ctx.patch.undo


class TrainingsByName:
    """Trainings by a ``train`` that can't be replaced itself, as the script imported it by name before there was a run.

    Args:
        ctx: the hold on ``lightgbm.basic``.
    """

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._trainings = Trainings(ctx)
        self._known: weakref.WeakKeyDictionary[Any, object] = weakref.WeakKeyDictionary()

    def install(self, booster: Any) -> None:
        """Watch what ``train`` calls in each round."""
        self._ctx.patch.after(booster, "update", self._updated)
        for name in ("eval_train", "eval_valid"):
            self._ctx.patch.after(booster, name, self._evaluated)

    def _updated(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame = _train_frame()
        if frame is None or args[0] in self._known:
            return
        if explicit.SCALARS in explicit.taken_by(frame.f_locals.get("callbacks") or []):
            return
        training = self._known[args[0]] = object()  # a booster itself would be held
        self._trainings.begin(training)
        parameters: Mapping[str, Any] = frame.f_locals.get("params") or {}
        record_parameters(self._ctx, {key: value for key, value in parameters.items() if value is not None})

    def _evaluated(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frame = _train_frame()
        training = None if frame is None else self._known.get(args[0])
        if frame is not None and training is not None:
            for data, metric, value, *_ in result or ():
                self._trainings.report(training, data, metric, value, frame.f_locals["i"])


def _train_frame() -> FrameType | None:
    """Return the frame of the ``train`` that made the observed call, where no wrapper of ours stands around it."""
    if getattr(_thread, "is_training", False):
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("localtrack."):
        frame = frame.f_back
    if frame is None or (frame.f_globals.get("__name__"), frame.f_code.co_name) != ("lightgbm.engine", "train"):
        return None
    return frame


def record_parameters(ctx: BindingContext, parameters: Any) -> None:
    """Record the booster's parameters in the section ``General``, as far as they are data."""
    reports = ctx.reports()
    if reports is not None and isinstance(parameters, Mapping):
        reports.parameters("General", data_of(parameters), "lightgbm parameters")


def data_of(parameters: Mapping[Any, Any]) -> dict[str, Any]:
    """Return those of a booster's parameters that are data."""
    values = {str(key): sorted(value) if isinstance(value, set) else value for key, value in parameters.items()}
    return {key: value for key, value in values.items() if not callable(value)}
