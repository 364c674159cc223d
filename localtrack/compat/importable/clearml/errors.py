"""Errors."""

from localtrack.errors import UsageError

__all__ = ["UsageError"]
