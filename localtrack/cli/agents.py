"""``localtrack agent``: run queued tasks, see who does.

Source: docs/reference/cli.md, "agent".
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from localtrack.cli.output import print_json, print_table, printable
from localtrack.cli.shell import AliasGroup, Shell, json_option, note, pass_shell, root_option

DEFAULT_QUEUE = "default"


@click.group("agent", cls=AliasGroup)
def agent() -> None:
    """Run queued tasks; list the agents."""


@agent.command("start")
@click.option("--queue", "queues", metavar="NAME", multiple=True, help="Take from this queue; earlier ones first.")
@click.option("--once", is_flag=True, help="Run one task, then leave.")
@click.option("--drain", is_flag=True, help="Run all that wait, then leave.")
@click.option("--poll", "poll_s", metavar="SECONDS", type=click.FloatRange(min=0.05), help="Time between two looks.")
@click.option("--create-queue", is_flag=True, help="Make queues that are missing.")
@click.option("--name", default="", help="A name for people; default: this host's.")
@click.option(
    "--workdir", type=click.Path(path_type=Path), help="Where checkouts are made; default: your cache folder."
)
@click.option("--python", metavar="PATH", help="Interpreter of the tasks; default: this one.")
@click.option("--keep-workspaces", is_flag=True, help="Keep the checkouts of completed tasks, too.")
@json_option
@root_option
@pass_shell
def start(
    shell: Shell,
    queues: tuple[str, ...],
    once: bool,
    drain: bool,
    poll_s: float | None,
    create_queue: bool,
    name: str,
    workdir: Path | None,
    python: str | None,
    keep_workspaces: bool,
    as_json: bool,
) -> None:
    """Run queued tasks one after another, in this Python environment, until interrupted.

    How each task ended is recorded in the task; the exit code is 0 whatever that was.
    """
    from localtrack.agent.loop import Agent, AgentOptions
    from localtrack.records.plain import replace

    ctx = shell.ctx
    if poll_s is not None:
        ctx.settings = replace(ctx.settings, poll_interval_s=poll_s)
    options = AgentOptions(
        queues=queues or (DEFAULT_QUEUE,),
        once=once,
        drain=drain,
        name=name,
        workdir=workdir.absolute() if workdir else None,
        python=python or sys.executable,
        keep_workspaces=keep_workspaces,
        create_queues=create_queue,
    )
    worker = Agent(ctx, options, say=lambda text: note(printable(text)))
    outcomes = worker.run()
    if as_json:
        tasks = [{"id": task_id, "outcome": outcome} for task_id, outcome in worker.ran]
        print_json({"id": worker.id, "tasks": tasks, "outcomes": dict(outcomes)})


@agent.command("ls")
@json_option
@root_option
@pass_shell
def list_agents(shell: Shell, as_json: bool) -> None:
    """List the agents of the store: whether they live, and what they run."""
    from localtrack.queue.agents import Agents
    from localtrack.queue.lease import LeaseObserver
    from localtrack.services.liveness import owner_alive

    ctx = shell.ctx
    queues = [ctx.queues.get(name) for name in ctx.queues.names()]
    observer = LeaseObserver(ctx.store.disk, ctx.settings.lease_s, owner_alive)
    found = [
        {
            "id": info.id, "name": info.name, "queues": list(info.queues), "host": info.owner.get("host", ""),
            "pid": info.owner.get("pid"), "at": info.at, "verdict": info.verdict.value, "tasks": list(info.task_ids),
        }
        for info in Agents(ctx.store).list(observer, queues)
    ]  # fmt: skip
    if as_json:
        print_json(found)
    elif not found:
        note("no agents: `localtrack agent start --queue default` starts one")
    else:
        print_table(["id", "verdict", "host", "pid", "queues", "runs"], [_row(each) for each in found], right=(3,))


def _row(body: dict[str, Any]) -> list[Any]:
    runs = ", ".join(task_id[:8] for task_id in body["tasks"])
    return [body["id"], body["verdict"], body["host"], body["pid"], ", ".join(body["queues"]), runs]


@agent.command("stop")
@click.argument("agent_id", metavar="AGENT")
@click.option("--now", is_flag=True, help="Stop the task that it runs, too.")
@json_option
@root_option
@pass_shell
def stop(shell: Shell, agent_id: str, now: bool, as_json: bool) -> None:
    """Ask an agent, on any host, to end after its task."""
    from localtrack.queue.agents import STOP_AFTER_TASK, STOP_NOW, Agents

    mode = STOP_NOW if now else STOP_AFTER_TASK
    Agents(shell.ctx.store).request_stop(agent_id, mode)
    if as_json:
        print_json({"id": agent_id, "mode": mode})
    else:
        note(f"{agent_id} was asked to stop{'' if now else ' after its task'}")
