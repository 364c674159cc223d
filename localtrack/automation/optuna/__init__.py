"""A search that learns from the jobs before: optuna chooses what to try next, and which jobs to give up.

Source: ClearML's clearml.automation.optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.automation.optuna.optuna import OptimizerOptuna

__all__ = ["OptimizerOptuna"]


def __getattr__(name: str) -> Any:
    if name != "OptimizerOptuna":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from localtrack.automation.optuna.optuna import OptimizerOptuna

    globals()[name] = OptimizerOptuna
    return OptimizerOptuna
