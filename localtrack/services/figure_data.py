"""Arrays, tensors, frames and lists as plain rows of JSON values, without importing any of their libraries.

Source: docs/format/v1.md, "plots/"; the array protocols ``tolist``, ``to_numpy`` and ``numpy``.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from localtrack.errors import InvalidValueError

_DIRECT_KINDS = "fiub"  # numpy's floats, integers, unsigned integers, booleans: tolist() gives plain numbers


def plain(value: Any) -> Any:
    """Return a value of a figure in JSON's types; NaN and infinities stay floats, which the format writes as values.

    Dates become ISO 8601 texts, which plotly reads as dates; what JSON can't hold becomes its text.
    """
    if value is None or value.__class__ in (bool, int, float, str):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (str, int, float)):
        return str(value) if isinstance(value, str) else int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat() if value == value else None  # pandas' NaT is a datetime that equals nothing
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=repr)]
    return _foreign(value)


def _foreign(value: Any) -> Any:
    if hasattr(value, "to_plotly_json"):  # a trace or a layout within a dict
        return plain(value.to_plotly_json())
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    elif not hasattr(value, "tolist") and hasattr(value, "numpy"):
        value = value.numpy()
    tolist = getattr(value, "tolist", None)
    if not callable(tolist):
        return str(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "M":  # nanoseconds would come back as bare integers
        return plain(value.astype("datetime64[us]").tolist())
    return tolist() if kind and kind in _DIRECT_KINDS else plain(tolist())


def drawable(value: Any) -> Any:
    """Return a figure in strict JSON for a program that draws it: what is no number becomes null, a gap in plotly."""
    if isinstance(value, Mapping):
        return {str(key): drawable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [drawable(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def listed(values: Any, what: str) -> list[Any]:
    """Return a sequence, an array or a series as a list.

    Args:
        values: anything that can be gone through, but a text or a mapping.
        what: the argument's name, for the error.

    Raises:
        InvalidValueError: it is no sequence.
    """
    if isinstance(values, (str, bytes, Mapping)) or values is None:
        raise InvalidValueError(f"{what} must be a sequence or an array, not a {type(values).__qualname__}")
    if isinstance(values, (list, tuple)):
        return [plain(item) for item in values]
    found = plain(values)
    if isinstance(found, list):
        return found
    if isinstance(values, Iterable):
        return [plain(item) for item in values]
    raise InvalidValueError(f"{what} must be a sequence or an array, not a {type(values).__qualname__}")


def rows(values: Any, what: str, columns: int | None = None) -> list[list[Any]]:
    """Return values as rows of equal length.

    Args:
        values: ``(n, columns)`` in any form.
        what: the argument's name, for the error.
        columns: the length that each row must have; any, but the same, without one.

    Raises:
        InvalidValueError: they are no rows, or of other lengths.
    """
    found = listed(values, what)
    bad = [row for row in found if not isinstance(row, list)]
    widths = sorted({len(row) for row in found if isinstance(row, list)})
    if bad or len(widths) > 1 or (columns is not None and widths not in ([], [columns])):
        shape = f"(n, {columns})" if columns is not None else "(rows, columns)"
        seen = "a flat sequence" if bad else f"rows of {', '.join(map(str, widths))} values"
        raise InvalidValueError(f"{what} must have the shape {shape}, not {seen}")
    return found


def labels_for(labels: Any, count: int, what: str) -> list[str] | None:
    """Return labels as texts, one an item; None where there are none.

    Raises:
        InvalidValueError: their number is another one.
    """
    if labels is None:
        return None
    found = [str(label) for label in listed(labels, what)]
    if len(found) != count:
        raise InvalidValueError(f"{what} has {len(found)} entries for {count} values: one each is needed")
    return found
