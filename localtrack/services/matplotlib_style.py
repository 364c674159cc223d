"""Colours, fonts, dashes and markers of matplotlib in plotly's words.

Source: matplotlib's Line2D and MarkerStyle; plotly.js's scatter attributes.
"""

from __future__ import annotations

import html
from typing import Any

PIXELS_PER_INCH = 100.0
PIXELS_PER_POINT = PIXELS_PER_INCH / 72.0
SYMBOLS = {
    "o": "circle", ".": "circle", ",": "circle", "v": "triangle-down", "^": "triangle-up", "<": "triangle-left",
    ">": "triangle-right", "s": "square", "p": "pentagon", "*": "star", "h": "hexagon", "H": "hexagon2",
    "+": "cross-thin-open", "x": "x-thin-open", "D": "diamond", "d": "diamond-tall", "|": "line-ns-open",
    "_": "line-ew-open", "P": "cross", "X": "x", "8": "octagon",
}  # fmt: skip
UNFILLED = frozenset("+x|_")
_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_STEPS = {
    "default": "linear", "steps": "vh", "steps-pre": "vh", "steps-post": "hv", "steps-mid": "hvh",
}  # fmt: skip


class Unfaithful(Exception):  # noqa: N818 - a refusal, not an error
    """The figure has something that a plotly figure would show otherwise; the message names it."""


def rgba(colour: Any, alpha: float | None = None) -> str:
    """Return a colour of matplotlib as CSS."""
    from matplotlib.colors import to_rgba

    red, green, blue, opacity = to_rgba(colour, alpha)
    return f"rgba({round(red * 255)},{round(green * 255)},{round(blue * 255)},{round(float(opacity), 4):g})"


def pixels(points: float) -> float:
    """Return a length in points as plotly's pixels."""
    return round(float(points) * PIXELS_PER_POINT, 3)


def escaped(text: str) -> str:
    """Return a text as plotly shows it letter by letter.

    Raises:
        Unfaithful: it is set as mathematics.
    """
    if text.replace(r"\$", "").count("$") >= 2:
        raise Unfaithful("mathematics in a text")
    return html.escape(text.replace(r"\$", "$"), quote=False).replace("\n", "<br>")


def font_of(text: Any) -> dict[str, Any]:
    """Return a text's size, colour and weight as a plotly font.

    Raises:
        Unfaithful: it is set by TeX.
    """
    if text.get_usetex():
        raise Unfaithful("TeX")
    font: dict[str, Any] = {"size": pixels(text.get_fontsize()), "color": rgba(text.get_color(), text.get_alpha())}
    weight = text.get_fontweight()
    if weight in ("bold", "heavy", "semibold", "demibold", "black") or (isinstance(weight, int) and weight >= 600):
        font["weight"] = "bold"
    if text.get_fontstyle() == "italic":
        font["style"] = "italic"
    return font


def line_style(artist: Any, colour: Any) -> dict[str, Any]:
    """Return a line's colour, width and dashes.

    Raises:
        Unfaithful: an unknown style, or a second colour in the gaps.
    """
    name = artist.get_linestyle()
    dash = _DASHES.get(name)
    if dash is None:
        raise Unfaithful(f"the line style {name!r}")
    if getattr(artist, "get_gapcolor", lambda: None)() is not None:
        raise Unfaithful("a line of two colours")
    pattern = artist._unscaled_dash_pattern[1]
    if pattern is not None and tuple(pattern) != _named_pattern(name):
        dash = dash_of(artist._dash_pattern[1])
    return {"color": rgba(colour, artist.get_alpha()), "width": pixels(artist.get_linewidth()), "dash": dash}


def _named_pattern(name: str) -> tuple[float, ...] | None:
    from matplotlib import rcParams

    key = {"--": "dashed", "-.": "dashdot", ":": "dotted"}.get(name)
    return None if key is None else tuple(rcParams[f"lines.{key}_pattern"])


def dash_of(pattern: Any) -> str:
    """Return the lengths in points of strokes and gaps as plotly's dashes."""
    return "solid" if pattern is None else ",".join(f"{pixels(length):g}px" for length in pattern)


def step_shape(artist: Any) -> str:
    """Return how a line goes from point to point.

    Raises:
        Unfaithful: an unknown way.
    """
    shape = _STEPS.get(artist.get_drawstyle())
    if shape is None:
        raise Unfaithful(f"the draw style {artist.get_drawstyle()!r}")
    return shape


def check_plain(artist: Any) -> None:
    """Refuse effects that plotly has no word for.

    Raises:
        Unfaithful: names the effect.
    """
    if artist.get_path_effects():
        raise Unfaithful("path effects")
    if artist.get_sketch_params() is not None:
        raise Unfaithful("sketched lines")
    if artist.get_agg_filter() is not None:
        raise Unfaithful("an image filter")
    if artist.get_clip_path() is not None:
        raise Unfaithful("a clip path")
    if getattr(artist, "get_hatch", lambda: None)():
        raise Unfaithful("a hatch")


def colour_scale(cmap: Any, steps: int = 64) -> list[list[Any]]:
    """Return a colour map as plotly's colour scale, sampled evenly."""
    return [[number / (steps - 1), rgba(cmap(number / (steps - 1)))] for number in range(steps)]


def limits_of(mappable: Any) -> tuple[float, float]:
    """Return the values at the two ends of a colour map.

    Raises:
        Unfaithful: values are not mapped linearly.
    """
    if type(mappable.norm).__name__ != "Normalize":
        raise Unfaithful(f"colours by {type(mappable.norm).__name__}")
    low, high = mappable.get_clim()
    if low is None or high is None:
        raise Unfaithful("colours without limits")
    return float(low), float(high)


def check_ends(mappable: Any) -> None:
    """Refuse values beyond the limits, or missing, that have a colour of their own: plotly shows the last, or none.

    Raises:
        Unfaithful: there are some.
    """
    from numpy import ma

    low, high = limits_of(mappable)
    values, cmap = ma.masked_invalid(mappable.get_array()), mappable.get_cmap()
    missing = ma.getmaskarray(values)
    if missing.any() and cmap.get_bad()[3] > 0:
        raise Unfaithful("a colour for missing values")
    if (values < low).any() and tuple(cmap.get_under()) != tuple(cmap(0.0)):
        raise Unfaithful("a colour for values below the limits")
    if (values > high).any() and tuple(cmap.get_over()) != tuple(cmap(1.0)):
        raise Unfaithful("a colour for values above the limits")
