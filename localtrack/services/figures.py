"""Plotly figures as plain dicts: what ``report_scatter2d`` and its like store, built without importing plotly.

Pure functions: each returns ``{"data": [...], "layout": {...}}`` in JSON's types, with titles as objects, the only
form that plotly.js shows since version 3. Nothing is subsampled, whatever its size.

Source: plotly.js's figure schema; ClearML's Logger.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localtrack.errors import InvalidValueError, UsageError
from localtrack.services.figure_data import labels_for, listed, plain, rows
from localtrack.services.tables import Table, table_of

Figure = dict[str, Any]
Layout = Mapping[str, Any] | None
BAR_MODES = ("group", "stack", "relative")
_HEATMAP_KEYS = frozenset({
    "autocolorscale", "coloraxis", "colorbar", "colorscale", "connectgaps", "hoverinfo", "hovertemplate", "hoverongaps",
    "opacity", "reversescale", "showscale", "text", "textfont", "texttemplate", "transpose", "xgap", "ygap", "zauto",
    "zhoverformat", "zmax", "zmid", "zmin", "zsmooth",
})  # fmt: skip


@dataclass
class SeriesInfo:
    """One line of a line plot.

    Attributes:
        name: the line's name in the legend.
        data: ``(n, 2)`` x and y.
        labels: (n,) texts shown at the points.

    Raises:
        InvalidValueError: another shape, or another number of labels.

    Source: ClearML's Logger.SeriesInfo.
    """

    name: str
    data: Any
    labels: Any = None

    def __post_init__(self) -> None:
        points = rows(self.data, f"the data of series {self.name!r}", 2)
        labels_for(self.labels, len(points), f"the labels of series {self.name!r}")

    def trace(self, mode: str) -> Figure:
        """Return the line as a plotly trace."""
        points = rows(self.data, f"the data of series {self.name!r}", 2)
        labels = labels_for(self.labels, len(points), f"the labels of series {self.name!r}")
        return _xy_trace(self.name, points, labels, mode)


def from_plotly(figure: Any) -> Figure:
    """Return a plotly figure, its dict or its JSON as a dict in JSON's types.

    Nothing of it changes but titles that are bare texts: current plotly.js shows only objects, so they become objects.

    Raises:
        UsageError: it is none of these.
    """
    if hasattr(figure, "to_plotly_json"):
        figure = figure.to_plotly_json()
    elif isinstance(figure, str):
        try:
            figure = json.loads(figure)
        except ValueError as error:
            raise UsageError(f"report_plotly: the text is no JSON of a figure: {error}") from None
    if not isinstance(figure, Mapping) or "data" not in figure:
        raise UsageError(f"report_plotly takes a plotly figure or its dict, not a {type(figure).__qualname__}")
    found: Figure = plain(figure)
    if isinstance(found["data"], dict):
        found["data"] = [found["data"]]
    for part in (found.get("layout"), *found["data"]):
        if isinstance(part, dict):
            _mend_titles(part)
    return found


def scatter2d_figure(
    title: str,
    series: str,
    scatter: Any,
    xaxis: str | None = None,
    yaxis: str | None = None,
    labels: Sequence[str] | None = None,
    mode: str = "lines",
    comment: str | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return a line or a cloud of points.

    Args:
        title: the plot.
        series: the trace's name.
        scatter: ``(n, 2)`` x and y.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        labels: (n,) texts shown at the points.
        mode: plotly's ``lines``, ``markers``, ``text`` or several joined with ``+``.
        comment: a text below the title.
        extra_layout: more of plotly's layout.

    Raises:
        InvalidValueError: another shape, or another number of labels.
    """
    points = rows(scatter, "scatter", 2)
    trace = _xy_trace(series, points, labels_for(labels, len(points), "labels"), mode)
    return _figure([trace], _plane(title, xaxis, yaxis, comment), extra_layout)


def line_figure(
    title: str,
    series: Sequence[SeriesInfo | Mapping[str, Any]],
    xaxis: str | None = None,
    yaxis: str | None = None,
    mode: str = "lines",
    reverse_xaxis: bool = False,
    comment: str | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return several lines in one plot.

    Args:
        title: the plot.
        series: the lines; a dict with the same fields stands for a :class:`SeriesInfo`.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        mode: as in :func:`scatter2d_figure`.
        reverse_xaxis: whether x grows to the left.
        comment: a text below the title.
        extra_layout: more of plotly's layout.
    """
    lines = [item if isinstance(item, SeriesInfo) else _series_info(item) for item in series]
    layout = _plane(title, xaxis, yaxis, comment)
    if reverse_xaxis:
        layout["xaxis"]["autorange"] = "reversed"
    return _figure([line.trace(mode) for line in lines], layout, extra_layout)


def _series_info(item: Any) -> SeriesInfo:
    """Take a dict, or an object with the same fields, such as ClearML's own class."""
    if isinstance(item, Mapping):
        unknown = sorted(set(item) - {"name", "data", "labels"})
        if unknown or not {"name", "data"} <= set(item):
            raise InvalidValueError(
                f"a series is a SeriesInfo or a dict with name, data and labels, not {sorted(item)}"
            )
        return SeriesInfo(**item)
    if hasattr(item, "name") and hasattr(item, "data"):
        return SeriesInfo(item.name, item.data, getattr(item, "labels", None))
    raise InvalidValueError(f"a series is a SeriesInfo or a dict with its fields, not a {type(item).__qualname__}")


def scatter3d_figure(
    title: str,
    series: str | Sequence[str],
    scatter: Any,
    xaxis: str | None = None,
    yaxis: str | None = None,
    zaxis: str | None = None,
    labels: Sequence[Any] | None = None,
    mode: str = "markers",
    fill: bool | int = False,
    comment: str | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return points in space, of one series or of several.

    Args:
        title: the plot.
        series: the trace's name, or a list with a name each.
        scatter: ``(n, 3)``, or a list of arrays or lists of that shape, a series each.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        zaxis: title of the z axis.
        labels: (n,) texts, or a list of such lists, one a series.
        mode: as in :func:`scatter2d_figure`.
        fill: whether a surface is laid through the points, about the z axis; 0, 1 or 2 name the axis.
        comment: a text below the title.
        extra_layout: more of plotly's layout.
    """
    clouds = list(scatter) if _is_several(scatter) else [scatter]
    several = not isinstance(series, str)
    names = [str(name) for name in series] if several else [str(series)] * len(clouds)
    if several and len(names) != len(clouds):
        raise InvalidValueError(f"series has {len(names)} names for {len(clouds)} series of points: one each is needed")
    if not several and len(clouds) > 1:
        names = [f"{series} {number}" for number in range(len(clouds))]
    surface = {} if fill is False or fill is None else {"surfaceaxis": 2 if fill is True else int(fill)}
    traces = []
    for number, (name, cloud) in enumerate(zip(names, clouds, strict=True)):
        points = rows(cloud, "scatter", 3)
        texts = labels_for(_labels_of(labels, number), len(points), "labels")
        x, y, z = _columns(points, 3)
        trace: Figure = {"type": "scatter3d", "name": name, "mode": mode, "x": x, "y": y, "z": z}
        traces.append({**trace, **({"text": texts} if texts else {}), "marker": {"size": 5, "opacity": 0.8}, **surface})
    scene = {
        "xaxis": {"title": {"text": xaxis or ""}}, "yaxis": {"title": {"text": yaxis or ""}},
        "zaxis": {"title": {"text": zaxis or ""}},
    }  # fmt: skip
    return _figure(traces, {"title": _heading(title, comment), "scene": scene, "showlegend": True}, extra_layout)


def _is_several(scatter: Any) -> bool:
    """Tell a list of arrays, or of lists of lists, from one series of points."""
    if not isinstance(scatter, (list, tuple)) or not scatter:
        return False
    first = scatter[0]
    if getattr(first, "ndim", 0) == 2:
        return True
    return isinstance(first, (list, tuple)) and bool(first) and not isinstance(plain(first[0]), (int, float, str))


def _labels_of(labels: Any, number: int) -> Any:
    if labels is None or not isinstance(labels, (list, tuple)) or not labels or isinstance(labels[0], str):
        return labels
    return labels[min(number, len(labels) - 1)]


def histogram_figure(
    title: str,
    series: str,
    values: Any,
    labels: Sequence[str] | None = None,
    xlabels: Sequence[Any] | None = None,
    xaxis: str | None = None,
    yaxis: str | None = None,
    mode: str | None = None,
    data_args: Mapping[str, Any] | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return bars of the heights given; nothing is counted into bins.

    Args:
        title: the plot.
        series: name of the bars where no labels are given.
        values: ``(n,)`` heights, or ``(rows, n)`` for several bars a place.
        labels: (rows,) names.
        xlabels: (n,) names of the places.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        mode: ``group`` (as None), ``stack`` or ``relative``.
        data_args: more of plotly's attributes for each row of bars.
        extra_layout: more of plotly's layout.

    Raises:
        InvalidValueError: another shape, another number of labels, or an unknown mode.
    """
    if mode is not None and mode not in BAR_MODES:
        raise InvalidValueError(f"mode must be one of {', '.join(BAR_MODES)}, not {mode!r}")
    found = listed(values, "values")
    heights = rows(found, "values") if any(isinstance(row, list) for row in found) else [found]
    width = len(heights[0]) if heights else 0
    places = list(range(width)) if xlabels is None else listed(xlabels, "xlabels")
    if len(places) != width:
        raise InvalidValueError(f"xlabels has {len(places)} entries for {width} values: one each is needed")
    traces = [
        {"type": "bar", "name": name, "x": places, "y": row, **plain(data_args or {})}
        for name, row in zip(_row_names(series, labels, len(heights)), heights, strict=True)
    ]
    layout = _plane(title, xaxis, yaxis, None, spikes=False)
    return _figure(traces, {**layout, "barmode": mode or "group", "bargap": 0.08, "bargroupgap": 0}, extra_layout)


def _row_names(series: str, labels: Any, count: int) -> list[str]:
    if not labels:
        return [str(series)] if count == 1 else [f"{series} {number}" for number in range(count)]
    given = [str(label) for label in listed(labels, "labels")]
    return given * count if len(given) == 1 else labels_for(given, count, "labels") or []


def matrix_figure(
    title: str,
    series: str,
    matrix: Any,
    xaxis: str | None = None,
    yaxis: str | None = None,
    xlabels: Sequence[str] | None = None,
    ylabels: Sequence[str] | None = None,
    yaxis_reversed: bool = False,
    comment: str | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return a matrix as a heat map with its numbers in the cells.

    Args:
        title: the plot.
        series: the trace's name.
        matrix: ``(rows, columns)`` numbers.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        xlabels: (columns,) names.
        ylabels: (rows,) names.
        yaxis_reversed: False puts the first row at the bottom, True at the top.
        comment: a text below the title.
        extra_layout: more of plotly's layout; attributes of the heat map itself (``texttemplate``, ``colorscale``, ...)
            go to it.

    Raises:
        InvalidValueError: another shape, or another number of labels.
    """
    values = rows(matrix, "matrix")
    width = len(values[0]) if values else 0
    trace: Figure = {
        "type": "heatmap",
        "name": str(series),
        "z": values,
        "colorscale": "Viridis",
        "texttemplate": _cell_format(values),
    }
    for key, labels, count in (("x", xlabels, width), ("y", ylabels, len(values))):
        texts = labels_for(labels, count, f"{key}labels")
        if texts is not None:
            trace[key] = texts
    layout = _plane(title, xaxis, yaxis, comment, spikes=False)
    for axis, texts in (("xaxis", trace.get("x")), ("yaxis", trace.get("y"))):
        if texts is not None:
            layout[axis]["type"] = "category"  # labels such as "0", "1" are names, not places
    if yaxis_reversed:
        layout["yaxis"]["autorange"] = "reversed"
    extra = dict(extra_layout or {})
    trace.update({key: plain(extra.pop(key)) for key in list(extra) if key in _HEATMAP_KEYS})
    return _figure([trace], layout, extra)


def _cell_format(values: list[list[Any]]) -> str:
    """Return how cells show their numbers: counts in full, where plotly would say 1M; other numbers with 7 digits."""
    return "%{z:d}" if all(isinstance(value, int) for row in values for value in row) else "%{z:.7~g}"


def surface_figure(
    title: str,
    series: str,
    matrix: Any,
    xaxis: str | None = None,
    yaxis: str | None = None,
    zaxis: str | None = None,
    xlabels: Sequence[str] | None = None,
    ylabels: Sequence[str] | None = None,
    camera: Sequence[float] | None = None,
    comment: str | None = None,
    extra_layout: Layout = None,
) -> Figure:
    """Return a matrix as a surface in space.

    Args:
        title: the plot.
        series: the trace's name.
        matrix: ``(rows, columns)`` heights.
        xaxis: title of the x axis.
        yaxis: title of the y axis.
        zaxis: title of the z axis.
        xlabels: (columns,) names.
        ylabels: (rows,) names.
        camera: (3,) x, y, z from where it is seen.
        comment: a text below the title.
        extra_layout: more of plotly's layout.

    Raises:
        InvalidValueError: another shape, or another number of labels.
    """
    values = rows(matrix, "matrix")
    width = len(values[0]) if values else 0
    scene: Figure = {name: {"title": {"text": text or ""}} for name, text in
                     (("xaxis", xaxis), ("yaxis", yaxis), ("zaxis", zaxis))}  # fmt: skip
    for axis, labels, count in (("xaxis", xlabels, width), ("yaxis", ylabels, len(values))):
        texts = labels_for(labels, count, f"{axis[0]}labels")
        if texts is not None:
            scene[axis].update(tickmode="array", ticktext=texts, tickvals=list(range(count)))
    if camera is not None:
        eye = listed(camera, "camera")
        if len(eye) != 3:
            raise InvalidValueError(f"camera must be x, y and z, not {len(eye)} numbers")
        scene["camera"] = {"eye": dict(zip("xyz", eye, strict=True))}
    trace = {"type": "surface", "name": str(series), "z": values, "colorscale": "Viridis"}
    return _figure([trace], {"title": _heading(title, comment), "scene": scene}, extra_layout)


def table_figure(
    title: str,
    series: str,
    table: Any,
    extra_layout: Layout = None,
    extra_data: Mapping[str, Any] | None = None,
) -> Figure:
    """Return a plotly table.

    Args:
        title: the plot.
        series: the trace's name.
        table: a DataFrame, a list of rows whose first is the header, or a :class:`~localtrack.services.tables.Table`.
        extra_layout: more of plotly's layout.
        extra_data: more of plotly's attributes for the table.

    Raises:
        InvalidValueError: another kind of object.
    """
    found = table if isinstance(table, Table) else table_of(table)
    trace = {
        "type": "table", "name": str(series), "header": {"values": found.header, "align": "left"},
        "cells": {"values": found.columns, "align": "left"},
    }  # fmt: skip
    return _figure([merged(trace, extra_data or {})], {"title": _heading(title, None)}, extra_layout)


def linked_table_figure(title: str, series: str, url: str) -> Figure:
    """Return a table of one cell that leads to the table's address: it was reported by reference."""
    link = html.escape(url, quote=True)
    return table_figure(title, series, [["table"], [f'<a href="{link}">{link}</a>']])


def picture_figure(title: str, source: str) -> Figure:
    """Return a plotly figure that shows a picture alone.

    Args:
        title: the plot.
        source: path or address of the picture.
    """
    hidden = {"visible": False, "range": [0, 1]}
    image = {
        "source": source, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "sizex": 1, "sizey": 1,
        "xanchor": "center", "yanchor": "middle", "sizing": "contain", "layer": "below",
    }  # fmt: skip
    return {"data": [], "layout": {"title": {"text": title}, "xaxis": hidden, "yaxis": hidden, "images": [image]}}


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Figure:
    """Return ``base`` with ``more`` put over it, dicts within dicts as well."""
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        if isinstance(old, Mapping) and key == "title" and isinstance(value, str):
            value = {"text": value}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[str(key)] = merged(old, value)
        else:
            result[str(key)] = plain(value)
    return result


def _figure(traces: list[Figure], layout: Figure, extra_layout: Layout) -> Figure:
    full = merged(layout, extra_layout or {})
    _mend_titles(full)
    return {"data": traces, "layout": full}


def _heading(title: str, comment: str | None) -> Figure:
    return {"text": str(title), **({"subtitle": {"text": str(comment)}} if comment else {})}


def _plane(
    title: str, xaxis: str | None, yaxis: str | None, comment: str | None, *, spikes: bool = True
) -> dict[str, Any]:
    pointer = {"showspikes": True, "spikethickness": 1, "spikesnap": "cursor", "spikemode": "toaxis+across"}
    extra = pointer if spikes else {}
    return {
        "title": _heading(title, comment),
        "xaxis": {"title": {"text": xaxis or ""}, **extra},
        "yaxis": {"title": {"text": yaxis or ""}, **extra},
    }


def _xy_trace(name: str, points: list[list[Any]], labels: list[str] | None, mode: str) -> Figure:
    x, y = _columns(points, 2)
    trace = {"type": "scatter", "name": str(name), "mode": mode, "x": x, "y": y}
    return {**trace, "text": labels} if labels is not None else trace


def _columns(points: list[list[Any]], count: int) -> list[list[Any]]:
    return [[point[number] for point in points] for number in range(count)]


def _mend_titles(layout: Figure) -> None:
    """Turn titles that are bare texts into objects, wherever a layout or a trace has titles."""
    for key, value in layout.items():
        if key == "title" and isinstance(value, str):
            layout[key] = {"text": value}
        elif isinstance(value, dict) and key not in ("template", "meta", "customdata"):
            _mend_titles(value)
