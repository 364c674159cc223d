"""Many rows in one immutable file, by columns: a search reads the columns that it asks about, and the rows it hits.

The file: magic, length and CRC of the header, the header (JSON: row count and, for each block, offset, length, CRC),
then the blocks. Ids are sorted, so one is found by bisection. A number column is an array; others are JSON, with
repeated values written once. The rows themselves follow as JSON, one by one.

Source: docs/format/v1.md, "The index" (a cache: no other program needs to read it).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from localtrack.index.rows import Packed, Row, unpack
from localtrack.records.fields import (
    Field,
    active_duration_s,
    is_metric,
    is_title,
    matching_parameters,
    may_be_metric,
    metric_paths,
    pick_metric,
)
from localtrack.records.values import decode

MAGIC = b"LTSEG\x00\x00\x02"
COLUMN_LIMIT = 4000
_MARK = b'"$'
_PREAMBLE = struct.Struct("<8sII")
_FLAG_LITTLE = struct.pack("=I", 1) == struct.pack("<I", 1)
PLAIN_COLUMNS = (
    "generation", "folder", "name", "project", "type", "status", "status_reason", "status_message", "status_changed",
    "comment", "parent", "user", "created", "started", "ended", "last_update", "last_iteration", "progress", "tags",
    "system_tags", "input_models", "output_models",
)  # fmt: skip
SCRIPT_COLUMNS = ("repository", "branch", "commit", "entry_point")
STATISTIC_COLUMNS = ("last", "min", "max", "last_iteration", "min_iteration", "max_iteration")
_PLACES = {name: place for place, name in enumerate(Row.__slots__)}
Block = list[Any]


class SegmentError(ValueError):
    """The file is torn, altered, or of another version: the index is built anew then."""


def write_segment(rows: Iterable[tuple[Packed, bytes]]) -> bytes:
    """Return the file of some rows, each with its JSON text."""
    ordered = sorted(rows, key=lambda pair: str(pair[0][0]))
    packed = [pair[0] for pair in ordered]
    blocks = _Blocks()
    ids = [row[0] for row in packed]
    if all(len(one) == 32 and one.isascii() for one in ids):
        blocks.add("ids", "fixed", "".join(ids).encode())
    else:
        blocks.add("ids", "json", _dump(ids))
    for name in PLAIN_COLUMNS:
        place = _PLACES[name]
        blocks.column(f"plain.{name}", [row[place] for row in packed])
    blocks.column("plain.active_duration", [_duration(row) for row in packed])
    for name in SCRIPT_COLUMNS:
        blocks.column(f"script.{name}", [row[_PLACES["script"]].get(name) for row in packed])
    complete = _sparse_columns(blocks, packed)
    texts = [pair[1] for pair in ordered]
    offsets = array("Q", [0])
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    blocks.add("offsets", "raw", _bytes(offsets))
    blocks.add("crcs", "raw", _bytes(array("I", [zlib.crc32(text) for text in texts])))
    header = _dump({"rows": len(packed), "complete": complete, "blocks": blocks.directory})
    return b"".join([_PREAMBLE.pack(MAGIC, len(header), zlib.crc32(header)), header, *blocks.parts, *texts])


def _sparse_columns(blocks: _Blocks, packed: list[Packed]) -> bool:
    """Add a column for each parameter and metric, the most frequent ones when there are very many."""
    parameters: dict[str, dict[int, Any]] = {}
    metrics: dict[tuple[str, str], dict[int, Any]] = {}
    for number, row in enumerate(packed):
        for name, value in row[_PLACES["parameters"]].items():
            parameters.setdefault(name, {})[number] = value
        for title, series in row[_PLACES["metrics"]].items():
            for name, summary in series.items():
                metrics.setdefault((title, name), {})[number] = summary
    for name in sorted(parameters, key=lambda key: -len(parameters[key]))[:COLUMN_LIMIT]:
        blocks.column(f"parameter.{name}", _dense(parameters[name], len(packed)))
    for pair in sorted(metrics, key=lambda key: -len(metrics[key]))[:COLUMN_LIMIT]:
        values = metrics[pair]
        for statistic in STATISTIC_COLUMNS:
            column = {n: _statistic(summary, statistic) for n, summary in values.items()}
            blocks.column(f"metric.{statistic}." + json.dumps(pair), _dense(column, len(packed)))
    plain = all(_statistic(s, "last") is not None for values in metrics.values() for s in values.values())
    return plain and len(parameters) <= COLUMN_LIMIT and len(metrics) <= COLUMN_LIMIT


def _statistic(summary: Any, statistic: str) -> Any:
    return summary.get(statistic) if isinstance(summary, dict) else summary if statistic == "last" else None


def _dense(values: dict[int, Any], count: int) -> list[Any] | dict[int, Any]:
    return [values.get(number) for number in range(count)] if len(values) * 8 > count else values


def _duration(row: Packed) -> float | None:
    return active_duration_s({name: row[_PLACES[name]] for name in ("started", "ended", "last_update")})


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def _dump(value: Any) -> bytes:
    return _encode(value).encode()


def _bytes(values: array[Any]) -> bytes:
    if not _FLAG_LITTLE:
        values = array(values.typecode, values)
        values.byteswap()
    return values.tobytes()


def _array(kind: str, data: bytes) -> array[Any]:
    values = array(kind)
    values.frombytes(data)
    if not _FLAG_LITTLE:
        values.byteswap()
    return values


class _Blocks:
    """Blocks of a file that is being written, and where they lie behind the header."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.directory: dict[str, Block] = {}
        self.size = 0

    def add(self, name: str, kind: str, data: bytes) -> None:
        self.directory[name] = [kind, self.size, len(data), zlib.crc32(data)]
        self.parts.append(data)
        self.size += len(data)

    def column(self, name: str, values: list[Any] | dict[int, Any]) -> None:
        """Write a column in the smallest of the ways that give back exactly these values."""
        if isinstance(values, dict):
            self.add(name, "sparse", _dump([list(values), list(values.values())]))
            return
        types = set(map(type, values))
        if types == {float}:
            self.add(name, "d", _bytes(array("d", values)))
            return
        if types == {int} and all(-(2**63) <= value < 2**63 for value in values):
            self.add(name, "q", _bytes(array("q", values)))
            return
        keys = values if types <= {str, type(None)} else [_encode(value) for value in values]
        distinct = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        if len(distinct) * 2 > len(keys):
            self.add(name, "json", _dump(values))
            return
        kind = "B" if len(distinct) < 256 else "H" if len(distinct) < 65536 else "I"
        head = _dump(list(distinct)) if keys is values else f"[{','.join(distinct)}]".encode()
        body = _bytes(array(kind, [distinct[key] for key in keys]))
        self.add(name, f"c{kind}", struct.pack("<I", len(head)) + head + body)


class Segment:
    """A file of rows, opened for reading. Every block is checked when it is read.

    Args:
        path: the file.

    Raises:
        OSError: it is gone or can't be read.
        SegmentError: it is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._fd = os.open(path, flags | os.O_NONBLOCK)
        try:
            magic, length, crc = _PREAMBLE.unpack(self._pread(0, _PREAMBLE.size))
            if magic != MAGIC:
                raise SegmentError(f"{path}: not a segment of this version")
            self._base = _PREAMBLE.size + length
            header = self._checked(_PREAMBLE.size, length, crc)
            body = json.loads(header)
            self.count: int = body["rows"]
            self.complete: bool = body["complete"]
            self._directory: dict[str, Block] = body["blocks"]
        except (struct.error, ValueError, KeyError, TypeError) as error:
            os.close(self._fd)
            raise error if isinstance(error, SegmentError) else SegmentError(f"{path}: {error}") from None
        except OSError:
            os.close(self._fd)
            raise
        self._rows_base = self._base + sum(block[2] for block in self._directory.values())
        self._ids: Sequence[str] | None = None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _pread(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while 0 < len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def _checked(self, offset: int, length: int, crc: int) -> bytes:
        data = self._pread(offset, length)
        if len(data) != length or zlib.crc32(data) != crc:
            raise SegmentError(f"{self.path}: torn or altered at byte {offset}")
        return data

    def _block(self, name: str) -> tuple[str, bytes]:
        try:
            kind, offset, length, crc = self._directory[name]
        except KeyError:
            raise SegmentError(f"{self.path}: no block {name!r}") from None
        return kind, self._checked(self._base + offset, length, crc)

    @property
    def ids(self) -> Sequence[str]:
        """All ids, sorted."""
        if self._ids is None:
            kind, data = self._block("ids")
            if kind == "fixed":
                text = data.decode("ascii")
                self._ids = [text[at : at + 32] for at in range(0, len(text), 32)]
            else:
                self._ids = json.loads(data)
            if len(self._ids) != self.count:
                raise SegmentError(f"{self.path}: {len(self._ids)} ids for {self.count} rows")
        return self._ids

    def find(self, task_id: str) -> int | None:
        """Return the number of a task's row; None when it has none here."""
        place = bisect_left(self.ids, task_id)
        return place if place < self.count and self.ids[place] == task_id else None

    def packed(self, numbers: Iterable[int]) -> Iterable[tuple[Packed, bytes]]:
        """Yield rows as they were packed, with their JSON text."""
        offsets = _array("Q", self._block("offsets")[1])
        crcs = _array("I", self._block("crcs")[1])
        for number in numbers:
            start, end = offsets[number], offsets[number + 1]
            data = self._checked(self._rows_base + start, end - start, crcs[number])
            yield json.loads(data), data

    def rows(self, numbers: Iterable[int]) -> list[Row]:
        """Return rows by number."""
        return [unpack(packed, plain=_MARK not in text) for packed, text in self.packed(numbers)]

    def keep(self, field: Field, test: Callable[[Any], bool], numbers: Sequence[int]) -> list[int]:
        """Return those of ``numbers`` whose value of ``field`` passes the test."""
        name = self._column_name(field)
        if name is not None:
            kind, data = self._block(name)
            if kind[0] == "c":
                distinct, codes = _categories(kind, data)
                passed = [bool(test(value)) for value in distinct]
                return [n for n in numbers if passed[codes[n]]]
            values = _values(kind, data, self.count)
        else:
            values = self.column(field)
        return [n for n in numbers if test(values[n])]

    def column(self, field: Field) -> Sequence[Any]:
        """Return one field's value of every row."""
        name = self._column_name(field)
        if name is not None:
            return _values(*self._block(name), self.count)
        if field.kind == "plain" and field.name == "id":
            return self.ids
        if field.kind == "parameter" and self.complete:
            return self._parameter(field)
        if field.kind == "metric" and self.complete:
            return self._metric(field)
        return [field.read(row) for row in self.rows(range(self.count))]

    def _column_name(self, field: Field) -> str | None:
        """Return the column that alone holds the field."""
        if field.kind in ("plain", "script"):
            name = f"{field.kind}.{field.name}"
            return name if name in self._directory else None
        if field.kind == "parameter":
            if not self.complete:
                return None
            names = matching_parameters(field.name, self._parameter_names())
            exact = "/" in field.name and not field.name.endswith(".value") and field.name in names
            return f"parameter.{names[0]}" if exact or len(names) == 1 else None
        if field.kind == "metric" and self.complete:
            return self._metric_column_name(field)
        return None

    def _metric_pairs(self, field: Field) -> list[tuple[str, str]]:
        prefix = "metric.last."
        pairs = [json.loads(name[len(prefix) :]) for name in self._directory if name.startswith(prefix)]
        return sorted((title, series) for title, series in pairs if may_be_metric(field.name, title, series))

    def _metric_column_name(self, field: Field) -> str | None:
        pairs = self._metric_pairs(field)
        if len(pairs) != 1:
            return None
        (title, series) = pairs[0]
        for path, statistic in metric_paths(field.name):
            if is_metric(path, title, series) or is_title(path, title):
                name = f"metric.{statistic}." + json.dumps(pairs[0])
                return name if name in self._directory else None
        return None

    def _parameter_names(self) -> set[str]:
        return {name.partition(".")[2] for name in self._directory if name.startswith("parameter.")}

    def _parameter(self, field: Field) -> Sequence[Any]:
        names = matching_parameters(field.name, self._parameter_names())
        columns = [_values(*self._block(f"parameter.{name}"), self.count) for name in names]
        if not columns:
            return [None] * self.count
        if len(columns) == 1:
            return columns[0]
        result = list(columns[0])
        unclear = [n for n, value in enumerate(result) if value is None and any(c[n] is not None for c in columns)]
        for n, row in zip(unclear, self.rows(unclear), strict=True):  # absent and None look alike in a column
            result[n] = field.read(row)
        return result

    def _metric(self, field: Field) -> Sequence[Any]:
        pairs = self._metric_pairs(field)
        if not pairs:
            return [None] * self.count
        if any(statistic not in STATISTIC_COLUMNS for _, statistic in metric_paths(field.name)):
            return [field.read(row) for row in self.rows(range(self.count))]
        columns = {
            pair: {
                statistic: _values(*self._block(f"metric.{statistic}." + json.dumps(pair)), self.count)
                for statistic in STATISTIC_COLUMNS
            }
            for pair in pairs
        }
        return [pick_metric(field.name, _metrics_of(columns, n)) for n in range(self.count)]


def _metrics_of(
    relevant: dict[tuple[str, str], dict[str, Sequence[Any]]], number: int
) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (title, series), columns in relevant.items():
        summary = {name: values[number] for name, values in columns.items() if values[number] is not None}
        if summary:
            found.setdefault(title, {})[series] = summary
    return found


def _decoded(data: bytes) -> list[Any]:
    values: list[Any] = json.loads(data)
    if _MARK not in data:
        return values
    return [decode(value) if type(value) in (dict, list) else value for value in values]


def _categories(kind: str, data: bytes) -> tuple[list[Any], array[Any]]:
    (length,) = struct.unpack_from("<I", data)
    return _decoded(data[4 : 4 + length]), _array(kind[1], data[4 + length :])


def _values(kind: str, data: bytes, count: int) -> Sequence[Any]:
    if kind in ("d", "q"):
        return _array(kind, data)
    if kind[0] == "c":
        distinct, codes = _categories(kind, data)
        return [distinct[code] for code in codes]
    if kind == "json":
        return _decoded(data)
    numbers, values = json.loads(data)
    result: list[Any] = [None] * count
    for number, value in zip(numbers, values, strict=True):
        result[number] = decode(value) if type(value) in (dict, list) else value
    return result
