"""What report_* stores is a plotly figure that reads back with every value, and shows its title."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import jsonschema
import numpy
import pandas
import plotly.io
import pytest

from localtrack import Logger, Task
from localtrack.errors import InvalidValueError, UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/format/schemas/plot.schema.json").read_text())
POINTS = numpy.array([[0.0, 1.0], [1.0, math.nan], [2.0, math.inf]])


def stored(task: Task) -> list[dict[str, Any]]:
    """Return the plots' records as they lie on disk, checked against the format."""
    bodies = [json.loads(path.read_text()) for path in sorted(task._where().glob("plots/*.json"))]
    for body in bodies:
        jsonschema.validate(body, SCHEMA)
    return bodies


def report_all(log: Logger) -> list[str]:
    """Report one plot of every kind; return their titles in the order of reporting."""
    log.report_scatter2d(
        "scatter2d", "s", POINTS, 1, xaxis="x", yaxis="y", labels=["a", "b", "c"], mode="lines+markers"
    )
    log.report_scatter3d("scatter3d", "s", [[0, 1, 2], [3, 4, 5]], 1, xaxis="x", yaxis="y", zaxis="z", fill=True)
    log.report_histogram("histogram", "s", [1, 2, 3], 1, xaxis="x", yaxis="y", xlabels=["p", "q", "r"])
    log.report_confusion_matrix(
        "matrix", "s", numpy.eye(2), 1, xaxis="x", yaxis="y", xlabels=["a", "b"], ylabels=["c", "d"]
    )
    log.report_surface("surface", "s", numpy.eye(3), 1, xaxis="x", yaxis="y", zaxis="z", camera=(1, 2, 1))
    log.report_table("table", "s", 1, table_plot=[["h", "i"], [1, math.nan]])
    log.report_plotly("plotly", "s", {"data": [{"y": [1, None]}], "layout": {"title": "bare"}}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        log.report_line_plot(
            "line", [Logger.SeriesInfo("a", POINTS), {"name": "b", "data": POINTS}], "x", "y", iteration=1
        )  # type: ignore[list-item]
        log.report_vector("vector", "s", [1, 2], 1)
        log.report_matrix("old matrix", "s", numpy.eye(2), 1)
    return [
        "scatter2d",
        "scatter3d",
        "histogram",
        "matrix",
        "surface",
        "table",
        "plotly",
        "line",
        "vector",
        "old matrix",
    ]


def test_every_kind_is_stored(task: Task) -> None:
    """Each plot is a valid record, a figure that plotly takes, and has its title; nothing is lost on the way."""
    titles = report_all(task.get_logger())
    bodies = stored(task)
    assert [body["title"] for body in bodies] == titles
    assert {body["iteration"] for body in bodies} == {1}
    for plot in task.get_reported_plots():
        figure = plotly.io.from_json(json.dumps(plot["plot"]))
        assert figure.layout.title.text == ("bare" if plot["metric"] == "plotly" else plot["metric"])
    assert bodies[-3]["series"] == ""


def test_numbers_in_the_file(task: Task) -> None:
    """NaN and infinities are values of the format on disk, strict JSON, and floats again when read."""
    task.get_logger().report_scatter2d("t", "s", POINTS)
    assert stored(task)[0]["figure"]["data"][0]["y"] == [1.0, {"$float": "nan"}, {"$float": "inf"}]
    assert str(task.get_reported_plots()[0]["plot"]["data"][0]["y"]) == "[1.0, nan, inf]"


def run(code: str, folder: Path) -> str:
    """Run a script with a store of its own; return what it printed."""
    environment = {**os.environ, "LOCALTRACK_ROOT": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plotly_is_never_imported(tmp_path: Path) -> None:
    """Reporting plots loads neither plotly nor matplotlib, pandas or numpy."""
    code = (
        "import sys; from localtrack import Task\n"
        "task = Task.init('p', 'n', auto_connect_streams=False, auto_resource_monitoring=False)\n"
        "log = task.get_logger()\n"
        "log.report_scatter2d('t', 's', [(0, 1), (1, 2)])\n"
        "log.report_surface('t', 's', [[1, 2], [3, 4]])\n"
        "log.report_table('t', 's', table_plot=[['a'], [1]])\n"
        "print([m for m in ('plotly', 'matplotlib', 'pandas', 'numpy', 'fsspec') if m in sys.modules])"
    )
    assert run(code, tmp_path).strip().endswith("[]")


def test_the_how_to_runs(tmp_path: Path) -> None:
    """The example of docs/how-to/plots.md does what it says."""
    page = (Path(__file__).parents[2] / "docs/how-to/plots.md").read_text()
    run(page.partition("```python\n")[2].partition("```")[0], tmp_path)
    assert len(list(tmp_path.rglob("plots/*.json"))) == 6
    assert len(list(tmp_path.rglob("media/*.html"))) == 1


@pytest.mark.parametrize("name", ["../../x", "a/b/c", "é 🚀", "", "x" * 5000, "\ud800", "<b>", "\n"])
def test_names_are_data(task: Task, name: str) -> None:
    """Titles and series are any text, whole; none of it becomes a path."""
    task.get_logger().report_scatter2d(name, name, [[0, 1]])
    task.get_logger().report_image(name, name, image=numpy.zeros((2, 2), "uint8"))
    (plot,) = task.get_reported_plots()
    assert (plot["metric"], plot["variant"]) == (name, name)
    (sample,) = task.get_debug_samples(name, name)
    assert Path(sample["url"]).parent == task._where() / "media"


def test_the_same_again_is_kept(task: Task) -> None:
    """The same title, series and iteration twice: both stay, in their order, and the last is the current one."""
    for value in (1, 2):
        task.get_logger().report_histogram("t", "s", [value], 3)
    assert [plot["plot"]["data"][0]["y"] for plot in task.get_reported_plots()] == [[1], [2]]


def test_offset_of_iterations(task: Task) -> None:
    """Plots and media follow the task's initial iteration, and none given is 0."""
    task.set_initial_iteration(100)
    task.get_logger().report_histogram("t", "s", [1], 3)
    task.get_logger().report_histogram("t", "s", [1])
    task.get_logger().report_media("m", "s", stream="x", file_extension="txt")
    assert [plot["iter"] for plot in task.get_reported_plots()] == [103, 100]
    assert task.get_debug_samples("m", "s")[0]["iteration"] == 100


def test_deprecated_names_say_so(task: Task) -> None:
    """ClearML's older names work and warn, naming what to use."""
    with pytest.warns(DeprecationWarning, match="report_histogram"):
        task.get_logger().report_vector("t", "s", [1])
    with pytest.warns(DeprecationWarning, match="report_confusion_matrix"):
        task.get_logger().report_matrix("t", "s", [[1]])  # type: ignore[arg-type]
    with pytest.warns(DeprecationWarning, match="report_scatter2d"):
        task.get_logger().report_line_plot("t", [], "x", "y")
    with pytest.warns(DeprecationWarning, match="image"):
        task.get_logger().report_image("t", "s", matrix=numpy.zeros((2, 2), "uint8"))


def test_tables_of_files(task: Task, tmp_path: Path) -> None:
    """A CSV file by path or file URL is read; a remote one is noted, not fetched; what can't be read is named."""
    path = tmp_path / "tä ble.csv"
    path.write_text('id,name\n007,"a, b"\n1e5,\n', encoding="utf-8-sig")
    log = task.get_logger()
    log.report_table("path", "s", csv=str(path))
    log.report_table("file", "s", url=path.as_uri())
    log.report_table("remote", "s", url="https://example.org/t.csv?a=1&b=<2>")
    log.report_table(
        "kept", "s", table_plot=pandas.DataFrame({"a": [1]}), extra_data={"columnwidth": [5]}, extra_layout={"width": 9}
    )
    plots = {plot["metric"]: plot["plot"] for plot in task.get_reported_plots()}
    for title in ("path", "file"):
        assert plots[title]["data"][0]["header"]["values"] == ["id", "name"]
        assert plots[title]["data"][0]["cells"]["values"] == [["007", "1e5"], ["a, b", ""]]
    bodies = {body["title"]: body for body in stored(task)}
    assert bodies["remote"]["table"] == {"url": "https://example.org/t.csv?a=1&b=<2>"}
    assert "b=&lt;2&gt;" in plots["remote"]["data"][0]["cells"]["values"][0][0]
    assert {body["kind"] for body in bodies.values()} == {"table"}
    assert plots["kept"]["data"][0]["columnwidth"] == [5]
    assert plots["kept"]["layout"]["width"] == 9
    with pytest.raises(InvalidValueError, match="no such"):
        log.report_table("t", "s", csv=str(tmp_path / "no such.csv"))
    with pytest.raises(UsageError):
        log.report_table("t", "s", csv=str(path), url="x.csv")


def test_wrong_shapes_store_nothing(task: Task) -> None:
    """A call that is refused leaves nothing behind."""
    with pytest.raises(InvalidValueError):
        task.get_logger().report_scatter2d("t", "s", [[1, 2, 3]])  # type: ignore[list-item]
    with pytest.raises(InvalidValueError):
        task.get_logger().report_surface("t", "s", [1, 2])  # type: ignore[arg-type]
    assert task.get_reported_plots() == []
