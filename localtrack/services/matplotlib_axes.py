"""The frames of matplotlib's axes in plotly's layout: place, scales, ticks, labels, grid, legend, colour bar.

Source: matplotlib's Axes, Legend and Colorbar; plotly.js's cartesian axes.
"""

from __future__ import annotations

from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_style import Unfaithful, escaped, font_of, pixels, rgba

LOG_TICKS = 10
_FREE_TICKS = frozenset({"ScalarFormatter", "LogFormatterSciNotation", "LogFormatter", "LogFormatterMathtext"})
_DATE_TICKS = frozenset({"AutoDateFormatter", "ConciseDateFormatter", "DateFormatter"})
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
        below = next((frame for frame in others if frame.bounds == self.bounds), None)
        self.names = {"x": self.x.replace("x", "xaxis"), "y": self.y.replace("y", "yaxis")}
        for side in ("x", "y"):
            layout[self.names[side]] = self._axis(side, below)
        self._titles(layout)

    def values(self, side: str, found: Any) -> list[Any]:
        """Return values of the data as plotly takes them: numbers, ISO texts on an axis of dates, None for a gap."""
        from numpy import ma

        plain = ma.asarray(found, dtype=float).filled(float("nan")).ravel().tolist()
        if self.is_date[side]:
            return [_iso(value) for value in plain]
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
                return {"type": "date", "range": [_iso(low), _iso(high)]}
            return {"type": "linear", "range": [low, high]}
        if kind == "log":
            if getattr(axis.get_transform(), "base", 10) != 10 or low <= 0 or high <= 0:
                raise Unfaithful("logarithms of another base")
            ends = [math.log10(low), math.log10(high)]
            return {"type": "log", "range": ends, "dtick": max(1, math.ceil(abs(ends[1] - ends[0]) / LOG_TICKS))}
        raise Unfaithful(f"the scale {kind!r}")

    def _lines(self, side: str) -> Figure:
        spines = self.axes.spines
        first, second = ("bottom", "top") if side == "x" else ("left", "right")
        shown = [name for name in (first, second) if spines[name].get_visible()]
        for name in shown:
            if spines[name].get_position() not in (("outward", 0.0), ("axes", 0.0), ("axes", 1.0)):
                raise Unfaithful("a spine within the axes")
        axis = self.axes.xaxis if side == "x" else self.axes.yaxis
        at_second = axis.get_ticks_position() in ("top", "right")
        result: Figure = {"side": second if at_second else first, "showline": bool(shown), "mirror": len(shown) == 2}
        if shown:
            edge = spines[shown[0]]
            result.update(linecolor=rgba(edge.get_edgecolor()), linewidth=pixels(edge.get_linewidth()))
            if len(shown) == 1 and (shown[0] == second) != at_second:
                raise Unfaithful("ticks and frame on different sides")
        return result

    def _ticks(self, side: str, axis: Any) -> Figure:
        axes = self.axes
        low, high = sorted(axes.get_xlim() if side == "x" else axes.get_ylim())
        ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        labelled = [tick for tick in ticks if (tick.label1.get_visible() and tick.label1.get_text())
                    or (tick.label2.get_visible() and tick.label2.get_text())]  # fmt: skip
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
        name = type(axis.get_major_formatter()).__name__
        fixed = type(axis.get_major_locator()).__name__ in ("FixedLocator", "MultipleLocator", "StrCategoryLocator")
        if name not in _FREE_TICKS | _DATE_TICKS or fixed:
            places = self.values(side, [tick.get_loc() for tick in labelled])
            result.update(tickmode="array", tickvals=places, ticktext=[escaped(text.get_text()) for text in texts])
            result.pop("dtick", None)
        return result

    def _titles(self, layout: Figure) -> None:
        left, _, width, _ = self.bounds
        for text, x, anchor in (
            (self.axes.title, left + width / 2, "center"), (self.axes._left_title, left, "left"),
            (self.axes._right_title, left + width, "right"),
        ):  # fmt: skip
            if not text.get_visible() or not text.get_text():
                continue
            y = text.get_window_extent().y0 / self.axes.figure.bbox.height
            layout["annotations"].append({
                "text": escaped(text.get_text()), "font": font_of(text), "x": x, "y": float(y), "xref": "paper",
                "yref": "paper", "xanchor": anchor, "yanchor": "bottom", "showarrow": False, "borderpad": 0,
            })  # fmt: skip


def anchor_of(alignment: str) -> str:
    """Return a vertical alignment of matplotlib as plotly's anchor."""
    return _ANCHORS.get(alignment, "middle")


def _is_date(axis: Any) -> bool:
    names = (type(axis.get_major_formatter()).__name__, type(axis.get_major_locator()).__name__)
    return names[0] in _DATE_TICKS or names[1] in ("AutoDateLocator", "RRuleLocator") or names[1].endswith("dayLocator")


def _iso(value: float) -> str | None:
    from matplotlib.dates import num2date

    return num2date(value).replace(tzinfo=None).isoformat() if value == value else None


def _grid(axis: Any) -> Figure:
    lines = [line for line in axis.get_gridlines() if line.get_visible()]
    if not lines:
        return {"showgrid": False}
    first = lines[0]
    return {
        "showgrid": True, "gridcolor": rgba(first.get_color(), first.get_alpha()),
        "gridwidth": pixels(first.get_linewidth()),
    }  # fmt: skip


class ColorBars:
    """The colour bars of a figure: axes of their own in matplotlib, an attribute of a trace in plotly."""

    def __init__(self, figure: Any) -> None:
        self._figure = figure
        self._bars: dict[int, Any] = {}
        for axes in figure.axes:
            for artist in (*axes.images, *axes.collections):
                bar = getattr(artist, "colorbar", None)
                if bar is not None and bar.ax in figure.axes:
                    self._bars[id(bar.ax)] = bar
        self._mappables = {id(bar.mappable): bar for bar in self._bars.values()}

    def is_bar(self, axes: Any) -> bool:
        """Tell whether axes are a colour bar."""
        return id(axes) in self._bars

    def of(self, mappable: Any) -> Figure | None:
        """Return the colour bar of an artist as plotly's; None when it has none."""
        bar = self._mappables.get(id(mappable))
        if bar is None:
            return None
        if bar.orientation != "vertical" or getattr(bar, "extend", "neither") != "neither":
            raise Unfaithful("a colour bar that lies or has pointed ends")
        left, bottom, width, height = bar.ax.get_position().bounds
        result: Figure = {
            "x": float(left), "xanchor": "left", "xpad": 0, "y": float(bottom), "yanchor": "bottom", "ypad": 0,
            "len": float(height), "lenmode": "fraction", "thickness": float(width), "thicknessmode": "fraction",
        }  # fmt: skip
        label = bar.ax.get_ylabel()
        if label:
            result["title"] = {"text": escaped(label), "side": "right", "font": font_of(bar.ax.yaxis.label)}
        return result


class Legends:
    """The legends of a figure, and which traces they name.

    Raises:
        Unfaithful: two legends, or entries that no artist has.
    """

    def __init__(self, figure: Any, all_axes: list[Any], layout: Figure) -> None:
        found = [axes.get_legend() for axes in all_axes]
        legends = [legend for legend in (*found, *figure.legends) if legend is not None and legend.get_visible()]
        self._names: dict[int, str] = {}
        self._wanted: list[tuple[str, str]] = []
        self._seen: set[tuple[str, str]] = set()
        self._axes_of: dict[str, Any] = {}
        for number, legend in enumerate(legends, 1):
            name = f"legend{number if number > 1 else ''}"
            layout[name] = self._place(figure, legend)
            layout["showlegend"] = True
            self._axes_of[name] = legend.axes  # None for a legend of the figure
            self._wanted += [(name, text.get_text()) for text in legend.get_texts()]

    @staticmethod
    def _place(figure: Any, legend: Any) -> Figure:
        box = legend.get_window_extent()
        width, height = figure.bbox.size
        frame = legend.get_frame()
        title = legend.get_title()
        texts = legend.get_texts()
        result: Figure = {
            "x": float(box.x0 / width), "xanchor": "left", "y": float(box.y1 / height), "yanchor": "top",
            "orientation": "h" if getattr(legend, "_ncols", 1) > 1 else "v",
            "bgcolor": rgba(frame.get_facecolor()) if frame.get_visible() else "rgba(0,0,0,0)",
            "bordercolor": rgba(frame.get_edgecolor()), "borderwidth": 1 if frame.get_visible() else 0,
        }  # fmt: skip
        if texts:
            result["font"] = font_of(texts[0])
        if title.get_visible() and title.get_text():
            result["title"] = {"text": escaped(title.get_text()), "font": font_of(title)}
        return result

    def entry(self, axes: Any, label: Any) -> Figure:
        """Return a trace's name, and the legend that it is shown in, if any."""
        text = str(label)
        if text.startswith("_"):
            return {"showlegend": False}
        for name, wanted in self._wanted:
            owner = self._axes_of[name]
            if (
                wanted == text
                and (name, text) not in self._seen
                and (owner is None or owner is axes or tuple(owner.bbox.bounds) == tuple(axes.bbox.bounds))
            ):
                self._seen.add((name, text))
                return {"name": escaped(text), "showlegend": True, "legend": name}
        return {"name": escaped(text), "showlegend": False}

    def check_complete(self) -> None:
        """Refuse a legend that names what was not drawn.

        Raises:
            Unfaithful: names the entry.
        """
        for wanted in self._wanted:
            if wanted not in self._seen:
                raise Unfaithful(f"the legend's entry {wanted[1]!r}, which no artist has")
