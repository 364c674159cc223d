"""DataFrames in files that anybody reads, each cell coming back as the type that it was.

Parquet and feather hold most frames as they are. What they would change (an object column of whole numbers, lists,
mixed types) makes them refuse the frame, and the caller pickles it. CSV knows no types: they are kept beside it.

Source: pandas' and pyarrow's documentation; ClearML's Task.upload_artifact and Task.register_artifact.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.errors import CorruptFileError
from localtrack.records.task import Json
from localtrack.records.values import UnstorableValueError, decode, encode

REGISTERED = "data-audit-table"
PREVIEW_ROWS = 50


def preview(frame: Any) -> str:
    """Return shape and first rows."""
    return f"{frame.shape[0]} rows x {frame.shape[1]} columns\n{frame.head(PREVIEW_ROWS).to_string()}"


def write(how: str, frame: Any, stream: BinaryIO, name: str) -> Json | None:
    """Write a frame as ``parquet``, ``feather``, ``csv`` or ``csv.gz``.

    Raises:
        UnstorableValueError: this form would change the frame.
    """
    if how in ("csv", "csv.gz"):
        return _write_csv(frame, stream, name if how == "csv.gz" else None)
    stream.write(memoryview(_arrow_bytes(how, frame)))
    return None


def read(how: str, path: Path, form: Json) -> Any:
    """Return the frame that :func:`write` wrote.

    Raises:
        CorruptFileError: it is no such file.
    """
    import pyarrow

    try:
        if how == "parquet":
            import pyarrow.parquet

            return pyarrow.parquet.read_table(path, memory_map=False).to_pandas()
        if how == "feather":
            import pyarrow.feather

            return pyarrow.feather.read_table(path, memory_map=False).to_pandas()
        return _read_csv(path, form)
    except (pyarrow.ArrowException, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path} can't be read as {how}: {error}", path=str(path)) from error


def _arrow_bytes(how: str, frame: Any) -> Any:
    import pyarrow

    try:
        table = pyarrow.Table.from_pandas(frame)
        _check_objects(frame, table)
        buffer = pyarrow.BufferOutputStream()
        if how == "parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(table, buffer)
        else:
            import pyarrow.feather

            pyarrow.feather.write_feather(table, buffer)
    except (pyarrow.ArrowException, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise UnstorableValueError(f"the DataFrame has no place in {how}: {error}") from None
    return buffer.getvalue()


def _check_objects(frame: Any, table: Any) -> None:
    """Refuse object columns that arrow would turn into something else: numbers, lists, records."""
    import pyarrow.types as kinds

    if frame.columns.nlevels > 1:
        raise UnstorableValueError("columns of several levels")
    for place, kind in enumerate(frame.dtypes):
        if str(kind) != "object":
            continue
        stored = table.schema.field(place).type
        safe = (
            kinds.is_string(stored) or kinds.is_large_string(stored) or kinds.is_binary(stored) or kinds.is_null(stored)
            or kinds.is_boolean(stored) or kinds.is_date32(stored) or kinds.is_decimal(stored)
        )  # fmt: skip
        if not safe:
            raise UnstorableValueError(f"column {frame.columns[place]!r} holds {stored}")


@contextlib.contextmanager
def zipped_text(stream: BinaryIO, name: str) -> Iterator[io.TextIOWrapper]:
    """Return a text file that is compressed into a stream; the same text gives the same bytes."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as zipped,
        io.TextIOWrapper(zipped, encoding="utf-8", newline="") as text,
    ):
        yield text


def _write_csv(frame: Any, stream: BinaryIO, zip_name: str | None) -> Json | None:
    if zip_name is None:
        with io.TextIOWrapper(io.BufferedWriter(_Forward(stream)), encoding="utf-8", newline="") as plain:
            frame.to_csv(plain)
    else:
        with zipped_text(stream, zip_name) as zipped:
            frame.to_csv(zipped)
    if frame.index.nlevels > 1 or frame.columns.nlevels > 1:
        return None
    try:
        return {
            "columns": encode(list(frame.columns)), "dtypes": [str(kind) for kind in frame.dtypes],
            "index": str(frame.index.dtype), "index_name": encode(frame.index.name),
        }  # fmt: skip
    except UnstorableValueError:
        return None


class _Forward(io.RawIOBase):
    """A stream that only takes writes, and is not closed with the text above it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data))
        return len(data)


def _read_csv(path: Path, form: Json) -> Any:
    import pandas

    kinds = form.get("dtypes")
    if kinds is None:
        return pandas.read_csv(path, index_col=[0])
    positions: dict[Any, Any] = {
        place + 1: str for place, kind in enumerate(kinds) if kind in ("object", "str", "string", "category")
    }
    frame = pandas.read_csv(path, index_col=0, header=0, names=range(len(kinds) + 1), dtype=positions)
    for place, kind in enumerate(kinds):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            frame[place + 1] = frame[place + 1].astype(kind)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        frame.index = frame.index.astype(form["index"])
    frame.columns = decode(form["columns"])
    frame.index.name = decode(form["index_name"])
    return frame
