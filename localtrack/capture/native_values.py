"""The values of a parser as JSON holds them, whichever parser it is.

Bindings of other parsers use this in runs that never load :mod:`argparse`, so it does not load that: the watch for its import
would start the feed of the arguments while this module is only half there.
"""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import argparse

#: Stands for "the namespace has no such attribute".
MISSING: Final = object()
#: What a parser converted: for which destination, the resulting object, the text it was made from.
RawValues = Sequence[tuple[str, object, str]]

_CONTAINERS = (list, tuple, dict)


def to_native(action: argparse.Action | None, value: object, raw: RawValues = ()) -> Any:
    """Return ``value`` as JSON holds it; what JSON has no form for becomes the text it was parsed from."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    for dest, result, text in reversed(raw):
        # Two arguments may hold one object (a member of an enum), each from a text of its own.
        if result is value and action is not None and dest == action.dest and not isinstance(value, _CONTAINERS):
            return text
    if isinstance(value, (list, tuple)):
        return [to_native(action, item, raw) for item in value]
    if isinstance(value, dict):
        return {str(key): to_native(None, item, raw) for key, item in value.items()}
    if not isinstance(value, enum.Enum):
        for base in (int, float, str):
            if isinstance(value, base):
                return base(value)
        scalar = getattr(value, "item", None) if hasattr(value, "dtype") else None
        if callable(scalar) and getattr(value, "size", 0) == 1:
            return to_native(None, scalar())
    return _to_text(action, value)


def _to_text(action: argparse.Action | None, value: object) -> str:
    """Return a text for a value that was parsed from none, such as a default: one that its type reads, as far as that is known."""
    for stream in (sys.stdin, sys.stdout, sys.stderr, getattr(sys.stdin, "buffer", None)):
        if value is stream:
            return "-"
    if hasattr(value, "fileno") and isinstance(getattr(value, "name", None), str):
        return str(value.name)  # type: ignore[attr-defined]
    if isinstance(value, os.PathLike):
        return os.fsdecode(os.fspath(value))
    if isinstance(value, enum.Enum):
        # What the user's own function reads is not known, and it is not called to find out: it may do anything.
        convert: object = getattr(action, "type", None)
        return value.value if convert is type(value) and isinstance(value.value, str) else value.name
    return str(value)


def is_same(left: object, right: object) -> bool:
    """Tell whether two JSON values are equal with their types: 1, 1.0 and True differ, NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    return left == right or (left != left and right != right)
