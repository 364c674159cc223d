"""The logger: scalars, text, plots, tables, images, media, and what the automatic captures shall do.

Plots are kept as plotly figures whose titles show in current plotly.js; nothing is capped, nothing subsampled.

Source: ClearML's Logger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localtrack.api.logger.media import MediaSection
from localtrack.api.logger.options import OptionsSection
from localtrack.api.logger.plots import PlotsSection
from localtrack.api.logger.scalars import ScalarsSection
from localtrack.api.logger.tables import TablesSection
from localtrack.services.figures import SeriesInfo as _SeriesInfo

if TYPE_CHECKING:
    from localtrack.api.task.reports import ReportsSection

__all__ = ["Logger"]


class Logger(ScalarsSection, PlotsSection, TablesSection, MediaSection, OptionsSection):
    """Reports to one task."""

    SeriesInfo = _SeriesInfo

    def __reduce__(self) -> tuple[object, tuple[object]]:
        return _logger_of, (self._task,)

    @classmethod
    def current_logger(cls) -> Logger | None:
        """Return the logger of this process's task; None when it has none."""
        from localtrack.api.task import Task

        task = Task.current_task()
        return task.get_logger() if task is not None else None


def _logger_of(task: ReportsSection) -> Logger:
    """Return a task's logger: what a copy of one is, in this process or another."""
    return task.get_logger()
