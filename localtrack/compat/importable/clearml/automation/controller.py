"""Pipelines: not there yet."""

from localtrack.compat.unsupported import PIPELINES, unsupported

PipelineController = unsupported("PipelineController", PIPELINES)
PipelineDecorator = unsupported("PipelineDecorator", PIPELINES)

__all__ = ["PipelineController", "PipelineDecorator"]
