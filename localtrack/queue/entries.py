"""Queue entries: names that sort in the order of their turn, documents that never change.

An entry's name is ``<rank>-<seq>-<task id>``. Rank is ``50000 - priority``, so that a plain sorted listing shows
higher priorities first; seq is a sortable id greater than every one listed before, whatever the host's clock says.

Source: docs/format/v1.md, "pending/<rank>-<seq>-<task>".
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, InvalidValueError
from localtrack.fs.disk import read_bytes
from localtrack.queue.trust import Trust
from localtrack.records.plain import dataclass
from localtrack.store.documents import parse_sealed, sealed

FAMILY = "localtrack/entry/"
SCHEMA = "localtrack/entry/1"
ENTRY_LIMIT_BYTES = 64 << 10
TOP_RANK = 50000
PRIORITY_LIMIT = 49_999
DEFAULT_ATTEMPT_LIMIT = 3
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT = {char: number for number, char in enumerate(_ALPHABET)}
_NAME = re.compile(rf"(\d{{5}})-([{_ALPHABET}]{{26}})-([0-9a-f]{{32}})")
_RANDOM_BITS = 80


class ForeignEntryError(CorruptFileError):
    """A thing among the entries that must not run: no plain file, torn, too large, or of a user who is not trusted."""


@dataclass(frozen=True, slots=True)
class EntryRef:
    """What an entry's name says."""

    name: str
    rank: str
    seq: str
    task_id: str

    @property
    def priority(self) -> int:
        """Higher runs first."""
        return TOP_RANK - int(self.rank)

    @property
    def key(self) -> tuple[str, str]:
        """What entries sort by unless somebody moved them."""
        return self.rank, self.seq


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry's document.

    Attributes:
        attempt_limit: so many claims may be lost to dead agents before the entry is a dead letter.
        enqueued_by: ``user``, ``uid``, ``host``; shown, and never trusted: the file's owner decides.
        at: UTC time on the enqueuer's clock, for display.
    """

    ref: EntryRef
    attempt_limit: int
    enqueued_by: dict[str, Any]
    at: str
    owner_uid: int = -1

    @property
    def name(self) -> str:
        """The entry's name."""
        return self.ref.name

    @property
    def task_id(self) -> str:
        """The task to run."""
        return self.ref.task_id


def parse_name(name: str) -> EntryRef | None:
    """Return what an entry's name says; None for a foreign name."""
    match = _NAME.fullmatch(name)
    return EntryRef(name, match[1], match[2], match[3]) if match else None


def new_ref(task_id: str, priority: int, listed: list[str]) -> EntryRef:
    """Return a fresh name whose seq is greater than each of ``listed``.

    Raises:
        InvalidValueError: the priority is out of range.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > PRIORITY_LIMIT:
        raise InvalidValueError(
            f"priority {priority!r} of task {task_id} must be an integer from -{PRIORITY_LIMIT} to {PRIORITY_LIMIT}",
            task_id=task_id,
        )
    newest = max(listed, default="")
    stamp = max(time.time_ns() // 1_000_000, (_decode(newest) >> _RANDOM_BITS) + 1 if newest else 0)
    seq = _encode(stamp << _RANDOM_BITS | int.from_bytes(os.urandom(10), "big"))
    rank = f"{TOP_RANK - priority:05d}"
    return EntryRef(f"{rank}-{seq}-{task_id}", rank, seq, task_id)


def encode_entry(ref: EntryRef, attempt_limit: int, enqueued_by: dict[str, Any], at: str) -> bytes:
    """Return the bytes of an entry's document."""
    return sealed(
        SCHEMA,
        {
            "entry": ref.name,
            "task_id": ref.task_id,
            "priority": ref.priority,
            "attempt_limit": attempt_limit,
            "enqueued_by": enqueued_by,
            "at": at,
        },
    )


def read_entry(path: Path, ref: EntryRef, trust: Trust) -> Entry:
    """Read an entry that may be hostile: never blocks, never reads much, never follows a link.

    Raises:
        ForeignEntryError: it must not run; says why.
        FileNotFoundError: it is gone: somebody finished it.
    """
    try:
        uid = os.lstat(path).st_uid
        data = read_bytes(path, ENTRY_LIMIT_BYTES)
        body = parse_sealed(data, FAMILY, str(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ForeignEntryError(f"{path}: {error.strerror}", path=str(path)) from None
    except CorruptFileError as error:
        raise ForeignEntryError(error.message, path=str(path)) from None
    if not trust.allows(uid):
        raise ForeignEntryError(f"{path} belongs to uid {uid}, whom this agent does not trust", path=str(path), uid=uid)
    limit, by = body.get("attempt_limit"), body.get("enqueued_by")
    if body.get("entry") != ref.name or not isinstance(limit, int) or limit < 1 or not isinstance(by, dict):
        raise ForeignEntryError(f"{path} is not the entry that its name says", path=str(path))
    return Entry(ref, limit, by, str(body.get("at", "")), uid)


def _encode(value: int) -> str:
    digits = []
    for _ in range(26):
        digits.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(digits))


def _decode(text: str) -> int:
    value = 0
    for char in text:
        value = value << 5 | _DIGIT[char]
    return value
