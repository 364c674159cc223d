"""Scalars and plots of a model itself, beside its weights.

Source: ClearML's Model.report_scalar and the like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localtrack.errors import UsageError
from localtrack.records.model import ModelRecord
from localtrack.services import figures, model_reports
from localtrack.services.context import StoreContext
from localtrack.services.figures import SeriesInfo


class ModelReports:
    """What a model reports; ``localtrack model show`` and the page read it back."""

    _ctx: StoreContext
    _folder: Path | None

    def _record(self) -> ModelRecord:
        raise NotImplementedError

    def _pen(self) -> model_reports.ModelPen:
        """Return this process's pen; the model's place is looked up only when it is not known."""
        if self._folder is None:
            record = self._record()
            if self._folder is None:
                raise UsageError(f"model {record.id} has no folder of its own yet: set its metadata or weights first")
        return model_reports.pen_of(self._ctx, self._folder)

    def _plot(self, title: str, series: str, figure: Any, iteration: int | None, kind: str = "plotly") -> None:
        self._pen().plot(title, series, figure, iteration, kind)

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """Report one point of a curve of the model. When this returns, it survives the death of the process.

        Raises:
            ValueError: a value that is no number, or an iteration that is no integer.

        Source: ClearML's Model.report_scalar.
        """
        self._pen().scalar(title, series, value, iteration)

    def report_single_value(self, name: str, value: float) -> None:
        """Report a value of the model that has no iteration.

        Source: ClearML's Model.report_single_value.
        """
        self._pen().single_value(name, value)

    def report_histogram(
        self,
        title: str,
        series: str,
        values: Sequence[int | float],
        iteration: int | None = None,
        labels: list[str] | None = None,
        xlabels: list[str] | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        mode: str | None = None,
        data_args: dict[str, Any] | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report bars of given heights.

        Source: ClearML's Model.report_histogram.
        """
        figure = figures.histogram_figure(
            title, series, values, labels, xlabels, xaxis, yaxis, mode or "group", data_args, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_vector(
        self,
        title: str,
        series: str,
        values: Sequence[int | float],
        iteration: int | None = None,
        labels: list[str] | None = None,
        xlabels: list[str] | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        mode: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a vector as bars.

        Source: ClearML's Model.report_vector.
        """
        self.report_histogram(
            title, series, values, iteration, labels, xlabels, xaxis, yaxis, mode, extra_layout=extra_layout
        )

    def report_table(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        table_plot: Any = None,
        csv: str | None = None,
        url: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a table: a DataFrame, a list of rows whose first is the header, or a CSV file.

        Raises:
            UsageError: none of the sources, or several.

        Source: ClearML's Model.report_table.
        """
        if sum(source is not None for source in (table_plot, csv, url)) != 1:
            raise UsageError("report_table takes exactly one of table_plot, csv and url")
        self._plot(
            title, series, model_reports.table(title, series, table_plot, csv, url, extra_layout), iteration, "table"
        )

    def report_line_plot(
        self,
        title: str,
        series: Sequence[SeriesInfo],
        xaxis: str,
        yaxis: str,
        mode: str = "lines",
        iteration: int | None = None,
        reverse_xaxis: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report several lines in one plot.

        Source: ClearML's Model.report_line_plot.
        """
        figure = figures.line_figure(title, series, xaxis, yaxis, mode, reverse_xaxis, comment, extra_layout)
        self._plot(title, "", figure, iteration)

    def report_scatter2d(
        self,
        title: str,
        series: str,
        scatter: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        labels: list[str] | None = None,
        mode: str = "line",
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report points or a line in the plane, (n, 2).

        Source: ClearML's Model.report_scatter2d.
        """
        kind = "lines" if mode == "line" else mode
        figure = figures.scatter2d_figure(title, series, scatter, xaxis, yaxis, labels, kind, comment, extra_layout)
        self._plot(title, series, figure, iteration)

    def report_scatter3d(
        self,
        title: str,
        series: str,
        scatter: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        zaxis: str | None = None,
        labels: list[str] | None = None,
        mode: str = "markers",
        fill: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report points in space, (n, 3).

        Source: ClearML's Model.report_scatter3d.
        """
        figure = figures.scatter3d_figure(
            title, series, scatter, xaxis, yaxis, zaxis, labels, mode, fill, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_confusion_matrix(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        yaxis_reversed: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a matrix, (rows, columns), as a heat map.

        Source: ClearML's Model.report_confusion_matrix.
        """
        figure = figures.matrix_figure(
            title, series, matrix, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_matrix(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        yaxis_reversed: bool = False,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a matrix, (rows, columns), as a heat map.

        Source: ClearML's Model.report_matrix.
        """
        self.report_confusion_matrix(
            title, series, matrix, iteration, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, extra_layout=extra_layout
        )

    def report_surface(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        zaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        camera: Sequence[float] | None = None,
        comment: str | None = None,
        extra_layout: Mapping[str, Any] | None = None,
    ) -> None:
        """Report a matrix, (rows, columns), as a surface.

        Source: ClearML's Model.report_surface.
        """
        figure = figures.surface_figure(
            title, series, matrix, xaxis, yaxis, zaxis, xlabels, ylabels, camera, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)
