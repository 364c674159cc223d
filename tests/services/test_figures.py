"""Figures are what plotly itself takes, hold every value given, and show their titles."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import numpy
import pandas
import plotly.graph_objects
import plotly.io
import pytest

from localtrack.errors import InvalidValueError, UsageError
from localtrack.services import figures
from localtrack.services.figure_data import drawable, plain
from localtrack.services.figures import Figure, SeriesInfo

POINTS = [[0, 1.0], [1, 2.5], [2, 0.5]]
CUBE = [[0, 1, 2], [3, 4, 5.5]]
KINDS: dict[str, Callable[..., Figure]] = {
    "scatter2d": lambda **o: figures.scatter2d_figure("T/ü", "s", POINTS, "x", "y", ["a", "b", "c"], comment="c", **o),
    "line": lambda **o: figures.line_figure("T/ü", [SeriesInfo("s", POINTS)], "x", "y", reverse_xaxis=True, **o),
    "scatter3d": lambda **o: figures.scatter3d_figure("T/ü", "s", CUBE, "x", "y", "z", ["a", "b"], fill=True, **o),
    "histogram": lambda **o: figures.histogram_figure("T/ü", "s", [[1, 2], [3, 4]], ["a", "b"], ["p", "q"], "x", "y", **o),
    "matrix": lambda **o: figures.matrix_figure("T/ü", "s", [[1, 2], [3, 4]], "x", "y", ["a", "b"], ["c", "d"], True, **o),
    "surface": lambda **o: figures.surface_figure("T/ü", "s", [[1, 2], [3, 4]], "x", "y", "z", ["a", "b"], camera=(1, 1, 1), **o),
    "table": lambda **o: figures.table_figure("T/ü", "s", [["h", "i"], [1, "<b>"]], **o),
}  # fmt: skip


def check(figure: Figure) -> plotly.graph_objects.Figure:
    """Return the figure as plotly's own object, which refuses unknown attributes and wrong values."""
    return plotly.io.from_json(json.dumps(figure, allow_nan=False))


@pytest.mark.parametrize("kind", KINDS)
def test_plotly_takes_every_kind(kind: str) -> None:
    """Plotly validates each figure, and its title is an object, which current plotly.js shows."""
    made = check(KINDS[kind]())
    assert made.layout.title.text == "T/ü"
    assert KINDS[kind]()["layout"]["title"]["text"] == "T/ü"


@pytest.mark.parametrize("kind", KINDS)
def test_extra_layout_is_laid_over(kind: str) -> None:
    """extra_layout wins, keeps what it does not name, and a title in it may be a bare text."""
    extra = {"title": "other", "width": 321, "xaxis": {"title": "mine"}, "legend": {"title": "names"}}
    layout = KINDS[kind](extra_layout=extra)["layout"]
    assert layout["title"]["text"] == "other"
    assert layout["width"] == 321
    assert layout["xaxis"]["title"] == {"text": "mine"}
    assert layout["legend"]["title"] == {"text": "names"}
    check(KINDS[kind](extra_layout=extra))


@pytest.mark.parametrize(
    "form",
    [numpy.array, pandas.DataFrame, lambda p: [tuple(x) for x in p], lambda p: [numpy.array(x) for x in p], iter],
)
def test_points_in_every_form(form: Callable[[Any], Any]) -> None:
    """Arrays, frames, tuples, lists of arrays and iterators give the same points."""
    trace = figures.scatter2d_figure("t", "s", form(POINTS))["data"][0]
    assert (trace["x"], trace["y"]) == ([0, 1, 2], [1.0, 2.5, 0.5])
    assert trace["mode"] == "lines"


def test_every_point_is_kept() -> None:
    """A quarter of a million points stay as they are: nothing is subsampled or rounded."""
    points = numpy.random.default_rng(0).random((250_000, 2))
    trace = figures.scatter2d_figure("t", "s", points)["data"][0]
    assert trace["x"] == points[:, 0].tolist()
    assert trace["y"] == points[:, 1].tolist()


def test_no_numbers_stay_what_they_are() -> None:
    """NaN and infinities are kept in the figure, and become gaps for a program that draws."""
    trace = figures.histogram_figure("t", "s", [1.0, math.nan, math.inf])["data"][0]
    assert str(trace["y"]) == "[1.0, nan, inf]"
    assert drawable(trace)["y"] == [1.0, None, None]


@pytest.mark.parametrize(
    "call",
    [
        lambda: figures.scatter2d_figure("t", "s", [1, 2, 3]),
        lambda: figures.scatter2d_figure("t", "s", [[1, 2, 3]]),
        lambda: figures.scatter2d_figure("t", "s", "text"),
        lambda: figures.scatter2d_figure("t", "s", POINTS, labels=["only one"]),
        lambda: figures.scatter3d_figure("t", "s", POINTS),
        lambda: figures.scatter3d_figure("t", ["a"], [numpy.array(CUBE), numpy.array(CUBE)]),
        lambda: figures.histogram_figure("t", "s", [1, 2], mode="beside"),
        lambda: figures.histogram_figure("t", "s", [1, 2], xlabels=["a"]),
        lambda: figures.histogram_figure("t", "s", [[1, 2], [3, 4]], labels=["a", "b", "c"]),
        lambda: figures.histogram_figure("t", "s", [[1, 2], [3]]),
        lambda: figures.matrix_figure("t", "s", [1, 2]),
        lambda: figures.matrix_figure("t", "s", [[1, 2]], xlabels=["a"]),
        lambda: figures.surface_figure("t", "s", [[1, 2]], camera=[1, 2]),
        lambda: figures.line_figure("t", [{"name": "s"}]),
        lambda: figures.line_figure("t", ["s"]),
        lambda: SeriesInfo("s", [[1, 2, 3]]),
        lambda: SeriesInfo("s", POINTS, labels=["a"]),
        lambda: figures.table_figure("t", "s", "text"),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[], object]) -> None:
    """What does not fit is refused with a sentence, before anything is stored."""
    with pytest.raises(InvalidValueError):
        call()


def test_several_series_in_space() -> None:
    """A list of arrays, or of lists of points, is a series each, with names and labels of its own."""
    made = figures.scatter3d_figure(
        "t", ["a", "b"], [numpy.array(CUBE), numpy.array(CUBE) + 1], labels=[["1", "2"], ["3", "4"]]
    )
    assert [trace["name"] for trace in made["data"]] == ["a", "b"]
    assert [trace["text"] for trace in made["data"]] == [["1", "2"], ["3", "4"]]
    assert made["data"][1]["z"] == [3.0, 6.5]
    assert len(figures.scatter3d_figure("t", "s", [CUBE, CUBE, CUBE])["data"]) == 3
    assert len(figures.scatter3d_figure("t", "s", [tuple(p) for p in CUBE])["data"]) == 1


def test_fill_in_space() -> None:
    """Fill lays a surface through the points; without it there is none, and 0 names the x axis."""
    found = [
        figures.scatter3d_figure("t", "s", CUBE, fill=fill)["data"][0].get("surfaceaxis") for fill in (False, True, 0)
    ]
    assert found == [None, 2, 0]


def test_lines_of_one_plot() -> None:
    """SeriesInfo and a dict with its fields are a line each."""
    made = figures.line_figure(
        "t", [SeriesInfo("a", numpy.array(POINTS), list("xyz")), {"name": "b", "data": POINTS}], mode="lines+markers"
    )
    assert [trace["name"] for trace in made["data"]] == ["a", "b"]
    assert made["data"][0]["text"] == ["x", "y", "z"]
    assert {trace["mode"] for trace in made["data"]} == {"lines+markers"}


def test_bars_are_not_counted() -> None:
    """A histogram shows the values as heights; data_args go to each row of bars."""
    made = figures.histogram_figure(
        "t", "s", numpy.array([[1, 2], [3, 4]]), labels=["a", "b"], mode="stack", data_args={"marker": {"color": "red"}}
    )
    assert [trace["y"] for trace in made["data"]] == [[1, 2], [3, 4]]
    assert [trace["name"] for trace in made["data"]] == ["a", "b"]
    assert made["data"][0]["marker"] == {"color": "red"}
    assert made["layout"]["barmode"] == "stack"
    one = figures.histogram_figure("t", "s", [5, 6])
    assert (one["data"][0]["name"], one["data"][0]["x"]) == ("s", [0, 1])


def test_first_row_of_a_matrix() -> None:
    """As in ClearML, the first row is at the bottom; yaxis_reversed puts it at the top."""
    assert "autorange" not in figures.matrix_figure("t", "s", [[1]])["layout"]["yaxis"]
    assert figures.matrix_figure("t", "s", [[1]], yaxis_reversed=True)["layout"]["yaxis"]["autorange"] == "reversed"


def test_attributes_of_the_heat_map() -> None:
    """Attributes of the heat map in extra_layout go to it: the numbers in the cells can be turned off."""
    made = figures.matrix_figure("t", "s", [[1]], extra_layout={"texttemplate": None, "colorscale": "Reds", "width": 5})
    assert made["data"][0]["texttemplate"] is None
    assert made["data"][0]["colorscale"] == "Reds"
    assert made["layout"]["width"] == 5
    assert "texttemplate" not in made["layout"]


@pytest.mark.parametrize(
    ("frame", "header", "columns"),
    [
        (pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), ["a", "b"], [[1, 2], ["x", "y"]]),
        (pandas.DataFrame({"a": [1.5, math.nan, math.inf]}, index=pandas.Index(["r", "s", "t"], name="row")),
         ["row", "a"], [["r", "s", "t"], [1.5, "nan", "Inf"]]),
        (pandas.DataFrame({"a": [1]}, index=pandas.MultiIndex.from_tuples([("u", 2)], names=["k", None])),
         ["k", "", "a"], [["u"], [2], [1]]),
        (pandas.DataFrame([[1, 2]], columns=pandas.MultiIndex.from_tuples([("m", "p"), ("m", "q")])),
         [["m", "p"], ["m", "q"]], [[1], [2]]),
        (pandas.DataFrame({"d": pandas.to_datetime(["2026-01-02"])}), ["d"], [["2026-01-02T00:00:00"]]),
    ],
)  # fmt: skip
def test_frames(frame: pandas.DataFrame, header: list[Any], columns: list[Any]) -> None:
    """A frame's index is shown when it says something; levels of index and columns stay apart."""
    trace = figures.table_figure("t", "s", frame)["data"][0]
    assert trace["header"]["values"] == header
    assert trace["cells"]["values"] == columns
    check(figures.table_figure("t", "s", frame))


@pytest.mark.parametrize(
    ("found", "columns"), [([["a", "b"], [1], [2, 3]], [[1, 2], ["", 3]]), ([], []), ([["a"]], [[]])]
)
def test_ragged_tables(found: list[list[Any]], columns: list[Any]) -> None:
    """Short rows are filled up, no row is lost, and an empty table is one."""
    assert figures.table_figure("t", "s", found)["data"][0]["cells"]["values"] == columns


def test_a_plotly_figure_stays_what_it_is() -> None:
    """Objects, dicts and JSON are taken; only titles that current plotly.js would not show become objects."""
    given = plotly.graph_objects.Figure(
        data=[plotly.graph_objects.Scatter(x=numpy.array(["2026-01-01"], "datetime64[ns]"), y=numpy.array([1.5]))],
        layout={"colorway": ["#123456"], "title": "mine"},
    )
    for form in (given, given.to_plotly_json(), given.to_json()):
        made = figures.from_plotly(form)
        assert made["layout"]["title"] == {"text": "mine"}
        assert made["layout"]["colorway"] == ["#123456"]
        assert str(check(made).data[0].x[0]).startswith("2026-01-01")
    old = {"data": [{"type": "heatmap", "z": [[1]], "colorbar": {"title": "c"}}], "layout": {"title": "bare"}}
    made = figures.from_plotly(old)
    assert made["layout"]["title"] == {"text": "bare"}
    assert made["data"][0]["colorbar"]["title"] == {"text": "c"}
    assert old["layout"] == {"title": "bare"}
    with pytest.raises(UsageError):
        figures.from_plotly("{")
    with pytest.raises(UsageError):
        figures.from_plotly(7)


def test_plain_values() -> None:
    """Numbers of numpy are numbers, dates are ISO texts, NaT is nothing, the rest is its text."""
    found = plain({1: numpy.float32(0.5), "d": dt.date(2026, 1, 2), "t": pandas.NaT, "o": object, "s": {2, 1}})
    assert found == {"1": 0.5, "d": "2026-01-02", "t": None, "o": str(object), "s": [1, 2]}
    assert plain(numpy.array(["2026-01-01T01:02:03"], "datetime64[ns]")) == ["2026-01-01T01:02:03"]
