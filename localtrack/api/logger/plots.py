"""Section: plots, kept as plotly figures.

Source: ClearML's Logger.report_plotly, report_scatter2d, report_scatter3d, report_line_plot, report_histogram,
report_confusion_matrix, report_surface, report_matplotlib_figure.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.logger.handle import LoggerSection
from localtrack.services import figures, plotly_figures

if TYPE_CHECKING:
    import numpy as np
    from matplotlib import pyplot
    from matplotlib.figure import Figure as MatplotlibFigure
    from plotly.graph_objects import Figure as PlotlyFigure


class PlotsSection(LoggerSection):
    """Figures in the plane and in space. All of them stay; the last of an iteration is the current one."""

    def report_plotly(
        self, title: str, series: str, figure: dict[str, Any] | PlotlyFigure, iteration: int | None = None
    ) -> None:
        """Report a plotly figure: the object, its dict, or its JSON. Colours, labels and layout stay untouched.

        An object that is reported here is not captured again when it is shown or written, until it changes.

        Args:
            title: the plot.
            series: the variant of it.
            figure: the figure. Titles that are bare texts become objects, since current plotly.js shows no others.
            iteration: the iteration that it belongs to.

        Raises:
            UsageError: it is none of these.
        """
        found = figures.from_plotly(figure)
        plotly_figures.note_by_hand(figure, found)
        self._plot(title, series, found, iteration)

    def report_scatter2d(
        self,
        title: str,
        series: str,
        scatter: Sequence[tuple[float, float]] | np.ndarray,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        labels: list[str] | None = None,
        mode: str = "lines",
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report points in the plane, joined by lines or not. Every point is kept.

        Args:
            title: the plot.
            series: the line's name.
            scatter: ``(n, 2)`` x and y: an array, a frame, or a list of pairs.
            iteration: the iteration that it belongs to.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            labels: (n,) texts shown at the points.
            mode: ``lines``, ``markers``, ``lines+markers`` or another of plotly's modes.
            comment: a text below the title.
            extra_layout: more of plotly's layout, laid over what is made here.

        Raises:
            InvalidValueError: another shape, or another number of labels.
        """
        figure = figures.scatter2d_figure(title, series, scatter, xaxis, yaxis, labels, mode, comment, extra_layout)
        self._plot(title, series, figure, iteration)

    def report_scatter3d(
        self,
        title: str,
        series: str,
        scatter: Sequence[tuple[float, float, float]] | np.ndarray,
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
        """Report points in space, of one series or of several.

        Args:
            title: the plot.
            series: the series' name; a list names several.
            scatter: ``(n, 3)`` x, y and z; or a list of such arrays or lists, one a series.
            iteration: the iteration that it belongs to.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            zaxis: title of the z axis.
            labels: (n,) texts shown at the points; or a list of such lists, one a series.
            mode: ``lines``, ``markers`` or ``lines+markers``.
            fill: whether a surface is laid through the points.
            comment: a text below the title.
            extra_layout: more of plotly's layout, laid over what is made here.

        Raises:
            InvalidValueError: another shape, or another number of labels or names.
        """
        figure = figures.scatter3d_figure(
            title, series, scatter, xaxis, yaxis, zaxis, labels, mode, fill, comment, extra_layout
        )
        self._plot(title, series if isinstance(series, str) else ", ".join(map(str, series)), figure, iteration)

    def report_line_plot(
        self,
        title: str,
        series: Sequence[figures.SeriesInfo],
        xaxis: str,
        yaxis: str,
        mode: str = "lines",
        iteration: int | None = None,
        reverse_xaxis: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report several lines in one plot; deprecated by ClearML in favour of :meth:`report_scatter2d`.

        Args:
            title: the plot; it is stored with an empty series.
            series: the lines: ``Logger.SeriesInfo``, or dicts with its fields.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            mode: ``lines``, ``markers``, ``lines+markers`` or another of plotly's modes.
            iteration: the iteration that it belongs to.
            reverse_xaxis: whether x grows to the left.
            comment: a text below the title.
            extra_layout: more of plotly's layout, laid over what is made here.

        Raises:
            InvalidValueError: something that is no series.
        """
        _deprecated("report_line_plot", "report_scatter2d")
        figure = figures.line_figure(title, series, xaxis, yaxis, mode, reverse_xaxis, comment, extra_layout)
        self._plot(title, "", figure, iteration)

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
        """Report bars of the heights given; nothing is counted into bins.

        Args:
            title: the plot.
            series: the bars' name, where there are no labels.
            values: ``(n,)`` heights, or ``(rows, n)`` for several bars a place.
            iteration: the iteration that it belongs to.
            labels: (rows,) names.
            xlabels: (n,) names of the places.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            mode: ``group``, ``stack`` or ``relative``; None is ``group``.
            data_args: more of plotly's attributes for each row of bars.
            extra_layout: more of plotly's layout, laid over what is made here.

        Raises:
            InvalidValueError: another shape, another number of labels, or an unknown mode.
        """
        figure = figures.histogram_figure(
            title, series, values, labels, xlabels, xaxis, yaxis, mode, data_args, extra_layout
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
        """Report bars; ClearML's older name of :meth:`report_histogram`."""
        _deprecated("report_vector", "report_histogram")
        self.report_histogram(
            title, series, values, iteration, labels, xlabels, xaxis, yaxis, mode, extra_layout=extra_layout
        )

    def report_confusion_matrix(
        self,
        title: str,
        series: str,
        matrix: np.ndarray,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        yaxis_reversed: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a confusion matrix as a heat map with its numbers in the cells.

        Args:
            title: the plot.
            series: the variant of it.
            matrix: ``(rows, columns)`` numbers.
            iteration: the iteration that it belongs to.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            xlabels: (columns,) names.
            ylabels: (rows,) names.
            yaxis_reversed: False puts the first row at the bottom, True at the top.
            comment: a text below the title.
            extra_layout: more of plotly's layout; attributes of the heat map, such as ``texttemplate`` (None: no
                numbers in the cells) and ``colorscale``, go to it.

        Raises:
            InvalidValueError: another shape, or another number of labels.
        """
        figure = figures.matrix_figure(
            title, series, matrix, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_matrix(
        self,
        title: str,
        series: str,
        matrix: np.ndarray,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        yaxis_reversed: bool = False,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a matrix; ClearML's older name of :meth:`report_confusion_matrix`."""
        _deprecated("report_matrix", "report_confusion_matrix")
        self.report_confusion_matrix(
            title, series, matrix, iteration, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, extra_layout=extra_layout
        )

    def report_surface(
        self,
        title: str,
        series: str,
        matrix: np.ndarray,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        zaxis: str | None = None,
        xlabels: list[str] | None = None,
        ylabels: list[str] | None = None,
        camera: Sequence[float] | None = None,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a matrix as a surface in space.

        Args:
            title: the plot.
            series: the variant of it.
            matrix: ``(rows, columns)`` heights.
            iteration: the iteration that it belongs to.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            zaxis: title of the z axis.
            xlabels: (columns,) names.
            ylabels: (rows,) names.
            camera: (3,) x, y, z from where it is seen.
            comment: a text below the title.
            extra_layout: more of plotly's layout, laid over what is made here.

        Raises:
            InvalidValueError: another shape, or another number of labels.
        """
        figure = figures.surface_figure(
            title, series, matrix, xaxis, yaxis, zaxis, xlabels, ylabels, camera, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_matplotlib_figure(
        self,
        title: str,
        series: str,
        figure: MatplotlibFigure | pyplot,
        iteration: int | None = None,
        report_image: bool = False,
        report_interactive: bool = True,
    ) -> None:
        """Report a matplotlib figure: always as a picture, and as a plotly figure where that shows the same.

        Args:
            title: the plot.
            series: the variant of it.
            figure: the figure, its axes, a seaborn grid, or ``pyplot`` for its current figure.
            iteration: the iteration that it belongs to.
            report_image: keep the picture among the images instead of the plots.
            report_interactive: whether a plotly figure is wanted beside the picture.

        Raises:
            InvalidValueError: it is no figure.
        """
        from localtrack.runtime import binding_options
        from localtrack.services.recording import MediaOptions, record_figure

        record_figure(
            self._recorder,
            self._place(title, series, iteration),
            figure,
            options=MediaOptions(self._destination, self._history),
            as_sample=report_image,
            interactive=report_interactive and not binding_options.matplotlib_non_interactive,
        )

    def _plot(self, title: str, series: str, figure: figures.Figure, iteration: int | None) -> None:
        self._recorder.plot(self._place(title, series, iteration), figure)


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"Logger.{name} is deprecated by ClearML; use Logger.{instead}", DeprecationWarning, stacklevel=3)
