"""Taking entries: the next free one in order, claimed exactly once.

Source: docs/format/v1.md, "Claiming an entry".
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack.queue.claims import BURY, RUN, Claim
from localtrack.queue.entries import Entry, EntryRef
from localtrack.queue.folder import Queue, Snapshot
from localtrack.queue.lease import LeaseObserver, Verdict, claim_key
from localtrack.records.plain import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry that this process now owns.

    Attributes:
        is_exhausted: so many agents died over the entry that it must be buried, not run.
        previous: the claim of the dead owner before; None when it was free.
    """

    queue: Queue
    entry: Entry
    claim: Claim
    is_exhausted: bool = False
    previous: Claim | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a queue brought: an offer, and whether it is still open if some owner is dead."""

    offer: Offer | None
    is_undecided: bool


class Consumer:
    """Claims entries for one agent.

    Args:
        agent: its id.
        owner: the record of its process.
        observer: judges the owners of entries that are held.
        heartbeat_of: from an agent's id to its heartbeat.
    """

    def __init__(
        self, agent: str, owner: dict[str, Any], observer: LeaseObserver, heartbeat_of: Callable[[str], Path]
    ) -> None:
        self._agent = agent
        self._owner = owner
        self._observer = observer
        self._heartbeat_of = heartbeat_of

    def next_offer(self, queue: Queue) -> Look:
        """Claim the first entry of a queue that can be had.

        Raises:
            OSError: the store can't be read or written.
        """
        snapshot = queue.snapshot()
        is_undecided = False
        for ref in snapshot.live:
            previous, verdict = self._holder(queue, snapshot, ref)
            if verdict is not Verdict.DEAD:
                is_undecided |= verdict is Verdict.UNKNOWN
                continue
            offer = self._take(queue, snapshot, ref, previous)
            if offer is not None:
                return Look(offer, is_undecided)
        return Look(None, is_undecided)

    def _holder(self, queue: Queue, snapshot: Snapshot, ref: EntryRef) -> tuple[Claim | None, Verdict]:
        """Return the claim that holds an entry and whether its owner lives; a free entry has a dead nobody."""
        if not snapshot.claims.is_held(ref.name):
            return None, Verdict.DEAD
        try:
            claim = queue.claims.read(ref.name, snapshot.claims.highest(ref.name))
        except FileNotFoundError:
            return None, Verdict.ALIVE
        heartbeat = self._heartbeat_of(claim.agent) if claim.agent else None
        return claim, self._observer.judge(claim_key(claim.reference, claim.nonce), claim.owner, heartbeat)

    def _take(self, queue: Queue, snapshot: Snapshot, ref: EntryRef, previous: Claim | None) -> Offer | None:
        entry = queue.read(ref)
        if entry is None:
            return None
        is_exhausted = snapshot.claims.attempts(ref.name) >= entry.attempt_limit
        try:
            claim = queue.claims.take(
                ref.name,
                snapshot.claims.highest(ref.name) + 1,
                agent=self._agent,
                owner=self._owner,
                kind=BURY if is_exhausted else RUN,
            )
        except FileNotFoundError:
            return None  # the queue was removed
        if claim is None:
            return None
        if ref.name in queue.claims.ended():  # it ended between the listing and the claim
            queue.claims.release(claim, "ended before")
            return None
        return Offer(queue, entry, claim, is_exhausted, previous)
