"""Verbs around running processes: run, abort.

Source: docs/reference/cli.md, "run", "abort".
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from localtrack.cli.editing import short_json
from localtrack.cli.output import print_json
from localtrack.cli.shell import TASK, Shell, json_option, note, pass_shell, root_option

BOOTSTRAP = "localtrack.runtime.bootstrap"


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("script", metavar="SCRIPT|-m MODULE", type=click.Path(path_type=Path))
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@root_option
@pass_shell
def run(shell: Shell, script: Path, arguments: tuple[str, ...]) -> None:
    """Run a Python SCRIPT with this Python and this store. It is tracked when it calls Task.init.

    Options of this verb stand before SCRIPT; all that follows it goes to the script. The exit code is the script's.
    """
    from localtrack.config import ROOT_VARIABLE

    if str(script) == "-m":
        if not arguments:
            raise click.UsageError("-m needs the name of a module")
    elif not script.is_file():
        raise click.UsageError(f"no script {script}: there is no such file")
    if shell.root:
        os.environ[ROOT_VARIABLE] = str(Path(shell.root).expanduser().absolute())
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", BOOTSTRAP, str(script), *arguments])


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
