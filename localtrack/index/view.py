"""What a search looks at: a checkpoint, and over it the tasks that later deltas name, read again.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, TaskNotFoundError
from localtrack.index.checkpoint import Checkpoint, Part, Watched
from localtrack.index.deltas import Delta
from localtrack.index.rows import Packed, Row, pack, unpack
from localtrack.records.fields import Field
from localtrack.records.filters import Plan, sorted_positions
from localtrack.records.plain import dataclass, field
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout

PASSES = 3


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, and where it is.

    Attributes:
        places: for each hit the number of its segment and its number in there; one more than the last segment for
            ``beside``.
        beside: rows that replace those of the segments.
    """

    places: list[tuple[int, int]]
    beside: list[Row]

    def only(self, wanted: Sequence[bool]) -> Hits:
        """Return those hits for which ``wanted`` is true."""
        return Hits([place for place, keep in zip(self.places, wanted, strict=True) if keep], self.beside)


@dataclass(slots=True)
class View:
    """The rows of a store at one moment.

    Attributes:
        base: the checkpoint below.
        number: the number that a checkpoint made of this view gets.
        deltas: all announcements that were found.
        changed: rows that replace those of the checkpoint; None for a task that is gone.
        overlay: rows as readers shall see them where that is more than the metadata says; never folded.
        watched: folders whose metadata could not be read.
        is_scan: whether ``changed`` is the whole tree, and ``base`` empty.
        is_repaired: whether a row was found stale that no delta named.
    """

    base: Checkpoint
    number: int
    deltas: list[Delta] = field(default_factory=list)
    changed: dict[str, Packed | None] = field(default_factory=dict)
    overlay: dict[str, Row] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    is_scan: bool = False
    is_repaired: bool = False
    _unpacked: dict[str, tuple[Packed, Row]] = field(default_factory=dict)

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

    def select(self, plan: Plan) -> Hits:
        """Return where the hits of a search are, sorted and cut."""
        ids: list[str] = []
        columns: list[list[Any]] = [[] for _ in plan.order]
        places: list[tuple[int, int]] = []
        beside = [row for row in self._rows_beside() if plan.matches(row)]
        for place, part in enumerate(self.base.parts):
            numbers = self._filter(part, plan)
            if not numbers:
                continue
            known = part.segment.ids
            ids += [known[number] for number in numbers]
            places += [(place, number) for number in numbers]
            for column, (one, _) in zip(columns, plan.order, strict=True):
                values = part.segment.column(one)
                column += [values[number] for number in numbers]
        ids += [row.id for row in beside]
        places += [(len(self.base.parts), number) for number in range(len(beside))]
        for column, (one, _) in zip(columns, plan.order, strict=True):
            column += [one.read(row) for row in beside]
        order = plan.cut(sorted_positions(columns, [down for _, down in plan.order], ids))
        return Hits([places[position] for position in order], beside)

    def columns(self, hits: Hits, fields: Sequence[Field]) -> list[list[Any]]:
        """Return some fields of hits, a list for each field, without reading the rows themselves."""
        needed = {place for place, _ in hits.places}
        found = []
        for one in fields:
            by_part: list[Sequence[Any]] = [
                part.segment.column(one) if place in needed else () for place, part in enumerate(self.base.parts)
            ]
            by_part.append([one.read(row) for row in hits.beside])
            found.append([by_part[place][number] for place, number in hits.places])
        return found

    def rows(self, hits: Hits) -> list[Row]:
        """Return hits whole."""
        wanted: dict[int, list[int]] = {}
        for place, number in hits.places:
            wanted.setdefault(place, []).append(number)
        found = {
            place: iter(
                self.base.parts[place].segment.rows(numbers)
                if place < len(self.base.parts)
                else [hits.beside[number] for number in numbers]
            )
            for place, numbers in wanted.items()
        }
        return [next(found[place]) for place, _ in hits.places]

    def _rows_beside(self) -> list[Row]:
        """Return the rows that replace those of the checkpoint."""
        found = []
        for task_id, packed in self.changed.items():
            if packed is not None and task_id not in self.overlay:
                known = self._unpacked.get(task_id)
                if known is None or known[0] is not packed:
                    known = self._unpacked[task_id] = packed, unpack(packed)
                found.append(known[1])
        return found + list(self.overlay.values())

    def _live(self, part: Part) -> list[int]:
        others = [*self.changed, *self.overlay]
        gone = {number for task_id in others if (number := part.segment.find(task_id)) is not None}
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

    def read(self, task_id: str, folders: Callable[[], Iterator[str]], generation: int) -> Packed | None:
        """Return the newest row of a task in any of some folders; None when it is in none of them.

        A task that moves while it is looked for is missed in both places by one look, not by several.

        Args:
            task_id: the task.
            folders: returns where it may be, likeliest first; asked again for each look.
            generation: the newest one that was announced; once it is found the other places are not looked at.

        Raises:
            CorruptFileError: it is there, and none of its metadata is whole.
            OSError: a place can't be read.
        """
        trouble: CorruptFileError | OSError | None = None
        for _ in range(PASSES):
            best: tuple[TaskRecord, str] | None = None
            for folder in folders():
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
