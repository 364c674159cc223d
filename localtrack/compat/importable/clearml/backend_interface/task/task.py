"""Tasks."""

from localtrack import Task

__all__ = ["Task"]
