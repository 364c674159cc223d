"""The metadata log of a task.

Source: docs/format/v1.md, "task/<generation>.json" and "Updating a task".
"""

from __future__ import annotations

from collections.abc import Callable

from localtrack.errors import TaskNotFoundError
from localtrack.fs.disk import Disk, remove_files
from localtrack.records.task import TaskRecord
from localtrack.store import generations as log
from localtrack.store.documents import now
from localtrack.store.generations import Author, LogKind, generations
from localtrack.store.layout import TaskLayout

__all__ = ["Author", "Intent", "commit", "commit_first", "encode", "generations", "prune", "read_latest"]

TASK: LogKind[TaskRecord] = LogKind("task", TaskRecord.from_json, TaskNotFoundError)
FAMILY = TASK.family
SCHEMA = TASK.schema
ATTEMPTS = log.ATTEMPTS
LAST_GENERATION = log.LAST_GENERATION
KEEP_GENERATIONS = 64
KEEP_AGE_S = 3600.0

Intent = Callable[[TaskRecord], TaskRecord]


def read_latest(layout: TaskLayout) -> TaskRecord:
    """Return the newest whole record of a task.

    A damaged newest generation is read again a few times, since another host may still see it arriving, and then
    the one before it is used.

    Raises:
        TaskNotFoundError: no metadata there.
        CorruptFileError: there is metadata, and none of it is whole.
        StoreError: it can't be read now.
    """
    return log.read_newest(TASK, layout)[0]


def encode(record: TaskRecord, number: int, parent: int, author: Author, change: str, at: str) -> bytes:
    """Return the bytes of a metadata generation."""
    return log.encode(TASK, record, number, parent, author, change, at)


def commit_first(disk: Disk, layout: TaskLayout, record: TaskRecord, author: Author, number: int = 1) -> TaskRecord:
    """Commit the first generation of a new task folder.

    Args:
        number: its number; a reset continues the numbers of the run that it replaces.

    Raises:
        StoreError: the folder already holds that generation.
    """
    return log.commit_first(TASK, disk, layout, record, author, number, now())


def commit(
    disk: Disk,
    layout: TaskLayout,
    intent: Intent,
    author: Author,
    change: str,
    announce: Callable[[int], None],
) -> TaskRecord:
    """Apply an intent to the newest record and commit the next generation; see :func:`generations.commit`.

    Raises:
        StoreError: hundreds of races were lost in a row.
    """
    record = log.commit(TASK, disk, layout, intent, author, change, announce, lambda: now())
    if record.generation and record.generation % KEEP_GENERATIONS == 0:
        _prune_quietly(layout)
    return record


def _prune_quietly(layout: TaskLayout) -> None:
    """Tidy up after a commit, which has succeeded whatever happens here."""
    try:
        prune(layout)
    except OSError:
        pass


def prune(layout: TaskLayout) -> int:
    """Remove generations far behind the newest one; return how many. The first one is kept: it says who made it."""
    stale = log.stale_generations(layout, KEEP_GENERATIONS, KEEP_AGE_S)
    remove_files(stale)
    return len(stale)
