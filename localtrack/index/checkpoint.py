"""Checkpoints: which rows count, as of the deltas that were folded into them.

``checkpoint-<n>`` is a small file that names immutable segments and, for each, the rows in it that no longer count.
A fold writes the changed rows to a new segment, merges small segments into it, and publishes ``checkpoint-<n+1>`` by
exclusive creation: of two that fold at once one gives up. So a fold costs about as much as it changes, not as much as
the store is large.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localtrack.fs.disk import Disk, list_names, read_bytes, remove_files
from localtrack.index.deltas import make_folder, older_than
from localtrack.index.rows import Packed
from localtrack.index.segment import Segment, SegmentError, write_segment
from localtrack.records.plain import dataclass

VERSION = 1
KEEP = 2
MERGE_RATIO = 3
MAX_SEGMENTS = 6
ORPHAN_AGE_S = 3600.0
_NAME = re.compile(r"checkpoint-(\d{1,18})")
_SEGMENT = re.compile(r"segment-[0-9a-f]{16}")


Watched = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """A segment and the rows in it that no longer count."""

    segment: Segment
    dead: frozenset[int]

    def live(self) -> list[int]:
        """Return the numbers of the rows that count."""
        if not self.dead:
            return list(range(self.segment.count))
        return [number for number in range(self.segment.count) if number not in self.dead]

    def find(self, task_id: str) -> int | None:
        """Return the number of a task's row that counts; None when it has none here."""
        number = self.segment.find(task_id)
        return None if number in self.dead else number


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        number: its number; 0 for an empty one that no file stands for.
        parts: its segments; each task counts in exactly one.
        watched: folders, relative to the root, whose metadata could not be read, each with what it looked like then.
    """

    number: int
    parts: tuple[Part, ...]
    watched: tuple[Watched, ...] = ()

    def find(self, task_id: str) -> tuple[Part, int] | None:
        """Return where a task's row is."""
        for part in self.parts:
            number = part.find(task_id)
            if number is not None:
                return part, number
        return None

    @property
    def count(self) -> int:
        """How many rows count."""
        return sum(part.segment.count - len(part.dead) for part in self.parts)


class Checkpoints:
    """The checkpoints of a store.

    Args:
        folder: the store's ``index`` folder.
        disk: writes there; a cache needs no flush, since whatever is torn is found out and built anew.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self.disk = Disk(disk.tmp, disk.modes, sync=False)

    def numbers(self) -> list[int]:
        """Return the numbers in use, ascending, whether or not they can be read."""
        found = (_NAME.fullmatch(name) for name in list_names(self.folder))
        return sorted(int(match[1]) for match in found if match)

    @contextmanager
    def open_newest(self) -> Iterator[Checkpoint | None]:
        """Open the newest checkpoint for the block; yields None when there is none, or it is damaged.

        An older one is never used in its place: the deltas in between are gone.
        """
        opened: list[Segment] = []
        try:
            checkpoint = None
            for _ in range(5):
                numbers = self.numbers()
                if not numbers:
                    break
                try:
                    checkpoint = self._open(numbers[-1], opened)
                    break
                except FileNotFoundError:
                    continue  # replaced between listing and opening
                except (OSError, SegmentError):
                    break
            yield checkpoint
        finally:
            for segment in opened:
                segment.close()

    def _open(self, number: int, opened: list[Segment]) -> Checkpoint:
        body = self._read(number)
        parts = []
        for name, dead in body["segments"]:
            segment = Segment(self.folder / name)
            opened.append(segment)
            parts.append(Part(segment, frozenset(dead)))
        return Checkpoint(number, tuple(parts), tuple((str(a), str(b)) for a, b in body["watched"]))

    def _read(self, number: int) -> dict[str, Any]:
        path = self._path(number)
        head, _, data = read_bytes(path).partition(b"\n")
        try:
            if head != b"localtrack checkpoint %d %08x" % (VERSION, zlib.crc32(data)):
                raise SegmentError(f"{path}: torn, altered, or of another version")
            body: dict[str, Any] = json.loads(data)
            if not all(_SEGMENT.fullmatch(name) for name, _ in body["segments"]):
                raise SegmentError(f"{path}: not a checkpoint")
            return body
        except (ValueError, KeyError, TypeError) as error:
            raise SegmentError(f"{path}: {error}") from None

    def _path(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number:08d}"

    def publish(
        self,
        base: Checkpoint | None,
        changed: dict[str, Packed | None],
        watched: tuple[Watched, ...],
        number: int,
        merge_limit: int | None = None,
    ) -> bool:
        """Publish the checkpoint after ``base``.

        Args:
            base: what it builds on; None for a whole new one.
            changed: the new row of each changed task; None for one that is gone.
            watched: folders that could not be read.
            number: its number: one more than the highest when ``base`` was read.
            merge_limit: at most about so many rows are written again, so that the fold stays short; None for no limit.

        Returns:
            Whether it is the newest one now. If not, another was faster, and no delta may be removed.

        Raises:
            OSError: the disk can't be written.
            SegmentError: ``base`` turns out to be damaged.
        """
        fresh = {task_id: (row, _text(row)) for task_id, row in changed.items() if row is not None}
        kept, merged = _choose(base, changed, len(fresh), merge_limit)
        for part, dead in merged:
            live = [n for n in range(part.segment.count) if n not in dead]
            fresh.update((row[0], (row, text)) for row, text in part.segment.packed(live))
        segments = [(part.segment.path.name, sorted(dead)) for part, dead in kept]
        path = self.folder / f"segment-{os.urandom(8).hex()}"
        if fresh:
            make_folder(self.disk, self.folder)
            self.disk.publish(write_segment(fresh.values()), path)
            segments.append((path.name, []))
        data = json.dumps({"segments": segments, "watched": watched}, separators=(",", ":")).encode()
        head = b"localtrack checkpoint %d %08x\n" % (VERSION, zlib.crc32(data))
        if base is not None and not self._path(base.number).exists():
            remove_files([path])
            return False
        if not self.disk.publish(head + data, self._path(number)):
            remove_files([path])
            return False
        # a slow fold may get a number that was used and cleaned away meanwhile: then it counts for nothing
        return self.numbers()[-1:] == [number]

    def clean(self) -> None:
        """Remove old checkpoints, and segments that none of the kept ones names."""
        numbers = self.numbers()
        used, replaced = self._named(numbers[-KEEP:]), self._named(numbers[:-KEEP])
        remove_files([self._path(number) for number in numbers[:-KEEP]])
        if used is None:
            return  # other folds are at work, and clean up after themselves
        remove_files([self.folder / name for name in (replaced or set()) - used])
        names = [name for name in list_names(self.folder) if _SEGMENT.fullmatch(name) and name not in used]
        # a segment without a checkpoint may be one that another process is about to publish
        remove_files(older_than(self.disk, [self.folder / name for name in names], ORPHAN_AGE_S))

    def _named(self, numbers: list[int]) -> set[str] | None:
        """Return the segments of some checkpoints; None when one of them can't be read."""
        names: set[str] = set()
        for number in numbers:
            try:
                names |= {name for name, _ in self._read(number)["segments"]}
            except (OSError, SegmentError):
                return None
        return names


def _text(row: Packed) -> bytes:
    return json.dumps(row, separators=(",", ":"), ensure_ascii=True).encode()


def _choose(
    base: Checkpoint | None, changed: dict[str, Packed | None], fresh: int, merge_limit: int | None
) -> tuple[list[tuple[Part, set[int]]], list[tuple[Part, set[int]]]]:
    """Return which segments stay and which are merged into the new one, each with its rows that no longer count."""
    marked = []
    for part in base.parts if base is not None else ():
        dead = set(part.dead)
        dead |= {number for task_id in changed if (number := part.segment.find(task_id)) is not None}
        marked.append((part, dead))
    marked.sort(key=lambda pair: pair[0].segment.count - len(pair[1]))
    merged: list[tuple[Part, set[int]]] = []
    total = fresh
    kept = []
    for part, dead in marked:
        live = part.segment.count - len(dead)
        too_many = len(marked) - len(merged) > MAX_SEGMENTS
        if merge_limit is not None and total + live > max(merge_limit, 2 * fresh):
            kept.append((part, dead))
        elif live <= MERGE_RATIO * total or too_many or len(dead) > part.segment.count // 2:
            total += live
            merged.append((part, dead))
        else:
            kept.append((part, dead))
    return kept, merged
