"""Dead letters: tasks over which as many agents died as their entry allows. Found, explained, put back.

A letter is open while its task is still as the agent that buried it left it; one that was enqueued again, reset or
deleted since is settled, and its record goes with the garbage.

Source: docs/format/v1.md, "dead/<entry>"; docs/how-to/agent.md, "Dead letters".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from localtrack.errors import UsageError
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, tasks
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.queue.folder import Queue

CLAIM_KEY = "claim"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim that was lost: the agent, its host, and the UTC time on that host's clock at which it took the task."""

    agent: str
    host: str
    at: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One entry that agents run no more.

    Attributes:
        queue: the queue's name.
        entry: name of the entry.
        task_id: its task.
        task: project and name; ``""`` when the task is gone.
        priority: that of the entry.
        at: UTC time at which it was buried, by the clock of the agent that did; ``""`` when its record is torn.
        why: what is known of the cause.
        attempts: the claims that were lost, oldest first.
    """

    queue: str
    entry: str
    task_id: str
    task: str
    priority: int
    at: str
    why: str
    attempts: tuple[Attempt, ...]


def open_letters(ctx: StoreContext, queue_name: str | None = None) -> list[DeadLetter]:
    """Return the open dead letters of a queue, or of all queues, in the order of their queues and entries.

    Raises:
        QueueNotFoundError: no such queue.
    """
    names = ctx.queues.names() if queue_name is None else [queue_name]
    return [letter for name in names for letter in _open_letters(ctx, ctx.queues.get(name))]


def put_back(ctx: StoreContext, queue_name: str, task_ids: Iterable[str] | None = None) -> list[TaskRecord]:
    """Enqueue the tasks of dead letters again, with their priority and a fresh count of attempts.

    Args:
        ctx: the store.
        queue_name: the queue in which they are.
        task_ids: these tasks; None for all of the queue.

    Raises:
        QueueNotFoundError: no such queue.
        UsageError: a task has no dead letter there; nothing is changed then.
    """
    queue = ctx.queues.get(queue_name)
    letters = _open_letters(ctx, queue)
    wanted = [letter.task_id for letter in letters] if task_ids is None else list(task_ids)
    by_task = {letter.task_id: letter for letter in letters}
    for task_id in wanted:
        if task_id not in by_task:
            raise UsageError(
                f"task {task_id} is no dead letter of queue {queue_name!r}: `localtrack queue ls {queue_name} --dead` "
                "lists those, and `localtrack enqueue` takes any other task",
                task_id=task_id,
            )
    records = []
    for task_id in dict.fromkeys(wanted):
        letter = by_task[task_id]
        records.append(lifecycle.enqueue(ctx, task_id, queue_name, priority=letter.priority))
        queue.forget_dead([each.entry for each in letters if each.task_id == task_id])
    return records


def sweep(ctx: StoreContext, queue: Queue) -> int:
    """Remove the records of letters that were settled long ago; return how many."""
    still_open = {letter.entry for letter in _open_letters(ctx, queue)}
    return queue.sweep_dead(still_open)


def _open_letters(ctx: StoreContext, queue: Queue) -> list[DeadLetter]:
    found = queue.dead_letters()
    if not found:
        return []
    claims = queue.claims.list()
    letters = []
    for body in found:
        record = tasks.try_read(ctx, body["task_id"])
        if record is None or not _is_open(record, queue, body["entry"]):
            continue
        attempts = tuple(_attempts(queue, body["entry"], claims.held(body["entry"])))
        letters.append(
            DeadLetter(
                queue=queue.name,
                entry=body["entry"],
                task_id=body["task_id"],
                task=f"{record.project}/{record.name}",
                priority=body["priority"],
                at=str(body.get("at", "")),
                why=record.status_message,
                attempts=attempts,
            )
        )
    return letters


def _is_open(record: TaskRecord, queue: Queue, entry: str) -> bool:
    claim = str(record.runtime.get(CLAIM_KEY, "")).rpartition(".")[0]
    return record.state is Status.FAILED and claim == f"{queue.paths.folder.name}/{entry}"


def _attempts(queue: Queue, entry: str, numbers: Iterable[int]) -> Iterator[Attempt]:
    from localtrack.queue.claims import BURY

    for number in numbers:
        try:
            claim = queue.claims.read(entry, number)
        except FileNotFoundError:
            continue
        if claim.kind != BURY:
            yield Attempt(claim.agent, str(claim.owner.get("host", "")), claim.at)
