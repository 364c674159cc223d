"""Comparing index and tree: what is damaged, left over, or missing, and what to do about it.

Source: docs/format/v1.md, "Invariants".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.errors import CorruptFileError, LocaltrackError
from localtrack.fs.disk import list_names
from localtrack.index.deltas import PENDING_LIMIT_S, older_than
from localtrack.store import metadata
from localtrack.store.documents import open_sealed
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.index.search import Index


def check_store(index: Index) -> list[str]:
    """Return the problems of a store, one line each: the path, what is wrong, the next step."""
    problems: list[str] = []
    found: dict[str, list[tuple[Path, int]]] = {}
    rows = {row.id: row for row in index.rows()}
    for folder in _marked_folders(index.store.layout.projects):
        problems += _check_task(folder, found)
    for task_id, places in found.items():
        if len(places) > 1:
            names = " and ".join(str(folder) for folder, _ in places)
            problems.append(f"{names}: both hold task {task_id}; move one out of the store")
            continue
        folder, generation = places[0]
        row = rows.pop(task_id, None)
        if row is None:
            problems.append(f"{folder}: the index misses it; run `localtrack index rebuild`")
        elif row.generation < generation or index.store.root / row.folder != folder:
            problems.append(
                f"{folder}: the index has generation {row.generation} in {row.folder} instead of {generation}; "
                "run `localtrack index rebuild`"
            )
    for task_id, row in rows.items():
        if task_id not in found and not (index.store.root / row.folder).is_dir():
            problems.append(f"{index.store.root / row.folder}: indexed and not there; run `localtrack index rebuild`")
    return [*problems, *_left_over(index)]


def _marked_folders(projects: Path) -> Iterator[Path]:
    pending = [projects]
    while pending:
        folder = pending.pop()
        for name in sorted(list_names(folder)):
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                if "--" in name:
                    yield path
                else:
                    pending.append(path)


def _check_task(folder: Path, found: dict[str, list[tuple[Path, int]]]) -> list[str]:
    layout = TaskLayout(folder)
    numbers = metadata.generations(layout)
    if not numbers:
        return [f"{folder}: a task's folder without metadata; remove it if nobody is just creating it"]
    problems = []
    whole = 0
    for number in numbers:
        path = layout.generation(number)
        try:
            open_sealed(path, metadata.FAMILY)
            whole = number
        except FileNotFoundError:
            continue
        except CorruptFileError as error:
            reason = error.message.partition(str(path))[2].partition(";")[0].strip()
            problems.append(f"{path}: {reason}; {_remedy(number, numbers)}")
        except OSError as error:
            problems.append(f"{path}: {error.strerror}; make it readable, or {_remedy(number, numbers)}")
    if whole:
        try:
            record = metadata.read_latest(layout)
            found.setdefault(record.id, []).append((folder, record.generation))
        except (LocaltrackError, OSError) as error:
            problems.append(" ".join(str(error).split()))
    return problems


def _remedy(number: int, numbers: list[int]) -> str:
    if len(numbers) == 1:
        return "put back a copy of it, or move the task's folder out of the store"
    if number == numbers[-1]:
        return "the generation before it is used; remove it"
    return "a newer generation is used; remove it"


def _left_over(index: Index) -> list[str]:
    tmp = index.store.layout.tmp
    old = older_than(index.store.disk, [tmp / name for name in list_names(tmp)], PENDING_LIMIT_S)
    return [f"{path}: left over for more than a day; remove it (`localtrack gc` does)" for path in sorted(old)]
