"""Section: tables.

Source: ClearML's Logger.report_table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.logger.handle import LoggerSection
from localtrack.errors import UsageError
from localtrack.services import figures, tables

if TYPE_CHECKING:
    import pandas as pd


class TablesSection(LoggerSection):
    """Tables, kept as plotly figures."""

    def report_table(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        table_plot: pd.DataFrame | Sequence[Sequence[Any]] | None = None,
        csv: str | None = None,
        url: str | None = None,
        extra_layout: dict[str, Any] | None = None,
        extra_data: dict[str, Any] | None = None,
    ) -> None:
        """Report a table: a DataFrame, a list of rows whose first is the header, a CSV file, or a URL.

        Args:
            title: the plot.
            series: the variant of it.
            iteration: the iteration that it belongs to.
            table_plot: a DataFrame, whose index is shown where it has names or labels; or rows.
            csv: path of a CSV file, whose cells show as they are written.
            url: ``file://`` or a path is read; any other address is kept as a reference, and nothing is downloaded.
            extra_layout: more of plotly's layout.
            extra_data: more of plotly's attributes for the table.

        Raises:
            UsageError: none of the sources, or several.
            InvalidValueError: another kind of object, or a file that can't be read.
        """
        if sum(source is not None for source in (table_plot, csv or None, url or None)) != 1:
            raise UsageError("report_table takes exactly one of table_plot, csv and url")
        place = self._place(title, series, iteration)
        if url and not tables.is_local(url):
            figure = figures.linked_table_figure(title, series, url)
            self._recorder.plot(place, figure, "table", table={"url": url})
            return
        table = table_plot if table_plot is not None else tables.table_of_file(csv or url or "")
        figure = figures.table_figure(title, series, table, extra_layout, extra_data)
        self._recorder.plot(place, figure, "table")
