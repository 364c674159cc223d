"""Titles for the figures that a script shows or saves without saying where they belong.

Figures of all libraries share them, so that no two of one iteration have the same title and series.

Source: ClearML's matplotlib binding, measured.
"""

from __future__ import annotations

import weakref
from typing import Any

UNTITLED_LIMIT = 100


class FigureNames:
    """The titles of one run's figures."""

    def __init__(self) -> None:
        self._untitled = {True: 0, False: 0}
        self._repeats: dict[str, tuple[int, int]] = {}

    def untitled(self, *, as_sample: bool) -> str:
        """Return the title for a figure that says nothing: a number, counted for plots and for samples."""
        number = self._untitled[as_sample]
        self._untitled[as_sample] = number + 1
        return f"untitled {number % UNTITLED_LIMIT:02d}"

    def next(self, text: str, iteration: int) -> str:
        """Return the title for a figure that says ``text``: numbered when one said the same in this iteration."""
        last, count = self._repeats.get(text, (iteration, -1))
        count = count + 1 if last == iteration else 0
        self._repeats[text] = (iteration, count)
        return f"{text}/{count}" if count else text


_names: weakref.WeakKeyDictionary[Any, FigureNames] = weakref.WeakKeyDictionary()


def names_of(session: Any) -> FigureNames:
    """Return the titles of a run's figures."""
    found = _names.get(session)
    if found is None:
        found = _names.setdefault(session, FigureNames())
    return found
