"""Plotly's own figures: what they say of themselves, and which of them the script has reported itself.

Source: plotly's BaseFigure.
"""

from __future__ import annotations

from typing import Any

from localtrack.services.figures import Figure

BY_HAND = "_localtrack_by_hand"  # on a figure that the script reported itself: what it was then


def title_of(figure: Figure) -> str:
    """Return the title that a figure shows; an empty text without one."""
    layout: Any = figure.get("layout")
    title: Any = layout.get("title") if isinstance(layout, dict) else None
    text = title.get("text") if isinstance(title, dict) else title
    return str(text) if text else ""


def note_by_hand(source: Any, figure: Figure) -> None:
    """Keep on an object what it was when it was reported; a dict can't carry that."""
    if hasattr(source, "to_plotly_json"):
        setattr(source, BY_HAND, figure)


def is_by_hand(source: Any, figure: Figure) -> bool:
    """Tell whether the script reported an object itself, and it still is what it was then."""
    known = getattr(source, BY_HAND, None)
    return known is not None and (known == figure or repr(known) == repr(figure))  # NaN is not equal to itself
