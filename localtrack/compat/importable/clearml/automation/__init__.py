"""Pipelines, searches, schedules: not there yet."""

from clearml.automation.controller import PipelineController, PipelineDecorator
from clearml.automation.scheduler import TaskScheduler
from clearml.automation.trigger import TriggerScheduler
from localtrack.compat.unsupported import SEARCHES, unsupported_module

__getattr__ = unsupported_module(__name__, SEARCHES)

__all__ = ["PipelineController", "PipelineDecorator", "TaskScheduler", "TriggerScheduler"]
