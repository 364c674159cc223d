"""Reading a task's scalars back: all parts and all live journals of all its writers, merged.

Source: docs/format/v1.md, "Reading scalars".
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import list_names
from localtrack.store.journal import read_journal
from localtrack.store.parts import read_part, superseded_by

if TYPE_CHECKING:
    import pyarrow as pa

LISTING_ATTEMPTS = 5


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
    for attempt in range(LISTING_ATTEMPTS):
        try:
            return _read_once(folder, title, series, without)
        except FileNotFoundError:
            # a journal became a part between the listing and the open: list again
            if attempt == LISTING_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _read_once(folder: Path, title: str | None, series: str | None, without: frozenset[str]) -> Scalars:
    result = Scalars()
    names = [name for name in list_names(folder) if name.rpartition("-")[0] not in without]
    tables: dict[str, pa.Table] = {}
    superseded: set[str] = set()
    for name in sorted(name for name in names if name.endswith(".parquet")):
        try:
            tables[name] = read_part(folder / name)
        except CorruptFileError as error:
            result.problems.append(str(error))
            continue
        superseded.add(name.removesuffix(".parquet") + ".journal")
        superseded.update(set(superseded_by(tables[name])) - {name})
    for name in sorted(name for name in names if name.endswith(".journal") and name not in superseded):
        _add_journal(result, folder / name, title, series)
    for name, table in tables.items():
        if name not in superseded:
            _add_part(result, table, title, series)
    for points in result.series.values():
        points.sort()
    return result


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
    for start, end, name in _runs(table):
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


def _runs(table: pa.Table) -> list[tuple[int, int, tuple[str, str]]]:
    """Return the row ranges in which title and series stay the same."""
    import pyarrow.compute as pc

    edges = {0, table.num_rows}
    for name in ("title", "series"):
        position = 0
        previous: str | None = None
        for chunk in table[name].chunks:
            plain = chunk.cast("string") if not hasattr(chunk, "indices") else chunk
            encoded = pc.run_end_encode(plain.indices if hasattr(plain, "indices") else plain)
            labels = plain.dictionary.to_pylist() if hasattr(plain, "indices") else None
            start = 0
            for end, code in zip(encoded.run_ends.to_pylist(), encoded.values.to_pylist(), strict=True):
                label = labels[code] if labels is not None else code
                if label != previous:
                    edges.add(position + start)
                    previous = label
                start = end
            position += len(chunk)
    ordered = sorted(edges)
    titles, series = table["title"], table["series"]
    return [(start, end, (titles[start].as_py(), series[start].as_py())) for start, end in pairwise(ordered)]
