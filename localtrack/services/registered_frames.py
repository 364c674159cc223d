"""DataFrames that are stored again and again: as artifacts, with what tells their rows apart.

Source: ClearML's Task.register_artifact.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.task import Json
from localtrack.services import frames
from localtrack.services.artifact_upload import Options, upload
from localtrack.services.context import StoreContext

EXACT_IN_FLOAT = 2**53
SHOWN_PAIRS = 6


def check(value: Any, name: str, columns: bool | Sequence[Any]) -> None:
    """Refuse what is no DataFrame, and columns that it has not.

    Raises:
        InvalidValueError: names the type, or the column.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, pandas.DataFrame):
        raise InvalidValueError(
            f"artifact {name!r}: only a pandas.DataFrame can be registered, not a {type(value).__qualname__}; "
            "use upload_artifact",
            name=name,
        )
    for column in () if isinstance(columns, bool) else columns:
        if column not in value.columns:
            raise InvalidValueError(
                f"artifact {name!r}: uniqueness_columns names {column!r}, which is not among {list(value.columns)}",
                name=name,
            )


def store(
    ctx: StoreContext, folder: Path, name: str, frame: Any, metadata: Mapping[str, Any], columns: bool | Sequence[Any]
) -> Json:
    """Store a snapshot and return its entry, not yet committed.

    Raises:
        InvalidValueError: it can't be stored at all.
        OSError: the disk takes no more.
    """
    text = f"{frames.preview(frame)}\n\n{summary({name: (frame, columns)})}"
    entry = upload(ctx, folder, name, frame, Options(metadata=metadata, preview=text))
    return {**entry, "type": frames.REGISTERED} if entry["type"] == "pandas" else entry


def summary(known: Mapping[str, tuple[Any, bool | Sequence[Any]]]) -> str:
    """Return one line: rows and different rows of each frame, and how many rows two of them share."""
    keys = {name: _keys(frame, columns) for name, (frame, columns) in known.items()}
    parts = [f"[{name}]: shape={frame.shape}{_different(keys[name], len(frame))}" for name, (frame, _) in known.items()]
    shared = []
    for one, other in combinations(known, 2):
        left, right = keys[one], keys[other]
        if left is not None and right is not None and (both := len(left & right)):
            shared.append(f"{both:,} in both {one!r} and {other!r}")
    more = f" and {len(shared) - SHOWN_PAIRS} more pairs" if len(shared) > SHOWN_PAIRS else ""
    return "registered artifacts: " + "; ".join(parts + shared[:SHOWN_PAIRS]) + more


def _different(keys: set[int] | None, rows: int) -> str:
    """Say how many rows are different; nothing where that is not known."""
    return "" if keys is None else f", {len(keys):,} unique rows, {len(keys) / max(rows, 1):.1%} uniqueness"


def _keys(frame: Any, columns: bool | Sequence[Any]) -> set[int] | None:
    """Return a number for each different row, by the columns that tell rows apart; None where cells have no hash."""
    import pandas

    chosen = frame if isinstance(columns, bool) else frame[list(columns)]
    if columns is False:
        return None
    try:
        alike = chosen.apply(_whole_as_integers)
        return set(pandas.util.hash_pandas_object(alike, index=False).tolist())
    except (TypeError, ValueError):
        return None


def _whole_as_integers(column: Any) -> Any:
    """Return whole floats as integers: a row that is added makes some pandas turn a column of integers into floats."""
    if column.dtype.kind != "f" or not ((column % 1 == 0) & (column.abs() < EXACT_IN_FLOAT)).all():
        return column
    return column.astype("int64")
