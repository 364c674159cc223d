"""Every path in a queue's folder, and no I/O.

Source: docs/format/v1.md, "queues/<name>/".
"""

from __future__ import annotations

import re
from pathlib import Path

from localtrack.records.plain import dataclass

_CLAIM = re.compile(r"(.{1,120})\.(\d{1,9})(\.released)?")
_ORDER = re.compile(r"(\d{6,18})\.json")


@dataclass(frozen=True, slots=True)
class QueuePaths:
    """Paths in one queue's folder."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """``queue.json``: the queue's name as the user wrote it."""
        return self.folder / "queue.json"

    @property
    def pending(self) -> Path:
        """``pending/``: one immutable document an entry."""
        return self.folder / "pending"

    @property
    def claims(self) -> Path:
        """``claims/``: ``<entry>.<k>`` and ``<entry>.<k>.released``."""
        return self.folder / "claims"

    @property
    def done(self) -> Path:
        """``done/``: how each finished entry ended."""
        return self.folder / "done"

    @property
    def dead(self) -> Path:
        """``dead/``: entries whose attempts are used up."""
        return self.folder / "dead"

    @property
    def order(self) -> Path:
        """``order/``: numbered generations of what was moved by hand."""
        return self.folder / "order"

    def parts(self) -> tuple[Path, ...]:
        """Return the folders that a whole queue has."""
        return self.pending, self.claims, self.done, self.dead, self.order

    def claim(self, entry: str, number: int) -> Path:
        """Return the file of claim ``number`` of an entry."""
        return self.claims / f"{entry}.{number}"

    def released(self, entry: str, number: int) -> Path:
        """Return the file that gives claim ``number`` back."""
        return self.claims / f"{entry}.{number}.released"


def parse_claim(name: str) -> tuple[str, int, bool] | None:
    """Return entry, claim number and whether it is a release; None for a foreign name."""
    match = _CLAIM.fullmatch(name)
    return (match[1], int(match[2]), match[3] is not None) if match else None


def order_name(number: int) -> str:
    """Return the file name of an order generation."""
    return f"{number:06d}.json"


def parse_order(name: str) -> int | None:
    """Return the number in an order generation's name; None for a foreign name."""
    match = _ORDER.fullmatch(name)
    return int(match[1]) if match else None
