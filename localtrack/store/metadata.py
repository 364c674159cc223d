"""The metadata log of a task: numbered generations, each committed by exclusive creation.

Two writers that read generation N and want N+1 can't both have it: the loser reads N+1 and applies its *intent*
again. No lock, no replaced file.

Source: docs/format/v1.md, "task/<generation>.json" and "Updating a task".
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, StoreError, TaskNotFoundError
from localtrack.fs.disk import Disk, list_names, read_bytes, refresh_names, remove_files, retrying
from localtrack.records.task import TaskRecord
from localtrack.store.documents import DOCUMENT_LIMIT_BYTES, now, parse_sealed, sealed
from localtrack.store.layout import TaskLayout, parse_generation

FAMILY = "localtrack/task/"
SCHEMA = "localtrack/task/1"
ATTEMPTS = 400
KEEP_GENERATIONS = 64
KEEP_AGE_S = 3600.0
LAST_GENERATION = 10**18 - 1
_FOREIGN = frozenset({errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EFBIG, errno.ENXIO})

Intent = Callable[[TaskRecord], TaskRecord]

_CHANCE = random.SystemRandom()  # the module's own generator is the script's: its numbers must not depend on us


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


def generations(layout: TaskLayout) -> list[int]:
    """Return the numbers of the generations on disk, in order; ``[]`` when there is no such task."""
    refresh_names(layout.folder.parent)  # another host may have moved the folder away, and another one to its place
    found = (parse_generation(name) for name in list_names(layout.metadata))
    return sorted(number for number in found if number is not None)


def read_latest(layout: TaskLayout) -> TaskRecord:
    """Return the newest whole record of a task.

    A damaged newest generation is read again a few times, since another host may still see it arriving, and then
    the one before it is used.

    Raises:
        TaskNotFoundError: no metadata there.
        CorruptFileError: there is metadata, and none of it is whole.
        StoreError: it can't be read now.
    """
    return _read_newest(layout)[0]


def _read_newest(layout: TaskLayout) -> tuple[TaskRecord, int]:
    """Return the newest whole record and the highest number of the *same* listing.

    The next commit must build on that listing: a number taken from a later one would skip a generation that another
    writer committed in between, and with it their change.
    """
    numbers = generations(layout)
    if not numbers:
        raise TaskNotFoundError(
            f"no task in {layout.folder}: it was moved or deleted; `localtrack ls` and `localtrack restore` show what is there",
            path=str(layout.folder),
        )
    problem: CorruptFileError | None = None
    for position, number in enumerate(reversed(numbers)):
        try:
            return _read(layout.generation(number), number, patient=position == 0), numbers[-1]
        except FileNotFoundError:
            continue
        except CorruptFileError as error:
            problem = problem or error
    if problem is None:
        raise TaskNotFoundError(f"the task in {layout.folder} was deleted while it was read", path=str(layout.folder))
    raise problem


def _read(path: Path, number: int, *, patient: bool) -> TaskRecord:
    for attempt in range(3 if patient else 1):
        if attempt:
            time.sleep(0.02 * 4**attempt)
        try:
            body = parse_sealed(_read_generation(path), FAMILY, str(path))
            content = body.get("task")
            if not isinstance(content, dict) or body.get("generation") != number:
                raise CorruptFileError(f"{path} is not generation {number} of a task", path=str(path))
            return TaskRecord.from_json(content, number, str(path))
        except CorruptFileError as error:
            problem = error
    raise problem


def _read_generation(path: Path) -> bytes:
    """Return the bytes of a generation; what is no regular file is damaged, what can't be read now is not."""
    try:
        return retrying(lambda: read_bytes(path, DOCUMENT_LIMIT_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _FOREIGN:
            raise CorruptFileError(
                f"{path} is no generation of a task ({error.strerror}); move it away", path=str(path)
            ) from None
        raise StoreError(
            f"reading {path} failed: {error.strerror}; check its permissions and the file system", path=str(path)
        ) from error


def encode(record: TaskRecord, number: int, parent: int, author: Author, change: str, at: str) -> bytes:
    """Return the bytes of a metadata generation."""
    body = {
        "generation": number,
        "parent_generation": parent,
        "nonce": os.urandom(8).hex(),  # no two commits are the same bytes, so that reading back tells whose it is
        "author": author.to_json(),
        "at": at,
        "change": change,
        "task": record.to_json(),
    }
    return sealed(SCHEMA, body)


def commit_first(disk: Disk, layout: TaskLayout, record: TaskRecord, author: Author, number: int = 1) -> TaskRecord:
    """Commit the first generation of a new task folder.

    Args:
        number: its number; a reset continues the numbers of the run that it replaces.

    Raises:
        StoreError: the folder already holds that generation.
    """
    at = now()
    record = replace(record, last_update=at)
    data = encode(record, number, number - 1, author, "created", at)
    if not disk.publish(data, layout.generation(number)):
        raise StoreError(f"{layout.generation(number)} exists already; create the task again", path=str(layout.folder))
    return replace(record, generation=number)


def commit(
    disk: Disk,
    layout: TaskLayout,
    intent: Intent,
    author: Author,
    change: str,
    announce: Callable[[int], None],
) -> TaskRecord:
    """Apply an intent to the newest record and commit the next generation; lost races are run again.

    Args:
        intent: from the record as it is to the record as wanted; called again after each lost race. Returning the
            same object means that nothing changes and nothing is committed.
        change: a word or two for the log.
        announce: told the number before it is committed, so that the index can never miss it.

    Raises:
        StoreError: hundreds of races were lost in a row.
    """
    for attempt in range(ATTEMPTS):
        current, highest = _read_newest(layout)
        wanted = intent(current)
        if wanted is current:
            return current
        number = highest + 1
        if number > LAST_GENERATION:
            raise StoreError(
                f"{layout.generation(highest)} has the last number there is; move it away", path=str(layout.folder)
            )
        at = now()
        wanted = replace(wanted, last_update=at)
        announce(number)
        data = encode(wanted, number, current.generation, author, change, at)
        if disk.publish(data, layout.generation(number)):
            if number % KEEP_GENERATIONS == 0:
                _prune_quietly(layout)
            return replace(wanted, generation=number)
        time.sleep(_CHANCE.uniform(0.001, min(0.2, 0.002 * 2 ** min(attempt, 7))))
    raise StoreError(
        f"could not commit to {layout.folder}: {ATTEMPTS} races lost in a row; too many writers change this task at once",
        path=str(layout.folder),
    )


def _prune_quietly(layout: TaskLayout) -> None:
    """Tidy up after a commit, which has succeeded whatever happens here."""
    try:
        prune(layout)
    except OSError:
        pass


def prune(layout: TaskLayout) -> int:
    """Remove generations far behind the newest one; return how many. The first one is kept: it says who made it."""
    numbers = generations(layout)
    old = [layout.generation(n) for n in numbers[1:-KEEP_GENERATIONS]]
    if not old:
        return 0
    newest = layout.generation(numbers[-1]).stat().st_mtime
    stale = []
    for path in old:
        try:
            if newest - path.stat().st_mtime > KEEP_AGE_S:
                stale.append(path)
        except FileNotFoundError:
            continue
    remove_files(stale)
    return len(stale)
