"""Claims and their consumers: one owner a generation, taken over only from the dead."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.errors import LostClaimError
from localtrack.queue.claims import Claim, read_end
from localtrack.queue.consumer import Consumer, Offer
from localtrack.queue.folder import Queue, Queues
from localtrack.queue.lease import LeaseObserver
from localtrack.records.ids import new_task_id
from localtrack.store.root import Store

DEAD: set[str] = set()


@pytest.fixture
def queue(store: Store) -> Queue:
    """An empty queue."""
    DEAD.clear()
    return Queues(store).create("gpu")


def _consumer(store: Store, name: str) -> Consumer:
    observer = LeaseObserver(store.disk, 60, lambda owner: owner["name"] not in DEAD)
    return Consumer(name, {"name": name}, observer, lambda agent: Path("/nowhere"))


def _offer(store: Store, queue: Queue, name: str) -> Offer:
    offer = _consumer(store, name).next_offer(queue).offer
    assert offer is not None
    return offer


def test_an_entry_is_offered_once(store: Store, queue: Queue) -> None:
    """While its owner lives nobody else gets an entry, and what is done is offered no more."""
    task = new_task_id()
    queue.enqueue(task)
    offer = _offer(store, queue, "a")
    assert (offer.entry.task_id, offer.claim.number, offer.previous) == (task, 1, None)
    assert offer.claim.reference == f"gpu/{offer.entry.name}.1"
    assert _consumer(store, "b").next_offer(queue).offer is None
    queue.claims.finish(offer.claim, "completed")
    assert _consumer(store, "b").next_offer(queue).offer is None
    assert queue.entries() == []
    assert (read_end(queue.paths.done / offer.entry.name) or {})["outcome"] == "completed"


def test_a_claim_number_is_taken_once(queue: Queue) -> None:
    """The second who wants the same number gets nothing, and the claim on disk is the first one's."""
    name = queue.enqueue(new_task_id())
    first = queue.claims.take(name, 1, agent="a", owner={})
    assert first is not None
    assert queue.claims.take(name, 1, agent="b", owner={}) is None
    assert queue.claims.read(name, 1) == first


def test_success_is_judged_by_state(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost reply that makes one's own link look like EEXIST is still a claim won."""
    import os

    link = os.link

    def link_twice(*args: object, **named: object) -> None:
        link(*args, **named)  # type: ignore[arg-type]
        raise FileExistsError(17, "lost reply")

    name = queue.enqueue(new_task_id())
    monkeypatch.setattr(os, "link", link_twice)
    assert queue.claims.take(name, 1, agent="a", owner={}) is not None


def test_a_dead_owners_entry_is_taken_over(store: Store, queue: Queue) -> None:
    """After its owner's death an entry goes to the next claim, and the old owner is refused from then on."""
    queue.enqueue(new_task_id())
    old = _offer(store, queue, "a")
    DEAD.add("a")
    new = _offer(store, queue, "b")
    assert (new.claim.number, new.previous) == (2, old.claim)
    assert queue.claims.is_superseded(old.claim)
    with pytest.raises(LostClaimError, match="claim 2"):
        queue.claims.finish(old.claim, "completed")
    queue.claims.finish(new.claim, "completed")
    assert (read_end(queue.paths.done / new.entry.name) or {})["claim"] == 2


def test_a_released_entry_is_free_at_once(store: Store, queue: Queue) -> None:
    """A claim that is given back counts as no attempt."""
    queue.enqueue(new_task_id(), attempt_limit=1)
    for number in (1, 2, 3):
        offer = _offer(store, queue, "a")
        assert (offer.claim.number, offer.is_exhausted) == (number, False)
        queue.claims.release(offer.claim, "changed its mind")


def test_an_entry_that_kills_its_agents_becomes_a_dead_letter(store: Store, queue: Queue) -> None:
    """Past the limit of attempts an entry is offered for burial, and then never again."""
    task = new_task_id()
    queue.enqueue(task, attempt_limit=2)
    for name in ("a", "b"):
        assert not _offer(store, queue, name).is_exhausted
        DEAD.add(name)
    last = _offer(store, queue, "c")
    assert last.is_exhausted
    queue.claims.finish(last.claim, "lost", bury=True)
    assert [letter["task_id"] for letter in queue.dead_letters()] == [task]
    assert queue.entries() == []
    assert not queue.paths.pending.joinpath(last.entry.name).exists()


def test_a_finished_entry_is_not_revived_by_a_late_claim(store: Store, queue: Queue) -> None:
    """Who claims from a stale listing sees the done record and lets go."""
    queue.enqueue(new_task_id())
    snapshot = queue.snapshot()
    offer = _offer(store, queue, "a")
    queue.claims.finish(offer.claim, "completed")
    late = _consumer(store, "b")
    pending = queue.paths.pending / offer.entry.name
    from localtrack.queue.entries import encode_entry

    pending.write_bytes(encode_entry(offer.entry.ref, 3, {}, ""))
    queue.paths.claim(offer.entry.name, 1).unlink()
    assert late._take(queue, snapshot, snapshot.live[0], None) is None


def test_a_torn_claim_holds_until_time_frees_it(store: Store, queue: Queue) -> None:
    """A claim that can't be read belongs to somebody unknown: only the lease frees its entry."""
    now = [0.0]
    name = queue.enqueue(new_task_id())
    queue.paths.claim(name, 1).write_bytes(b"{")
    observer = LeaseObserver(store.disk, 60, lambda owner: None, clock=lambda: now[0])
    consumer = Consumer("b", {}, observer, lambda agent: Path("/nowhere"))
    looks = []
    for _ in range(8):
        looks.append(consumer.next_offer(queue))
        now[0] += 10
    taken = [look.offer is not None for look in looks]
    assert taken == [False] * 6 + [True, False]
    assert looks[0].is_undecided
    assert looks[6].offer is not None
    assert looks[6].offer.claim.number == 2


def test_a_finish_that_is_repeated_is_fine(store: Store, queue: Queue) -> None:
    """Finishing again with one's own claim, as after a lost reply, changes nothing."""
    queue.enqueue(new_task_id())
    offer = _offer(store, queue, "a")
    queue.claims.finish(offer.claim, "completed")
    queue.claims.finish(offer.claim, "completed")
    stranger = Claim("gpu", offer.entry.name, 1, "run", "x", "other nonce")
    with pytest.raises(LostClaimError, match="another owner"):
        queue.claims.finish(stranger, "completed")
