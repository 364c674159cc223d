"""Reports, under the module's name that ClearML has: ``from clearml.logger import Logger`` with the first word changed."""

from localtrack.api.logger import Logger

__all__ = ["Logger"]
