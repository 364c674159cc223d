"""``localtrack agent``: run queued tasks, see who does.

Source: docs/reference/cli.md, "agent".
"""

from __future__ import annotations

from typing import Any

import click

from localtrack.cli.output import print_json, print_table
from localtrack.cli.shell import AliasGroup, Shell, json_option, note, pass_shell, root_option

DEFAULT_QUEUE = "default"


@click.group("agent", cls=AliasGroup)
def agent() -> None:
    """Run queued tasks; list the agents."""


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
