"""What runs on a lab host: one action, its answer as JSON on the last line. Every call into localtrack is here.

Usage: ``worker.py ACTION FOLDER ARGUMENT... [--barrier FILE]``; the store is ``FOLDER/store``.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from localtrack.queue.folder import Queue
    from localtrack.services.context import StoreContext

COUNTER = "count"
WAIT_S = 60.0


def make_store(folder: Path) -> str:
    """Make the store, with a queue."""
    ctx = _context(folder)
    ctx.queues.create("default")
    return str(ctx.store.root)


def create_tasks(folder: Path, number: str) -> list[str]:
    """Create so many tasks in one project."""
    ctx = _context(folder)
    return [_new_task(ctx, f"task {socket.gethostname()} {n}") for n in range(int(number))]


def list_tasks(folder: Path) -> dict[str, list[str]]:
    """Return the ids of all tasks, as the index and as the tree shows them."""
    from localtrack.store.layout import TaskLayout
    from localtrack.store.metadata import read_latest

    ctx = _context(folder)
    scanned = [read_latest(TaskLayout(path)).id for path in ctx.store.task_folders()]
    return {"index": sorted(row.id for row in ctx.index.rows()), "tree": sorted(scanned)}


def increment(folder: Path, task_id: str, number: str) -> int:
    """Add one to a user property so many times, through the store's update; returns how often it succeeded."""
    from localtrack.records.task import TaskRecord
    from localtrack.services import tasks

    def change(record: TaskRecord) -> TaskRecord:
        value = int(record.properties.get(COUNTER, {}).get("value", 0)) + 1
        return replace(record, properties={**record.properties, COUNTER: {"value": value}})

    ctx = _context(folder)
    for _ in range(int(number)):
        tasks.edit(ctx, task_id, change, "counted", by_owner=True)
    return int(number)


def counter(folder: Path, task_id: str) -> int:
    """Return the user property that :func:`increment` counts in."""
    from localtrack.services import tasks

    return int(tasks.read(_context(folder), task_id).properties[COUNTER]["value"])


def increment_naively(folder: Path, number: str) -> int:
    """Count as many programs do: a correct lock around read, write to a temporary file, replace."""
    import fcntl

    path = folder / "naive.json"
    for _ in range(int(number)):
        with open(folder / "naive.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            value = json.loads(path.read_text())
            part = folder / f"naive.{socket.gethostname()}.part"
            part.write_text(json.dumps(value + 1))
            os.replace(part, path)
    return int(number)


def enqueue_tasks(folder: Path, number: str) -> list[str]:
    """Create so many tasks and enqueue them."""
    from localtrack.services import lifecycle

    ctx = _context(folder)
    ids = [_new_task(ctx, f"queued {n}") for n in range(int(number))]
    for task_id in ids:
        lifecycle.enqueue(ctx, task_id, "default")
    return ids


def claim_all(folder: Path) -> list[str]:
    """Claim and finish entries as an agent does until none is left; returns the task ids in the order of the claims."""
    from localtrack.queue.agents import Agents
    from localtrack.queue.consumer import Consumer
    from localtrack.queue.lease import LeaseObserver
    from localtrack.services.liveness import owner_alive

    ctx = _context(folder)
    agents = Agents(ctx.store)
    owner = _identity()
    agent_id, heartbeat = agents.register(socket.gethostname(), ["default"], owner, 60.0)
    observer = LeaseObserver(ctx.store.disk, 60.0, owner_alive)
    consumer = Consumer(agent_id, owner, observer, agents.heartbeat)
    queue = ctx.queues.get("default")
    won: list[str] = []
    try:
        while _has_entries(queue):
            offer = consumer.next_offer(queue).offer
            if offer is None:
                time.sleep(0.05)
                continue
            won.append(offer.entry.task_id)
            queue.claims.finish(offer.claim, "completed")
    finally:
        heartbeat.close()
    return won


def watch_task(folder: Path, task_id: str, marker: str) -> float:
    """Wait until a task can be read that was looked for in vain before; returns how long after the first look."""
    from localtrack.errors import TaskNotFoundError
    from localtrack.services import tasks

    ctx = _context(folder)

    def is_there() -> bool:
        listed = task_id in [row.id for row in ctx.index.rows()]
        try:
            return tasks.read(ctx, task_id).id == task_id and listed
        except TaskNotFoundError:
            return False

    return _watch(is_there, folder / marker)


def watch_entry(folder: Path, task_id: str, marker: str) -> float:
    """Wait until a task waits in the queue that was not there before."""
    ctx = _context(folder)
    return _watch(lambda: ctx.queues.get("default").position(task_id) is not None, folder / marker)


def create_task(folder: Path, task_id: str) -> str:
    """Create one task with an id that the other host knows already."""
    return _new_task(_context(folder), "a late one", task_id)


def enqueue(folder: Path, task_id: str) -> str:
    """Enqueue a task."""
    from localtrack.services import lifecycle

    lifecycle.enqueue(_context(folder), task_id, "default")
    return task_id


def hold_task(folder: Path, marker: str, release: str) -> str:
    """Run a task in this process until the file ``release`` appears; ``marker`` gets its id."""
    from localtrack import Task

    os.environ["LOCALTRACK_ROOT"] = str(folder / "store")
    task = Task.init(project_name="lab", task_name="held", auto_resource_monitoring=False)
    (folder / marker).write_text(task.id)
    _wait_for(folder / release)
    task.close()
    return str(task.id)


def status(folder: Path, task_id: str) -> str:
    """Return a task's status as a reader on this host sees it."""
    from localtrack.services import tasks

    return tasks.read(_context(folder), task_id).status


def _context(folder: Path) -> StoreContext:
    from localtrack.services.context import open_context

    return open_context(folder / "store")


def _new_task(ctx: StoreContext, name: str, task_id: str | None = None) -> str:
    from localtrack.records.ids import new_task_id
    from localtrack.records.task import TaskRecord

    record = TaskRecord(task_id or new_task_id(), name, "lab")
    return ctx.store.create_task(record, ctx.author)[1].id


def _identity() -> dict[str, Any]:
    from localtrack.capture.host import capture_host

    host = capture_host()
    return {
        "host": host.hostname, "machine": host.machine_id, "boot": host.boot_id, "pidns": host.pid_namespace,
        "pid": host.pid, "start": host.start_token, "user": host.user,
    }  # fmt: skip


def _has_entries(queue: Queue) -> bool:
    return bool(queue.entries())


def _watch(is_there: Callable[[], bool], marker: Path) -> float:
    start = time.monotonic()
    if is_there():
        raise SystemExit("it was there before it was made")
    marker.write_text("looked")
    while not is_there():
        if time.monotonic() - start > WAIT_S:
            raise SystemExit(f"not seen within {WAIT_S} s")
        time.sleep(0.1)
    return time.monotonic() - start


def _wait_for(path: Path) -> None:
    """Wait for a file of another host; by listing, since a lookup may be answered from the cache."""
    deadline = time.monotonic() + WAIT_S
    while path.name not in os.listdir(path.parent):
        if time.monotonic() > deadline:
            raise SystemExit(f"{path} did not appear within {WAIT_S} s")
        time.sleep(0.02)


def _meet(barrier: Path) -> None:
    barrier.with_name(f"{barrier.name}.{socket.gethostname()}").touch()
    for host in ("a", "b"):
        _wait_for(barrier.with_name(f"{barrier.name}.{host}"))


ACTIONS: dict[str, Callable[..., Any]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        make_store, create_tasks, list_tasks, increment, counter, increment_naively, enqueue_tasks, claim_all,
        watch_task, watch_entry, create_task, enqueue, hold_task, status,
    )
}  # fmt: skip


def main(words: list[str]) -> None:
    """Run one action."""
    if "--barrier" in words:
        at = words.index("--barrier")
        barrier = Path(words[at + 1])
        del words[at : at + 2]
        _meet(barrier)
    action, folder, *arguments = words
    print(json.dumps(ACTIONS[action](Path(folder), *arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
