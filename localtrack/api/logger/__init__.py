"""The logger: scalars, text, plots, tables, images, media, and what the automatic captures shall do.

Plots are kept as plotly figures whose titles show in current plotly.js; nothing is capped, nothing subsampled.

Source: ClearML's Logger.
"""

from __future__ import annotations

from localtrack.api.logger.media import MediaSection
from localtrack.api.logger.options import OptionsSection
from localtrack.api.logger.plots import PlotsSection
from localtrack.api.logger.scalars import ScalarsSection
from localtrack.api.logger.tables import TablesSection
from localtrack.services.figures import SeriesInfo as _SeriesInfo

__all__ = ["Logger"]


class Logger(ScalarsSection, PlotsSection, TablesSection, MediaSection, OptionsSection):
    """Reports to one task."""

    SeriesInfo = _SeriesInfo

    @classmethod
    def current_logger(cls) -> Logger | None:
        """Return the logger of this process's task; None when it has none."""
        from localtrack.api.task import Task

        task = Task.current_task()
        return task.get_logger() if task is not None else None
