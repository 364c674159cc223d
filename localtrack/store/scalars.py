"""Reading a task's scalars back: all parts and all live journals of all its writers, merged.

Source: docs/format/v1.md, "Reading scalars".
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import list_names
from localtrack.records.plain import dataclass, field
from localtrack.store.journal_records import read_journal
from localtrack.store.parts import PartFile, row_runs

if TYPE_CHECKING:
    import pyarrow as pa

LISTING_ATTEMPTS = 20


@dataclass(slots=True)
class SeriesPoints:
    """One series: ``iterations`` (n,) int64, ``times_us`` (n,) int64 since 1970, ``values`` (n,) float64."""

    iterations: array[int] = field(default_factory=lambda: array("q"))
    times_us: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def sort(self) -> None:
        """Order by iteration, then time; a series in order already costs one look."""
        steps = self.iterations
        if all(map(int.__le__, steps, steps[1:])):
            return
        order = sorted(range(len(steps)), key=lambda i: (steps[i], self.times_us[i]))
        self.iterations = array("q", [steps[i] for i in order])
        self.times_us = array("q", [self.times_us[i] for i in order])
        self.values = array("d", [self.values[i] for i in order])


@dataclass(slots=True)
class Scalars:
    """All points of a task by ``(title, series)``, and what could not be read."""

    series: dict[tuple[str, str], SeriesPoints] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def of(self, title: str, series: str) -> SeriesPoints:
        """Return the points of a series, a new empty one when there is none yet."""
        return self.series.setdefault((title, series), SeriesPoints())


def read_scalars(
    folder: Path, title: str | None = None, series: str | None = None, without: frozenset[str] = frozenset()
) -> Scalars:
    """Return the points in a task's ``scalars`` folder.

    Args:
        folder: the folder; a missing one holds no points.
        title: only this graph.
        series: only this line of it.
        without: writers whose points are left out.

    Returns:
        The points, each series in order of iteration; damaged files are named in ``problems`` and left out.
    """
    known: dict[str, PartFile] = {}
    for attempt in range(LISTING_ATTEMPTS):
        try:
            return _read_once(folder, title, series, without, known)
        except FileNotFoundError:
            # a journal became a part between the listing and the open: list again
            if attempt == LISTING_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _read_once(
    folder: Path, title: str | None, series: str | None, without: frozenset[str], known: dict[str, PartFile]
) -> Scalars:
    """Read what one listing shows; parts that an earlier try has opened are ``known``: they never change."""
    result = Scalars()
    names = [name for name in _settled_names(folder) if name.rpartition("-")[0] not in without]
    parts = _open_parts(result, folder, [name for name in names if name.endswith(".parquet")], known)
    tables, superseded = _read_parts(result, parts, title, series)
    for name in sorted(name for name in names if name.endswith(".journal") and name not in superseded):
        _add_journal(result, folder / name, title, series)
    for table in tables:
        _add_part(result, table, title, series)
    for points in result.series.values():
        points.sort()
    return result


def _settled_names(folder: Path) -> list[str]:
    """Return the names in a folder, from two listings that agree.

    While one listing is on its way, a part may get its name behind it and what it stands for go before it.
    """
    names = set(list_names(folder))
    for _ in range(LISTING_ATTEMPTS):
        again = set(list_names(folder))
        if again == names:
            break
        names = again
    return sorted(names)


def _open_parts(result: Scalars, folder: Path, names: list[str], known: dict[str, PartFile]) -> dict[str, PartFile]:
    parts: dict[str, PartFile] = {}
    for name in names:
        try:
            parts[name] = known[name] = known.get(name) or PartFile.open(folder / name)
        except CorruptFileError as error:
            result.problems.append(str(error))
    return parts


def _read_parts(
    result: Scalars, parts: dict[str, PartFile], title: str | None, series: str | None
) -> tuple[list[pa.Table], set[str]]:
    """Return the points of all parts that none stands for, and the names of what a part stands for.

    A part that turns out to be unreadable stands for nothing: what it named is read instead, where it is still there.
    """
    tables: dict[str, pa.Table] = {}
    while True:
        superseded = {name.removesuffix(".parquet") + ".journal" for name in parts}
        superseded.update(each for name, part in parts.items() for each in part.supersedes if each != name)
        wanted = [name for name in parts if name not in superseded]
        for name in wanted:
            if name not in tables:
                try:
                    tables[name] = parts[name].read(parts[name].matching(title, series))
                except CorruptFileError as error:
                    result.problems.append(str(error))
                    del parts[name]
                    break
        else:
            return [tables[name] for name in wanted], superseded


def _add_journal(result: Scalars, path: Path, title: str | None, series: str | None) -> None:
    try:
        names, points, damaged = read_journal(path)
    except FileNotFoundError:
        raise
    except CorruptFileError as error:
        result.problems.append(str(error))
        return
    except OSError as error:
        result.problems.append(f"{path} can't be read ({error.strerror}); the task's other series are shown")
        return
    if damaged:
        result.problems.append(f"{path}: {damaged} damaged records were left out")
    wanted = {number: name for number, name in names.items() if title in (None, name[0]) and series in (None, name[1])}
    targets: dict[int, SeriesPoints] = {}
    for number, iteration, time_us, value in points:
        target = targets.get(number)
        if target is None:
            if number not in wanted:
                continue
            target = targets[number] = result.of(*wanted[number])
        target.iterations.append(iteration)
        target.times_us.append(time_us)
        target.values.append(value)


def _add_part(result: Scalars, table: pa.Table, title: str | None, series: str | None) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if title is not None:
        table = table.filter(pc.equal(table["title"], pa.scalar(title)))
    if series is not None:
        table = table.filter(pc.equal(table["series"], pa.scalar(series)))
    if not table.num_rows:
        return
    iterations = _ints(table["iteration"])
    times = _ints(table["time"].cast(pa.int64()))
    values = array("d", _packed(table["value"]))
    for start, end, name in row_runs(table):
        points = result.of(*name)
        points.iterations.extend(iterations[start:end])
        points.times_us.extend(times[start:end])
        points.values.extend(values[start:end])


def _ints(column: pa.ChunkedArray) -> array[int]:
    return array("q", _packed(column))


def _packed(column: pa.ChunkedArray) -> bytes:
    """Return the 8-byte values of a column without nulls as bytes, without one Python object a value."""
    chunks = []
    for chunk in column.chunks:
        data = chunk.buffers()[1]
        chunks.append(memoryview(data)[chunk.offset * 8 : (chunk.offset + len(chunk)) * 8])
    return b"".join(chunks)
