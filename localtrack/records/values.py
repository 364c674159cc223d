"""Python values in strict JSON and back, with nothing lost: NaN stays NaN, a tuple a tuple, an int key an int key.

Strict JSON has no word for these, so they are written as one-key objects: ``{"$float": "nan"}``,
``{"$tuple": [...]}``, ``{"$set": [...]}``, ``{"$bytes": base64}``, ``{"$map": [[key, value], ...]}``,
``{"$date": iso}``. A dict that itself has such a key goes through ``$map``.

Source: docs/format/v1.md, "Values".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableSequence
from enum import Enum
from functools import partial
from pathlib import PurePath
from typing import Any

_TAGS = frozenset({"$float", "$tuple", "$set", "$bytes", "$map", "$date"})


class UnstorableValueError(TypeError):
    """The value has no place in JSON; the message names its type."""


def encode(value: Any, *, other_as_text: bool = False) -> Any:
    """Return ``value`` in strict JSON types.

    Args:
        value: the value.
        other_as_text: keep an object of another kind as its text.

    Raises:
        UnstorableValueError: for an object of another kind.
    """
    inner = partial(encode, other_as_text=other_as_text)
    if value is None or (isinstance(value, (bool, str)) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else {"$float": _float_name(number)}
    if isinstance(value, Mapping):
        return _encode_mapping(value, inner)
    if isinstance(value, list):
        return [inner(item) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [inner(item) for item in value]}
    if isinstance(value, (set, frozenset)):
        return {"$set": [inner(item) for item in sorted(value, key=repr)]}
    if isinstance(value, (bytes, bytearray)):
        import base64

        return {"$bytes": base64.b64encode(bytes(value)).decode()}
    from datetime import date, datetime

    if isinstance(value, (datetime, date)):
        return {"$date": value.isoformat()}
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, MutableSequence):  # a deque, a list of a configuration library
        return [inner(item) for item in value]
    try:
        return _encode_foreign(value)
    except UnstorableValueError:
        if not other_as_text:
            raise
        return str(value)


def decode(value: Any) -> Any:
    """Return the Python value that :func:`encode` wrote; what only looks like one of its marks stays as it is."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, body),) = value.items()
        if tag in _TAGS:
            try:
                return _decode_tagged(tag, body)
            except (TypeError, ValueError):
                return value
    return {key: decode(item) for key, item in value.items()}


def _decode_hashable(value: Any) -> Any:
    """Return a member of a set or a key of a dict: a set in there was a frozenset."""
    found = decode(value)
    if isinstance(found, set):
        return frozenset(found)
    if isinstance(found, tuple):
        return tuple(_decode_hashable(item) for item in value["$tuple"])
    return found


def type_name(value: Any) -> str:
    """Return the name that the parameter's type has in the store; ``""`` for None."""
    if value is None:
        return ""
    if isinstance(value, list):
        kinds = {type(item).__name__ for item in value}
        return f"list/{kinds.pop()}" if len(kinds) == 1 else "list"
    return type(value).__name__


def _float_name(number: float) -> str:
    return "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"


def _encode_mapping(value: Mapping[Any, Any], inner: Callable[[Any], Any]) -> Any:
    plain = all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)) in _TAGS)
    if plain:
        return {key: inner(item) for key, item in value.items()}
    return {"$map": [[inner(key), inner(item)] for key, item in value.items()]}


def _encode_foreign(value: Any) -> Any:
    """Numbers of other libraries (numpy scalars) by their own protocols, without importing those libraries."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        found = item()
        return encode(found if type(found) is not type(value) else float(value))  # a long double gives itself
    tolist = getattr(value, "tolist", None)
    size = getattr(value, "size", None)  # a method with torch
    if callable(tolist) and isinstance(size, int) and size <= 1000:
        return encode(tolist())
    raise UnstorableValueError(f"a {type(value).__module__}.{type(value).__qualname__} can't be stored as JSON")


def _decode_tagged(tag: str, body: Any) -> Any:
    if tag == "$float":
        return float(body)
    if tag == "$tuple":
        return tuple(decode(item) for item in body)
    if tag == "$set":
        return {_decode_hashable(item) for item in body}
    if tag == "$bytes":
        import base64

        return base64.b64decode(body, validate=True)
    if tag == "$map":
        return {_decode_hashable(key): decode(item) for key, item in body}
    from datetime import date, datetime

    return datetime.fromisoformat(body) if "T" in body else date.fromisoformat(body)
