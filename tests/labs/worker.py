"""What runs on a lab host: one action, its answer as JSON on the last line. Every call into localtrack is here.

Usage: ``worker.py ACTION FOLDER ARGUMENT... [--barrier FILE]``; the store is ``FOLDER/store``. ``worker.py serve PIPE``
runs actions that come through a pipe, each in a process of its own, forked where everything is imported already: a
start of Python takes two seconds on a lab host.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
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


def enqueue_script(folder: Path, code: Path) -> str:
    """Make a task of a script without git, stored whole, and enqueue it."""
    from localtrack.services import lifecycle, tasks
    from localtrack.store.blobs import put_content

    ctx = _context(folder)
    where, record = tasks.create(ctx, name="a script", project="lab")
    stored = put_content(ctx.store.disk, where, "code", "script", ".py", Path(code).read_bytes()).to_json()
    script = {
        "entry_point": "main.py",
        "working_dir": ".",
        "repository": "",
        "root": "",
        "commit": "",
        "source": stored,
    }
    tasks.edit(ctx, record.id, lambda r: replace(r, script=script), "script")
    lifecycle.enqueue(ctx, record.id, "default")
    return record.id


def rerun(folder: Path, task_id: str, number: str) -> list[list[str]]:
    """Reset and enqueue a task so many times; returns the statuses that this host sees, one list a run."""
    from localtrack.services import lifecycle

    ctx = _context(folder)
    runs = []
    for _ in range(int(number)):
        lifecycle.enqueue(ctx, task_id, "default", force=True)
        runs.append(_follow(ctx, task_id))
    return runs


def follow(folder: Path, task_id: str) -> list[str]:
    """Return the statuses of a task that this host sees, one after another, until it has ended."""
    return _follow(_context(folder), task_id)


def time_claim(folder: Path, marker: str) -> float:
    """Return the seconds between the next entry and its claim; on the server, where nothing is cached."""
    queue = folder / "store" / "queues" / "default"
    before = set(os.listdir(queue / "pending"))
    (folder / marker).touch()
    (entry,) = _until(lambda: set(os.listdir(queue / "pending")) - before)
    start = time.monotonic()
    _until(lambda: f"{entry}.1" in os.listdir(queue / "claims"))
    return time.monotonic() - start


def stop_agents(folder: Path) -> int:
    """Ask all registered agents to end after their task; returns how many they are."""
    from localtrack.queue.agents import Agents

    agents = Agents(_context(folder).store)
    found = agents.list()
    for agent in found:
        agents.request_stop(agent.id)
    return len(found)


def describe_run(folder: Path, task_id: str) -> dict[str, Any]:
    """Return how a task ended, who ran it, under which claims, and what it reported."""
    from localtrack.services import tasks

    ctx = _context(folder)
    record = tasks.read(ctx, task_id)
    queue = ctx.queues.get("default")
    return {
        "status": record.status, "exit": record.exit.get("code"), "host": (record.owner or {}).get("host"),
        "claim": str(record.runtime.get("claim", "")).rpartition(".")[2], "metrics": sorted(record.last_metrics),
        "claims": sorted(name.rpartition(".")[2] for name in os.listdir(queue.paths.claims) if task_id in name),
        "reasons": [change.get("reason") for change in record.history], "waiting": len(queue.entries()),
    }  # fmt: skip


def watch_gone(folder: Path, task_id: str, marker: str) -> float:
    """Read a task again and again until it is deleted; returns the seconds from the file ``marker`` of the deleter."""
    from localtrack.errors import TaskNotFoundError
    from localtrack.services import tasks

    ctx = _context(folder)

    def is_gone() -> bool:
        try:
            return tasks.read(ctx, task_id).id != task_id
        except TaskNotFoundError:
            return True

    return _watch(is_gone, folder / marker)


def delete_task(folder: Path, task_id: str) -> str:
    """Move a task to the trash."""
    from localtrack.services import tasks

    return tasks.delete(_context(folder), task_id)


def _follow(ctx: StoreContext, task_id: str) -> list[str]:
    from localtrack.records.status import ENDED, Status
    from localtrack.services import tasks

    seen: list[str] = []

    def has_ended() -> bool:
        now = tasks.read(ctx, task_id).status
        if seen[-1:] != [now]:
            seen.append(now)
        return Status(now) in ENDED

    _until(has_ended, 0.3)
    return seen


def _until(condition: Callable[[], Any], pause_s: float = 0.05) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not so within {WAIT_S} s")
        time.sleep(pause_s)
    return found


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
        watch_task, watch_entry, create_task, enqueue, hold_task, status, enqueue_script, rerun, follow, time_claim,
        stop_agents, describe_run, watch_gone, delete_task,
    )
}  # fmt: skip


def serve(pipe: Path) -> None:
    """Run the actions that come through a pipe, one line each: ``[answer's pipe, word, ...]``; never returns."""
    import localtrack.index.search
    import localtrack.queue.agents
    import localtrack.queue.consumer
    import localtrack.services.lifecycle  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with open(os.open(pipe, os.O_RDWR), encoding="utf-8") as lines:
        for line in lines:
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer, *words = json.loads(line)
                _answer(Path(answer), words)


def _answer(pipe: Path, words: list[str]) -> None:
    """Run one action in this process and end it; what it prints goes to the pipe, its exit status beside it."""
    fd = os.open(pipe, os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    code = 1
    try:
        main(words)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        pipe.with_name(f"{pipe.name}.status").write_text(str(code))
        os._exit(code)


def main(words: list[str]) -> None:
    """Run one action."""
    if "--barrier" in words:
        at = words.index("--barrier")
        barrier = Path(words[at + 1])
        del words[at : at + 2]
        _meet(barrier)
    action, folder, *arguments = words
    if action == "serve":
        serve(Path(folder))
    print(json.dumps(ACTIONS[action](Path(folder), *arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
