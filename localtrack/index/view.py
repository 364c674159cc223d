"""What a search looks at: a checkpoint, and over it the tasks that later deltas name, read again.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, TaskNotFoundError
from localtrack.index.checkpoint import Checkpoint, Part, Watched
from localtrack.index.deltas import Delta
from localtrack.index.rows import Packed, Row, pack, unpack
from localtrack.records.filters import Plan, sorted_positions
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout

PASSES = 3


@dataclass(slots=True)
class View:
    """The rows of a store at one moment.

    Attributes:
        base: the checkpoint below.
        number: the number that a checkpoint made of this view gets.
        deltas: all announcements that were found.
        changed: rows that replace those of the checkpoint; None for a task that is gone.
        watched: folders whose metadata could not be read.
        is_scan: whether ``changed`` is the whole tree, and ``base`` empty.
        is_repaired: whether a row was found stale that no delta named.
    """

    base: Checkpoint
    number: int
    deltas: list[Delta] = field(default_factory=list)
    changed: dict[str, Packed | None] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    is_scan: bool = False
    is_repaired: bool = False

    def packed(self, task_id: str) -> Packed | None:
        """Return the row of a task; None when it has none."""
        if task_id in self.changed:
            return self.changed[task_id]
        found = self.base.find(task_id)
        if found is None:
            return None
        part, number = found
        return next(iter(part.segment.packed([number])))[0]

    def settled(self) -> list[Delta]:
        """Return the deltas whose change the rows contain."""
        found = []
        for delta in self.deltas:
            row = self.packed(delta.task_id)
            if row is not None and delta.is_settled(row[2], row[1]):
                found.append(delta)
        return found

    def ids(self) -> list[str]:
        """Return all ids."""
        found = [task_id for task_id, row in self.changed.items() if row is not None]
        for part in self.base.parts:
            if not part.dead and not self.changed:
                found += part.segment.ids
                continue
            found += [part.segment.ids[number] for number in self._live(part)]
        return found

    def select(self, plan: Plan) -> list[Row]:
        """Return the hits of a search, sorted and cut."""
        ids: list[str] = []
        columns: list[list[Any]] = [[] for _ in plan.order]
        places: list[tuple[Part, int] | Row] = []
        for part in self.base.parts:
            numbers = self._filter(part, plan)
            if not numbers:
                continue
            ids += [part.segment.ids[number] for number in numbers]
            places += [(part, number) for number in numbers]
            for column, (one, _) in zip(columns, plan.order, strict=True):
                values = part.segment.column(one)
                column += [values[number] for number in numbers]
        for packed in self.changed.values():
            row = None if packed is None else unpack(packed)
            if row is not None and plan.matches(row):
                ids.append(row.id)
                places.append(row)
                for column, (one, _) in zip(columns, plan.order, strict=True):
                    column.append(one.read(row))
        order = plan.cut(sorted_positions(columns, [down for _, down in plan.order], ids))
        return self._rows([places[position] for position in order])

    def _live(self, part: Part) -> list[int]:
        gone = {number for task_id in self.changed if (number := part.segment.find(task_id)) is not None}
        return [number for number in part.live() if number not in gone] if gone else part.live()

    def _filter(self, part: Part, plan: Plan) -> Sequence[int]:
        numbers: list[int] = self._live(part)
        for condition in plan.conditions:
            if not numbers:
                break
            if len(condition.fields) == 1:
                numbers = part.segment.keep(condition.fields[0], condition.test, numbers)
            else:
                columns = [part.segment.column(one) for one in condition.fields]
                numbers = [n for n in numbers if condition.test(*[column[n] for column in columns])]
        return numbers

    def _rows(self, places: list[tuple[Part, int] | Row]) -> list[Row]:
        wanted: dict[int, list[int]] = {}
        parts: dict[int, Part] = {}
        for place in places:
            if not isinstance(place, Row):
                parts[id(place[0])] = place[0]
                wanted.setdefault(id(place[0]), []).append(place[1])
        rows = {key: iter(part.segment.rows(wanted[key])) for key, part in parts.items()}
        return [place if isinstance(place, Row) else next(rows[id(place[0])]) for place in places]


class Reader:
    """Reads tasks from the tree for a view.

    Args:
        root: the store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def relative(self, folder: Path) -> str:
        """Return a folder as rows name it."""
        return folder.relative_to(self.root).as_posix()

    def read(self, task_id: str, folders: Sequence[str], generation: int) -> Packed | None:
        """Return the newest row of a task in any of some folders; None when it is in none of them.

        A task that moves while it is looked for is missed in both places by one look, not by several.

        Args:
            task_id: the task.
            folders: where it may be, likeliest first.
            generation: the newest one that was announced; once it is found the other places are not looked at.

        Raises:
            CorruptFileError: it is there, and none of its metadata is whole.
            OSError: a place can't be read.
        """
        trouble: CorruptFileError | OSError | None = None
        for _ in range(PASSES):
            best: tuple[TaskRecord, str] | None = None
            for folder in folders:
                try:
                    record = metadata.read_latest(TaskLayout(self.root / folder))
                except (TaskNotFoundError, FileNotFoundError, NotADirectoryError):
                    continue
                except (CorruptFileError, OSError) as error:
                    trouble = error
                    continue
                if record.id == task_id and (best is None or record.generation > best[0].generation):
                    best = record, folder
                    if record.generation >= generation:
                        break
            if best is not None:
                return pack(*best)
        if trouble is not None:
            raise trouble
        return None

    def appearance(self, folder: str) -> str:
        """Return what a folder's newest metadata looks like from outside; ``""`` when the folder is gone."""
        layout = TaskLayout(self.root / folder)
        numbers = metadata.generations(layout)
        if not numbers:
            return "empty" if layout.folder.is_dir() else ""
        try:
            info = layout.generation(numbers[-1]).stat()
        except OSError:
            return "unreadable"
        return f"{numbers[-1]}:{info.st_size}:{info.st_mtime_ns}"
