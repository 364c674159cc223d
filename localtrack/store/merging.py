"""Small parts of one writer become one large part, series by series, so that a reader opens one file instead of many.

A part of a journal holds 65,536 points at most; a run of a day has hundreds. Where a writer has more than ``FEW`` small
ones, they are merged in the order of their reporting, at most ``LARGE_POINTS`` points at a time: that bounds the memory, whatever
the order of the points is. The merged part is published whole and names what it stands for; only then do those go.

Source: docs/format/v1.md, "Merging parts".
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk, list_names, remove_files
from localtrack.records.plain import dataclass
from localtrack.store.parts import ROW_GROUP_POINTS, PartFile, labelled, part_writer, read_part, row_runs

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 16
LARGE_POINTS = 1 << 22
GROUP_POINTS = 1 << 20
POINT_COLUMNS = ["iteration", "time", "value"]
_NAME = re.compile(r"(?P<writer>.+)-(?P<merged>m?)(?P<number>[0-9]{1,9})\.parquet")
_JOURNAL = re.compile(r".+-(?P<number>[0-9]{1,9})\.journal")

Key = tuple[str, str]


class _StoppedError(Exception):
    """The time is over; nothing was changed."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Points of one series that lie together in one part, in order of iteration.

    Attributes:
        place: of the part in the order of reporting.
        low: its lowest iteration.
        high: its highest.
    """

    key: Key
    place: int
    low: int
    high: int
    rows: int
    load: Callable[[], pa.Table]


def crowded_writers(folder: Path) -> list[str]:
    """Return the writers in a ``scalars`` folder whose parts are so many that some may be merged, by names alone."""
    return sorted(writer for writer, names in _names_by_writer(folder).items() if len(names) > FEW)


def mergeable_parts(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each writer for which :func:`merge_parts` has something to do, and the parts that would go first."""
    for writer, names in sorted(_names_by_writer(folder).items()):
        has_merged = any(match["merged"] for name in names if (match := _NAME.fullmatch(name)))
        if len(names) <= FEW and not (has_merged and len(names) > 1):
            continue
        parts = _whole_parts(folder, names)
        superseded = {name for part in parts for name in part.supersedes if name != part.path.name}
        going = [part for part in parts if part.path.name in superseded] or _choose(parts)
        if going:
            yield writer, [part.path for part in going]


def _names_by_writer(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in list_names(folder):
        match = _NAME.fullmatch(name)
        if match:
            found.setdefault(match["writer"], []).append(name)
    return found


def merge_parts(disk: Disk, folder: Path, writer: str, proceed: Callable[[], bool] = lambda: True) -> list[Path]:
    """Merge one writer's small parts while they are more than ``FEW``, and remove what a death left of an earlier merge.

    Args:
        disk: the store's disk.
        folder: the task's ``scalars`` folder.
        writer: whose parts; it is this process, or dead.
        proceed: asked again and again; False ends the work where it is, with nothing changed by the part in hand.

    Returns:
        The new parts.

    Raises:
        OSError: a part can't be read or written; all of them stay.
    """
    made: list[Path] = []
    while proceed():
        names = _names_by_writer(folder).get(writer, [])
        parts = _whole_parts(folder, names)
        _remove_superseded(folder, parts)
        sources = _choose(parts)
        if not sources:
            break
        try:
            part = _merge(disk, folder / _next_name(writer, names), sources, proceed)
        except (_StoppedError, CorruptFileError):  # a part that can't be read is the reader's to tell
            break
        if part is None:
            break
        made.append(part)
    return made


def _whole_parts(folder: Path, names: Iterable[str]) -> list[PartFile]:
    """Return the parts of those names whose end can be read."""
    parts = []
    for name in sorted(names):
        try:
            parts.append(PartFile.open(folder / name))
        except (FileNotFoundError, CorruptFileError):
            continue
    return parts


def _remove_superseded(folder: Path, parts: list[PartFile]) -> None:
    """Remove parts and journals that a merged part stands for, when all of that one can be read; drop them from the list."""
    by_name = {part.path.name: part for part in parts}
    for part in [part for part in parts if _is_merged(part)]:
        gone = [by_name[name] for name in part.supersedes if name in by_name and name != part.path.name]
        if gone and part.rows >= sum(old.rows for old in gone) and _is_whole(part.path, part.rows):
            _remove(folder, part.supersedes)
            for old in gone:
                if old in parts:
                    parts.remove(old)


def _is_merged(part: PartFile) -> bool:
    match = _NAME.fullmatch(part.path.name)
    return match is not None and bool(match["merged"])


def _is_whole(path: Path, rows: int) -> bool:
    try:
        return bool(read_part(path, ("value",)).num_rows == rows)
    except (OSError, CorruptFileError):
        return False


def _remove(folder: Path, names: Iterable[str]) -> None:
    paths = [folder / name for name in names]
    remove_files(path for path in paths if path.suffix == ".parquet")
    for journal in (path for path in paths if path.suffix == ".journal"):
        remove_files([journal, journal.with_suffix(".series")])


def _choose(parts: list[PartFile]) -> list[PartFile]:
    """Return the small parts to merge, in the order of reporting; none where they are few."""
    superseded = {name for part in parts for name in part.supersedes if name != part.path.name}
    small = [part for part in parts if part.path.name not in superseded and part.rows < LARGE_POINTS // 2]
    if len(small) <= FEW:
        return []
    chosen: list[PartFile] = []
    for part in sorted(small, key=_first_journal):
        if sum(each.rows for each in chosen) + part.rows > LARGE_POINTS:
            break
        chosen.append(part)
    return chosen if len(chosen) > 1 else []


def _first_journal(part: PartFile) -> int:
    """Return the number of the oldest journal in a part: the order in which its points were reported."""
    numbers = [int(match["number"]) for name in part.supersedes if (match := _JOURNAL.fullmatch(name))]
    own = _NAME.fullmatch(part.path.name)
    return min(numbers) if numbers else int(own["number"]) if own else 0


def _next_name(writer: str, names: Iterable[str]) -> str:
    """Return the name of the next merged part, from the listing in which its sources were found.

    Who finds it taken was not the only one that merged them, and gives way.
    """
    numbers = [int(match["number"]) for name in names if (match := _NAME.fullmatch(name)) and match["merged"]]
    return f"{writer}-m{max(numbers, default=0) + 1}.parquet"


def _merge(disk: Disk, target: Path, sources: list[PartFile], proceed: Callable[[], bool]) -> Path | None:
    """Publish the merged part and remove what it stands for; None when somebody else was first."""
    supersedes = sorted({each for part in sources for each in (part.path.name, *part.supersedes)} - {target.name})
    rows = sum(part.rows for part in sources)
    written = 0

    def fill(sink: BinaryIO) -> None:
        nonlocal written
        with part_writer(sink, supersedes) as write:
            for group in _row_groups(sources, proceed):
                write(group)
                written += group.num_rows

    temporary = disk.write_tmp(fill)
    if written != rows:
        remove_files([temporary])
        raise CorruptFileError(
            f"{target.parent}: merging read {written} of {rows} points; the parts stay", path=str(target)
        )
    if not disk.publish_file(temporary, target):
        return None
    if not _is_whole(target, rows) or _is_outdated(target):
        remove_files([target])
        return None
    _remove(target.parent, supersedes)
    return target


def _is_outdated(target: Path) -> bool:
    """Tell whether another merged part stands for this name: one that had it before, and was merged again since."""
    names = _names_by_writer(target.parent).get(target.name.rpartition("-")[0], [])
    others = _whole_parts(target.parent, (name for name in names if name != target.name))
    return any(target.name in part.supersedes for part in others)


def _row_groups(sources: list[PartFile], proceed: Callable[[], bool]) -> Iterator[pa.Table]:
    """Yield the row groups of a merged part: series of ``ROW_GROUP_POINTS`` points alone, shorter ones together."""
    import pyarrow as pa

    short: list[pa.Table] = []
    for segments in _by_series(sources):
        if not proceed():
            raise _StoppedError
        if sum(segment.rows for segment in segments) >= ROW_GROUP_POINTS:
            if short:
                yield pa.concat_tables(short)
                short = []
            yield from _in_order(segments)
            continue
        short += _in_order(segments)
        if sum(table.num_rows for table in short) >= ROW_GROUP_POINTS:
            yield pa.concat_tables(short)
            short = []
    if short:
        yield pa.concat_tables(short)


def _by_series(sources: list[PartFile]) -> Iterator[list[_Segment]]:
    """Yield the segments of each series, the series in order."""
    merged = heapq.merge(
        *(_segments(part, place) for place, part in enumerate(sources)), key=attrgetter("key", "place")
    )
    current: list[_Segment] = []
    for segment in merged:
        if current and segment.key != current[0].key:
            yield current
            current = []
        current.append(segment)
    if current:
        yield current


def _segments(part: PartFile, place: int) -> Iterator[_Segment]:
    """Yield the segments of a part: a row group of one series by its statistics, unread; a mixed one cut up.

    Raises:
        CorruptFileError: the part is not sorted, as none of ours is.
    """
    last: Key | None = None
    for number in range(part.row_groups):
        facts = part.facts(number)
        if facts is not None:
            found = [_Segment(facts.key, place, facts.low, facts.high, facts.rows, _group(part, number))]
        else:
            found = list(_cut(part.read([number]), place))
        for segment in found:
            if last is not None and segment.key < last:
                raise CorruptFileError(f"{part.path} is not sorted by title and series", path=str(part.path))
            last = segment.key
            yield segment


def _cut(table: pa.Table, place: int) -> Iterator[_Segment]:
    for start, end, key in row_runs(table):
        piece = table.slice(start, end - start)
        steps = piece["iteration"]
        yield _Segment(
            key, place, steps[0].as_py(), steps[-1].as_py(), end - start, _given(piece.select(POINT_COLUMNS))
        )


def _given(table: pa.Table) -> Callable[[], pa.Table]:
    return lambda: table


def _group(part: PartFile, number: int) -> Callable[[], pa.Table]:
    return lambda: part.read([number], POINT_COLUMNS)


def _in_order(segments: list[_Segment]) -> Iterator[pa.Table]:
    """Yield a series' points by iteration, equal ones in the order of their reporting, in tables of bounded length.

    Segments that do not overlap follow one another as they are, and only as many are in memory as fill a row group.
    """
    import pyarrow as pa

    key = segments[0].key
    waiting: list[pa.Table] = []
    for cluster in _clusters(segments):
        waiting.append(_sorted([segment.load() for segment in sorted(cluster, key=attrgetter("place"))]))
        if sum(table.num_rows for table in waiting) >= GROUP_POINTS:
            yield labelled(pa.concat_tables(waiting), key)
            waiting = []
    if waiting:
        yield labelled(pa.concat_tables(waiting), key)


def _clusters(segments: list[_Segment]) -> Iterator[list[_Segment]]:
    """Yield segments whose ranges of iterations overlap, or touch, together; the clusters by iteration."""
    cluster: list[_Segment] = []
    high = 0
    for segment in sorted(segments, key=attrgetter("low", "place")):
        if cluster and segment.low > high:
            yield cluster
            cluster = []
        high = segment.high if not cluster else max(high, segment.high)
        cluster.append(segment)
    if cluster:
        yield cluster


def _sorted(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    table: Any = pa.concat_tables(tables)
    if len(tables) == 1:
        return table
    table = table.combine_chunks()
    return table.take(pc.sort_indices(table, sort_keys=[("iteration", "ascending")]))
