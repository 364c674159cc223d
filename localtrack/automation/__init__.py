"""Searches over parameters, pipelines, schedules and triggers, under ClearML's names: what starts tasks by itself.

Each name loads its module on first use.

Source: ClearML's clearml.automation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.automation.job import ClearmlJob
    from localtrack.automation.optimization import GridSearch, HyperParameterOptimizer, Objective, RandomSearch
    from localtrack.automation.parameters import (
        DiscreteParameterRange,
        LogUniformParameterRange,
        ParameterSet,
        UniformIntegerParameterRange,
        UniformParameterRange,
    )
    from localtrack.automation.pipelines import PipelineController, PipelineDecorator
    from localtrack.automation.scheduler import TaskScheduler
    from localtrack.automation.trigger import TriggerScheduler

_HOMES = {
    "ClearmlJob": "job",
    "GridSearch": "optimization",
    "HyperParameterOptimizer": "optimization",
    "Objective": "optimization",
    "RandomSearch": "optimization",
    "PipelineController": "pipelines.controller",
    "PipelineDecorator": "pipelines.decorator",
    "DiscreteParameterRange": "parameters",
    "LogUniformParameterRange": "parameters",
    "ParameterSet": "parameters",
    "UniformIntegerParameterRange": "parameters",
    "UniformParameterRange": "parameters",
    "TaskScheduler": "scheduler",
    "TriggerScheduler": "trigger",
}
__all__ = [
    "ClearmlJob", "DiscreteParameterRange", "GridSearch", "HyperParameterOptimizer", "LogUniformParameterRange", "Objective",
    "ParameterSet", "PipelineController", "PipelineDecorator", "RandomSearch", "TaskScheduler", "TriggerScheduler",
    "UniformIntegerParameterRange", "UniformParameterRange",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
