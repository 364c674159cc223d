"""Metadata logs: numbered generations of one record, each committed by exclusive creation.

Two writers that read generation N and want N+1 can't both have it: the loser reads N+1 and applies its *intent*
again. No lock, no replaced file. What a log is of, a task or a model, its :class:`LogKind` says.

Source: docs/format/v1.md, "task/<generation>.json", "model/<generation>.json" and "Updating a task".
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from localtrack.errors import CorruptFileError, LocaltrackError, StoreError
from localtrack.fs.disk import Disk, list_names, read_bytes, refresh_names, retrying
from localtrack.records.model import ModelRecord
from localtrack.records.plain import dataclass, replace
from localtrack.records.task import TaskRecord
from localtrack.store.documents import DOCUMENT_LIMIT_BYTES, parse_sealed, sealed
from localtrack.store.layout import parse_generation

ATTEMPTS = 400
LAST_GENERATION = 10**18 - 1
_FOREIGN = frozenset({errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EFBIG, errno.ENXIO})

R = TypeVar("R", TaskRecord, ModelRecord)


class LogLayout(Protocol):
    """Where the log of one record lies."""

    @property
    def folder(self) -> Path:
        """The folder that the record is about."""

    @property
    def metadata(self) -> Path:
        """The folder of the generations."""

    def generation(self, number: int) -> Path:
        """Return the file of a generation."""


@dataclass(frozen=True, slots=True)
class LogKind(Generic[R]):
    """What a log is of.

    Attributes:
        word: ``task`` or ``model``: the key of the record in its documents.
        decode: builds a record from ``(fields, generation, origin)``.
        missing: the error for a folder without a log.
    """

    word: str
    decode: Callable[[dict[str, Any], int, str], R]
    missing: type[LocaltrackError]

    @property
    def family(self) -> str:
        """What the schema of its documents starts with."""
        return f"localtrack/{self.word}/"

    @property
    def schema(self) -> str:
        """The schema of documents written now."""
        return f"localtrack/{self.word}/1"


@dataclass(frozen=True, slots=True)
class Author:
    """Who commits: names a writer, never decides anything."""

    user: str
    host: str
    pid: int
    writer: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the ``author`` object of a metadata file."""
        return {"user": self.user, "host": self.host, "pid": self.pid, "writer": self.writer}


def generations(layout: LogLayout) -> list[int]:
    """Return the numbers of the generations on disk, in order; ``[]`` when there is no such record."""
    refresh_names(layout.folder.parent)  # another host may have moved the folder away, and another one to its place
    found = (parse_generation(name) for name in list_names(layout.metadata))
    return sorted(number for number in found if number is not None)


def read_newest(kind: LogKind[R], layout: LogLayout) -> tuple[R, int]:
    """Return the newest whole record and the highest number of the *same* listing.

    The next commit must build on that listing: a number taken from a later one would skip a generation that another
    writer committed in between, and with it their change.

    Raises:
        LocaltrackError: no metadata there; of the kind's own class.
        CorruptFileError: there is metadata, and none of it is whole.
        StoreError: it can't be read now.
    """
    numbers = generations(layout)
    if not numbers:
        raise kind.missing(
            f"no {kind.word} in {layout.folder}: it was moved or deleted; `localtrack ls` and `localtrack restore` show "
            "what is there",
            path=str(layout.folder),
        )
    problem: CorruptFileError | None = None
    for position, number in enumerate(reversed(numbers)):
        try:
            return _read(kind, layout.generation(number), number, patient=position == 0), numbers[-1]
        except FileNotFoundError:
            continue
        except CorruptFileError as error:
            problem = problem or error
    if problem is None:
        raise kind.missing(f"the {kind.word} in {layout.folder} was deleted while it was read", path=str(layout.folder))
    raise problem


def _read(kind: LogKind[R], path: Path, number: int, *, patient: bool) -> R:
    for attempt in range(3 if patient else 1):
        if attempt:
            time.sleep(0.02 * 4**attempt)
        try:
            body = parse_sealed(_read_generation(kind.word, path), kind.family, str(path))
            content = body.get(kind.word)
            if not isinstance(content, dict) or body.get("generation") != number:
                raise CorruptFileError(f"{path} is not generation {number} of a {kind.word}", path=str(path))
            return kind.decode(content, number, str(path))
        except CorruptFileError as error:
            problem = error
    raise problem


def _read_generation(word: str, path: Path) -> bytes:
    """Return the bytes of a generation; what is no regular file is damaged, what can't be read now is not."""
    try:
        return retrying(lambda: read_bytes(path, DOCUMENT_LIMIT_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FOREIGN:
            raise CorruptFileError(
                f"{path} is no generation of a {word} ({error.strerror}); move it away", path=str(path)
            ) from None
        raise StoreError(
            f"reading {path} failed: {error.strerror}; check its permissions and the file system", path=str(path)
        ) from error


def encode(kind: LogKind[R], record: R, number: int, parent: int, author: Author, change: str, at: str) -> bytes:
    """Return the bytes of a metadata generation."""
    body = {
        "generation": number,
        "parent_generation": parent,
        "nonce": os.urandom(8).hex(),  # no two commits are the same bytes, so that reading back tells whose it is
        "author": author.to_json(),
        "at": at,
        "change": change,
        kind.word: record.to_json(),
    }
    return sealed(kind.schema, body)


def commit_first(kind: LogKind[R], disk: Disk, layout: LogLayout, record: R, author: Author, number: int, at: str) -> R:
    """Commit the first generation of a new folder.

    Raises:
        StoreError: the folder already holds that generation.
    """
    record = replace(record, last_update=at)
    data = encode(kind, record, number, number - 1, author, "created", at)
    if not disk.publish(data, layout.generation(number)):
        raise StoreError(
            f"{layout.generation(number)} exists already; create the {kind.word} again", path=str(layout.folder)
        )
    return replace(record, generation=number)


def commit(
    kind: LogKind[R],
    disk: Disk,
    layout: LogLayout,
    intent: Callable[[R], R],
    author: Author,
    change: str,
    announce: Callable[[int], None],
    clock: Callable[[], str],
) -> R:
    """Apply an intent to the newest record and commit the next generation; lost races are run again.

    Args:
        kind: what the log is of.
        disk: writes there.
        layout: where the log lies.
        intent: from the record as it is to the record as wanted; called again after each lost race. Returning the
            same object means that nothing changes and nothing is committed.
        author: who commits.
        change: a word or two for the log.
        announce: told the number before it is committed, so that the index can never miss it.
        clock: returns the time of a commit.

    Raises:
        StoreError: hundreds of races were lost in a row.
    """
    for attempt in range(ATTEMPTS):
        current, highest = read_newest(kind, layout)
        wanted = intent(current)
        if wanted is current:
            return current
        number = highest + 1
        if number > LAST_GENERATION:
            raise StoreError(
                f"{layout.generation(highest)} has the last number there is; move it away", path=str(layout.folder)
            )
        at = clock()
        wanted = replace(wanted, last_update=at)
        announce(number)
        data = encode(kind, wanted, number, current.generation, author, change, at)
        if disk.publish(data, layout.generation(number)):
            return replace(wanted, generation=number)
        from random import SystemRandom  # its own generator is the script's: its numbers must not depend on us

        time.sleep(SystemRandom().uniform(0.001, min(0.2, 0.002 * 2 ** min(attempt, 7))))
    raise StoreError(
        f"could not commit to {layout.folder}: {ATTEMPTS} races lost in a row; too many writers change this {kind.word} "
        "at once",
        path=str(layout.folder),
    )


def stale_generations(layout: LogLayout, keep: int, keep_age_s: float) -> list[Path]:
    """Return the files of generations far behind the newest one; the first one stays: it says who made the record."""
    numbers = generations(layout)
    old = [layout.generation(n) for n in numbers[1:-keep]]
    if not old:
        return []
    newest = layout.generation(numbers[-1]).stat().st_mtime
    stale = []
    for path in old:
        try:
            if newest - path.stat().st_mtime > keep_age_s:
                stale.append(path)
        except FileNotFoundError:
            continue
    return stale
