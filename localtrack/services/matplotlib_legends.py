"""The legends of matplotlib's figures: which trace each of their entries stands for, by what it shows.

A legend keeps neither the artists nor the labels that it was made from, only what it draws for each. What it would draw
for an artist is drawn once more and compared, so that a name never goes to another curve.

Source: matplotlib's Legend and its handlers; plotly.js's layout.legend.
"""

from __future__ import annotations

from typing import Any

from localtrack.services.figures import Figure
from localtrack.services.matplotlib_style import Unfaithful, escaped, font_of, rgba

MANY = 500  # drawing each to see how it looks would take longer than the figure itself
FIRST_RANK = 1  # of plotly's 1000 for a trace that has none


class _Candidate:
    """An artist that a legend may show: what a legend is given for it, what a trace is drawn for, and its label."""

    def __init__(self, handle: Any, drawn: Any, label: str) -> None:
        self.drawn = drawn
        self.label = label
        self._handle = handle
        self._looks: dict[int, tuple[Any, ...] | None] = {}

    def looks(self, legend: Any) -> tuple[Any, ...] | None:
        """Return what a legend draws for it; None where it has no way to."""
        if id(legend) not in self._looks:
            self._looks[id(legend)] = _look_of(legend, self._handle)
        return self._looks[id(legend)]


class Legends:
    """The legends of a figure, and which traces they name.

    Args:
        figure: matplotlib's figure, drawn.
        all_axes: its axes.
        layout: gets the legends.

    Raises:
        Unfaithful: an entry that no artist, or more than one, has.
    """

    def __init__(self, figure: Any, all_axes: list[Any], layout: Figure) -> None:
        found = [axes.get_legend() for axes in all_axes]
        legends = [legend for legend in (*found, *figure.legends) if legend is not None and legend.get_visible()]
        self._entries: dict[int, Figure] = {}
        self._names: dict[int, str] = {}
        by_axes = [(axes, _candidates(axes)) for axes in all_axes] if legends else []
        for number, legend in enumerate(legends, 1):
            name = f"legend{number if number > 1 else ''}"
            layout[name] = _place(figure, legend)
            layout["showlegend"] = True
            own = [one for axes, group in by_axes for one in group if axes is legend.axes]
            others = [one for axes, group in by_axes for one in group if axes is not legend.axes]
            for rank, (text, look) in enumerate(_entries(legend), FIRST_RANK):
                drawn = self._artist_of(legend, text, look, own, others)
                self._entries[id(drawn)] = {
                    "name": escaped(text), "showlegend": True, "legend": name, "legendrank": rank
                }  # fmt: skip
                self._names[id(drawn)] = text
        self._undrawn = set(self._entries)

    def _artist_of(
        self, legend: Any, text: str, look: tuple[Any, ...], own: list[_Candidate], others: list[_Candidate]
    ) -> Any:
        """Return the artist that an entry shows: one of its label, else the only one that looks so."""
        for group in (own, others):
            fitting = [
                one.drawn
                for one in group
                if id(one.drawn) not in self._entries and one.label == text and one.looks(legend) == look
            ]
            if fitting:
                return fitting[0]
        for group in (own, others):
            if len(group) > MANY:
                break
            fitting = [one.drawn for one in group if one.looks(legend) == look]
            if len({id(drawn) for drawn in fitting}) == 1 and id(fitting[0]) not in self._entries:
                return fitting[0]
            if fitting:
                break
        raise Unfaithful(f"the legend's entry {text!r}, which none or several could be")

    def entry(self, artist: Any, label: Any) -> Figure:
        """Return a trace's name, and the legend that it is shown in, if any.

        Args:
            artist: what the trace is drawn for: an artist, a container of bars, or the first part of another container.
            label: its label.
        """
        self._undrawn.discard(id(artist))
        found = self._entries.get(id(artist))
        if found is not None:
            return dict(found)
        text = str(label)
        return {"showlegend": False} if text.startswith("_") else {"name": escaped(text), "showlegend": False}

    def check_complete(self) -> None:
        """Refuse a legend that names what was not drawn.

        Raises:
            Unfaithful: names the entry.
        """
        for key in self._undrawn:
            raise Unfaithful(f"the legend's entry {self._names[key]!r}, which is not drawn")


def _candidates(axes: Any) -> list[_Candidate]:
    """Return what a legend of some axes may show, in matplotlib's order."""
    bars: set[int] = set()
    parts: set[int] = set()
    groups: list[_Candidate] = []
    for group in axes.containers:
        kind = type(group).__name__
        if kind == "BarContainer" and len(group):  # one trace; a histogram's label is on its first bar
            bars.update(id(bar) for bar in group)
            groups += [_Candidate(handle, group, str(handle.get_label())) for handle in (group, group[0])]
        elif kind in ("ErrorbarContainer", "StemContainer") and first_part(group) is not None:
            parts.update(id(part) for part in _flat(group))
            groups.append(_Candidate(group, first_part(group), str(group.get_label())))
    alone = {id(artist) for artist in (*axes.lines, *axes.patches, *axes.collections)} - bars - parts
    found = [artist for artist in axes.get_children() if id(artist) in alone]
    return [*(_Candidate(artist, artist, str(artist.get_label())) for artist in found), *groups]


def first_part(group: Any) -> Any:
    """Return the artist that stands for error bars or stems; None where there is none."""
    return next(iter(_flat(group)), None)


def _flat(group: Any) -> list[Any]:
    found: list[Any] = []
    for part in group:
        found += part if isinstance(part, (tuple, list)) else [part]
    return [part for part in found if part is not None]


def _entries(legend: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the texts of a legend, and what is drawn beside each."""
    found = []
    for column in legend._legend_handle_box.get_children():
        for item in column.get_children():
            parts = item.get_children()
            text = next(part for part in parts if hasattr(part, "_text"))
            drawn = next(part for part in parts if part is not text)
            found.append((text._text.get_text(), _looks(drawn.get_children())))
    return found


def _look_of(legend: Any, handle: Any) -> tuple[Any, ...] | None:
    """Return what a legend draws for an artist; None for one that it has no way to draw."""
    from matplotlib.offsetbox import DrawingArea

    handler = legend.get_legend_handler(legend.get_legend_handler_map(), handle)
    if handler is None:
        return None
    area = DrawingArea(20, 10)
    handler.legend_artist(legend, handle, legend._fontsize, area)
    return _looks(area.get_children())


def _looks(artists: list[Any]) -> tuple[Any, ...]:
    """Return what tells artists of a legend apart: not their size and transparency, which scripts like to change there."""
    return tuple(_look(artist) for artist in artists if artist.get_visible())


def _look(artist: Any) -> tuple[Any, ...]:
    if hasattr(artist, "get_markerfacecolor"):
        line = str(artist.get_linestyle()) if artist.get_linewidth() > 0 else "None"
        marker = str(artist.get_marker())
        faces = (artist.get_markerfacecolor(), artist.get_markeredgecolor()) if marker not in ("None", "", " ") else ()
        is_shown = line not in ("None", "", " ")
        pattern = str(artist._unscaled_dash_pattern) if is_shown else ""
        colours = (_colour(artist.get_color()) if is_shown else "", *map(_colour, faces))
        return ("line", "-" if is_shown else "", pattern, marker, *colours)
    if hasattr(artist, "get_facecolors"):
        faces, edges = artist.get_facecolors(), artist.get_edgecolors()
        return (type(artist).__name__, *(_colour(found[0]) if len(found) else "" for found in (faces, edges)))
    if hasattr(artist, "get_facecolor"):
        face = _colour(artist.get_facecolor()) if artist.get_fill() else ""
        return ("patch", face, _colour(artist.get_edgecolor()), artist.get_hatch())
    return (type(artist).__name__,)


def _colour(colour: Any) -> str:
    from matplotlib.colors import to_hex, to_rgba

    return to_hex(colour) if to_rgba(colour)[3] > 0 else ""


def _place(figure: Any, legend: Any) -> Figure:
    box = legend.get_window_extent()
    width, height = figure.bbox.size
    frame = legend.get_frame()
    title = legend.get_title()
    texts = legend.get_texts()
    result: Figure = {
        "x": float(box.x0 / width), "xanchor": "left", "y": float(box.y1 / height), "yanchor": "top",
        "orientation": "h" if getattr(legend, "_ncols", 1) > 1 else "v", "traceorder": "normal",
        "bgcolor": rgba(frame.get_facecolor()) if frame.get_visible() else "rgba(0,0,0,0)",
        "bordercolor": rgba(frame.get_edgecolor()), "borderwidth": 1 if frame.get_visible() else 0,
    }  # fmt: skip
    if texts:
        result["font"] = font_of(texts[0])
    if title.get_visible() and title.get_text():
        result["title"] = {"text": escaped(title.get_text()), "font": font_of(title)}
    return result
