"""Texts and annotations within matplotlib's axes as plotly's annotations.

Source: matplotlib's Text and Annotation; plotly.js's layout.annotations, which hides those whose place is out of view.
"""

from __future__ import annotations

import math
from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_axes import AxesFrame, anchor_of
from localtrack.services.matplotlib_style import Unfaithful, escaped, font_of, pixels, rgba


def note_of_text(frame: AxesFrame, text: Any) -> Figure | None:
    """Return a free text of some axes; None where it is not to be seen.

    Raises:
        Unfaithful: plotly would show it otherwise.
    """
    if not text.get_text():
        return None
    x, y = text.get_unitless_position()
    return _note(frame, text, text.get_transform(), (x, y), (0.0, 0.0))


def note_of_annotation(frame: AxesFrame, note: Any) -> Figure | None:
    """Return an annotation without an arrow; None where it is not to be seen.

    Raises:
        Unfaithful: plotly would show it otherwise.
    """
    if not note.get_text():
        return None
    if note.arrow_patch is not None or note.xycoords != "data":
        raise Unfaithful("an annotation with an arrow or in other coordinates")
    axes, coords = frame.axes, note.anncoords
    marked = _number(axes, note.xy)
    if note.get_annotation_clip() is not False and not _is_within(_in_axes(axes, marked)):
        return None
    if coords in ("offset points", "offset pixels"):
        unit = pixels(1.0) if coords == "offset points" else 1.0
        return _note(frame, note, axes.transData, marked, (note.xyann[0] * unit, note.xyann[1] * unit))
    if coords == "data":
        return _note(frame, note, axes.transData, _number(axes, note.xyann), (0.0, 0.0))
    raise Unfaithful("an annotation in other coordinates")


def _number(axes: Any, place: Any) -> tuple[float, float]:
    return float(axes.convert_xunits(place[0])), float(axes.convert_yunits(place[1]))


def _in_axes(axes: Any, place: Any) -> tuple[float, float]:
    """Return a place of the data as parts of the axes' width and height."""
    x, y = axes.transAxes.inverted().transform(axes.transData.transform(place))
    return float(x), float(y)


def _is_within(place: tuple[float, float]) -> bool:
    return all(-1e-9 <= part <= 1 + 1e-9 for part in place)


def _note(frame: AxesFrame, text: Any, transform: Any, place: Any, shift: tuple[float, float]) -> Figure | None:
    axes = frame.axes
    if transform not in (axes.transData, axes.transAxes):
        raise Unfaithful("a text in other coordinates")
    is_data = transform == axes.transData
    part = _in_axes(axes, place) if is_data else (float(place[0]), float(place[1]))
    if not all(math.isfinite(value) for value in part):
        return None
    if text.get_clip_on() and text.get_clip_box() is not None and not _is_within(part):
        if text.get_window_extent().overlaps(axes.bbox):
            raise Unfaithful("a text that is cut off")
        return None
    where: Figure = {"xref": f"{frame.x} domain", "yref": f"{frame.y} domain", "x": part[0], "y": part[1]}
    if is_data and _is_within(part):  # beyond the view plotly would not show it
        where = {
            "xref": frame.x, "yref": frame.y, "x": frame.spot("x", place[0]), "y": frame.spot("y", place[1])
        }  # fmt: skip
    note: Figure = {
        "text": escaped(text.get_text()), "font": font_of(text), "showarrow": False, "xanchor": text.get_ha(),
        "yanchor": anchor_of(text.get_va()), "textangle": -text.get_rotation(), "borderpad": 0,
        "xshift": shift[0], "yshift": shift[1], **where,
    }  # fmt: skip
    box = text.get_bbox_patch()
    if box is not None:
        note.update(bgcolor=rgba(box.get_facecolor()), bordercolor=rgba(box.get_edgecolor()))
        note["borderpad"] = 4
    return note
