"""Queues: enqueue, dequeue, and the queue group.

Source: docs/reference/cli.md, "enqueue", "dequeue", "queue".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.editing import short_json
from localtrack.cli.output import print_json, print_table, printable
from localtrack.cli.shell import (
    TASK,
    AliasGroup,
    Shell,
    confirm,
    json_option,
    note,
    pass_shell,
    root_option,
    yes_option,
)

if TYPE_CHECKING:
    from localtrack.services.dead_letters import DeadLetter

DEFAULT_QUEUE = "default"


@click.command("enqueue")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@click.option("--queue", "queue_name", default=DEFAULT_QUEUE, show_default=True, help="The queue.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher ones run first.")
@click.option("--force", is_flag=True, help="Reset a completed task first; its results go to the trash.")
@json_option
@root_option
@pass_shell
def enqueue(
    shell: Shell, references: tuple[str, ...], queue_name: str, priority: int, force: bool, as_json: bool
) -> None:
    """Put tasks into a queue, for an agent to run."""
    from localtrack.services.lifecycle import enqueue as put

    ids = [shell.resolve(reference) for reference in references]
    records = [put(shell.ctx, task_id, queue_name, priority=priority, force=force) for task_id in ids]
    if as_json:
        print_json([{**short_json(record), "queue": queue_name, "priority": priority} for record in records])
    else:
        for record in records:
            note(printable(f"{record.id[:8]} ({record.project}/{record.name}) waits in the queue {queue_name}"))


@click.command("dequeue")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@json_option
@root_option
@pass_shell
def dequeue(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Take tasks out of their queue; they become what they were before."""
    _take_out(shell, [shell.resolve(reference) for reference in references], as_json)


def _take_out(shell: Shell, ids: list[str], as_json: bool) -> None:
    from localtrack.services.lifecycle import dequeue as take_out

    records = [take_out(shell.ctx, task_id) for task_id in ids]
    if as_json:
        print_json([short_json(record) for record in records])
    else:
        for record in records:
            note(f"{record.id[:8]} is out of its queue, {record.status} again")


@click.group("queue", cls=AliasGroup)
def queue() -> None:
    """List, make, clear and reorder queues."""


@queue.command("ls")
@click.argument("name", required=False)
@click.option("--dead", is_flag=True, help="List the dead letters instead: tasks over which agents died.")
@json_option
@root_option
@pass_shell
def list_queues(shell: Shell, name: str | None, dead: bool, as_json: bool) -> None:
    """List the queues with their waiting tasks, in the order of their turn; with NAME, that queue only."""
    if dead:
        _list_dead(shell, name, as_json)
        return
    names = [name] if name is not None else shell.ctx.queues.names()
    body: list[dict[str, Any]] = [{"name": each, "tasks": _waiting(shell, each)} for each in names]
    if as_json:
        print_json(body)
    elif not body:
        note("no queues: `localtrack enqueue TASK` makes the queue 'default', `localtrack queue create` others")
    else:
        rows = []
        for item in body:
            waiting = item["tasks"]
            rows += [[item["name"], t["position"], t["id"][:8], t["task"], t["priority"], t["by"]] for t in waiting]
            if not waiting:
                rows.append([item["name"], None, "", "(empty)", None, ""])
        print_table(["queue", "turn", "id", "task", "priority", "by"], rows, right=(1, 4))


def _list_dead(shell: Shell, name: str | None, as_json: bool) -> None:
    from localtrack.services.dead_letters import open_letters

    letters = open_letters(shell.ctx, name)
    if as_json:
        print_json([_letter_json(letter) for letter in letters])
    elif not letters:
        note("no dead letters")
    else:
        for letter in letters:
            times = f"{len(letter.attempts)} attempt{'s' * (len(letter.attempts) != 1)}"
            print(printable(f"{letter.queue}  {letter.task_id[:8]}  {letter.task}"))
            print(printable(f"  {letter.at or '(no time)'}  after {times}: {letter.why}"))
            for attempt in letter.attempts:
                print(printable(f"  {attempt.at}  taken by {attempt.agent or '?'} on {attempt.host or '?'}"))
        note("`localtrack queue retry QUEUE [TASK...]` puts them back, `localtrack log TASK` shows what they printed")


def _letter_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "queue": letter.queue, "id": letter.task_id, "task": letter.task, "priority": letter.priority,
        "at": letter.at, "why": letter.why,
        "attempts": [{"agent": each.agent, "host": each.host, "at": each.at} for each in letter.attempts],
    }  # fmt: skip


@queue.command("retry")
@click.argument("name")
@click.argument("references", metavar="[TASK]...", nargs=-1, type=TASK)
@json_option
@root_option
@pass_shell
def retry(shell: Shell, name: str, references: tuple[str, ...], as_json: bool) -> None:
    """Put dead letters of a queue back into it, all of them or those of the given tasks, with new attempts."""
    from localtrack.services.dead_letters import put_back

    ids = [shell.resolve(reference) for reference in references] or None
    records = put_back(shell.ctx, name, ids)
    if as_json:
        print_json([{**short_json(record), "queue": name} for record in records])
    else:
        note(f"{len(records)} tasks wait in the queue {printable(name)} again")


def _waiting(shell: Shell, name: str) -> list[dict[str, Any]]:
    from localtrack.services import tasks

    place = shell.ctx.queues.get(name)
    result = []
    for position, ref in enumerate(place.snapshot().waiting()):
        record = tasks.try_read(shell.ctx, ref.task_id)
        entry = place.read(ref)
        result.append(
            {
                "position": position,
                "id": ref.task_id,
                "task": f"{record.project}/{record.name}" if record else "(no such task)",
                "priority": ref.priority,
                "by": str(entry.enqueued_by.get("user", "")) if entry else "",
                "at": entry.at if entry else "",
            }
        )
    return result


def _waiting_ids(shell: Shell, name: str) -> list[str]:
    return [ref.task_id for ref in shell.ctx.queues.get(name).snapshot().waiting()]


@queue.command("create")
@click.argument("name")
@json_option
@root_option
@pass_shell
def create(shell: Shell, name: str, as_json: bool) -> None:
    """Make a queue; one that is there already stays as it is."""
    shell.ctx.queues.create(name)
    if as_json:
        print_json({"name": name})
    else:
        note(f"the queue {printable(name)} is there")


@queue.command("rm")
@click.argument("name")
@yes_option
@json_option
@root_option
@pass_shell
def delete(shell: Shell, name: str, yes: bool, as_json: bool) -> None:
    """Remove a queue; its waiting tasks become drafts again."""
    ids = _waiting_ids(shell, name)
    confirm(f"Remove the queue {name} with {len(ids)} waiting task{'s' * (len(ids) != 1)}?", yes)
    _release(shell, ids)
    shell.ctx.queues.remove(name)
    if as_json:
        print_json({"name": name, "released": ids})
    else:
        note(f"the queue {printable(name)} is gone; {len(ids)} tasks were taken out of it")


@queue.command("clear")
@click.argument("name")
@yes_option
@json_option
@root_option
@pass_shell
def clear(shell: Shell, name: str, yes: bool, as_json: bool) -> None:
    """Take all waiting tasks out of a queue."""
    ids = _waiting_ids(shell, name)
    if ids:
        confirm(f"Take {len(ids)} task{'s' * (len(ids) != 1)} out of the queue {name}?", yes)
    _release(shell, ids)
    if as_json:
        print_json({"name": name, "released": ids})
    else:
        note(f"{len(ids)} tasks were taken out of the queue {printable(name)}")


def _release(shell: Shell, ids: list[str]) -> None:
    """Take tasks out of their queues; one that a queue names and the store lacks only loses its entry."""
    from localtrack.errors import TaskNotFoundError, UsageError
    from localtrack.services.lifecycle import dequeue as take_out

    for task_id in ids:
        try:
            take_out(shell.ctx, task_id)
        except (TaskNotFoundError, UsageError):
            for name in shell.ctx.queues.names():
                shell.ctx.queues.get(name).remove(task_id)


@queue.command("remove")
@click.argument("references", metavar="TASK...", nargs=-1, required=True, type=TASK)
@json_option
@root_option
@pass_shell
def remove(shell: Shell, references: tuple[str, ...], as_json: bool) -> None:
    """Take tasks out of their queue; the same as `localtrack dequeue`."""
    _take_out(shell, [shell.resolve(reference) for reference in references], as_json)


@queue.command("move")
@click.argument("name")
@click.argument("reference", metavar="TASK", type=TASK)
@click.argument("where", type=click.Choice(["front", "back", "forward", "backward"]))
@json_option
@root_option
@pass_shell
def move(shell: Shell, name: str, reference: str, where: str, as_json: bool) -> None:
    """Give a waiting task another turn: the first, the last, or one place earlier or later."""
    task_id = shell.resolve(reference)
    place = shell.ctx.queues.get(name)
    place.move(task_id, where)
    if as_json:
        print_json({"name": name, "tasks": _waiting(shell, name)})
    else:
        note(f"{task_id[:8]} has turn {place.position(task_id)} in the queue {printable(name)}")
