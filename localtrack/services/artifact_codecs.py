"""The kinds of artifacts that localtrack knows by itself.

Source: ClearML's table of artifact types: numpy arrays, DataFrames, images, JSON, text.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.services.artifacts import Codec, from_json_bytes, json_bytes


def _is_of(value: Any, module: str, name: str) -> bool:
    """Tell whether a value is of a library's type without importing that library."""
    loaded = sys.modules.get(module)
    kind = getattr(loaded, name, None) if loaded is not None else None
    return isinstance(kind, type) and isinstance(value, kind)


def _is_array(value: Any) -> bool:
    return _is_of(value, "numpy", "ndarray") and not value.dtype.hasobject


def _write_array(value: Any, stream: BinaryIO) -> None:
    import numpy

    buffer = io.BytesIO()
    numpy.save(buffer, value, allow_pickle=False)
    stream.write(buffer.getbuffer())


def _read_array(path: Path) -> Any:
    import numpy

    return numpy.load(path, allow_pickle=False)


def _is_frame(value: Any) -> bool:
    return _is_of(value, "pandas", "DataFrame")


def _write_frame(value: Any, stream: BinaryIO) -> None:
    import pyarrow
    import pyarrow.parquet

    from localtrack.records.values import UnstorableValueError

    try:
        table = pyarrow.Table.from_pandas(value)
        buffer = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, buffer)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise UnstorableValueError(f"the DataFrame has no place in Parquet: {error}") from None
    stream.write(memoryview(buffer.getvalue()))


def _read_frame(path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path, memory_map=False).to_pandas()


def _is_image(value: Any) -> bool:
    return _is_of(value, "PIL.Image", "Image")


def _write_image(value: Any, stream: BinaryIO) -> None:
    from localtrack.records.values import UnstorableValueError

    buffer = io.BytesIO()
    try:
        value.save(buffer, format="PNG")
    except (OSError, ValueError) as error:
        raise UnstorableValueError(f"PNG can't hold this image: {error}") from None
    stream.write(buffer.getbuffer())


def _read_image(path: Path) -> Any:
    import PIL.Image

    with PIL.Image.open(path) as image:
        image.load()
        return image


def _is_json(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple, int, float, bool, set, frozenset))


def _write_json(value: Any, stream: BinaryIO) -> None:
    stream.write(json_bytes(value))


def _preview_json(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, default=str, sort_keys=False)
    except (TypeError, ValueError):
        return repr(value)


CODECS: list[Codec] = [
    Codec(
        "numpy", ".npy", "application/x-npy", _is_array, _write_array, _read_array,
        lambda value: f"shape {value.shape}, dtype {value.dtype}\n{value!r}",
    ),
    Codec(
        "pandas", ".parquet", "application/vnd.apache.parquet", _is_frame, _write_frame, _read_frame,
        lambda value: f"{value.shape[0]} rows x {value.shape[1]} columns\n{value.head(50).to_string()}",
    ),
    Codec(
        "image", ".png", "image/png", _is_image, _write_image, _read_image,
        lambda value: f"{value.size[0]} x {value.size[1]}, {value.mode}",
    ),
    Codec(
        "dict", ".json", "application/json", lambda v: isinstance(v, Mapping), _write_json,
        lambda path: from_json_bytes(path.read_bytes(), path), _preview_json,
    ),
    Codec(
        "JSON", ".json", "application/json", _is_json, _write_json,
        lambda path: from_json_bytes(path.read_bytes(), path), _preview_json,
    ),
    Codec(
        "string", ".txt", "text/plain", lambda v: isinstance(v, str) and bool(v),
        lambda value, stream: _write_text(value, stream),
        lambda path: path.read_bytes().decode("utf-8", "surrogatepass"), lambda value: value,
    ),
]  # fmt: skip


def _write_text(value: str, stream: BinaryIO) -> None:
    stream.write(value.encode("utf-8", "surrogatepass"))
