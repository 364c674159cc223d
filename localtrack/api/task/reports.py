"""Section: what the task reported, read back.

Source: ClearML's get_reported_scalars, get_last_scalar_metrics, get_reported_plots, get_reported_console_output.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.records.late import late_logger
from localtrack.services import reports
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.api.logger import Logger
    from localtrack.store.scalars import Scalars

LOG = late_logger()


class ReportsSection(Section):
    """Scalars, plots, media and console of a task."""

    _logger: Logger | None = None

    def get_logger(self) -> Logger:
        """Return the logger that reports to this task; the same one each time, as long as the task runs."""
        from localtrack.api.logger import Logger

        known = self._logger
        if known is None or (self._session is not None and known._writer is not self._session.writer):
            known = self._logger = Logger(self, known)
        return known

    @property
    def logger(self) -> Logger:
        """The logger that reports to this task."""
        return self.get_logger()

    def _scalars(self, title: str | None = None, series: str | None = None) -> Scalars:
        found = reports.scalars(self._where(), title, series)
        for problem in found.problems:
            LOG.warning(problem)
        return found

    def get_reported_scalars(self, max_samples: int = 0, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
        """Return ``{title: {series: {"name", "x", "y"}}}`` with every point.

        Args:
            max_samples: at most so many points a series, its lows and highs kept; 0 for all.
            x_axis: ``iter``, ``timestamp`` (ms since 1970) or ``iso_time``.
        """
        return reports.graphs(self._scalars(), max_samples=max_samples, x_axis=x_axis)

    def get_all_reported_scalars(self, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
        """Return every point; the same as :meth:`get_reported_scalars`, which caps nothing here."""
        return self.get_reported_scalars(x_axis=x_axis)

    def get_last_scalar_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return ``{title: {series: {"last", "min", "max"}}}``; up to date for this process's own run too."""
        record = self._read()
        told = record.exit.get("failure_class") != "lost" and not self._owned
        metrics = reports.last_metrics(record) if told else reports.summarise(self._scalars())
        return {
            title: {name: {key: item[key] for key in ("last", "min", "max")} for name, item in series.items()}
            for title, series in metrics.items()
        }

    def get_reported_single_values(self) -> dict[str, float]:
        """Return the last of each single value by its name."""
        return reports.single_values(self._scalars(reports.SUMMARY_TITLE))

    def get_reported_single_value(self, name: str) -> float | None:
        """Return one single value; None when it was never reported."""
        return self.get_reported_single_values().get(name)

    def get_reported_plots(self, max_iterations: int | None = None) -> list[dict[str, Any]]:
        """Return the plots: ``metric``, ``variant``, ``iter``, ``timestamp``, ``plot`` (a plotly figure as a dict).

        One that was kept as a picture has its path as ``image``; without an interactive copy, ``plot`` shows that.

        Args:
            max_iterations: only the last so many iterations of each plot; all without one.
        """
        bodies, problems = reports.plots(self._where())
        for problem in problems:
            LOG.warning(problem)
        plots = [_plot_of(body, self._where()) for body in bodies]
        if max_iterations is None:
            return plots
        steps: dict[tuple[Any, Any], list[Any]] = {}
        for plot in plots:
            steps.setdefault((plot["metric"], plot["variant"]), []).append(plot["iter"])
        last = {key: set(sorted(set(found))[-max_iterations:]) for key, found in steps.items()}
        return [plot for plot in plots if plot["iter"] in last[plot["metric"], plot["variant"]]]

    def get_debug_samples(self, title: str, series: str, n_last_iterations: int | None = None) -> list[dict[str, Any]]:
        """Return the records of images and other media of one title and series, with the path of each file."""
        bodies, _ = reports.media(self._where())
        hits = [b for b in bodies if b.get("title") == title and b.get("series") == series]
        if n_last_iterations is not None:
            steps = sorted({b.get("iteration", 0) for b in hits})[-n_last_iterations:]
            hits = [b for b in hits if b.get("iteration", 0) in steps]
        folder = self._where()
        return [{**b, "url": b.get("url") or str(folder / "media" / str(b.get("file")))} for b in hits]

    def get_reported_console_output(self, number_of_reports: int = 1) -> list[str]:
        """Return the last printed and reported lines.

        Args:
            number_of_reports: how many lines; 0 for all.
        """
        lines = [line.text for line in reports.console(self._where())]
        return lines[-number_of_reports:] if number_of_reports > 0 else lines

    def get_last_iteration(self) -> int:
        """Return the highest iteration reported so far."""
        if self._owned and self._session is not None:
            self._session.settle()
            return max(self._session.writer.last_iteration(), self._read().last_iteration)
        record = self._read()
        if record.exit.get("failure_class") == "lost":
            record = reports.with_reported_metrics(record, self._where())
        return record.last_iteration

    def set_initial_iteration(self, offset: int = 0) -> int:
        """Set the number that is added to every iteration that this process reports.

        Returns:
            The number.
        """
        self._iteration_offset = int(offset)
        if self._session is not None:
            self._session.iteration_offset = self._iteration_offset
        return self._iteration_offset

    def get_initial_iteration(self) -> int:
        """Return the number that is added to every iteration that this process reports."""
        return self._iteration_offset


def _plot_of(body: dict[str, Any], folder: Path) -> dict[str, Any]:
    plot = {
        "metric": body.get("title"), "variant": body.get("series"), "iter": body.get("iteration"),
        "timestamp": body.get("at"), "type": "plot", "plot": body.get("figure"),
    }  # fmt: skip
    image = body.get("image")
    if isinstance(image, dict) and "file" in image:
        path = str(TaskLayout(folder).plots / Path(str(image["file"])).name)
        from localtrack.services.figures import picture_figure

        plot["image"] = path
        plot["plot"] = plot["plot"] or picture_figure(str(body.get("title")), path)
    return plot
