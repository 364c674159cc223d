"""Pipelines, searches, schedules: not there yet."""

from clearml.automation.controller import PipelineController, PipelineDecorator
from clearml.automation.optimization import (
    GridSearch,
    HyperParameterOptimizer,
    Objective,
    RandomSearch,
    SearchStrategy,
)
from clearml.automation.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from clearml.automation.scheduler import TaskScheduler
from clearml.automation.trigger import TriggerScheduler
from localtrack.compat.unsupported import CLOUD, SEARCHES, unsupported

ClearmlJob = unsupported("ClearmlJob", SEARCHES)
TaskJob = unsupported("TaskJob", SEARCHES)
AutoScaler = unsupported("AutoScaler", CLOUD)

__all__ = [
    "AutoScaler", "ClearmlJob", "DiscreteParameterRange", "GridSearch", "HyperParameterOptimizer",
    "LogUniformParameterRange", "Objective", "ParameterSet", "PipelineController", "PipelineDecorator", "RandomSearch",
    "SearchStrategy", "TaskJob", "TaskScheduler", "TriggerScheduler", "UniformIntegerParameterRange",
    "UniformParameterRange",
]  # fmt: skip
