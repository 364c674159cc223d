"""What the logger takes, the task gives back: at once, whole, unaltered."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pandas
import PIL.Image
import pytest

from localtrack import Logger, Task
from localtrack.errors import InvalidValueError, UsageError


def test_scalars_come_back_exactly(task: Task) -> None:
    """Values are there before and after close(), NaN and infinities included."""
    values = [0.1, math.inf, -math.inf, 1e-300, 3.0]
    for step, value in enumerate(values):
        task.get_logger().report_scalar("t", "s", value, step)
    task.get_logger().report_scalar("t", "nan", math.nan, 2**40)
    for _ in range(2):
        found = task.get_reported_scalars()
        assert found["t"]["s"] == {"name": "s", "x": [0, 1, 2, 3, 4], "y": values}
        assert math.isnan(found["t"]["nan"]["y"][0])
        assert found["t"]["nan"]["x"] == [2**40]
        task.close()
    last = task.get_last_scalar_metrics()
    assert last["t"]["s"] == {"last": 3.0, "min": -math.inf, "max": math.inf}
    assert math.isnan(last["t"]["nan"]["last"])


def test_numpy_numbers(task: Task) -> None:
    """Numpy's scalars are numbers, its integers are iterations, whole floats too."""
    task.get_logger().report_scalar("t", "s", numpy.float32(0.5), numpy.int64(3))
    task.get_logger().report_scalar("t", "s", 1, 4.0)  # type: ignore[arg-type]
    assert task.get_reported_scalars()["t"]["s"] == {"name": "s", "x": [3, 4], "y": [0.5, 1.0]}


@pytest.mark.parametrize(("value", "step"), [("x", 1), (None, 1), (1.0, "y"), (1.0, 2**63), (1.0, math.nan)])
def test_no_number_is_an_error(task: Task, value: object, step: object) -> None:
    """Something that is no number is named with its graph, and nothing is stored."""
    with pytest.raises((ValueError, TypeError)):
        task.get_logger().report_scalar("t", "s", value, step)  # type: ignore[arg-type]
    assert task.get_reported_scalars().get("t", {}).get("s", {"y": []})["y"] == []


def test_out_of_order_iterations(task: Task) -> None:
    """Points are read in the order of their iterations; equal ones keep their order."""
    for step, value in ((5, 1.0), (1, 2.0), (5, 3.0), (3, 4.0)):
        task.get_logger().report_scalar("t", "s", value, step)
    expected = {"name": "s", "x": [1, 3, 5, 5], "y": [2.0, 4.0, 1.0, 3.0]}
    for _ in range(2):
        assert task.get_reported_scalars()["t"]["s"] == expected
        assert task.get_last_scalar_metrics()["t"]["s"] == {"last": 3.0, "min": 1.0, "max": 4.0}
        assert task.get_last_iteration() == 5
        task.close()


def test_no_iteration_is_the_first(task: Task) -> None:
    """An iteration of None is 0, as with ClearML; what is no number is named with its graph."""
    task.set_initial_iteration(7)
    task.get_logger().report_scalar("t", "s", 1.0, None)
    with pytest.raises(ValueError, match=r"'t'/'s': the iteration must be an integer, not '5'"):
        task.get_logger().report_scalar("t", "s", 1.0, "5")  # type: ignore[arg-type]
    assert task.get_reported_scalars()["t"]["s"]["x"] == [7]


def test_single_values(task: Task) -> None:
    """Single values have a table of their own; the last one counts."""
    task.get_logger().report_single_value("acc", 0.5)
    task.get_logger().report_single_value("acc", 0.75)
    assert task.get_reported_single_values() == {"acc": 0.75}
    assert task.get_reported_single_value("nothing") is None
    assert task.get_reported_scalars() == {}
    assert task.get_last_iteration() == 0


def test_thinning_keeps_the_extremes(task: Task) -> None:
    """max_samples is only a view: it keeps lows and highs, and the store keeps all."""
    for step in range(1000):
        task.get_logger().report_scalar("t", "s", 100.0 if step == 512 else float(step % 7), step)
    thin = task.get_reported_scalars(max_samples=50)["t"]["s"]
    assert len(thin["x"]) <= 50
    assert max(thin["y"]) == 100.0
    assert len(task.get_all_reported_scalars()["t"]["s"]["x"]) == 1000


def test_many_series(task: Task) -> None:
    """There is no limit on titles or series."""
    for number in range(3000):
        task.get_logger().report_scalar(f"title {number // 3}", f"series {number % 3}", number, 0)
    task.close()
    assert sum(len(series) for series in task.get_reported_scalars().values()) == 3000


def test_plots(task: Task) -> None:
    """Confusion matrix, table and plotly figure come back as plotly figures with titles that plotly.js shows."""
    log = task.get_logger()
    log.report_confusion_matrix("cm", "test", [[5, 1], [0, 7]], 3, xlabels=["a", "b"], ylabels=["a", "b"], xaxis="pred")
    log.report_table("tab", "x", 1, table_plot=[["h1", "h2"], [1, math.nan]])
    figure = {"data": [{"type": "scatter", "y": [1, None]}], "layout": {"title": {"text": "mine"}, "colorway": ["red"]}}
    log.report_plotly("fig", "y", figure, 2)
    plots = {plot["metric"]: plot for plot in task.get_reported_plots()}
    assert plots["cm"]["plot"]["data"][0]["z"] == [[5, 1], [0, 7]]
    assert plots["cm"]["plot"]["layout"]["title"] == {"text": "cm"}
    assert plots["cm"]["iter"] == 3
    assert plots["tab"]["plot"]["data"][0]["cells"]["values"] == [[1], ["nan"]]
    assert plots["fig"]["plot"] == figure


def test_table_sources(task: Task, tmp_path: Path) -> None:
    """A DataFrame, a CSV file; none or two sources are refused."""
    pandas = pytest.importorskip("pandas")
    log = task.get_logger()
    log.report_table("df", "s", table_plot=pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    log.report_table("csv", "s", csv=str(tmp_path / "t.csv"))
    plots = {plot["metric"]: plot["plot"]["data"][0] for plot in task.get_reported_plots()}
    assert plots["df"]["cells"]["values"] == [[1, 2], ["x", "y"]]
    assert plots["csv"]["header"]["values"] == ["a", "b"]
    with pytest.raises(UsageError):
        log.report_table("none", "s")


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (8, 6, 3), (8, 6, 4)])
def test_images(task: Task, shape: tuple[int, ...]) -> None:
    """Arrays of every shape are stored as PNG that shows the same pixels."""
    pixels = numpy.random.default_rng(0).integers(0, 255, shape).astype("uint8")
    task.get_logger().report_image("img", "s", 1, image=pixels)
    task.get_logger().report_image("img", "s", 2, image=pixels.astype("float64") / 255)
    first, second = task.get_debug_samples("img", "s")
    for sample in (first, second):
        with PIL.Image.open(sample["url"]) as image:
            shown = numpy.asarray(image)
        assert numpy.abs(shown.astype(int) - pixels.reshape(shown.shape).astype(int)).max() <= 1
    assert [first["iteration"], second["iteration"]] == [1, 2]


def test_media(task: Task, tmp_path: Path) -> None:
    """Files, streams and URLs; a stream needs its extension; the user's file stays."""
    (tmp_path / "page.html").write_text("<b>x</b>")
    log = task.get_logger()
    log.report_media("m", "s", 0, local_path=str(tmp_path / "page.html"))
    log.report_media("m", "s", 1, stream="text", file_extension="txt")
    log.report_media("m", "s", 2, url="https://example.org/a.mp4")
    log.report_media("m", "bytes", 0, stream=b"raw", file_extension=".bin")
    assert Path(task.get_debug_samples("m", "bytes")[0]["url"]).read_bytes() == b"raw"
    samples = task.get_debug_samples("m", "s")
    assert Path(samples[0]["url"]).read_text() == "<b>x</b>"
    assert Path(samples[1]["url"]).read_text() == "text"
    assert samples[2]["url"] == "https://example.org/a.mp4"
    assert (tmp_path / "page.html").exists()
    with pytest.raises(ValueError, match="file_extension"):
        log.report_media("m", "s", stream="x")


def test_text(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    """report_text goes to the task's console and is printed, unless told not to."""
    task.get_logger().report_text("one\ntwo")
    task.get_logger().report_text("hidden", print_console=False)
    assert task.get_reported_console_output(0) == ["one", "two", "hidden"]
    assert task.get_reported_console_output(2) == ["two", "hidden"]
    assert capsys.readouterr().out == "one\ntwo\n"


def test_console_is_captured_once(start: object, capsys: pytest.CaptureFixture[str]) -> None:
    """print, stderr and progress bars reach the console log, bars in their last state."""
    import sys

    task: Task = start(auto_connect_streams=True)  # type: ignore[operator]
    print("hello")
    sys.stdout.write("10%\r50%\r100%\n")
    print("to stderr", file=sys.stderr)
    task.get_logger().report_text("reported")
    task.close()
    print("after")
    assert task.get_reported_console_output(0) == ["hello", "100%", "to stderr", "reported"]
    assert capsys.readouterr().out == "hello\n10%\r50%\r100%\nreported\nafter\n"


@pytest.mark.parametrize("logging_on", [True, False])
def test_logging_alone(start: object, logging_on: bool) -> None:
    """Logging can be captured without the streams, and left out beside them."""
    import logging
    import sys

    log = logging.getLogger("alone")
    handler = logging.StreamHandler(sys.stderr)
    log.addHandler(handler)
    try:
        streams = {"logging": logging_on, "stdout": False, "stderr": False}
        task: Task = start(auto_connect_streams=streams)  # type: ignore[operator]
        log.warning("logged")
        print("printed")
        task.close()
        log.warning("after")
    finally:
        log.removeHandler(handler)
    assert task.get_reported_console_output(0) == (["logged"] if logging_on else [])


def test_late_reports_to_an_ended_task(task: Task) -> None:
    """A later evaluation adds points to an ended task; its status stays, a published one refuses."""
    task.get_logger().report_scalar("t", "s", 1.0, 0)
    task.close()
    again = Task.get_task(task_id=task.id)
    assert again is not None
    again.get_logger().report_scalar("eval", "s", 2.0, 0)
    again.close()
    assert again.status == "completed"
    assert again.get_reported_scalars()["eval"]["s"]["y"] == [2.0]
    assert again.get_reported_scalars()["t"]["s"]["y"] == [1.0]
    again.publish()
    final = Task.get_task(task_id=task.id)
    assert final is not None
    with pytest.raises(UsageError, match="published"):
        final.get_logger().report_scalar("eval", "s", 3.0, 1)


def test_current_logger(task: Task) -> None:
    """Logger.current_logger reports to the running task."""
    log = Logger.current_logger()
    assert log is not None
    log.report_scalar("t", "s", 1.0, 0)
    assert task.get_reported_scalars()["t"]["s"]["y"] == [1.0]


def test_an_unknown_axis_is_named(task: Task) -> None:
    """Of the axes of curves there are three; another one is no time."""
    with pytest.raises(InvalidValueError, match="no x_axis 'time': use one of iter, timestamp, iso_time"):
        task.get_reported_scalars(x_axis="time")


def test_a_series_is_no_table(task: Task) -> None:
    """What is no table is named as what it was given."""
    with pytest.raises(InvalidValueError, match="not a Series"):
        task.get_logger().report_table("t", "s", 0, table_plot=pandas.Series([1, 2]))  # type: ignore[arg-type]
