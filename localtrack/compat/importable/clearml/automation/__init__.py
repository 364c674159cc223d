"""Searches over parameters, pipelines, schedules and triggers: those of localtrack."""

import importlib

_HOMES = {
    "ClearmlJob": "clearml.automation.job",
    "GridSearch": "clearml.automation.optimization",
    "HyperParameterOptimizer": "clearml.automation.optimization",
    "Objective": "clearml.automation.optimization",
    "RandomSearch": "clearml.automation.optimization",
    "DiscreteParameterRange": "clearml.automation.parameters",
    "LogUniformParameterRange": "clearml.automation.parameters",
    "ParameterSet": "clearml.automation.parameters",
    "UniformIntegerParameterRange": "clearml.automation.parameters",
    "UniformParameterRange": "clearml.automation.parameters",
    "PipelineController": "clearml.automation.controller",
    "PipelineDecorator": "clearml.automation.controller",
    "TaskScheduler": "clearml.automation.scheduler",
    "TriggerScheduler": "clearml.automation.trigger",
}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r}, which is localtrack here, has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted({*globals(), *_HOMES})


__all__ = [*_HOMES]  # noqa: PLE0604
