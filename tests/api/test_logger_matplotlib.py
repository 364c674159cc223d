"""Reported matplotlib figures: a picture always, a plotly figure beside it where that shows the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import PIL.Image
import pytest

from localtrack import Logger, Task
from localtrack.errors import InvalidValueError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/format/schemas/plot.schema.json").read_text())


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures are closed, and what was forced is undone."""
    yield
    plt.close("all")
    Logger.matplotlib_force_report_non_interactive(False)


def line() -> Any:
    """Return a figure that plotly can show."""
    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    axes.set_title("mine")
    return figure


def pie() -> Any:
    """Return a figure that plotly would show otherwise."""
    figure, axes = plt.subplots()
    axes.pie([1, 2])
    return figure


def stored(task: Task) -> list[dict[str, Any]]:
    """Return the records, checked against the format and against their pictures."""
    bodies = [json.loads(path.read_text()) for path in sorted(task._where().glob("plots/*.json"))]
    for body in bodies:
        jsonschema.validate(body, SCHEMA)
        data = (task._where() / "plots" / body["image"]["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == body["image"]["sha256"]
        assert len(data) == body["image"]["size_bytes"]
    return bodies


def test_picture_and_figure(task: Task) -> None:
    """What plotly can show is kept twice, what it can't as a picture; readers get both, and a figure in any case."""
    task.get_logger().report_matplotlib_figure("t", "s", line(), 3)
    task.get_logger().report_matplotlib_figure("t", "pie", pie(), 3)
    first, second = stored(task)
    assert (first["kind"], first["figure"]["data"][0]["y"], first["iteration"]) == ("plotly", [1, 2, 3], 3)
    assert (second["kind"], "figure" in second) == ("image", False)
    plots = task.get_reported_plots()
    for plot in plots:
        with PIL.Image.open(plot["image"]) as image:
            assert image.width > 600
    assert plots[0]["plot"]["data"][0]["y"] == [1, 2, 3]
    assert plots[1]["plot"]["layout"]["images"][0]["source"] == plots[1]["image"]


def test_interactive_is_a_choice(task: Task) -> None:
    """report_interactive=False and the switch for the whole process leave the plotly figure out."""
    log = task.get_logger()
    log.report_matplotlib_figure("t", "s", line(), report_interactive=False)
    Logger.matplotlib_force_report_non_interactive(True)
    log.report_matplotlib_figure("t", "s", line())
    Logger.matplotlib_force_report_non_interactive(False)
    log.report_matplotlib_figure("t", "s", line())
    assert [body["kind"] for body in stored(task)] == ["image", "image", "plotly"]


def test_as_a_sample(task: Task) -> None:
    """report_image keeps the picture among the images, under the logger's limit, and makes no plot."""
    log = task.get_logger()
    log.set_default_debug_sample_history(1)
    for step in range(2):
        log.report_matplotlib_figure("t", "s", line(), step, report_image=True)
    (sample,) = task.get_debug_samples("t", "s")
    assert (sample["iteration"], sample["content_type"]) == (1, "image/png")
    assert task.get_reported_plots() == []


def test_pyplot_and_axes_stand_for_a_figure(task: Task) -> None:
    """pyplot, axes and the figure are all taken; anything else is refused."""
    figure = line()
    for source in (plt, figure.axes[0], figure):
        task.get_logger().report_matplotlib_figure("t", "s", source)
    assert len(stored(task)) == 3
    with pytest.raises(InvalidValueError):
        task.get_logger().report_matplotlib_figure("t", "s", "no figure")  # type: ignore[arg-type]


def test_a_figure_reported_by_hand_is_not_captured(start: Callable[..., Task], tmp_path: Path) -> None:
    """With the capture on, a figure that the script reports and saves is there once; one that it only saves, too."""
    task = start(auto_connect_frameworks={"matplotlib": True})
    figure = line()
    task.get_logger().report_matplotlib_figure("by hand", "s", figure, 1)
    figure.savefig(tmp_path / "a.png")
    line().savefig(tmp_path / "b.png")
    assert [(plot["metric"], bool(plot["plot"]["data"])) for plot in task.get_reported_plots()] == [
        ("by hand", True),
        ("mine", True),
    ]


def test_the_capture_follows_the_loggers_limit(start: Callable[..., Task], tmp_path: Path) -> None:
    """Pictures of shown images go where the logger was told that media go."""
    target = tmp_path / "elsewhere"
    task = start(auto_connect_frameworks={"matplotlib": True})
    task.get_logger().set_default_upload_destination(str(target))
    plt.imshow([[0, 1], [1, 0]])
    plt.title("shown")
    plt.savefig(tmp_path / "a.png")
    (sample,) = task.get_debug_samples("shown", "plot image")
    assert sample["url"].startswith(target.as_uri())
