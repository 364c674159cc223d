"""Lines of a plot."""

from localtrack.services.figures import SeriesInfo

__all__ = ["SeriesInfo"]
