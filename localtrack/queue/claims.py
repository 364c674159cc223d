"""Claims: who runs an entry, decided by exclusive creation of the next number.

``claims/<entry>.<k>`` is created once, by a link. Who finds its own nonce in it owns generation k. A claim is given
back by ``<entry>.<k>.released``; the next owner takes k+1. No errno decides, no file is renamed.

Source: docs/format/v1.md, "claims/<entry>.<k>", "done/<entry>", "dead/<entry>".
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, LostClaimError
from localtrack.fs.disk import Disk, list_names, read_bytes, remove_files
from localtrack.queue.paths import QueuePaths, parse_claim
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass, field
from localtrack.store.documents import now, parse_sealed, sealed

CLAIM_FAMILY, CLAIM_SCHEMA = "localtrack/claim/", "localtrack/claim/1"
END_FAMILY, END_SCHEMA = "localtrack/queue-end/", "localtrack/queue-end/1"
CLAIM_LIMIT_BYTES = 64 << 10
RUN, DEQUEUE, BURY = "run", "dequeue", "bury"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim as it lies on disk.

    Attributes:
        queue: name of the queue's folder.
        entry: name of the entry.
        number: its generation, k.
        kind: ``run``, ``dequeue`` or ``bury``; ``unreadable`` for one that is torn.
        agent: id of the agent, whose heartbeat keeps the claim; ``""`` for a person's.
        owner: the process: ``host, machine, boot, pid, start``; never decides, only tells the living from the dead.
        nonce: random; who knows it made the claim.
    """

    queue: str
    entry: str
    number: int
    kind: str
    agent: str
    nonce: str
    owner: Json = field(default_factory=dict)
    at: str = ""

    @property
    def reference(self) -> str:
        """``<queue>/<entry>.<k>``: what everything written under this claim carries."""
        return f"{self.queue}/{self.entry}.{self.number}"


@dataclass(frozen=True, slots=True)
class ClaimList:
    """The names in ``claims/`` at one moment: entry to claim numbers, and which of them are released."""

    numbers: dict[str, list[int]]
    released: frozenset[tuple[str, int]]

    def highest(self, entry: str) -> int:
        """Return the highest claim number of an entry; 0 when it was never claimed."""
        return max(self.numbers.get(entry, ()), default=0)

    def is_held(self, entry: str) -> bool:
        """Tell whether the highest claim of an entry has not been given back."""
        number = self.highest(entry)
        return number > 0 and (entry, number) not in self.released

    def held(self, entry: str) -> list[int]:
        """Return the numbers of an entry's claims that were not given back, in order."""
        return sorted(number for number in self.numbers.get(entry, ()) if (entry, number) not in self.released)

    def attempts(self, entry: str) -> int:
        """Return how many claims of an entry were not given back: one each for an agent that died over it."""
        return len(self.held(entry))


class Claims:
    """The claims of one queue.

    Args:
        disk: the store's disk.
        paths: the queue's paths.
    """

    def __init__(self, disk: Disk, paths: QueuePaths) -> None:
        self._disk = disk
        self._paths = paths

    def list(self) -> ClaimList:
        """Return what is claimed now, from one listing."""
        numbers: dict[str, list[int]] = {}
        released = set()
        for name in list_names(self._paths.claims):
            parsed = parse_claim(name)
            if parsed is None:
                continue
            entry, number, is_release = parsed
            if is_release:
                released.add((entry, number))
            else:
                numbers.setdefault(entry, []).append(number)
        return ClaimList(numbers, frozenset(released))

    def take(self, entry: str, number: int, *, agent: str, owner: Json, kind: str = RUN) -> Claim | None:
        """Try to become the owner of claim ``number``; None when another was first.

        Raises:
            OSError: the disk takes no more, or the queue was removed.
        """
        claim = Claim(self._paths.folder.name, entry, number, kind, agent, os.urandom(16).hex(), owner, now())
        body = {
            "queue": claim.queue, "entry": entry, "claim": number, "kind": kind, "agent": agent, "owner": owner,
            "nonce": claim.nonce, "at": claim.at,
        }  # fmt: skip
        won = self._disk.publish(sealed(CLAIM_SCHEMA, body), self._paths.claim(entry, number))
        return claim if won else None

    def read(self, entry: str, number: int) -> Claim:
        """Return a claim. A torn one is a claim of an unknown owner, which only time can free.

        Raises:
            FileNotFoundError: it is gone.
        """
        path = self._paths.claim(entry, number)
        queue = self._paths.folder.name
        data = b""
        try:
            data = read_bytes(path, CLAIM_LIMIT_BYTES)
            body = parse_sealed(data, CLAIM_FAMILY, str(path))
            owner = body["owner"]
            if body["entry"] != entry or body["claim"] != number or not isinstance(owner, dict):
                raise CorruptFileError(f"{path} is not the claim that its name says", path=str(path))
            return Claim(
                queue, entry, number, str(body["kind"]), str(body["agent"]), str(body["nonce"]), owner, str(body["at"])
            )
        except FileNotFoundError:
            raise
        except (OSError, CorruptFileError, KeyError):
            return Claim(queue, entry, number, "unreadable", "", hex_sha256(data)[:32])

    def is_superseded(self, claim: Claim) -> bool:
        """Tell whether a higher claim exists: its owner must stop."""
        return self.list().highest(claim.entry) > claim.number

    def check_owned(self, claim: Claim) -> None:
        """Refuse to go on under a claim that another took over.

        Raises:
            LostClaimError: names the entry and the higher claim.
        """
        highest = self.list().highest(claim.entry)
        if highest > claim.number:
            raise LostClaimError(
                f"claim {claim.reference} was taken over by claim {highest}: this process no longer owns the entry and stops",
                entry=claim.entry,
                claim=claim.number,
            )

    def release(self, claim: Claim, reason: str) -> None:
        """Give a claim back: the entry is free again, and this claim counts as no attempt."""
        body = {"entry": claim.entry, "claim": claim.number, "nonce": claim.nonce, "reason": reason, "at": now()}
        self._disk.publish(sealed(END_SCHEMA, body), self._paths.released(claim.entry, claim.number))

    def finish(self, claim: Claim, outcome: str, *, bury: bool = False) -> None:
        """Record that an entry is finished, and take it out of the pending ones. Call it after the final status is on disk.

        Args:
            claim: the claim under which it was finished.
            outcome: a word or two, such as the task's final status.
            bury: the entry becomes a dead letter.

        Raises:
            LostClaimError: another took over, or finished it.
        """
        self.check_owned(claim)
        folder = self._paths.dead if bury else self._paths.done
        body = {
            "entry": claim.entry, "claim": claim.number, "nonce": claim.nonce, "agent": claim.agent,
            "outcome": outcome, "owner": claim.owner, "at": now(),
        }  # fmt: skip
        if not self._disk.publish(sealed(END_SCHEMA, body), folder / claim.entry):
            end = read_end(folder / claim.entry)
            if end is None or end.get("nonce") != claim.nonce:
                raise LostClaimError(
                    f"{claim.reference} was finished by another owner: {folder / claim.entry}", entry=claim.entry
                )
        remove_files([self._paths.pending / claim.entry])

    def ended(self) -> set[str]:
        """Return the names of entries that are finished or dead."""
        return {*list_names(self._paths.done), *list_names(self._paths.dead)}


def read_end(path: Path) -> Json | None:
    """Return a done or dead record; None when it is missing or torn."""
    try:
        return parse_sealed(read_bytes(path, CLAIM_LIMIT_BYTES), END_FAMILY, str(path))
    except (OSError, CorruptFileError):
        return None
