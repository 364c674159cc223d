"""`localtrack log`."""

from __future__ import annotations

import threading

import pytest

from localtrack.records.status import Status
from localtrack.services import tasks
from localtrack.services.lifecycle import change_status
from localtrack.store.console import ConsoleLog
from localtrack.store.layout import TaskLayout


def test_lines_come_as_they_were_printed(cli, make):
    """What was printed comes out as it is, colours included, when stdout is no terminal."""
    task = make(lines=["one", "\x1b[32mtwo\x1b[0m"])
    assert cli("log", task.id).out == "one\n\x1b[32mtwo\x1b[0m\n"


def test_grep_and_tail(cli, make):
    """--grep keeps matching lines, -n the last of them."""
    task = make(lines=["loss 1", "other", "loss 2", "loss 3"])
    assert cli("log", task.id, "--grep", "^loss", "-n", 2).out == "loss 2\nloss 3\n"
    assert cli("log", task.id, "-n", 0).out == ""


def test_a_bad_pattern_is_a_usage_error(cli, make):
    """A pattern that is none is exit code 2, naming it."""
    task = make()
    ran = cli("log", task.id, "--grep", "(")
    assert ran.code == 2
    assert "'('" in ran.err


def test_json_lines(cli, make):
    """--json prints one object a line, with time, stream, text and writer."""
    import json

    task = make(lines=["hello"])
    (line,) = cli("log", task.id, "--json").out.splitlines()
    body = json.loads(line)
    assert (body["stream"], body["text"]) == ("stdout", "hello")
    assert body["at"].endswith("Z")
    assert body["writer"]


def test_times_stand_before_the_lines(cli, make):
    """--times puts the UTC time first."""
    task = make(lines=["hello"])
    assert cli("log", task.id, "--times").out.endswith("Z  hello\n")


@pytest.mark.timeout(30)
def test_follow_prints_what_comes_and_ends_with_the_task(cli, make, ctx):
    """-f prints lines as they appear, each once, and returns when the task has ended."""
    task = make(lines=["before"], status=Status.IN_PROGRESS)
    layout = TaskLayout(tasks.folder_of(ctx, task.id))

    def go_on() -> None:
        console = ConsoleLog(ctx.store.disk, layout.console, "w-second", lambda error: None)
        console.write("o", ["after 1", "after 2"])
        console.close()
        change_status(ctx, task.id, Status.COMPLETED)

    other = threading.Timer(0.3, go_on)
    other.start()
    ran = cli("log", task.id, "-f")
    other.join()
    assert ran.out == "before\nafter 1\nafter 2\n"
    assert "completed" in ran.err
