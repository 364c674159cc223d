"""Tasks."""

from localtrack.api.task import Task

__all__ = ["Task"]
