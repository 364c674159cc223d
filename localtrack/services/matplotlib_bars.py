"""The colour bars of matplotlib's figures: axes of their own there, an attribute of a trace in plotly.

Source: matplotlib's Colorbar; plotly.js's coloraxis and colorbar.
"""

from __future__ import annotations

from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_axes import has_free_ticks, labelled_ticks, title_notes
from localtrack.services.matplotlib_style import Unfaithful, escaped, font_of


class ColorBars:
    """The colour bars of one figure.

    Args:
        figure: matplotlib's figure, drawn.
        layout: gets what stands above a bar.
    """

    def __init__(self, figure: Any, layout: Figure) -> None:
        self._layout = layout
        self._bars = {id(axes): axes._colorbar for axes in figure.axes if getattr(axes, "_colorbar", None) is not None}
        for axes in figure.axes:  # older versions know a bar by its artist alone
            for artist in (*axes.images, *axes.collections):
                bar = getattr(artist, "colorbar", None)
                if bar is not None and bar.ax in figure.axes:
                    self._bars[id(bar.ax)] = bar
        self._undrawn = {id(bar): bar for bar in self._bars.values() if bar.ax.get_visible()}

    def is_bar(self, axes: Any) -> bool:
        """Tell whether axes are a colour bar."""
        return id(axes) in self._bars

    def of(self, mappable: Any) -> Figure | None:
        """Return the colour bar of an artist as plotly's; None when it has none.

        Raises:
            Unfaithful: a bar that plotly would draw otherwise.
        """
        bar = next((bar for bar in self._undrawn.values() if bar.mappable is mappable), None)
        if bar is None:
            return None
        del self._undrawn[id(bar)]
        _check_plain(bar)
        left, bottom, width, height = bar.ax.get_position().bounds
        result: Figure = {
            "x": float(left), "xanchor": "left", "xpad": 0, "y": float(bottom), "yanchor": "bottom", "ypad": 0,
            "len": float(height), "lenmode": "fraction", "thickness": float(width), "thicknessmode": "fraction",
            **_ticks(bar),
        }  # fmt: skip
        label = bar.ax.get_ylabel()
        if label:
            result["title"] = {"text": escaped(label), "side": "right", "font": font_of(bar.ax.yaxis.label)}
        self._layout["annotations"] += title_notes(bar.ax, (left, bottom, width, height))
        return result

    def check_complete(self) -> None:
        """Refuse a figure with a bar that no trace shows.

        Raises:
            Unfaithful: there is one.
        """
        if self._undrawn:
            raise Unfaithful("a colour bar of something that plotly shows without one")


def _check_plain(bar: Any) -> None:
    axes = bar.ax
    low, high = axes.get_ylim()
    if bar.orientation != "vertical" or getattr(bar, "extend", "neither") != "neither" or low > high:
        raise Unfaithful("a colour bar that lies, is turned or has pointed ends")
    if bar.boundaries is not None or bar.values is not None or getattr(bar, "drawedges", False):
        raise Unfaithful("a colour bar of steps")
    if axes.lines or axes.patches or axes.texts or getattr(bar, "lines", ()) or axes.get_xlabel():
        raise Unfaithful("something drawn on a colour bar")
    label = axes.yaxis.label
    if label.get_text() and (axes.yaxis.get_label_position() != "right" or label.get_rotation() % 360 != 90):
        raise Unfaithful("a colour bar whose label is turned or on its left")


def _ticks(bar: Any) -> Figure:
    """Return the ticks of a bar: plotly's own where matplotlib has chosen freely, too."""
    axis = bar.ax.yaxis
    ticks = labelled_ticks(axis, bar.ax.get_ylim())
    if not ticks:
        return {"showticklabels": False, "ticks": ""}
    if any(tick.label1.get_visible() for tick in ticks):
        raise Unfaithful("a colour bar with ticks on its left")
    result: Figure = {"ticks": "outside", "exponentformat": "none", "tickfont": font_of(ticks[0].label2)}
    if not has_free_ticks(axis):
        places = [float(tick.get_loc()) for tick in ticks]
        result.update(tickmode="array", tickvals=places, ticktext=[escaped(tick.label2.get_text()) for tick in ticks])
    return result
