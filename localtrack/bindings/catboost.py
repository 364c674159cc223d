"""CatBoost: metrics of every round become curves, saved and loaded models models.

A curve's title is ``learn`` or ``validation``, its series the metric; from a process's second training on, the title ends
in its number: ``learn - 1``. CatBoost takes no callbacks when it trains on a GPU: no curves then.

Source: https://clear.ml/docs/latest/docs/integrations/catboost, measured; CatBoost.fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.trainings import Trainings

FRAMEWORK = "catboost"
MODULES = ("catboost.core",)
CATBOOST = "CatBoost"


def install(ctx: BindingContext) -> Undo:
    """Bind ``catboost.core``."""
    module: Any = ctx.module
    record_saves(ctx, module.CatBoost, "save_model", CATBOOST, 1, "fname")
    record_loads(ctx, module.CatBoost, "load_model", CATBOOST, 1, "fname")
    signature = inspect.signature(module.CatBoost._fit)
    trainings = Trainings(ctx)

    def fit(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = signature.bind(*args, **kwargs)
        if str(args[0].get_param("task_type") or "CPU").upper() == "GPU":
            return call(*args, **kwargs)
        # first, as CatBoost asks nobody after one who ends the training
        bound.arguments["callbacks"] = [_Rounds(ctx, trainings), *(bound.arguments.get("callbacks") or [])]
        return call(*bound.args, **bound.kwargs)

    ctx.patch.around(module.CatBoost, "_fit", fit)
    return ctx.patch.undo


class _Rounds:
    """CatBoost's callback: told of each round.

    Args:
        ctx: the binding's hold.
        trainings: where the curves go.
    """

    def __init__(self, ctx: BindingContext, trainings: Trainings) -> None:
        self._ctx = ctx
        self._trainings = trainings
        trainings.begin(self)

    def after_iteration(self, info: Any) -> bool:
        """Report the round's metrics; True goes on with the training."""

        def put() -> None:
            for data, metrics in (info.metrics or {}).items():
                for metric, values in metrics.items():
                    self._trainings.report(self, data, metric, values[-1], info.iteration)

        self._ctx.guarded("report", put)
        return True
