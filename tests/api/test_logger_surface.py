"""What the logger is told is kept, where the captures look for it; numbers stay unless the script says otherwise."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator

import numpy
import pytest

from localtrack import Logger, Task
from localtrack.runtime import binding_options, substitutes


@pytest.fixture
def clean() -> Iterator[None]:
    """What the whole process is told is taken back after the test."""
    yield
    substitutes.set_substitute("nan", None, 1000)
    substitutes.set_substitute("inf", None, 1000)
    Logger.tensorboard_auto_group_scalars(False)
    Logger.tensorboard_single_series_per_graph(False)
    Logger.matplotlib_force_report_non_interactive(False)


def test_one_logger_a_task(task: Task) -> None:
    """The task gives the same logger each time, so that its settings are found again."""
    assert task.get_logger() is task.get_logger() is task.logger is Logger.current_logger()


def test_numbers_stay_without_a_substitute(task: Task) -> None:
    """NaN and infinities are kept as long as nobody asks for something else."""
    for step, value in enumerate((math.nan, math.inf, -math.inf)):
        task.get_logger().report_scalar("t", "s", value, step)
    assert str(task.get_reported_scalars()["t"]["s"]["y"]) == "[nan, inf, -inf]"


@pytest.mark.usefixtures("clean")
def test_substitutes(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    """What stands for NaN and infinities is written from the call on, in a running task too, and can be undone."""
    log = task.get_logger()
    report = log.report_scalar
    report("t", "s", math.nan, 0)
    Logger.set_reporting_nan_value(-1.0, warn_period=2)
    for step in range(1, 5):
        report("t", "s", numpy.float32("nan"), step)
    report("t", "s", math.inf, 5)
    Logger.set_reporting_inf_value(9.0)
    report("t", "s", -math.inf, 6)
    report("t", "s", 0.25, 7)
    log.report_single_value("best", math.nan)
    with pytest.raises(ValueError, match="must be a number"):
        report("t", "s", "x", 8)  # type: ignore[arg-type]
    Logger.set_reporting_nan_value(math.nan)
    Logger.set_reporting_inf_value(math.inf)
    report("t", "s", math.nan, 9)
    assert str(task.get_reported_scalars()["t"]["s"]["y"]) == "[nan, -1.0, -1.0, -1.0, -1.0, inf, 9.0, 0.25, nan]"
    assert task.get_reported_single_values() == {"best": -1.0}
    warned = [record.message for record in caplog.records if "as the script asked" in record.message]
    assert len([text for text in warned if "nan" in text]) == 3  # the 1st, 3rd and 5th


@pytest.mark.usefixtures("clean")
def test_substitutes_of_many_points_at_once(task: Task) -> None:
    """They stand in points that a capture reports together as well, as rows or as columns."""
    session = task._session
    assert session is not None
    Logger.set_reporting_nan_value(-1.0)
    session.writer.scalars.report_many([("t", "s", math.nan, 0, 1), ("t", "s", 0.5, 1, 1)])
    session.writer.scalars.report_columns(
        [("t", "s", numpy.array([math.nan, 1.5]), numpy.array([2, 3]), numpy.array([1, 1]))]
    )
    assert task.get_reported_scalars()["t"]["s"]["y"] == [-1.0, 0.5, -1.0, 1.5]


@pytest.mark.usefixtures("clean")
def test_a_substitute_set_before_the_task(start: Callable[..., Task]) -> None:
    """A substitute holds for tasks that start later."""
    Logger.set_reporting_nan_value(0.0)
    task = start()
    task.get_logger().report_scalar("t", "s", math.nan, 0)
    assert task.get_reported_scalars()["t"]["s"]["y"] == [0.0]


@pytest.mark.usefixtures("clean")
def test_options_of_captures() -> None:
    """What the captures shall do is where they look for it."""
    found = lambda: (  # noqa: E731
        binding_options.tensorboard_auto_group_scalars,
        binding_options.tensorboard_single_series_per_graph,
        binding_options.matplotlib_non_interactive,
    )
    assert found() == (False, False, False)
    Logger.tensorboard_auto_group_scalars(True)
    Logger.tensorboard_single_series_per_graph(True)
    Logger.matplotlib_force_report_non_interactive(True)
    assert found() == (True, True, True)


def test_flush_period(task: Task) -> None:
    """The period is only a number that is kept; everything is written at once."""
    assert task.get_logger().get_flush_period() is None
    task.get_logger().set_flush_period(3)
    assert task.get_logger().get_flush_period() == 3.0
    assert task.get_logger().flush(wait=True) is True


def test_capture_logging(task: Task) -> None:
    """Within the context, records of logging reach the console, formatted as the root's handler does; after it, none."""
    root = logging.getLogger()
    handler = logging.StreamHandler(open("/dev/null", "w"))
    handler.setFormatter(logging.Formatter("<%(levelname)s> %(message)s"))
    root.addHandler(handler)
    before = list(root.handlers)
    try:
        logging.getLogger("a.b").warning("before")
        with task.get_logger().capture_logging():
            logging.getLogger("a.b").warning("one\ntwo")
        logging.getLogger("a.b").warning("after")
        assert root.handlers == before
    finally:
        root.removeHandler(handler)
        handler.stream.close()
    lines = task.get_reported_console_output(0)
    assert lines[-1] == "two"
    assert lines[-2].endswith("one")
    assert len(lines) == 2


def test_captured_streams_hold_records_once(start: Callable[..., Task]) -> None:
    """A record that a handler prints to a captured stream is not kept a second time."""
    import sys

    task = start(auto_connect_streams=True)
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    try:
        with task.get_logger().capture_logging():
            logging.getLogger("a").warning("said")
    finally:
        logging.getLogger().removeHandler(handler)
    assert task.get_reported_console_output(0) == ["said"]


def test_text_when_only_stderr_is_captured(start: Callable[..., Task], capsys: pytest.CaptureFixture[str]) -> None:
    """A reported text is in the console log whichever streams are captured."""
    task = start(auto_connect_streams={"stdout": False, "stderr": True, "logging": False})
    task.get_logger().report_text("%d of %d", logging.INFO, True, 1, 2)
    assert task.get_reported_console_output(0) == ["1 of 2"]
    assert capsys.readouterr().out == "1 of 2\n"
