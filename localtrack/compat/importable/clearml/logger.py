"""Reports."""

from localtrack.api.logger import Logger

__all__ = ["Logger"]
