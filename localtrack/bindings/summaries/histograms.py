"""Histograms of one tag over the iterations, as a surface.

Source: TensorBoard's histogram summaries; ClearML's TensorBoard binding.
"""

from __future__ import annotations

from typing import Any

from localtrack.services import figures

COLUMNS = 50
ROWS = 100
GROWTH = 1.25
_HUGE = 1e300


class HistogramHistory:
    """What one tag's values looked like, iteration by iteration.

    All are kept until there are twice ``ROWS``; then every second one goes, so that old and new stay evenly spread.

    Args:
        title: of the plot.
        series: of the plot.
    """

    def __init__(self, title: str, series: str) -> None:
        self.title = title
        self.series = series
        self._kept: dict[int, tuple[Any, Any]] = {}
        self._every = 1
        self._count = 0
        self._next = 1.0
        self._shown = 0

    def add(self, iteration: int, edges: Any, counts: Any) -> bool:
        """Add a histogram and tell whether it is time to report: often at first, then after each quarter more of them.

        Args:
            iteration: its iteration.
            edges: (n + 1,) borders of the bars, growing.
            counts: (n,) values in each bar.
        """
        import numpy

        counts = numpy.asarray(counts, dtype="float64")
        edges = numpy.maximum.accumulate(
            numpy.nan_to_num(numpy.asarray(edges, dtype="float64"), posinf=_HUGE, neginf=-_HUGE)
        )
        if not counts.size or not (counts > 0).any():
            return False
        self._count += 1
        last = next(reversed(self._kept), None)
        if last is not None and self._count % self._every:
            del self._kept[last]  # the newest is always there, and makes room for the next
        self._kept.pop(iteration, None)
        self._kept[iteration] = (edges, counts)
        if len(self._kept) > 2 * ROWS:
            self._every *= 2
            for key in list(self._kept)[1:-1:2]:
                del self._kept[key]
        if self._count < self._next:
            return False
        self._next = max(self._count + 1, self._count * GROWTH)
        return True

    @property
    def is_reported(self) -> bool:
        """Whether the last report had all of them."""
        return self._shown == self._count

    def figure(self) -> figures.Figure:
        """Return the surface: a row for each iteration, columns of equal width over the range of all values."""
        import numpy

        self._shown = self._count
        chosen = _spread(list(self._kept.items()), ROWS)
        low = min(float(edges[0]) for _, (edges, _) in chosen)
        high = max(float(edges[-1]) for _, (edges, _) in chosen)
        if not high > low:
            low, high = low - 0.5, low + 0.5
        borders = numpy.linspace(low, high, COLUMNS + 1)
        matrix = numpy.array([_rebinned(edges, counts, borders) for _, (edges, counts) in chosen])
        if len(matrix) == 1:
            matrix = numpy.vstack([matrix, matrix])  # one row is no surface
        result = figures.surface_figure(
            self.title, self.series, matrix, "value", "iteration", "count", camera=(-0.1, 1.3, 1.4)
        )
        steps = [iteration for iteration, _ in chosen]
        result["data"][0].update(
            x=((borders[:-1] + borders[1:]) / 2).tolist(), y=steps if len(steps) > 1 else [steps[0], steps[0] + 1]
        )
        return result


def _spread(items: list[Any], limit: int) -> list[Any]:
    """Return at most so many items at equal distances, the last one always."""
    every = -(-len(items) // limit)
    return items[::-1][::every][::-1]


def _rebinned(edges: Any, counts: Any, borders: Any) -> Any:
    """Share the counts out among bars of equal width, as much of each as lies in it."""
    import numpy

    if edges[-1] > edges[0]:
        up_to = numpy.interp(borders, edges, numpy.concatenate(([0.0], numpy.cumsum(counts))))
        return numpy.diff(up_to)
    result = numpy.zeros(len(borders) - 1)
    result[min(len(result) - 1, max(0, int(numpy.searchsorted(borders, edges[0], "right")) - 1))] = counts.sum()
    return result
