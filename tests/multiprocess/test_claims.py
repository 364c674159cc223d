"""Many agents at one queue: every entry is claimed exactly once, and none is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from localtrack.capture.host import is_alive, start_token
from localtrack.queue.agents import Agents
from localtrack.queue.consumer import Consumer
from localtrack.queue.folder import Queues
from localtrack.queue.lease import LeaseObserver
from localtrack.records.ids import new_task_id
from localtrack.store.root import Store

PROCESSES = 8
ENTRIES = 200
LEASE_S = 1.0
SPAWN = multiprocessing.get_context("spawn")


def _owner() -> dict[str, object]:
    return {"pid": os.getpid(), "start": start_token(os.getpid())}


def _enqueue_many(root: str, count: int) -> None:
    queue = Queues(Store.open(Path(root))).get("gpu")
    for _ in range(count):
        queue.enqueue(new_task_id())


def _drain(root: str, report: str) -> None:
    store = Store.open(Path(root))
    queue = Queues(store).get("gpu")
    observer = LeaseObserver(store.disk, 60, lambda owner: is_alive(owner["pid"], owner["start"]))
    consumer = Consumer(f"agent-{os.getpid()}", _owner(), observer, lambda agent: Path("/nowhere"))
    got = []
    while queue.entries():
        offer = consumer.next_offer(queue).offer
        if offer is not None:
            got.append([offer.entry.name, offer.claim.number])
            queue.claims.finish(offer.claim, "completed")
    Path(report).write_text(json.dumps(got))


def _claim_and_hang(root: str) -> None:
    store = Store.open(Path(root))
    agent, _ = Agents(store).register("doomed", ["gpu"], _owner(), LEASE_S)
    queue = Queues(store).get("gpu")
    Consumer(agent, _owner(), LeaseObserver(store.disk, LEASE_S), Agents(store).heartbeat).next_offer(queue)
    signal.pause()


def _take_over(root: str, report: str) -> None:
    """Know nothing of the doomed process but its heartbeat, as on another host."""
    store = Store.open(Path(root))
    queue = Queues(store).get("gpu")
    observer = LeaseObserver(store.disk, LEASE_S)
    consumer = Consumer(f"agent-{os.getpid()}", {}, observer, Agents(store).heartbeat)
    deadline = time.monotonic() + 60
    got = []
    while queue.entries() and time.monotonic() < deadline:
        offer = consumer.next_offer(queue).offer
        if offer is not None:
            got.append(offer.claim.number)
            queue.claims.finish(offer.claim, "completed")
        time.sleep(0.05)
    Path(report).write_text(json.dumps(got))


def _run_all(target: object, arguments: list[tuple[object, ...]]) -> None:
    processes = [SPAWN.Process(target=target, args=args) for args in arguments]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(110)
        assert process.exitcode == 0


@pytest.mark.parametrize("locks", ["on", "off"])
def test_every_entry_is_claimed_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str) -> None:
    """8 processes drain 200 entries: each is claimed exactly once by claim 1, and none is left."""
    if locks == "off":
        monkeypatch.setenv("LOCALTRACK_NO_LOCKS", "1")
    queue = Queues(store).create("gpu")
    _enqueue_many(str(store.root), ENTRIES)
    expected = {ref.name for ref in queue.entries()}
    _run_all(_drain, [(str(store.root), str(tmp_path / f"report-{n}")) for n in range(PROCESSES)])
    claimed = [tuple(item) for n in range(PROCESSES) for item in json.loads((tmp_path / f"report-{n}").read_text())]
    assert Counter(name for name, _ in claimed) == Counter(expected)
    assert {number for _, number in claimed} == {1}
    assert {path.name for path in queue.paths.done.iterdir()} == expected
    assert queue.entries() == []


def test_many_enqueue_at_once(store: Store) -> None:
    """Entries of 4 processes at once are all there, each under its own name."""
    queue = Queues(store).create("gpu")
    _run_all(_enqueue_many, [(str(store.root), 25) for _ in range(4)])
    assert len({ref.task_id for ref in queue.entries()}) == 100


@pytest.mark.parametrize("locks", ["on", "off"])
def test_a_killed_claimers_entry_is_taken_over_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str
) -> None:
    """After kill -9 the lease runs out, and of several waiting agents exactly one takes the next claim."""
    if locks == "off":
        monkeypatch.setenv("LOCALTRACK_NO_LOCKS", "1")
    queue = Queues(store).create("gpu")
    name = queue.enqueue(new_task_id())
    doomed = SPAWN.Process(target=_claim_and_hang, args=(str(store.root),))
    doomed.start()
    deadline = time.monotonic() + 60
    while not queue.paths.claim(name, 1).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert doomed.pid is not None
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join(30)
    _run_all(_take_over, [(str(store.root), str(tmp_path / f"report-{n}")) for n in range(3)])
    taken = [number for n in range(3) for number in json.loads((tmp_path / f"report-{n}").read_text())]
    assert taken == [2]
    assert queue.entries() == []
