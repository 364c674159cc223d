"""Verbs around running processes: run, abort.

Source: docs/reference/cli.md, "run", "abort".
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from localtrack.cli.editing import short_json
from localtrack.cli.output import print_json
from localtrack.cli.shell import TASK, Shell, json_option, note, pass_shell, root_option

BOOTSTRAP = "localtrack.runtime.bootstrap"
PASSED_ON = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("script", metavar="SCRIPT|-m MODULE", type=click.Path(path_type=Path))
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--as-clearml/--no-clearml",
    default=None,
    help="Answer `import clearml` with localtrack, even where clearml is installed; or leave that import alone.",
)
@json_option
@root_option
@pass_shell
def run(shell: Shell, script: Path, arguments: tuple[str, ...], as_clearml: bool | None, as_json: bool) -> None:
    """Run a Python SCRIPT with this Python and this store. It is tracked when it calls Task.init.

    A script that imports clearml gets localtrack under that name, and needs no change. Options of this verb stand
    before SCRIPT; all that follows it goes to the script. The exit code is the script's.
    With --json, what the script prints goes to stderr.
    """
    from localtrack.config import ROOT_VARIABLE

    if str(script) == "-m":
        if not arguments:
            raise click.UsageError("-m needs the name of a module")
    elif not script.is_file():
        raise click.UsageError(f"no script {script}: there is no such file")
    answer = _choose_answer(as_clearml)
    if shell.root:
        os.environ[ROOT_VARIABLE] = str(Path(shell.root).expanduser().absolute())
    sys.stdout.flush()
    command = [sys.executable, "-m", BOOTSTRAP, *answer, str(script), *arguments]
    if as_json:
        _run_and_tell(shell, command)
    else:
        os.execv(sys.executable, command)


def _choose_answer(as_clearml: bool | None) -> list[str]:
    """Return the bootstrap's option by which localtrack answers `import clearml`, or none."""
    from localtrack.runtime.bootstrap import AS_CLEARML

    if as_clearml is None:
        from localtrack.capture.clearml_package import find_installed
        from localtrack.runtime.as_clearml import refusal

        installed = find_installed()
        if installed:
            raise click.UsageError(f"{refusal(installed, '--as-clearml')}, or --no-clearml to leave that import alone")
    return [] if as_clearml is False else [AS_CLEARML]


def _run_and_tell(shell: Shell, command: list[str]) -> None:
    """Run the script as a child, print what became of it as JSON, and end as it ended."""
    from localtrack.store.documents import now

    began = now()
    with subprocess.Popen(command, stdout=sys.stderr.fileno()) as child:
        handlers: dict[int, Any] = {
            getattr(signal, name): lambda number, _: child.send_signal(number) for name in PASSED_ON
        }
        handlers[signal.SIGINT] = signal.SIG_IGN  # the terminal sends it to the child as well
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        code = child.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    name = signal.Signals(-code).name if code < 0 else ""
    print_json(
        {"exit_code": code if code >= 0 else 128 - code, "signal": name, "tasks": _tasks_of(shell, child.pid, began)}
    )
    sys.stdout.flush()
    if code < 0:
        if name != "SIGKILL":
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    raise click.exceptions.Exit(code)


def _tasks_of(shell: Shell, pid: int, began: str) -> list[dict[str, Any]]:
    """Return the tasks that a process of this host has run since a moment of its clock."""
    from localtrack.errors import StoreError
    from localtrack.services import tasks
    from localtrack.services.context import host_name

    try:
        ctx = shell.ctx
    except StoreError:  # the script made no store: it is not tracked
        return []
    recent = sorted((row for row in ctx.index.rows() if row.last_update >= began), key=lambda row: row.created)
    records = [record for row in recent if (record := tasks.try_read(ctx, row.id)) is not None]
    owners = [record.owner or {} for record in records]
    return [
        short_json(record)
        for record, owner in zip(records, owners, strict=True)
        if owner.get("pid") == pid and owner.get("host") == host_name()
    ]


@click.command("abort")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@click.option("--message", default="", help="Why; kept in the task's history.")
@json_option
@root_option
@pass_shell
def abort(shell: Shell, references: tuple[str, ...], message: str, as_json: bool) -> None:
    """Ask running tasks to stop; take queued ones out of their queue, stopped.

    A running task sees the request within seconds and ends as stopped; this verb does not wait for it.
    """
    from localtrack.records.status import Status
    from localtrack.services.lifecycle import request_stop

    records = [request_stop(shell.ctx, task_id, message) for task_id in [shell.resolve(r) for r in references]]
    if as_json:
        print_json([short_json(record) for record in records])
        return
    for record in records:
        asked = record.state is Status.IN_PROGRESS
        note(f"{record.id[:8]} {'was asked to stop' if asked else f'is {record.status}'}")
