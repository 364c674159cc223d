"""What clients reach for in ClearML's ``binding``: switching a capture off, histograms of weights.

Source: pytorch-ignite's and ultralytics' calls, read; docs/how-to/switch-from-clearml.md.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from localtrack.runtime import current

if TYPE_CHECKING:
    from localtrack.api.logger import Logger


class _Switch:
    """One capture, by the name under which clients switch it off."""

    _framework: str

    @classmethod
    def update_current_task(cls, task: Any, **kwargs: Any) -> None:
        """Switch the capture off for the rest of the run when the task is None; else leave it as it is."""
        session = current.get()
        if task is None and session is not None and session.bindings is not None:
            session.bindings.leave(cls._framework)


class PatchPyTorchModelIO(_Switch):
    """Capture of saved and loaded PyTorch models."""

    _framework = "pytorch"


class PatchedMatplotlib(_Switch):
    """Capture of shown and saved Matplotlib figures."""

    _framework = "matplotlib"


class WeightsGradientHistHelper:
    """Reports how values are distributed, over the iterations of one series.

    Args:
        logger: where to.
        report_freq: report every so many calls for one title and series.
        histogram_update_freq_multiplier: ClearML's; kept for its signature.
        histogram_granularity: number of bars.
    """

    def __init__(
        self,
        logger: Logger,
        report_freq: int = 100,
        histogram_update_freq_multiplier: int = 10,
        histogram_granularity: int = 50,
    ) -> None:
        self._logger: Any = logger
        self._every = max(1, int(report_freq))
        self._bars = max(1, int(histogram_granularity))
        self._calls: dict[tuple[str, str], int] = {}

    def add_histogram(
        self, title: str, series: str, step: int, hist_data: Any, increase_histogram_intervals: bool = True
    ) -> None:
        """Report the distribution of some numbers.

        Args:
            title: of the plot.
            series: of the plot.
            step: the iteration.
            hist_data: the numbers, an array of any shape; or a list of bars that are counted already, each
                ``(lower edge, upper edge, count)``.
            increase_histogram_intervals: ClearML's; kept for its signature.
        """
        key = (title, series)
        self._calls[key] = calls = self._calls.get(key, 0) + 1
        if (calls - 1) % self._every:
            return
        import numpy

        values = numpy.asarray(hist_data)
        edges: Any
        if isinstance(hist_data, (list, tuple)) and values.ndim == 2 and values.shape[1] == 3:
            counts, edges = values[:, 2], numpy.append(values[:, 0], values[-1:, 1])
        else:
            finite = values[numpy.isfinite(values)].astype("float64")
            counts, edges = numpy.histogram(finite, bins=self._bars)
        labels = [f"{(low + high) / 2:.6g}" for low, high in pairwise(edges)]
        self._logger.report_histogram(
            title, series, values=[float(count) for count in counts], iteration=step, xlabels=labels
        )
