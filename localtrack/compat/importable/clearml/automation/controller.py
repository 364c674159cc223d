"""Pipelines: those of localtrack."""

from localtrack.automation.pipelines.controller import PipelineController  # noqa: F401
from localtrack.automation.pipelines.decorator import PipelineDecorator  # noqa: F401
