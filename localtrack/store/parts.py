"""Parquet parts: what journals become, readable by any Parquet reader.

One row group for each series of a thousand points or more, the short ones together; sorted by title, series and
iteration. Values are byte-stream-split, iterations and times delta-packed, names dictionary-coded, all snappy, each page with
its checksum.

Source: docs/format/v1.md, "scalars/<writer>-<n>.parquet".
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk, open_regular, read_bytes, remove_files
from localtrack.records.plain import dataclass
from localtrack.store.journal_records import HEADER, MAGIC, RECORD_BYTES, read_journal, read_series

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("title", "series", "iteration", "time", "value")
SUPERSEDES_KEY = b"localtrack.supersedes"
SCHEMA_KEY = b"localtrack.schema"
SCHEMA = b"localtrack/scalars/1"
ROW_GROUP_POINTS = 1024
GROUP_LIMIT = 1 << 22
WHOLE_BYTES = 4 << 20


def fold(disk: Disk, journal: Path, *, trusted: bool) -> Path | None:
    """Turn a finished journal into a Parquet part and remove it.

    Args:
        disk: the store's disk.
        journal: a journal that nobody writes to any more.
        trusted: the caller itself wrote every record and saw each write succeed, so the checksums need no second look.

    Returns:
        The part; None when the journal holds no point.

    Raises:
        OSError: the part can't be written; the journal stays.
        CorruptFileError: it is no journal, or none of its records can be read; it stays.
    """
    try:
        return _fold(disk, journal, journal.with_suffix(".parquet"), trusted=trusted)
    finally:
        import pyarrow as pa

        pa.default_memory_pool().release_unused()  # Arrow keeps ten times what a fold needs, for folds that may come


def _fold(disk: Disk, journal: Path, part: Path, *, trusted: bool) -> Path | None:
    table = _read_table(journal, trusted=trusted)
    if table.num_rows == 0:
        if journal.stat().st_size >= HEADER.size + RECORD_BYTES:
            raise CorruptFileError(
                f"{journal} holds records that can't be read, or whose names in {journal.with_suffix('.series').name} "
                "are gone; it stays as it is",
                path=str(journal),
            )
        remove_files([journal, journal.with_suffix(".series")])
        return None
    for _ in range(2):
        temporary = disk.write_tmp(lambda stream: write_part(table, [journal.name], stream))
        if disk.publish_file(temporary, part) or _holds_all(part, table.num_rows):
            remove_files([journal, journal.with_suffix(".series")])
            return part
        remove_files([part])  # torn where there are no hard links, or older than the journal: nobody may read it
    raise CorruptFileError(f"{part} is in the way of a new part; move it away", path=str(part))


def _read_table(journal: Path, *, trusted: bool) -> pa.Table:
    """Return a journal's points; a trusted one that is damaged all the same is read with its checksums.

    A torn record, which a full disk leaves, shifts all that other threads wrote after it.
    """
    if trusted and (journal.stat().st_size - HEADER.size) % RECORD_BYTES == 0:
        try:
            return _table_unchecked(journal)
        except IndexError:  # a point of no series
            pass
    return _table_checked(journal)


def _holds_all(part: Path, rows: int) -> bool:
    """Tell whether a part that is there already, from an earlier try, has all points of its journal."""
    try:
        return bool(read_part(part, ("value",)).num_rows >= rows)
    except CorruptFileError:
        return False


def _table_checked(journal: Path) -> pa.Table:
    import pyarrow as pa

    names, points, _ = read_journal(journal)
    numbers, iterations, times, values = zip(*points, strict=True) if points else ((), (), (), ())
    return _table(
        names,
        _packed(pa.int32(), array("i", numbers)),
        _packed(pa.int64(), array("q", iterations)),
        _packed(pa.int64(), array("q", times)),
        _packed(pa.float64(), array("d", values)),
    )


def _packed(kind: pa.DataType, values: array[Any]) -> pa.Array:
    """Return packed numbers as an Arrow array. ``pa.array`` would import pandas where it is installed: 0.8 seconds."""
    import pyarrow as pa

    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())])


def _texts(values: list[str]) -> pa.Array:
    """Return texts as an Arrow array, for the same reason."""
    import pyarrow as pa

    data = [value.encode("utf-8", "replace") for value in values]
    offsets = array("i", accumulate(map(len, data), initial=0))
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _table_unchecked(journal: Path) -> pa.Table:
    """Cut the columns out of the records by strides: no loop in Python."""
    import pyarrow as pa

    data = read_bytes(journal)
    if data[:8] != MAGIC:
        raise CorruptFileError(f"{journal} is no scalar journal", path=str(journal))
    count = (len(data) - HEADER.size) // RECORD_BYTES
    body: Any = memoryview(data)[HEADER.size : HEADER.size + count * RECORD_BYTES]

    def column(kind: str, width: int, offset: int, arrow: pa.DataType) -> pa.Array:
        packed = body.cast(kind)[offset :: RECORD_BYTES // width].tobytes()
        return pa.Array.from_buffers(arrow, count, [None, pa.py_buffer(packed)])

    return _table(
        read_series(journal.with_suffix(".series")),
        column("i", 4, 1, pa.int32()),
        column("q", 8, 1, pa.int64()),
        column("q", 8, 2, pa.int64()),
        column("d", 8, 3, pa.float64()),
    )


def _table(
    names: dict[int, tuple[str, str]], numbers: pa.Array, iterations: pa.Array, times: pa.Array, values: pa.Array
) -> pa.Table:
    """Return the columns of a part, sorted by title, series, iteration; equal ones in the order of their reporting."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ordered = sorted(names, key=lambda number: names[number])
    rank = {number: position for position, number in enumerate(ordered)}
    lookup = _packed(pa.int32(), array("i", [rank.get(number, -1) for number in range(max(names, default=0) + 1)]))
    ranks = pc.take(lookup, numbers)
    table = pa.Table.from_arrays(
        [ranks, iterations, times.cast(_time_type()), values], names=["rank", "iteration", "time", "value"]
    )
    if not _is_sorted(table):
        table = table.take(pc.sort_indices(table, sort_keys=[("rank", "ascending"), ("iteration", "ascending")]))
    ranks = table["rank"].combine_chunks()
    for index, name in enumerate(("title", "series")):
        dictionary = _texts([names[number][index] for number in ordered]).dictionary_encode()
        codes = pc.take(dictionary.indices, ranks)
        coded = pa.DictionaryArray.from_arrays(codes, dictionary.dictionary)
        table = table.append_column(name, coded)
    return table


def _is_sorted(table: pa.Table) -> bool:
    import pyarrow.compute as pc

    if table.num_rows < 2:
        return True
    rank, iteration = table["rank"].combine_chunks(), table["iteration"].combine_chunks()
    if rank[0].as_py() != rank[-1].as_py() or pc.count_distinct(rank).as_py() != 1:
        return False
    return bool(pc.all(pc.less_equal(iteration[:-1], iteration[1:])).as_py())


def _time_type() -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", tz="UTC")


def write_part(table: pa.Table, supersedes: list[str], sink: BinaryIO) -> None:
    """Write a sorted table (with its ``rank`` column) as a Parquet part."""
    bounds = _row_groups(table)
    with part_writer(sink, supersedes) as write:
        for start, end in bounds:
            write(table.slice(start, end - start))


@contextmanager
def part_writer(sink: BinaryIO, supersedes: list[str]) -> Iterator[Callable[[pa.Table], None]]:
    """Return what writes one row group after another into a part, sorted by title, series and iteration.

    Args:
        sink: where the part goes; it is whole when the context is left without an exception.
        supersedes: names of the journals and parts that it stands for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("title", pa.string()), ("series", pa.string()), ("iteration", pa.int64()), ("time", _time_type()),
         ("value", pa.float64())]
    )  # fmt: skip
    metadata = {SCHEMA_KEY: SCHEMA, SUPERSEDES_KEY: json.dumps(supersedes).encode()}
    with pq.ParquetWriter(
        sink,
        schema,
        compression="snappy",
        use_dictionary=["title", "series"],
        column_encoding={
            "iteration": "DELTA_BINARY_PACKED",
            "time": "DELTA_BINARY_PACKED",
            "value": "BYTE_STREAM_SPLIT",
        },
        write_statistics=["title", "series", "iteration"],
        store_schema=False,
        write_page_checksum=True,
        memory_pool=pa.system_memory_pool(),  # which gives back what it no longer needs
    ) as writer:
        yield lambda rows: writer.write_table(_own_labels(rows.select(list(COLUMNS))), row_group_size=GROUP_LIMIT)
        writer.add_key_value_metadata({key.decode(): value.decode() for key, value in metadata.items()})


def _own_labels(rows: pa.Table) -> pa.Table:
    """Return rows with plain names, so that a row group's dictionary holds its own names and no others."""
    import pyarrow as pa

    for position, name in enumerate(("title", "series")):
        rows = rows.set_column(position, name, rows[name].cast(pa.string()))
    return rows


def _row_groups(table: pa.Table) -> list[tuple[int, int]]:
    """Return row ranges: a series of a thousand points or more alone, runs of shorter ones together."""
    import pyarrow.compute as pc

    encoded = pc.run_end_encode(table["rank"].combine_chunks())
    bounds: list[tuple[int, int]] = []
    start = previous = 0
    for end in encoded.run_ends.to_pylist():
        if end - previous >= ROW_GROUP_POINTS:
            if previous > start:
                bounds.append((start, previous))
            bounds.append((previous, end))
            start = end
        elif end - start >= ROW_GROUP_POINTS:
            bounds.append((start, end))
            start = end
        previous = end
    if previous > start:
        bounds.append((start, previous))
    return bounds


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What the statistics say of a row group with a single series: its lowest and highest iteration, and its rows."""

    key: tuple[str, str]
    low: int
    high: int
    rows: int


class PartFile:
    """A part whose end was read: what it stands for, and which row groups hold which series."""

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self.path = path
        self._file = file
        self.rows: int = file.metadata.num_rows
        self.row_groups: int = file.metadata.num_row_groups
        self.supersedes = _names_in((file.metadata.metadata or {}).get(SUPERSEDES_KEY, b"[]"))

    @classmethod
    def open(cls, path: Path) -> PartFile:
        """Open a part.

        Raises:
            FileNotFoundError: it is gone.
            CorruptFileError: it is no whole part, or can't be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            source = _source(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _corrupt(path, error.strerror) from None
        try:
            return cls(
                path, pq.ParquetFile(source, read_dictionary=["title", "series"], page_checksum_verification=True)
            )
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise _corrupt(path, error) from None

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] = COLUMNS) -> pa.Table:
        """Return columns of some row groups, of all when None.

        Raises:
            CorruptFileError: they can't be read.
        """
        import pyarrow as pa

        wanted = range(self.row_groups) if groups is None else groups
        try:
            table = self._file.read_row_groups(list(wanted), columns=list(columns), use_threads=groups is None)
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
            raise _corrupt(self.path, error) from None
        for column in columns:
            _check_column(self.path, table, column)
        return table

    def facts(self, group: int) -> GroupFacts | None:
        """Return what the statistics say of a row group; None where it holds several series, or they don't say."""
        facts = self._file.metadata.row_group(group)
        bounds = self._bounds(group)
        titles, series, steps = (bounds.get(name) for name in ("title", "series", "iteration"))
        if titles is None or series is None or steps is None or titles[0] != titles[1] or series[0] != series[1]:
            return None
        return GroupFacts((titles[0], series[0]), steps[0], steps[1], facts.num_rows)

    def matching(self, title: str | None, series: str | None) -> list[int]:
        """Return the row groups in which a graph, or a line of it, may be; None stands for any."""
        wanted = {name: text for name, text in (("title", title), ("series", series)) if text is not None}
        if not wanted:
            return list(range(self.row_groups))
        found = []
        for group in range(self.row_groups):
            bounds = self._bounds(group)
            if all(
                span is None or span[0] <= text <= span[1]
                for text, span in ((text, bounds.get(name)) for name, text in wanted.items())
            ):
                found.append(group)
        return found

    def _bounds(self, group: int) -> dict[str, tuple[Any, Any] | None]:
        facts = self._file.metadata.row_group(group)
        bounds: dict[str, tuple[Any, Any] | None] = {}
        for number in range(facts.num_columns):
            column = facts.column(number)
            known = column.statistics
            is_known = known is not None and known.has_min_max
            bounds[column.path_in_schema] = (known.min, known.max) if is_known else None
        return bounds


def read_part(path: Path, columns: tuple[str, ...] = COLUMNS) -> pa.Table:
    """Return a part's columns.

    Raises:
        FileNotFoundError: it is gone.
        CorruptFileError: it is no whole part, or can't be read.
    """
    return PartFile.open(path).read(columns=columns)


def _source(path: Path) -> Any:
    """Return a part for reading: a small one whole, of a large one what is asked for."""
    import pyarrow as pa

    fd = open_regular(path)
    try:
        if os.fstat(fd).st_size > WHOLE_BYTES and os.path.exists(f"/proc/self/fd/{fd}"):
            return pa.OSFile(f"/proc/self/fd/{fd}")  # the file that was just looked at, whatever its name is by now
        with os.fdopen(fd, "rb", closefd=False) as stream:
            return pa.BufferReader(stream.read())
    finally:
        os.close(fd)


def _check_column(path: Path, table: pa.Table, name: str) -> None:
    """Refuse a foreign table: the bytes of its columns are taken as they are."""
    import pyarrow as pa

    if name not in table.column_names:
        raise _corrupt(path, f"no column {name!r}")
    kind = table.schema.field(name).type
    expected = {"iteration": pa.int64(), "time": _time_type(), "value": pa.float64()}.get(name)
    fits = kind == expected if expected else pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)
    if not fits or table[name].null_count:
        raise _corrupt(path, f"column {name!r} is of type {kind} with {table[name].null_count} nulls")


def superseded_by(table: pa.Table) -> list[str]:
    """Return the names of the journals and parts that a part, as it was read, stands for."""
    return _names_in((table.schema.metadata or {}).get(SUPERSEDES_KEY, b"[]"))


def _names_in(text: bytes) -> list[str]:
    try:
        names: Any = json.loads(text)
    except ValueError:
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def labelled(points: pa.Table, key: tuple[str, str]) -> pa.Table:
    """Return points with the columns ``title`` and ``series``, each one name throughout."""
    import pyarrow as pa

    zeros = pa.Array.from_buffers(pa.int32(), points.num_rows, [None, pa.py_buffer(bytes(4 * points.num_rows))])
    for name, text in zip(("title", "series"), key, strict=True):
        points = points.append_column(name, pa.DictionaryArray.from_arrays(zeros, _texts([text])))
    return points


def row_runs(table: pa.Table) -> list[tuple[int, int, tuple[str, str]]]:
    """Return the row ranges in which title and series stay the same."""
    import pyarrow.compute as pc

    edges = {0, table.num_rows}
    for name in ("title", "series"):
        position = 0
        previous: str | None = None
        for chunk in table[name].chunks:
            encoded = pc.run_end_encode(chunk.indices)
            labels = chunk.dictionary.to_pylist()
            start = 0
            for end, code in zip(encoded.run_ends.to_pylist(), encoded.values.to_pylist(), strict=True):
                if labels[code] != previous:
                    edges.add(position + start)
                    previous = labels[code]
                start = end
            position += len(chunk)
    ordered = sorted(edges)
    titles, series = table["title"], table["series"]
    return [(start, end, (titles[start].as_py(), series[start].as_py())) for start, end in pairwise(ordered)]


def _corrupt(path: Path, why: object) -> CorruptFileError:
    return CorruptFileError(
        f"{path} is no whole Parquet part ({str(why).splitlines()[0]}); the task's other series can be read, "
        "move this file away to silence the warning",
        path=str(path),
    )
