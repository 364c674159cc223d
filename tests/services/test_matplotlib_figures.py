"""Matplotlib figures become plotly figures with the same values and looks, or stay pictures."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import warnings
import zoneinfo
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy
import PIL.Image
import plotly.io
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.dates import DateFormatter
from sklearn.metrics import ConfusionMatrixDisplay

from localtrack.errors import InvalidValueError
from localtrack.services import matplotlib_figures
from localtrack.services.figures import Figure
from localtrack.services.matplotlib_style import Unfaithful
from localtrack.services.quiet import without_warnings

RANDOM = numpy.random.default_rng(0)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures are closed after each test."""
    yield
    plt.close("all")


def converted(figure: Any) -> Figure:
    """Return the plotly figure, checked by plotly itself; the matplotlib figure must be what it was."""
    canvas, dpi = figure.canvas, figure.dpi
    data, suffix = matplotlib_figures.picture_of(figure)
    found = matplotlib_figures.convert(figure)
    plotly.io.from_json(json.dumps(found, allow_nan=False))
    with PIL.Image.open(io.BytesIO(data)) as picture:
        assert (suffix, picture.format) == (".png", "PNG")
    assert (figure.canvas, figure.dpi) == (canvas, dpi)
    return found


def test_lines_and_what_belongs_to_them() -> None:
    """Values, colours, dashes, markers, steps, gaps, names, titles, limits and grid are those of the figure."""
    figure, axes = plt.subplots()
    axes.plot([0, 1, 2], [1.0, numpy.nan, 3.0], "r--o", linewidth=2, label="a <b>")
    axes.step([0, 1], [5, 6], where="post", color=(0, 0, 1, 0.5))
    axes.set(title="T & t", xlabel="x", ylabel="y", xlim=(2, 0), ylim=(0, 10))
    axes.grid(True)
    axes.legend(title="names")
    found = converted(figure)
    first, second = found["data"]
    assert (first["x"], first["y"]) == ([0.0, 1.0, 2.0], [1.0, None, 3.0])
    assert (first["name"], first["showlegend"], first["mode"]) == ("a &lt;b&gt;", True, "lines+markers")
    assert first["line"] == {"color": "rgba(255,0,0,1)", "width": 2.778, "dash": "dash", "shape": "linear"}
    assert (second["line"]["shape"], second["line"]["color"], second["showlegend"]) == (
        "hv",
        "rgba(0,0,255,0.5)",
        False,
    )
    layout = found["layout"]
    assert layout["xaxis"]["range"] == [2.0, 0.0]
    assert layout["yaxis"]["range"] == [0.0, 10.0]
    assert layout["xaxis"]["title"]["text"] == "x"
    assert layout["xaxis"]["showgrid"] is True
    assert [note["text"] for note in layout["annotations"]] == ["T &amp; t"]
    assert layout["legend"]["title"]["text"] == "names"
    assert (layout["width"], layout["height"]) == (640, 480)


def test_lines_across_the_axes() -> None:
    """axhline, axvline and axvspan reach over the whole axes, whatever the limits."""
    figure, axes = plt.subplots()
    axes.axhline(5, xmin=0.25)
    axes.axvspan(1, 2, color="g", label="span")
    axes.legend()
    span, line = converted(figure)["layout"]["shapes"]
    assert (line["xref"], line["yref"], line["x0"], line["x1"], line["y0"]) == ("x domain", "y", 0.25, 1.0, 5.0)
    assert (span["xref"], span["yref"], span["x0"], span["x1"], span["name"]) == ("x", "y domain", 1.0, 2.0, "span")


def test_logarithmic_axes_and_subplots() -> None:
    """Each axes have a place of their own, and logarithmic limits; the figure's title is the plot's."""
    figure, (left, right) = plt.subplots(1, 2)
    left.loglog([1, 10], [1, 100])
    left.set(xlim=(1, 1000), title="one")
    left.text(10, 10, "here")
    right.semilogy([0, 1], [1, 10])
    figure.suptitle("both")
    layout = converted(figure)["layout"]
    assert layout["title"]["text"] == "both"
    assert (layout["xaxis"]["type"], layout["xaxis"]["range"]) == ("log", [0.0, 3.0])
    assert (layout["xaxis2"]["type"], layout["yaxis2"]["type"]) == ("linear", "log")
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]
    assert {note["text"]: note["x"] for note in layout["annotations"]}["here"] == 1.0


def test_bars_of_every_kind() -> None:
    """Bars stand where they stood: stacked, lying, of categories, of a histogram, with their labels."""
    figure, axes = plt.subplots(1, 3)
    bars = axes[0].bar(["a", "b"], [1, 2], color=["r", "g"], label="low")
    axes[0].bar(["a", "b"], [3, 4], bottom=[1, 2], label="high")
    axes[0].bar_label(bars)
    axes[0].legend()
    axes[1].barh([0, 1], [5, -2], height=0.5)
    counts, edges, _ = axes[2].hist([1, 1, 2, 5], bins=4)
    found = converted(figure)
    low, high, lying, histogram = found["data"]
    assert (low["y"], low["base"], low["marker"]["color"]) == ([1, 2], [0, 0], ["rgba(255,0,0,1)", "rgba(0,128,0,1)"])
    assert (high["y"], high["base"], high["name"]) == ([3, 4], [1, 2], "high")
    assert (lying["orientation"], lying["x"], lying["y"], lying["width"]) == ("h", [5, -2], [0, 1], [0.5, 0.5])
    assert histogram["y"] == counts.tolist()
    assert histogram["x"] == pytest.approx(((edges[:-1] + edges[1:]) / 2).tolist())
    assert found["layout"]["barmode"] == "overlay"
    assert found["layout"]["xaxis"]["ticktext"] == ["a", "b"]
    assert [note["text"] for note in found["layout"]["annotations"]] == ["1", "2"]


def test_scattered_points() -> None:
    """Points keep places, sizes, outline and colours; with a colour bar they keep the values behind the colours."""
    figure, (left, right) = plt.subplots(1, 2)
    values = [0.0, 5.0, 10.0]
    shown = left.scatter([1, 2, 3], [4, 5, 6], c=values, s=[36, 144, 324], marker="s")
    figure.colorbar(shown, label="depth")
    right.scatter([1, 2], [3, 4], color=["r", "b"], alpha=0.5)
    first, second = converted(figure)["data"]
    assert (first["x"], first["y"]) == ([1, 2, 3], [4, 5, 6])
    assert first["marker"]["symbol"] == "square"
    assert first["marker"]["size"] == pytest.approx([6 * 100 / 72, 12 * 100 / 72, 18 * 100 / 72], abs=0.01)
    assert (first["marker"]["color"], first["marker"]["cmin"], first["marker"]["cmax"]) == (values, 0.0, 10.0)
    assert first["marker"]["colorbar"]["title"]["text"] == "depth"
    assert second["marker"]["color"] == ["rgba(255,0,0,0.5)", "rgba(0,0,255,0.5)"]


def test_images() -> None:
    """An image of values keeps every value, its limits and which row is on top; one of colours keeps its pixels."""
    figure, (left, right) = plt.subplots(1, 2)
    values = RANDOM.random((3, 4))
    values[0, 0] = numpy.nan
    figure.colorbar(left.imshow(values, vmin=0, vmax=2))
    colours = RANDOM.integers(0, 255, (2, 3, 3)).astype("uint8")
    right.imshow(colours)
    found = converted(figure)
    (trace,) = found["data"]
    assert trace["z"][0][0] is None
    assert trace["z"][1] == values[1].tolist()
    assert (trace["x"], trace["y"], trace["zmax"]) == ([0, 1, 2, 3], [0, 1, 2], 2.0)
    assert found["layout"]["yaxis"]["range"] == [2.5, -0.5]
    assert trace["showscale"] is True
    (picture,) = found["layout"]["images"]
    with PIL.Image.open(io.BytesIO(base64.b64decode(picture["source"].partition(",")[2]))) as image:
        step = image.width // 3
        assert (numpy.asarray(image)[:: image.height // 2, ::step] == colours).all()
    assert (picture["x"], picture["y"], picture["sizex"], picture["sizey"]) == (-0.5, -0.5, 3.0, 2.0)


def test_an_image_from_below() -> None:
    """With the origin below, the picture is turned, since plotly shows its first row on top."""
    figure, axes = plt.subplots()
    colours = RANDOM.integers(0, 255, (2, 1, 3)).astype("uint8")
    axes.imshow(colours, origin="lower")
    (picture,) = converted(figure)["layout"]["images"]
    with PIL.Image.open(io.BytesIO(base64.b64decode(picture["source"].partition(",")[2]))) as image:
        assert (numpy.asarray(image)[[0, -1], 0] == colours[::-1, 0]).all()
    assert picture["y"] == 1.5


def test_meshes() -> None:
    """A mesh keeps its edges and values."""
    figure, axes = plt.subplots()
    counts, x, y, _ = axes.hist2d([0, 1, 1, 2], [0, 1, 1, 5], bins=(2, 3))
    (trace,) = converted(figure)["data"]
    assert trace["z"] == counts.T.tolist()
    assert (trace["x"], trace["y"]) == (x.tolist(), y.tolist())


def test_composed_artists() -> None:
    """Error bars, areas, boxes, violins, stems and lines of a collection are drawn by their parts."""
    figure, axes = plt.subplots(2, 3)
    axes[0, 0].errorbar([1, 2], [3, 4], yerr=0.5, capsize=3, fmt="o", label="err")
    axes[0, 0].legend()
    axes[0, 1].fill_between([0, 1], [0, 0], [1, 2], alpha=0.5)
    axes[0, 2].boxplot([[1, 2, 3, 9]])
    axes[1, 0].violinplot([[1, 2, 3, 9]])
    axes[1, 1].stem([1, 2])
    axes[1, 2].vlines([1, 2], 0, 1, colors=["r", "b"])
    traces = converted(figure)["data"]
    assert "err" in [trace.get("name") for trace in traces if trace["showlegend"]]
    assert next(trace["fillcolor"][-4:] for trace in traces if trace.get("fill")) == "0.5)"
    last = [trace for trace in traces if trace["xaxis"] == "x6"]
    assert [(trace["x"], trace["y"]) for trace in last] == [([1, 1], [0, 1]), ([2, 2], [0, 1])]


def test_two_scales_in_one_frame() -> None:
    """Twins lie over each other, with ticks on their own side, and one legend for both."""
    figure, left = plt.subplots()
    left.plot([1, 2], label="left")
    right = left.twinx()
    right.plot([10, 5], label="right")
    left.legend(handles=[*left.lines, *right.lines])
    found = converted(figure)
    assert (found["layout"]["yaxis2"]["overlaying"], found["layout"]["yaxis2"]["side"]) == ("y", "right")
    assert [trace["showlegend"] for trace in found["data"]] == [True, True]


def _legend(figure: Any) -> list[tuple[str, str]]:
    """Return name and colour of each entry of the legend, in its order."""
    shown = [trace for trace in converted(figure)["data"] if trace.get("showlegend")]
    return [(trace["name"], trace["line"]["color"]) for trace in sorted(shown, key=lambda trace: trace["legendrank"])]


BLUE, RED = "rgba(0,0,255,1)", "rgba(255,0,0,1)"


def test_a_legend_names_the_curves_that_it_shows() -> None:
    """Whatever labels they have, in the legend's order, and each of several that are called alike."""
    figure, axes = plt.subplots()
    axes.plot([1, 2], "b", label="val")
    axes.plot([2, 1], "r", label="train")
    axes.legend()
    assert _legend(figure) == [("val", BLUE), ("train", RED)]
    axes.legend(["train", "val"])
    assert _legend(figure) == [("train", BLUE), ("val", RED)]
    axes.legend(axes.lines[::-1], ["two", "one"])
    assert _legend(figure) == [("two", RED), ("one", BLUE)]
    axes.legend([axes.lines[1]], ["val"])
    assert _legend(figure) == [("val", RED)]
    axes.legend(handles=[plt.Line2D([], [], color="r", label="proxy")])
    assert _legend(figure) == [("proxy", RED)]
    for line in axes.lines:
        line.set_label("run")
    for handle in axes.legend().legend_handles:
        handle.set(alpha=0.5, linewidth=5)  # as scripts do to make a legend plain
    assert _legend(figure) == [("run", BLUE), ("run", RED)]


def test_legends_of_bars_and_parts() -> None:
    """Bars, a histogram, error bars without a line and stems are named."""
    figure, axes = plt.subplots(1, 4)
    axes[0].bar([1, 2], [1, 2], label="bars")
    axes[1].hist([1, 2, 2], label="counted")
    axes[2].errorbar([1, 2], [1, 2], yerr=1, fmt="none", label="errors")
    axes[3].stem([1, 2], label="stems")
    for one in axes:
        one.legend()
    found = converted(figure)["data"]
    named = [(trace["name"], trace["legend"]) for trace in found if trace["showlegend"]]
    assert named == [("bars", "legend"), ("counted", "legend2"), ("errors", "legend3"), ("stems", "legend4")]


def test_dates() -> None:
    """Dates are ISO texts on an axis of dates."""
    figure, axes = plt.subplots()
    axes.plot([dt.datetime(2026, 1, 1), dt.datetime(2026, 3, 1)], [1, 2])
    found = converted(figure)
    assert found["data"][0]["x"] == ["2026-01-01T00:00:00", "2026-03-01T00:00:00"]
    assert found["layout"]["xaxis"]["type"] == "date"


def test_dates_of_a_time_zone() -> None:
    """They are those on the clock there, as the axis shows them, and texts of their own format stay."""
    figure = _dated([dt.datetime(2026, 1, 1, 7), dt.datetime(2026, 1, 1, 13)])
    found = converted(figure)
    assert found["data"][0]["x"] == ["2026-01-01T07:00:00", "2026-01-01T13:00:00"]
    assert found["layout"]["xaxis"]["range"] == ["2026-01-01T06:42:00", "2026-01-01T13:18:00"]
    zone = zoneinfo.ZoneInfo("America/New_York")
    figure.axes[0].xaxis.set_major_formatter(DateFormatter("%H o'clock", tz=zone))
    axis = converted(figure)["layout"]["xaxis"]
    assert (axis["ticktext"][0], axis["tickvals"][0]) == ("07 o'clock", "2026-01-01T07:00:00")


def test_colour_bars_keep_their_ticks() -> None:
    """Ticks, their texts and the title that the script gave are those of the bar; others are plotly's own."""
    figure, (left, right) = plt.subplots(1, 2)
    bar = figure.colorbar(_points(left), ticks=[0, 1, 2])
    bar.set_ticklabels(["cat", "dog", "cow"])
    bar.ax.set_title("kind")
    figure.colorbar(_points(right))
    found = converted(figure)
    first, second = (trace["marker"]["colorbar"] for trace in found["data"])
    assert (first["tickvals"], first["ticktext"]) == ([0.0, 1.0, 2.0], ["cat", "dog", "cow"])
    assert "tickvals" not in second
    (title,) = found["layout"]["annotations"]
    assert (title["text"], title["xref"], title["xanchor"]) == ("kind", "paper", "center")
    assert title["x"] == pytest.approx(first["x"] + first["thickness"] / 2)


def test_texts_out_of_view() -> None:
    """What stands beside or above the axes stays there; plotly hides what is placed by data that it doesn't show."""
    figure, axes = plt.subplots()
    axes.set(xlim=(0, 2), ylim=(0, 4))
    axes.text(1, 2, "within")
    axes.text(3, 2, "beside")
    axes.annotate("above", (1, 4), xytext=(1, 5), textcoords="data")
    axes.annotate("not shown", (9, 9))
    axes.text(9, 9, "cut off", clip_on=True)
    axes.text(float("nan"), 1, "nowhere")
    notes = {note["text"]: (note["xref"], note["x"], note["y"]) for note in converted(figure)["layout"]["annotations"]}
    assert notes == {
        "within": ("x", 1.0, 2.0), "beside": ("x domain", pytest.approx(1.5), pytest.approx(0.5)),
        "above": ("x domain", pytest.approx(0.5), pytest.approx(1.25)),
    }  # fmt: skip


def test_dashes_grids_and_sides() -> None:
    """Dashes of the script's own, a grid of minor ticks on a logarithmic axis, and numbers at the top."""
    figure, (left, right) = plt.subplots(1, 2)
    left.loglog([1, 10], [1, 10], ls=(0, (1, 6)), linewidth=1)
    left.plot([1, 10], [1, 10], "--", dashes=(2, 10), linewidth=1)
    left.plot([1, 10], [1, 10], "--")
    left.grid(True, which="minor")
    right.matshow(numpy.eye(2))
    found = converted(figure)
    styles = [trace["line"]["dash"] for trace in found["data"] if trace["type"] == "scatter"]
    assert styles == ["1.389px,8.333px", "2.778px,13.889px", "dash"]
    axis = found["layout"]["xaxis"]
    assert (axis["showgrid"], axis["minor"]["showgrid"], axis["minor"]["dtick"]) == (False, True, "D1")
    assert found["layout"]["xaxis2"]["side"] == "top"


def test_an_image_of_one_column() -> None:
    """Its width is told by its edges, which plotly could not guess."""
    figure, axes = plt.subplots()
    axes.imshow([[1], [2]], extent=(0, 10, 0, 4), aspect="auto")
    (trace,) = converted(figure)["data"]
    assert (trace["x"], trace["y"]) == ([0.0, 10.0], [3.0, 1.0])


def test_displays_of_other_libraries() -> None:
    """A confusion matrix of scikit-learn keeps its numbers, labels and colour bar."""
    display = ConfusionMatrixDisplay(numpy.array([[5, 2], [1, 9]]), display_labels=["cat", "dog"]).plot()
    found = converted(display.figure_)
    assert found["data"][0]["z"] == [[5, 2], [1, 9]]
    assert found["layout"]["xaxis"]["ticktext"] == ["cat", "dog"]
    assert sorted(note["text"] for note in found["layout"]["annotations"]) == ["1", "2", "5", "9"]


def _with(draw: Callable[[Any, Any], object], **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        figure, axes = plt.subplots(**options)
        axes.plot([1, 2], [1, 2])
        draw(figure, axes)
        return figure

    return make


def _points(axes: Any) -> Any:
    return axes.scatter([1, 2, 3], [1, 2, 3], c=[0, 1, 2])


def _coloured_lines(axes: Any) -> Any:
    return axes.add_collection(LineCollection([[(0, 0), (1, 1)], [(1, 1), (2, 0)]], array=[0.0, 1.0]))


def _colours(**extremes: str) -> Any:
    return plt.get_cmap("viridis").with_extremes(**extremes)


def _dated(days: list[dt.datetime]) -> Any:
    figure, axes = plt.subplots()
    zone = zoneinfo.ZoneInfo("America/New_York")
    axes.plot([day.replace(tzinfo=zone) for day in days], range(len(days)))
    return figure


@pytest.mark.parametrize(
    "make",
    [
        _with(lambda f, a: a.pie([1, 2])),
        _with(lambda f, a: None, subplot_kw={"projection": "polar"}),
        _with(lambda f, a: None, subplot_kw={"projection": "3d"}),
        _with(lambda f, a: a.set_title("$x^2$")),
        _with(lambda f, a: a.contourf(RANDOM.random((5, 5)))),
        _with(lambda f, a: a.set_yscale("symlog")),
        _with(lambda f, a: a.annotate("x", (1, 1), xytext=(0, 0), arrowprops={})),
        _with(lambda f, a: a.bar([1], [1], hatch="/")),
        _with(lambda f, a: a.quiver([1], [1], [1], [1])),
        _with(lambda f, a: a.legend(handles=[plt.Line2D([], [], color="r", label="other")])),
        _with(lambda f, a: (a.plot([3, 4], "C0"), a.legend(["which"]))),
        _with(lambda f, a: (a.plot([3, 4], "r"), a.legend([tuple(a.lines)], ["both"]))),
        _with(lambda f, a: a.legend([a.bar([1, 2], [1, 2], color=["r", "g"])[1]], ["green"])),
        _with(lambda f, a: (a.lines[0].set(label="gone", visible=False), a.legend())),
        _with(lambda f, a: a.legend(*_points(a).legend_elements())),
        _with(lambda f, a: a.inset_axes([0.5, 0.5, 0.3, 0.3]).plot([1])),
        _with(lambda f, a: a.imshow(RANDOM.random((3, 3)) + 0.1, norm=LogNorm())),
        _with(lambda f, a: a.imshow(RANDOM.random((3, 3)), interpolation="bilinear")),
        _with(lambda f, a: a.plot([1, 2], marker="$A$")),
        _with(lambda f, a: a.spines["left"].set_position("zero")),
        _with(lambda f, a: a.text(0.5, 0.5, "x", transform=f.transFigure)),
        _with(lambda f, a: f.add_artist(plt.Line2D([0, 1], [0, 1]))),
        _with(lambda f, a: a.plot(numpy.zeros(1_000_001))),
        _with(lambda f, a: f.colorbar(a.hexbin(RANDOM.random(50), RANDOM.random(50), gridsize=5))),
        _with(lambda f, a: a.hexbin(RANDOM.random(50), RANDOM.random(50), gridsize=5)),
        _with(lambda f, a: f.colorbar(_coloured_lines(a))),
        _with(lambda f, a: f.colorbar(plt.cm.ScalarMappable(), ax=a)),
        _with(lambda f, a: f.colorbar(_points(a)).ax.axhline(1)),
        _with(lambda f, a: f.colorbar(_points(a)).ax.invert_yaxis()),
        _with(lambda f, a: f.colorbar(_points(a)).ax.set_xlabel("below")),
        _with(lambda f, a: f.colorbar(_points(a)).ax.yaxis.set_ticks_position("left")),
        _with(lambda f, a: f.colorbar(_points(a), boundaries=[0, 1, 2])),
        _with(lambda f, a: a.imshow([[0, 1], [2, 3]], vmin=1, cmap=_colours(under="red"))),
        _with(lambda f, a: a.imshow([[0, 1], [2, 3]], vmax=1, cmap=_colours(over="red"))),
        _with(lambda f, a: a.imshow([[0, 1], [2, numpy.nan]], cmap=_colours(bad="red"))),
        _with(lambda f, a: (a.minorticks_on(), a.grid(True, which="minor"))),
        _with(lambda f, a: a.plot([1, 2], "--", gapcolor="red")),
        _with(lambda f, a: (a.set_xlim(0, 2), a.text(-0.01, 1, "cut off", clip_on=True))),
        _with(lambda f, a: a.tick_params(labelright=True)),
        _with(lambda f, a: (a.xaxis.tick_top(), a.set_xlabel("below"))),
        lambda: _dated([dt.datetime(2026, 3, 7), dt.datetime(2026, 3, 9)]),
        plt.figure,
    ],
)
def test_what_can_not_be_drawn_the_same_is_refused(make: Callable[[], Any]) -> None:
    """A figure with anything that plotly would show otherwise stays a picture; a reason is given."""
    figure = make()
    assert matplotlib_figures.picture_of(figure)[0].startswith(b"\x89PNG")
    with pytest.raises(Unfaithful) as caught:
        matplotlib_figures.convert(figure)
    assert str(caught.value)
    assert matplotlib_figures.interactive_of(figure) is None


def test_hidden_parts_are_left_out() -> None:
    """Invisible artists and axes are not shown, nor a frame that is off."""
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2])[0].set_visible(False)
    left.plot([3, 4])
    left.axis("off")
    right.set_visible(False)
    found = converted(figure)
    assert [trace["y"] for trace in found["data"]] == [[3, 4]]
    assert found["layout"]["xaxis"]["visible"] is False
    assert "xaxis2" not in found["layout"]


@pytest.mark.parametrize(("inches", "dpi", "size"), [(60, 100, 2000), (4, 100, 600), (4, 300, 1200)])
def test_the_picture_is_bounded(inches: int, dpi: int, size: int) -> None:
    """However large a figure is, its picture has four million pixels at most; others have their own resolution."""
    data, _ = matplotlib_figures.picture_of(plt.figure(figsize=(inches, inches), dpi=dpi))
    with PIL.Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (size, size)


def test_the_picture_says_no_warnings(recwarn: pytest.WarningsRecorder) -> None:
    """What drawing it warns of is said, or raised, when the script draws; what has been said is not said again."""
    _, axes = plt.subplots()
    axes.set_title("\u4f60")
    warnings.simplefilter("error")
    picture, _ = matplotlib_figures.picture_of(axes.figure)
    matplotlib_figures.interactive_of(axes.figure)
    with pytest.raises(UserWarning, match="Glyph"):
        axes.figure.savefig(io.BytesIO())
    warnings.simplefilter("default")
    known = list(warnings.filters)
    for _ in range(2):
        warnings.warn("once", UserWarning, stacklevel=1)
        assert matplotlib_figures.picture_of(axes.figure)[0] == picture
        with ThreadPoolExecutor(1) as pool, without_warnings():
            pool.submit(warnings.warn, "elsewhere", UserWarning).result()
    assert list(warnings.filters) == known
    assert [str(said.message) for said in recwarn] == ["once", "elsewhere"]


def test_what_counts_as_a_figure() -> None:
    """A figure, its axes, a grid that has one, and pyplot itself; nothing else."""
    figure, axes = plt.subplots()

    class Grid:
        fig = figure

    assert [matplotlib_figures.figure_of(source) for source in (figure, axes, Grid(), plt)] == [figure] * 4
    with pytest.raises(InvalidValueError):
        matplotlib_figures.figure_of("figure")
