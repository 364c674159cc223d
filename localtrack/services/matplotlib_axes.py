"""The frames of matplotlib's axes in plotly's layout: place, scales, ticks, labels, grid.

Source: matplotlib's Axes; plotly.js's cartesian axes.
"""

from __future__ import annotations

from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_style import Unfaithful, escaped, font_of, pixels, rgba

LOG_TICKS = 10
_FREE_TICKS = frozenset({"ScalarFormatter", "LogFormatterSciNotation", "LogFormatter", "LogFormatterMathtext"})
_DATE_TICKS = frozenset({"AutoDateFormatter", "ConciseDateFormatter"})
_FIXED = frozenset({"FixedLocator", "MultipleLocator", "StrCategoryLocator"})
SHORT_DAYS = 60  # on longer axes of dates an hour is not to be seen
_ANCHORS = {"center": "middle", "baseline": "bottom", "center_baseline": "middle", "top": "top", "bottom": "bottom"}


class AxesFrame:
    """One pair of axes: its names in plotly, and how values of its data are written there.

    Args:
        axes: matplotlib's axes, drawn.
        number: 1 for the first.
        others: the frames before it; one at the same place lies over it.
        layout: gets the axes and the titles.

    Raises:
        Unfaithful: axes that plotly would draw otherwise.
    """

    def __init__(self, axes: Any, number: int, others: list[AxesFrame], layout: Figure) -> None:
        if axes.name != "rectilinear" or type(axes).__name__ not in ("Axes", "AxesSubplot"):
            raise Unfaithful(f"axes of the kind {axes.name} ({type(axes).__name__})")
        if axes.child_axes:
            raise Unfaithful("axes within axes")
        self.axes = axes
        self.x = f"x{number if number > 1 else ''}"
        self.y = f"y{number if number > 1 else ''}"
        self.bounds = tuple(round(float(v), 6) for v in axes.get_position().bounds)
        self.is_date = {side: _is_date(axis) for side, axis in (("x", axes.xaxis), ("y", axes.yaxis))}
        self._zones = {"x": _zone_of(axes.xaxis), "y": _zone_of(axes.yaxis)}
        below = next((frame for frame in others if frame.bounds == self.bounds), None)
        self.names = {"x": self.x.replace("x", "xaxis"), "y": self.y.replace("y", "yaxis")}
        for side in ("x", "y"):
            layout[self.names[side]] = self._axis(side, below)
        layout["annotations"] += title_notes(axes, self.bounds)

    def values(self, side: str, found: Any) -> list[Any]:
        """Return values of the data as plotly takes them: numbers, ISO texts on an axis of dates, None for a gap."""
        from numpy import ma

        plain = ma.asarray(found, dtype=float).filled(float("nan")).ravel().tolist()
        if self.is_date[side]:
            return [_iso(value, self._zones[side]) for value in plain]
        return [value if value - value == 0 else None for value in plain]

    def spot(self, side: str, value: float) -> Any:
        """Return a place for an annotation or image, which plotly wants as a logarithm on a logarithmic axis."""
        import math

        axes = self.axes
        scale = axes.get_xscale() if side == "x" else axes.get_yscale()
        found = self.values(side, [value])[0]
        if scale == "log" and isinstance(found, float):
            return math.log10(found) if found > 0 else None
        return found

    def _axis(self, side: str, below: AxesFrame | None) -> Figure:
        axes = self.axes
        axis = axes.xaxis if side == "x" else axes.yaxis
        left, bottom, width, height = self.bounds
        start, extent = (left, width) if side == "x" else (bottom, height)
        result: Figure = {
            "domain": [max(0.0, start), min(1.0, start + extent)], "anchor": self.y if side == "x" else self.x,
            "zeroline": False, **self._scale(side, axis),
        }  # fmt: skip
        if below is not None:
            result["overlaying"] = below.x if side == "x" else below.y
        if not axes.axison or not axis.get_visible():
            return {**result, "visible": False}
        label = axis.label
        if label.get_text() and label.get_visible():
            result["title"] = {"text": escaped(label.get_text()), "font": font_of(label)}
        return {**result, **self._lines(side), **self._ticks(side, axis), **_grid(axis)}

    def _scale(self, side: str, axis: Any) -> Figure:
        import math

        kind = axis.get_scale()
        low, high = (float(v) for v in (self.axes.get_xlim() if side == "x" else self.axes.get_ylim()))
        if kind == "linear":
            if self.is_date[side]:
                return {"type": "date", "range": self._dates(low, high, self._zones[side])}
            return {"type": "linear", "range": [low, high]}
        if kind == "log":
            if getattr(axis.get_transform(), "base", 10) != 10 or low <= 0 or high <= 0:
                raise Unfaithful("logarithms of another base")
            ends = [math.log10(low), math.log10(high)]
            return {"type": "log", "range": ends, "dtick": max(1, math.ceil(abs(ends[1] - ends[0]) / LOG_TICKS))}
        raise Unfaithful(f"the scale {kind!r}")

    @staticmethod
    def _dates(low: float, high: float, zone: Any) -> list[str | None]:
        """Return the ends of an axis of dates; plotly knows no zones, and dates go by the clock on the wall there."""
        from matplotlib.dates import num2date

        ends = [num2date(value, tz=zone) for value in (low, high)]
        if ends[0].utcoffset() != ends[1].utcoffset() and abs(high - low) < SHORT_DAYS:
            raise Unfaithful("dates at which the clock is changed")
        return [_iso(low, zone), _iso(high, zone)]

    def _lines(self, side: str) -> Figure:
        spines = self.axes.spines
        first, second = ("bottom", "top") if side == "x" else ("left", "right")
        shown = [name for name in (first, second) if spines[name].get_visible()]
        for name in shown:
            if spines[name].get_position() not in (("outward", 0.0), ("axes", 0.0), ("axes", 1.0)):
                raise Unfaithful("a spine within the axes")
        axis = self.axes.xaxis if side == "x" else self.axes.yaxis
        at_second = self._is_labelled_at_second(side, axis)
        result: Figure = {"side": second if at_second else first, "showline": bool(shown), "mirror": len(shown) == 2}
        if shown:
            edge = spines[shown[0]]
            result.update(linecolor=rgba(edge.get_edgecolor()), linewidth=pixels(edge.get_linewidth()))
            if len(shown) == 1 and (shown[0] == second) != at_second:
                raise Unfaithful("ticks and frame on different sides")
        return result

    def _limits(self, side: str) -> tuple[float, float]:
        found: tuple[float, float] = self.axes.get_xlim() if side == "x" else self.axes.get_ylim()
        return found

    def _is_labelled_at_second(self, side: str, axis: Any) -> bool:
        """Tell whether an axis has its ticks, or else its numbers alone, at the top or the right."""
        labelled = labelled_ticks(axis, self._limits(side))
        if not labelled:
            return axis.get_ticks_position() in ("top", "right")
        first, second = (any(getattr(tick, name).get_visible() for tick in labelled) for name in ("label1", "label2"))
        if first and second:
            raise Unfaithful("numbers on both sides")
        label = axis.label
        if label.get_visible() and label.get_text() and (axis.get_label_position() in ("top", "right")) != second:
            raise Unfaithful("numbers and name of an axis on different sides")
        return second

    def _ticks(self, side: str, axis: Any) -> Figure:
        ticks = ticks_within(axis, self._limits(side))
        labelled = labelled_ticks(axis, self._limits(side))
        if not ticks:
            return {"ticks": "", "showticklabels": False, "tickmode": "array", "tickvals": []}
        marks = any(tick.tick1line.get_visible() or tick.tick2line.get_visible() for tick in ticks)
        is_log = axis.get_scale() == "log"
        result: Figure = {
            "ticks": "outside" if marks else "", "showticklabels": bool(labelled),
            **({"exponentformat": "power"} if is_log else {"exponentformat": "none", "tickmode": "auto"}),
        }  # fmt: skip
        if not labelled:
            return result
        texts = [tick.label1 if tick.label1.get_visible() else tick.label2 for tick in labelled]
        result["tickfont"] = font_of(texts[0])
        if texts[0].get_rotation() % 360:
            result["tickangle"] = -texts[0].get_rotation()
        if not has_free_ticks(axis):
            places = self.values(side, [tick.get_loc() for tick in labelled])
            result.update(tickmode="array", tickvals=places, ticktext=[escaped(text.get_text()) for text in texts])
            result.pop("dtick", None)
        return result


def ticks_within(axis: Any, limits: tuple[float, float]) -> list[Any]:
    """Return the ticks of an axis that are to be seen."""
    low, high = sorted(limits)
    return [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]


def labelled_ticks(axis: Any, limits: tuple[float, float]) -> list[Any]:
    """Return those of them that have a text."""
    return [
        tick
        for tick in ticks_within(axis, limits)
        if any(label.get_visible() and label.get_text() for label in (tick.label1, tick.label2))
    ]


def has_free_ticks(axis: Any) -> bool:
    """Tell whether matplotlib chose places and texts of the ticks, so that plotly may choose its own."""
    name = type(axis.get_major_formatter()).__name__
    return name in _FREE_TICKS | _DATE_TICKS and type(axis.get_major_locator()).__name__ not in _FIXED


def title_notes(axes: Any, bounds: tuple[float, ...]) -> list[Figure]:
    """Return the titles of some axes as annotations; ``bounds`` are left, bottom, width and height on the figure."""
    left, _, width, _ = bounds
    result: list[Figure] = []
    for text, x, anchor in (
        (axes.title, left + width / 2, "center"), (axes._left_title, left, "left"),
        (axes._right_title, left + width, "right"),
    ):  # fmt: skip
        if not text.get_visible() or not text.get_text():
            continue
        y = text.get_window_extent().y0 / axes.figure.bbox.height
        result.append({
            "text": escaped(text.get_text()), "font": font_of(text), "x": float(x), "y": float(y), "xref": "paper",
            "yref": "paper", "xanchor": anchor, "yanchor": "bottom", "showarrow": False, "borderpad": 0,
        })  # fmt: skip
    return result


def anchor_of(alignment: str) -> str:
    """Return a vertical alignment of matplotlib as plotly's anchor."""
    return _ANCHORS.get(alignment, "middle")


def _is_date(axis: Any) -> bool:
    names = (type(axis.get_major_formatter()).__name__, type(axis.get_major_locator()).__name__)
    return (
        names[0] in _DATE_TICKS
        or names[0] == "DateFormatter"
        or names[1] in ("AutoDateLocator", "RRuleLocator")
        or names[1].endswith("dayLocator")
    )


def _zone_of(axis: Any) -> Any:
    """Return the time zone that an axis of dates is labelled in; None for matplotlib's default, or another axis."""
    formatter = axis.get_major_formatter()
    for held in (getattr(formatter, "tz", None), getattr(formatter, "_tz", None), axis.get_major_locator()):
        zone = getattr(held, "tz", held)
        if hasattr(zone, "utcoffset"):
            return zone
    return None


def _iso(value: float, zone: Any) -> str | None:
    from matplotlib.dates import num2date

    return num2date(value, tz=zone).replace(tzinfo=None).isoformat() if value == value else None


def _grid(axis: Any) -> Figure:
    lines = [line for line in axis.get_gridlines() if line.get_visible()]
    result: Figure = {"showgrid": False} if not lines else {"showgrid": True, **_grid_look(lines[0])}
    minor = [tick.gridline for tick in axis.get_minor_ticks() if tick.gridline.get_visible()]
    if minor:
        if axis.get_scale() != "log" or type(axis.get_minor_locator()).__name__ != "LogLocator":
            raise Unfaithful("a grid of minor ticks")
        result["minor"] = {"dtick": "D1", "showgrid": True, **_grid_look(minor[0])}
    return result


def _grid_look(line: Any) -> Figure:
    return {"gridcolor": rgba(line.get_color(), line.get_alpha()), "gridwidth": pixels(line.get_linewidth())}
