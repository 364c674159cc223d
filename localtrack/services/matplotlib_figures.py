"""Matplotlib figures as pictures, and as plotly figures where those show the same; else as pictures alone.

Matplotlib is never imported here before the user did: a figure that is handed over has loaded it.

Source: matplotlib's Figure and Axes; plotly.js's layout; ClearML's report_matplotlib_figure.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.services.figures import Figure
from localtrack.services.matplotlib_artists import AxesDrawing
from localtrack.services.matplotlib_axes import AxesFrame
from localtrack.services.matplotlib_bars import ColorBars
from localtrack.services.matplotlib_legends import Legends
from localtrack.services.matplotlib_style import PIXELS_PER_INCH, Unfaithful, escaped, font_of, rgba
from localtrack.services.quiet import without_warnings

LOG = logging.getLogger("localtrack")
BY_HAND = "_localtrack_by_hand"  # on a figure that the script reported itself: the digest of its picture then
PICTURE_DPI = 150
PICTURE_PIXELS = 4_000_000
VALUE_LIMIT = 1_000_000  # beyond it a page would not draw the figure; the picture is kept in any case


def figure_of(source: Any) -> Any:
    """Return the figure that is meant: itself, that of axes or of a seaborn grid, or pyplot's current one.

    Raises:
        InvalidValueError: it is none of these.
    """
    if hasattr(source, "gcf"):
        return source.gcf()
    for candidate in (source, getattr(source, "figure", None), getattr(source, "fig", None)):
        if hasattr(candidate, "savefig") and hasattr(candidate, "canvas") and hasattr(candidate, "axes"):
            return candidate
    raise InvalidValueError(f"a matplotlib figure is needed, not a {type(source).__qualname__}")


def picture_of(figure: Any) -> tuple[bytes, str]:
    """Return a figure as PNG with its suffix; the figure, its canvas and its resolution stay what they are.

    It has about four million pixels at most, of which a large figure has fewer an inch. Warnings are the script's to say,
    when it draws the figure itself.
    """
    buffer = io.BytesIO()
    width, height = figure.get_size_inches()
    dpi = min(max(float(figure.dpi), PICTURE_DPI), math.sqrt(PICTURE_PIXELS / (width * height)))
    # not savefig: that may be watched by an automatic capture
    with without_warnings():
        figure.canvas.print_figure(buffer, format="png", dpi=dpi)
    return buffer.getvalue(), ".png"


def note_by_hand(figure: Any, picture: bytes) -> None:
    """Note on a figure that the script reported itself how it looked then."""
    setattr(figure, BY_HAND, hashlib.sha256(picture).digest())


def may_be_by_hand(figure: Any) -> bool:
    """Tell whether the script reported a figure itself, whatever it looks like by now."""
    return hasattr(figure, BY_HAND)


def is_by_hand(figure: Any, picture: bytes) -> bool:
    """Tell whether the script reported a figure itself, and it still looks as it did then."""
    return bool(getattr(figure, BY_HAND, None) == hashlib.sha256(picture).digest())


def interactive_of(figure: Any) -> Figure | None:
    """Return a figure as a plotly figure; None when something in it can't be drawn the same.

    The figure must have been drawn: only then are the places of its axes known.
    """
    try:
        with without_warnings():
            return convert(figure)
    except Unfaithful as reason:
        LOG.debug("a matplotlib figure is kept as a picture alone: %s", reason)
    except Exception as error:  # the border to matplotlib's inner shapes, which change; the picture is kept
        LOG.warning("a matplotlib figure is kept as a picture alone: %s: %s", type(error).__name__, error)
    return None


def convert(figure: Any) -> Figure:
    """Return a drawn figure as a plotly figure.

    Raises:
        Unfaithful: names what can't be drawn the same.
    """
    width, height = figure.get_size_inches()
    layout: Figure = {
        "width": round(width * PIXELS_PER_INCH), "height": round(height * PIXELS_PER_INCH),
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0}, "paper_bgcolor": rgba(figure.get_facecolor()),
        "barmode": "overlay", "hovermode": "closest", "showlegend": False, "annotations": [], "shapes": [], "images": [],
    }  # fmt: skip
    bars = ColorBars(figure, layout)
    all_axes = [axes for axes in figure.axes if axes.get_visible() and not bars.is_bar(axes)]
    if not all_axes:
        raise Unfaithful("no axes")
    _figure_texts(figure, layout)
    legends = Legends(figure, all_axes, layout)
    traces: list[Figure] = []
    drawn: list[AxesFrame] = []
    backgrounds = set()
    for number, axes in enumerate(all_axes, 1):
        frame = AxesFrame(axes, number, drawn, layout)
        drawn.append(frame)
        if axes.axison and axes.patch.get_visible():
            backgrounds.add(rgba(axes.patch.get_facecolor()))
        traces += AxesDrawing(frame, layout, legends, bars).traces()
    if len(backgrounds) > 1:
        raise Unfaithful("axes with different backgrounds")
    layout["plot_bgcolor"] = backgrounds.pop() if backgrounds else "rgba(0,0,0,0)"
    legends.check_complete()
    bars.check_complete()
    _check_size(traces)
    return {"data": traces, "layout": {key: value for key, value in layout.items() if value != []}}


def _figure_texts(figure: Any, layout: Figure) -> None:
    """Take the title and the free texts of the figure itself; anything else on it is not drawn."""
    if getattr(figure, "subfigs", None):
        raise Unfaithful("subfigures")
    for kind in ("lines", "patches", "images", "artists"):
        if any(artist.get_visible() for artist in getattr(figure, kind, ())):
            raise Unfaithful(f"{kind} on the figure itself")
    suptitle: Any = getattr(figure, "_suptitle", None)
    for text in figure.texts:
        if not text.get_visible() or not text.get_text():
            continue
        x, y = text.get_transform().transform(text.get_position()) / figure.bbox.size
        if suptitle is not None and text is suptitle:
            layout["title"] = {
                "text": escaped(text.get_text()), "font": font_of(text), "x": float(x), "xanchor": text.get_ha(),
                "y": float(y), "yanchor": {"center": "middle", "baseline": "bottom"}.get(text.get_va(), text.get_va()),
                "xref": "container", "yref": "container",
            }  # fmt: skip
            continue
        layout["annotations"].append({
            "text": escaped(text.get_text()), "font": font_of(text), "x": float(x), "y": float(y), "xref": "paper",
            "yref": "paper", "xanchor": text.get_ha(), "showarrow": False, "textangle": -text.get_rotation(),
            "yanchor": {"center": "middle", "baseline": "bottom"}.get(text.get_va(), text.get_va()),
        })  # fmt: skip


def _check_size(traces: list[Figure]) -> None:
    count = 0
    for trace in traces:
        z = trace.get("z")
        count += len(trace.get("x", ())) + (len(z) * len(z[0]) if z else 0)
    if count > VALUE_LIMIT:
        raise Unfaithful(f"{count} values")
