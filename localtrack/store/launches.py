"""Where the processes of one launch meet: rank zero says which task it runs, every other rank takes its seat there.

Both are files that appear whole and exclusively, in a folder that only the launch's own processes know. Nothing is ever
changed or replaced in it, so that there is no moment in which a killed process leaves it in between.

Source: docs/format/v1.md, "Launches".
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import list_names, read_bytes
from localtrack.records.plain import dataclass
from localtrack.records.task import Json
from localtrack.store.documents import now, parse_sealed, sealed
from localtrack.store.root import Store

FAMILY, SCHEMA = "localtrack/launch/", "localtrack/launch/1"
SEAT_SCHEMA = "localtrack/launch-seat/1"
LIMIT_BYTES = 1 << 20
NUMBERS_LIMIT = 10_000
_MEETING = re.compile(r"([0-9]{1,9})\.json")
_SEAT = re.compile(r"([0-9]{1,9})\.rank-([0-9]{1,9})\.json")


@dataclass(frozen=True, slots=True)
class Meeting:
    """A task that rank zero of a launch has started.

    Attributes:
        number: which of the launch's it is, from 1.
        path: the file that says so.
        body: its fields; see the format.
        taken: the ranks that have their seats.
    """

    number: int
    path: Path
    body: Json
    taken: frozenset[int]

    @property
    def task_id(self) -> str:
        """The task."""
        return str(self.body.get("task", ""))

    @property
    def asked(self) -> tuple[str, str, str]:
        """Project, name and type that rank zero asked for."""
        asked = self.body.get("asked")
        known = asked if isinstance(asked, Mapping) else {}
        return str(known.get("project", "")), str(known.get("name", "")), str(known.get("type", ""))

    @property
    def ordinal(self) -> int:
        """The how-manieth task of rank zero's process it is, from 1."""
        value = self.body.get("ordinal")
        return value if isinstance(value, int) else 0

    @property
    def restarts(self) -> int:
        """How often torchrun had started the ranks anew before."""
        value = self.body.get("restarts")
        return value if isinstance(value, int) else 0

    @property
    def iteration_offset(self) -> int:
        """What rank zero adds to iterations."""
        value = self.body.get("iteration_offset")
        return value if isinstance(value, int) else 0

    def object(self, name: str) -> Json:
        """Return one of the fields that are objects; empty when it is none."""
        value = self.body.get(name)
        return value if isinstance(value, dict) else {}


class Launches:
    """The launches of a store.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def folder(self, key: str) -> Path:
        """Return the folder of one launch."""
        return self._store.layout.launches / key

    def meetings(self, key: str) -> list[Meeting]:
        """Return what rank zero of a launch has said, oldest first; what is torn is not there yet."""
        folder = self.folder(key)
        taken: dict[int, set[int]] = {}
        numbers = []
        for name in list_names(folder):
            seat, meeting = _SEAT.fullmatch(name), _MEETING.fullmatch(name)
            if seat is not None:
                taken.setdefault(int(seat[1]), set()).add(int(seat[2]))
            elif meeting is not None:
                numbers.append((int(meeting[1]), name))
        found = []
        for number, name in sorted(numbers):
            try:
                body = parse_sealed(read_bytes(folder / name, LIMIT_BYTES), FAMILY, str(folder / name))
            except (OSError, CorruptFileError):
                continue
            found.append(Meeting(number, folder / name, body, frozenset(taken.get(number, ()))))
        return found

    def announce(self, key: str, fields: Mapping[str, object]) -> int:
        """Say which task rank zero runs; return the number under which it is said.

        Raises:
            OSError: the store can't be written.
        """
        folder = self.folder(key)
        self._store.disk.make_dirs(folder)
        numbers = [int(found[1]) for found in map(_MEETING.fullmatch, list_names(folder)) if found is not None]
        first = max(numbers, default=0) + 1
        for number in range(first, first + NUMBERS_LIMIT):
            body = {**fields, "launch": key, "number": number, "nonce": os.urandom(8).hex(), "at": now()}
            if self._store.disk.publish(sealed(SCHEMA, body), folder / f"{number}.json"):
                return number
        raise OSError(f"{folder} holds too many files")

    def take_seat(self, meeting: Meeting, rank: int, owner: Json) -> bool:
        """Take a rank's seat; False when another process has it.

        Raises:
            OSError: the store can't be written.
        """
        body = {
            "launch": meeting.path.parent.name, "number": meeting.number, "rank": rank, "owner": owner,
            "nonce": os.urandom(8).hex(), "at": now(),
        }  # fmt: skip
        path = meeting.path.with_name(f"{meeting.number}.rank-{rank}.json")
        return self._store.disk.publish(sealed(SEAT_SCHEMA, body), path)
