"""Lines of a plot, under the module's name that ClearML has."""

from localtrack.services.figures import SeriesInfo

__all__ = ["SeriesInfo"]
