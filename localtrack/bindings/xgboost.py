"""XGBoost: metrics of every round become curves, saved and loaded boosters models.

A curve's title is the name of the data set, its series the metric; from a process's second training on, the title ends in
its number: ``train - 1``.

Source: https://clear.ml/docs/latest/docs/integrations/xgboost, measured; xgboost.callback.CallbackContainer.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.trainings import Trainings
from localtrack.runtime import explicit

FRAMEWORK = "xgboost"
MODULES = ("xgboost.core", "xgboost.callback")
XGBOOST = "XGBoost"


def install(ctx: BindingContext) -> Undo:
    """Bind ``xgboost.core`` for models, ``xgboost.callback`` for metrics."""
    module: Any = ctx.module
    if module.__name__ == "xgboost.core":
        record_saves(ctx, module.Booster, "save_model", XGBOOST, 1, "fname")
        record_loads(ctx, module.Booster, "load_model", XGBOOST, 1, "fname")
        return ctx.patch.undo
    trainings = Trainings(ctx)

    def begun(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if _is_watched(args[0]):
            trainings.begin(args[0])

    def report(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        container, iteration = args[0], argument(args, kwargs, 2, "epoch")
        if _is_watched(container):
            for data, metrics in container.history.items():
                for metric, values in metrics.items():
                    trainings.report(container, data, metric, values[-1], iteration)

    ctx.patch.after(module.CallbackContainer, "__init__", begun)
    ctx.patch.after(module.CallbackContainer, "after_iteration", report)
    return ctx.patch.undo


def _is_watched(container: Any) -> bool:
    """Tell whether a training's metrics are recorded here: not those of a cross-validation, or of an explicit callback."""
    return not container.is_cv and explicit.SCALARS not in explicit.taken_by(container.callbacks)
