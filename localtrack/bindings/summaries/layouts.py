"""Charts that a script lays out for TensorBoard's custom scalars: which curves belong into one plot.

ClearML records nothing of them. Here the layout becomes a configuration object of the task, and at the end of the run each
chart a plot of its curves.

Source: TensorBoard's custom_scalar plug-in, layout.proto; ``SummaryWriter.add_custom_scalars``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from localtrack.services import figures
from localtrack.store.scalars import SeriesPoints

TAG = "custom_scalars__config__"
CONFIGURATION = "TensorBoard layout"
POINTS = 1000
_MODULES = ("tensorboard.plugins.custom_scalar.layout_pb2", "tensorboardX.proto.layout_pb2")


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a layout.

    Attributes:
        category: the group of charts that it is in.
        title: its title.
        tags: of a multiline chart, regular expressions; of a margin chart the value's, the lower and the upper border's.
        is_margin: which of both.
    """

    category: str
    title: str
    tags: tuple[str, ...]
    is_margin: bool

    def matching(self, known: Iterable[str]) -> list[str]:
        """Return the tags that it shows, of those that there are."""
        known = list(known)
        if self.is_margin:
            return [tag for tag in (*self.tags[1:], self.tags[0]) if tag in known] if self.tags else []
        found = [tag for pattern in self.tags for tag in known if tag == pattern or _matches(pattern, tag)]
        return list(dict.fromkeys(found))

    def figure(self, lines: Mapping[str, SeriesPoints]) -> figures.Figure:
        """Return the plot of its curves, the border of a margin as an area."""
        shown = [{"name": tag, "data": _data(points)} for tag, points in lines.items()]
        figure = figures.line_figure(self.title, shown, "iteration", "")
        if self.is_margin and len(shown) == len(self.tags):
            figure["data"][1]["fill"] = "tonexty"  # of lower and upper border, the value above
        return figure


def charts_of(layouts: Iterable[bytes]) -> list[Chart]:
    """Return the charts of serialized layouts."""
    module: Any = next((sys.modules[name] for name in _MODULES if name in sys.modules), None)
    found: list[Chart] = []
    for data in layouts if module is not None else ():
        for category in module.Layout.FromString(data).category:
            for chart in category.chart:
                is_margin = chart.WhichOneof("content") == "margin"
                if not is_margin:
                    found.append(Chart(category.title, chart.title, tuple(chart.multiline.tag), False))
                for margin in chart.margin.series if is_margin else ():
                    found.append(Chart(category.title, chart.title, (margin.value, margin.lower, margin.upper), True))
    return found


def as_configuration(charts: Iterable[Chart]) -> dict[str, Any]:
    """Return a layout as scripts write it: ``{category: {title: [kind, tags]}}``."""
    result: dict[str, Any] = {}
    for chart in charts:
        kind = "Margin" if chart.is_margin else "Multiline"
        result.setdefault(chart.category, {})[chart.title] = [kind, list(chart.tags)]
    return result


def _matches(pattern: str, tag: str) -> bool:
    try:
        return re.match(pattern, tag) is not None
    except re.error:
        return False


def _data(points: SeriesPoints) -> Any:
    """Return a curve's points, of a long one so many at equal distances and the last."""
    import numpy

    every = -(-len(points.values) // POINTS) or 1
    pairs = numpy.column_stack([numpy.array(points.iterations), numpy.array(points.values)])
    return pairs[::-1][::every][::-1]
