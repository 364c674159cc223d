"""Pipelines, under the module's name that ClearML has."""

from localtrack.automation.pipelines.controller import PipelineController
from localtrack.automation.pipelines.decorator import PipelineDecorator

__all__ = ["PipelineController", "PipelineDecorator"]
