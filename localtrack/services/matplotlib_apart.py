"""What a matplotlib figure would show if it had begun anew at a certain moment: a copy of it without what was there then.

Without windows pyplot goes on drawing into a figure that was shown, where a window would have been closed. The script's
own figure stays what it is, since the script may still save it.

Source: matplotlib's Figure.__getstate__, Axes.relim.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import weakref
from typing import Any


class Moment:
    """What a figure held when it was made."""

    def __init__(self, figure: Any) -> None:
        self._held: weakref.WeakSet[Any] = weakref.WeakSet()
        self._titles: weakref.WeakSet[Any] = weakref.WeakSet(_titles(figure))
        for axes in figure.axes:
            self._held.update((axes, *_drawn(axes), *_legends(axes)))

    def name_anew(self, title: Any) -> None:
        """Note that a title was set since, if only to what it was."""
        self._titles.discard(title)

    def figure_since(self, figure: Any) -> Any:
        """Return a copy of a figure with what was drawn since; the figure itself where nothing is to be told apart."""
        old = {axes: [artist in self._held for artist in _drawn(axes)] for axes in figure.axes}
        has_new = {axes for axes, marks in old.items() if axes not in self._held or not all(marks)}
        if not has_new or not any(any(marks) for marks in old.values()):
            return figure
        legends = {axes: axes.get_legend() in self._held for axes in figure.axes}
        copy = _copy_of(figure)
        for title, made in zip(_titles(figure), _titles(copy), strict=True):
            if title in self._titles:
                made.set_text("")
        for axes, made in zip(figure.axes, list(copy.axes), strict=True):
            if axes not in has_new:
                made.remove()
            elif any(old[axes]):
                _leave_out(made, old[axes], is_legend_old=legends[axes])
        return copy


def _drawn(axes: Any) -> list[Any]:
    """Return what scripts draw into axes, and not what belongs to these, in an order that a copy has, too."""
    return [*axes.lines, *axes.patches, *axes.collections, *axes.images, *axes.texts, *axes.artists]


def _titles(figure: Any) -> list[Any]:
    """Return the texts that a figure is named by; a copy has as many, in the same order."""
    of_axes = [getattr(axes, name) for axes in figure.axes for name in ("title", "_left_title", "_right_title")]
    return [*figure.texts, *of_axes]


def _legends(axes: Any) -> list[Any]:
    return [axes.get_legend()] if axes.get_legend() is not None else []


def _leave_out(axes: Any, marks: list[bool], *, is_legend_old: bool) -> None:
    """Remove artists from copied axes, and what they have left in limits and legend."""
    gone = [artist for artist, is_old in zip(_drawn(axes), marks, strict=True) if is_old]
    for artist in gone:
        artist.remove()
    axes.containers[:] = [
        group for group in axes.containers if not any(part is artist for part in _parts(group) for artist in gone)
    ]
    if not axes.collections:  # older versions don't know the limits of these
        axes.relim()
        axes.autoscale_view()
    legend = axes.get_legend()
    if legend is None:
        return
    handles, labels = axes.get_legend_handles_labels()
    if is_legend_old or not handles:
        legend.remove()
    elif {text.get_text() for text in legend.get_texts()} <= {*labels, *(str(artist.get_label()) for artist in gone)}:
        axes.legend(handles, labels, loc=legend._loc, ncols=legend._ncols, title=legend.get_title().get_text() or None)


def _parts(group: Any) -> list[Any]:
    found: list[Any] = []
    for part in group:
        found += part if isinstance(part, (tuple, list)) else [part]
    return found


def _copy_of(figure: Any) -> Any:
    class Pickler(pickle.Pickler):
        def reducer_override(self, thing: Any) -> Any:
            if thing is not figure:
                return NotImplemented
            state = thing.__getstate__()
            state.pop("_restore_to_pylab", None)  # pyplot must not know the copy
            return copyreg.__newobj__, (type(thing),), state  # type: ignore[attr-defined]

    buffer = io.BytesIO()
    Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(figure)
    return pickle.loads(buffer.getvalue())
