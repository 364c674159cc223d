"""Bars that are drawn over: the log has what the terminal showed at last, and every printed line."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich import progress
from rich.console import Console

from localtrack.runtime import line_collector
from localtrack.runtime.line_collector import LineCollector
from localtrack.runtime.tee import ConsoleTee

COLOURS = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture
def lines():
    """What the log got."""
    return []


@pytest.fixture
def collector(lines):
    """A collector of one stream."""
    return LineCollector("o", lambda code, texts: lines.extend("\n".join(texts).split("\n")))


class Stream(io.StringIO):
    """A terminal whose text goes to a collector as it is written."""

    def __init__(self, collector):
        super().__init__()
        self._collector = collector

    def write(self, text):
        """Take it."""
        self._collector.feed(text)
        return super().write(text)


def rich_console(collector):
    """Return rich's console on a terminal."""
    return Console(file=Stream(collector), force_terminal=True, width=80, color_system="standard", legacy_windows=False)


def bar(console):
    """Return a progress that draws when it is told to."""
    return progress.Progress(
        progress.TextColumn("[green]{task.description}[/] {task.completed:.0f}"), console=console, auto_refresh=False
    )


@pytest.mark.parametrize("bars", [1, 2, 5])
def test_bars_of_rich_are_one_line_each(collector, lines, bars):
    """However often they are drawn, each bar leaves its last state, with its colours, between the lines around it."""
    console = rich_console(collector)
    console.print("before")
    with bar(console) as shown:
        ids = [shown.add_task(f"bar{number}", total=50) for number in range(bars)]
        for _ in range(50):
            for each in ids:
                shown.advance(each)
            shown.refresh()
    console.print("after")
    assert lines == ["before", *(f"\x1b[32mbar{number}\x1b[0m 50" for number in range(bars)), "after"]


def test_lines_printed_between_bars_are_kept_in_order(collector, lines):
    """What rich prints above its bars is in the log as soon as it is drawn again, each line once."""
    console = rich_console(collector)
    with bar(console) as shown:
        one, two = shown.add_task("one", total=3), shown.add_task("two", total=3)
        for number in range(3):
            shown.advance(one)
            shown.advance(two)
            console.print(f"step {number}")
            shown.refresh()
            assert [COLOURS.sub("", line) for line in lines] == [f"step {each}" for each in range(number + 1)]
    assert [COLOURS.sub("", line) for line in lines] == ["step 0", "step 1", "step 2", "one 3", "two 3"]


def test_bars_that_come_and_go(collector, lines):
    """A bar that is added later, one that is taken away, and a transient display leave what was shown at last."""
    console = rich_console(collector)
    with bar(console) as shown:
        one = shown.add_task("one", total=3)
        shown.refresh()
        two = shown.add_task("two", total=3)
        shown.refresh()
        shown.add_task("three", total=3)
        shown.refresh()
        shown.advance(one)
        shown.remove_task(two)
        shown.refresh()
    with console.status("busy", refresh_per_second=1):
        pass
    console.print("after")
    assert [COLOURS.sub("", line).rstrip() for line in lines] == ["one 1", "three 0", "after"]


def test_nested_bars_in_tqdms_manner(collector, lines):
    """Bars below each other that go up again without hiding the cursor: each has its last state, once."""
    feed = collector.feed
    feed("\router 0/2")
    for outer in range(1, 3):
        for inner in range(11):
            for part in ("\n", f"\rinner {inner}/10", "\x1b[A"):
                feed(part)
        feed(f"\router {outer}/2")
    for part in ("\n", "\rinner 10/10", "\n", "plain print", "\n"):
        feed(part)
    assert lines == ["outer 0/2", "outer 2/2", "inner 10/10", "plain print"]
    feed("the next one")
    feed("\n")
    assert lines[-1] == "the next one"


def test_a_print_under_a_hidden_cursor_waits_for_one_tick(collector, lines):
    """A spinner hides the cursor and something prints: the writer's next look takes the line, and takes it once."""
    collector.feed("\x1b[?25l")
    collector.feed("printed\n")
    assert lines == []
    collector.flush_partial(older_than_s=10.0)
    collector.flush_partial(older_than_s=10.0)
    assert lines == ["printed"]
    collector.feed("\x1b[?25h")
    collector.feed("more\n")
    assert lines == ["printed", "more"]


def test_bars_that_stand_are_written_every_ten_seconds(collector, lines, monkeypatch):
    """Of a display that goes on for hours the log has a state now and then, and one that did not change only once."""
    moment = [100.0]
    monkeypatch.setattr(line_collector.time, "monotonic", lambda: moment[0])
    draw = "\r\x1b[2K\x1b[1A\x1b[2K"
    collector.feed("\x1b[?25lone 0\ntwo 0")
    for tick in range(1, 26):
        moment[0] += 1.0
        collector.feed(f"{draw}one {tick}\ntwo 0")
        collector.flush_partial(older_than_s=10.0)
    assert lines == ["one 10", "two 0", "one 20"]
    collector.feed(f"{draw}one 26\ntwo 0\n\x1b[?25h")
    assert lines == ["one 10", "two 0", "one 20", "one 26"]


def test_more_lines_than_a_terminal_has_are_not_held(collector, lines):
    """Under a hidden cursor that nothing is drawn with, thousands of lines leave memory, none of them lost."""
    collector.feed("\x1b[?25l")
    for number in range(5000):
        collector.feed(f"line {number}\n")
    assert len(lines) >= 4700
    collector.flush_partial()
    assert lines == [f"line {number}" for number in range(5000)]


@pytest.mark.parametrize(
    "text", ["\x1b[999999999A", "\x1b[5A\x1b[J", "\x1b[?25l\x1b[9B\x1b[99B", "\x1b[F\x1b[E\x1b[2G\x1b[1K\r"]
)
def test_odd_movements_lose_no_line(collector, lines, text):
    """Going out of the screen, in whatever way, keeps what is printed then."""
    collector.feed("first\n")
    collector.feed(text)
    collector.feed("second\n")
    collector.flush_partial()
    collector.feed("third\n")
    collector.flush_partial()
    assert [line for line in lines if line.strip()] == ["first", "second", "third"]


def test_a_run_that_ends_while_bars_are_shown(lines, monkeypatch):
    """Taking the tee off writes the bars as they stand; the user's stream has every byte."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    taken = ConsoleTee(lambda code, texts: lines.extend("\n".join(texts).split("\n")))
    taken.install()
    text = "\x1b[?25lone 1\ntwo 1\r\x1b[2K\x1b[1A\x1b[2Kone 2\n\x1b[32mtwo 2\x1b[0m"
    print(text, end="")
    taken.remove()
    assert lines == ["one 2", "\x1b[32mtwo 2\x1b[0m"]
    assert out.getvalue() == text
