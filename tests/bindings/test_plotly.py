"""Figures that plotly shows and writes, as plots of the task."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly import offline
from plotly.io import _kaleido
from plotly.io.base_renderers import ExternalRenderer

from localtrack.testing.bindings import BindingContract

RENDERER = "localtrack-test"
WITHOUT_BROWSER = {"PATH": "", "PYTHONUNBUFFERED": "1"}
SCRIPT = """
    import sys
    if "with-task" in sys.argv:
        from localtrack import Task
        task = Task.init("p", "n", auto_resource_monitoring=False)
    assert "plotly" not in sys.modules
    import plotly.graph_objects as go
    go.Figure(go.Scatter(y=[1, 2]), layout_title_text="Shown").show()
    print("went on")
    if "with-task" in sys.argv:
        print([(plot["metric"], plot["variant"], plot["iter"]) for plot in task.get_reported_plots()])
"""


class Quiet(ExternalRenderer):
    """Shows nothing; like plotly's own renderers for frames and galleries, it writes a file to show."""

    file = ""

    def render(self, figure) -> None:
        """Write the figure's file."""
        pio.write_html(figure, self.file)


@pytest.fixture(autouse=True)
def quiet(tmp_path):
    """Show figures where nobody sees them."""
    before = pio.renderers.default
    Quiet.file = str(tmp_path / "renderer's.html")
    pio.renderers[RENDERER] = Quiet()
    pio.renderers.default = RENDERER
    yield
    pio.renderers.default = before


@pytest.fixture
def images(monkeypatch):
    """Write images without the browser that draws them."""
    monkeypatch.setattr(_kaleido, "kaleido_available", lambda: True, raising=False)
    monkeypatch.setattr(_kaleido, "to_image", lambda *args, **kwargs: b"a picture")


class TestContract(BindingContract):
    """The contract of every binding."""

    binding = "localtrack.bindings.plotly"

    def use(self, folder: Path) -> None:
        """Show one figure and write another."""
        figure("Shown").show()
        figure("Written").write_html(folder / "figure.html")

    def count(self, task) -> int:
        """Count plots."""
        return len(task.get_reported_plots())


def figure(title: str | None = None, last: float = 2) -> go.Figure:
    """Return a figure."""
    return go.Figure(go.Scatter(y=[1, last]), layout_title_text=title)


def titles(task) -> list[str]:
    """Return the titles of the plots, in order."""
    return [plot["metric"] for plot in task.get_reported_plots()]


def test_each_way_to_show_or_write_is_one_plot(start, tmp_path, images):
    """One call of the script is one plot, whichever functions of plotly's call each other."""
    task = start()
    calls = [
        lambda: figure("a").show(),
        lambda: pio.show(figure("b")),
        lambda: figure("c").write_html(tmp_path / "c.html"),
        lambda: pio.write_html(figure("d"), file=str(tmp_path / "d.html")),
        lambda: figure("e").write_image(tmp_path / "e.png"),
        lambda: pio.write_image(fig=figure("f"), file=tmp_path / "f.png"),
        lambda: import_module("plotly.io.kaleido").write_image(figure("g"), tmp_path / "g.png"),
        lambda: offline.plot(figure("h"), filename=str(tmp_path / "h.html"), auto_open=False),
    ]
    for number, call in enumerate(calls, 1):
        call()
        assert titles(task) == list("abcdefgh"[:number])
    assert {plot["variant"] for plot in task.get_reported_plots()} == {"plot"}
    assert {path.name for path in tmp_path.glob("?.*")} == {"c.html", "d.html", "e.png", "f.png", "g.png", "h.html"}
    assert Path(Quiet.file).exists()
    assert task.capture_errors == ()


def test_the_figure_itself_is_kept(start):
    """What is kept is the figure with all its values, and its title as an object."""
    task = start()
    figure("Kept", last=7.5).show()
    (plot,) = task.get_reported_plots()
    assert go.Figure(plot["plot"]).data[0].y[1] == 7.5
    assert plot["plot"]["layout"]["title"] == {"text": "Kept"}


def test_dicts_are_figures_too(start, tmp_path):
    """plotly.io takes figures as dicts, also with traces and layouts of plotly's in them."""
    task = start()
    pio.write_html({"data": [go.Scatter(y=[3, 4])], "layout": go.Layout(title="Mixed")}, tmp_path / "x.html")
    pio.show({"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"title": "Bare"}}, validate=False)
    assert titles(task) == ["Mixed", "Bare"]
    assert go.Figure(task.get_reported_plots()[0]["plot"]).data[0].y == (3, 4)


def test_a_title_comes_from_the_figure_or_its_file(start, tmp_path):
    """The figure's own title goes first, then its file's name; without either it is plotly's."""
    task = start()
    figure().write_html(tmp_path / "roc.curve.html")
    figure().show()
    figure("Own").write_html(tmp_path / "own.html")
    assert titles(task) == ["roc.curve", "plotly", "Own"]


def test_consecutive_figures_are_not_merged(start, tmp_path):
    """The same title again in one iteration is numbered; in the next iteration it may come again as it is."""
    task = start()
    for step in range(2):
        task.get_logger().report_scalar("loss", "train", 1.0, step)
        for last in (2, 3):
            figure("Curve", last).show()
    plots = task.get_reported_plots()
    assert [(plot["metric"], plot["iter"]) for plot in plots] == [
        ("Curve", 0), ("Curve/1", 0), ("Curve", 1), ("Curve/1", 1),
    ]  # fmt: skip


def test_figures_of_both_libraries_are_told_apart(start, tmp_path):
    """A figure of matplotlib with the same title does not take the place of one of plotly's."""
    from matplotlib.figure import Figure

    task = start()
    other = Figure()
    other.subplots().set_title("Loss")
    other.savefig(tmp_path / "loss.png")
    figure("Loss").show()
    assert titles(task) == ["Loss", "Loss/1"]


def test_buffers_are_not_reported(start):
    """A figure that a library writes into a buffer of its own is none of the task's."""
    task = start()
    figure("Buffered").write_html(io.StringIO())
    assert titles(task) == []


def test_a_call_that_fails_fails_as_before(start, tmp_path):
    """What plotly raises reaches the script, a figure that was not written is not reported, and the next one is."""
    task = start()
    with pytest.raises(FileNotFoundError):
        figure("Nowhere").write_html(tmp_path / "none" / "x.html")
    with pytest.raises(ValueError, match="fig"):
        pio.show(3)
    figure("Next").write_html(tmp_path / "x.html")
    assert titles(task) == ["Next"]
    assert task.capture_errors == ()


def test_figures_reported_by_hand_are_not_reported_again(start, tmp_path):
    """Showing what the script has reported itself adds nothing, until the figure changes."""
    task = start()
    own = go.Figure(go.Scatter(y=np.array([1.0, np.nan])), layout_title_text="Own")
    task.get_logger().report_plotly("By hand", "figure", own, iteration=3)
    own.show()
    own.write_html(tmp_path / "own.html")
    assert titles(task) == ["By hand"]
    own.add_scatter(y=[3, 4])
    own.show()
    assert titles(task) == ["By hand", "Own"]


@pytest.mark.skipif(not hasattr(_kaleido, "write_images"), reason="this plotly has no write_images")
def test_several_images_at_once(start, tmp_path, monkeypatch):
    """Each figure of one write_images is a plot, by its own title or its own file."""

    def write(fig, file):
        for path in file:
            Path(path).write_bytes(b"a picture")

    monkeypatch.setattr(_kaleido, "write_images", write)
    task = start()
    pio.write_images([figure("One"), figure()], [tmp_path / "one.png", tmp_path / "two.png"])
    pio.write_images(figure("Three"), file=[tmp_path / "three.png", tmp_path / "three.svg"])
    assert titles(task) == ["One", "two", "Three"]


@pytest.mark.parametrize("choice", [False, {}, {"plotly": False}])
def test_it_can_be_switched_off(start, choice):
    """Nothing is hooked when auto_connect_frameworks says so."""
    before = pio.show
    task = start(auto_connect_frameworks=choice)
    assert pio.show is before
    figure("Off").show()
    assert titles(task) == []


@pytest.mark.parametrize("first", ["plotly.io._html", "localtrack"])
def test_no_module_keeps_what_it_imported_by_name(first, tmp_path):
    """Plotly's modules have names of each other: all are what they were once the task is closed, whichever came first."""
    script = f"""
        import {first}
        from localtrack import Task
        task = Task.init("p", "n", auto_resource_monitoring=False)
        import plotly.io as pio, plotly.io.kaleido
        import plotly.io._renderers, plotly.io._html, plotly.io._kaleido, plotly.io._base_renderers
        assert hasattr(pio.write_html, "__wrapped__")
        task.close()
        modules = [pio._renderers, pio._html, pio._kaleido, pio._base_renderers, pio.kaleido]
        names = ["show", "write_html", "write_image", "write_images"]
        left = [(m.__name__, n) for m in modules for n in names if hasattr(getattr(m, n, None), "__wrapped__")]
        assert left == [], left
    """
    run(script, tmp_path)


def test_show_without_a_screen_is_what_it_was(tmp_path):
    """A script that shows a figure where there is no browser goes on just as without a task, and the figure is kept."""
    plain = run(SCRIPT, tmp_path)
    tracked = run(SCRIPT, tmp_path, "with-task")
    assert plain == "went on\n"
    assert tracked.splitlines()[-2:] == ["went on", "[('Shown', 'plot', 0)]"]


def run(script: str, folder: Path, *arguments: str) -> str:
    """Run a script in a process of its own, without any browser, and return what it printed."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        env={**WITHOUT_BROWSER, "LOCALTRACK_ROOT": str(folder / "store"), "HOME": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
