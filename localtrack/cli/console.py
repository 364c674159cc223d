"""``localtrack log``: what a task's processes printed.

Source: docs/reference/cli.md, "log".
"""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from localtrack.cli.output import harmless, print_json
from localtrack.cli.shell import TASK, Shell, json_option, note, pass_shell, root_option

if TYPE_CHECKING:
    from localtrack.store.console_reader import ConsoleLine, ConsoleReader

POLL_S = 0.5
STREAM_NAMES = {"o": "stdout", "e": "stderr", "l": "report"}


@click.command("log")
@click.argument("reference", metavar="TASK", type=TASK, default="@last")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the task ends.")
@click.option("--grep", "pattern", metavar="RE", help="Only lines in which this regular expression is found.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), help="Only the last so many lines.")
@click.option("--times", is_flag=True, help="Put the UTC time before each line.")
@json_option
@root_option
@pass_shell
def log(
    shell: Shell, reference: str, follow: bool, pattern: str | None, count: int | None, times: bool, as_json: bool
) -> None:
    """Print what a task printed. Without TASK, the newest one. With --json, one object a line."""
    from localtrack.services import reports, tasks

    task_id = shell.resolve(reference)
    folder = tasks.folder_of(shell.ctx, task_id)
    wanted = _compile(pattern)
    emit = _json_line if as_json else _timed_line if times else _plain_line
    reader = reports.console_reader(folder)
    found = (line for line in reader.read(torn=not follow) if wanted.search(line.text))
    for line in found if count is None else deque(found, maxlen=count):
        emit(line)
    if follow:
        sys.stdout.flush()
        for line in _follow(shell, task_id, reader):
            if wanted.search(line.text):
                emit(line)
                sys.stdout.flush()


def _compile(pattern: str | None) -> re.Pattern[str]:
    try:
        return re.compile(pattern or "")
    except re.error as error:
        raise click.UsageError(f"--grep {pattern!r} is no regular expression: {error}") from None


def _follow(shell: Shell, task_id: str, reader: ConsoleReader) -> Iterator[ConsoleLine]:
    """Yield lines that appear, until the task has ended and all it printed was read."""
    from localtrack.records.status import ENDED
    from localtrack.services import tasks
    from localtrack.store.layout import TaskLayout

    while True:
        record = tasks.read(shell.ctx, task_id)
        if not reader.folder.is_dir():
            reader.folder = TaskLayout(tasks.folder_of(shell.ctx, task_id)).console
        has_ended = record.state in ENDED
        yield from reader.read(torn=has_ended)
        if has_ended:
            note(f"the task is {record.status}")
            return
        time.sleep(POLL_S)


def _plain_line(line: ConsoleLine) -> None:
    print(harmless(line.text) if sys.stdout.isatty() else line.text)


def _timed_line(line: ConsoleLine) -> None:
    print(f"{line.at}  {harmless(line.text) if sys.stdout.isatty() else line.text}")


def _json_line(line: ConsoleLine) -> None:
    stream = STREAM_NAMES.get(line.stream, line.stream)
    print_json([{"at": line.at, "stream": stream, "text": line.text, "writer": line.writer}], lines=True)
