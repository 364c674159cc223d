"""Parameters: nested values to flat ``Section/name`` keys and back, native types kept.

Source: ClearML's hyperparameters (sections, ``General`` for names without one); docs/format/v1.md, "parameters".
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, MutableSequence
from copy import copy
from enum import Enum
from pathlib import PurePath
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.values import UnstorableValueError, decode, encode, type_name

DEFAULT_SECTION = "General"
ARGUMENT_SECTION = "Args"
ENVIRONMENT_SECTION = "Environment"
Entry = dict[str, Any]
COLLECTIONS = (list, tuple, set, frozenset)
_PLAIN = (type(None), bool, int, float, str)
_PLAIN_KINDS = ("int", "float", "bool", "str")
_ADDRESS = r" at 0x[0-9a-fA-F]+"
MISFITS = (ValueError, TypeError, KeyError, ArithmeticError)
"""What making one type of another raises where the value does not fit."""


def full_name(name: str) -> str:
    """Return the flat key of a parameter; one without a section belongs to ``General``."""
    return name if "/" in name else f"{DEFAULT_SECTION}/{name}"


def split_name(name: str) -> tuple[str, str]:
    """Return section and name of a flat key: the first ``/`` divides them."""
    section, _, rest = full_name(name).partition("/")
    return section, rest


def entry(value: Any, description: str = "", kind: str | None = None) -> Entry:
    """Return what the store holds of one value; an object that JSON has no place for is kept as its text, alone or inside."""
    try:
        stored = {"value": encode(value), "type": kind if kind is not None else type_name(value)}
    except UnstorableValueError:
        stored = {"value": encode(value, other_as_text=True), "type": kind or type_name(value)}
    if isinstance(value, Enum) and not description:
        description = "one of " + ", ".join(type(value).__members__)
    return {**stored, "description": description} if description else stored


def value_of(stored: Entry) -> Any:
    """Return the native value of a stored parameter."""
    return decode(stored.get("value"))


def text_of(stored: Entry) -> str:
    """Return a parameter as ClearML's ``get_parameters(cast=False)`` does: text, empty for None."""
    value = value_of(stored)
    if value is None:
        return ""
    if isinstance(value, (list, tuple, dict)):
        try:
            return json.dumps(value)
        except (TypeError, ValueError):
            return str(value)
    return str(value)


def leaves(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings by their ``/``-joined path; an empty mapping is a leaf."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}/")
        else:
            yield path, dict(value) if isinstance(value, Mapping) else value


def flatten(values: Mapping[Any, Any], section: str) -> dict[str, Entry]:
    """Return the stored entries of nested values under one section."""
    return {f"{section}/{path}": entry(value) for path, value in leaves(values)}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts for ``/``-joined keys; a key that is both a leaf and a branch keeps both, at ``""``."""
    result: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split("/")
        node = result
        for part in path:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                child = node[part] = {"": child}
            node = child
        if isinstance(node.get(last), dict) and node[last]:
            node[last][""] = value
        else:
            node[last] = value
    return result


def cast_like(stored: Any, default: Any) -> Any:
    """Return a stored override in the type of the code's own value; what was not changed is the code's own, also inside.

    Args:
        stored: the native stored value; text when it was edited by hand.
        default: the value in the code.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError: the override can't be that type; see :data:`MISFITS`.
    """
    if stored is None or default is None:
        return stored
    if isinstance(default, Mapping) and isinstance(stored, Mapping):
        return _cast_mapping(stored, default)
    if isinstance(default, COLLECTIONS) and not isinstance(stored, str):
        return _cast_items(stored, default)
    if type(stored) is type(default):
        return stored
    if stored == "" and not isinstance(default, (str, bool)):
        return None
    if isinstance(default, Enum):
        return type(default)[str(stored)]
    if isinstance(default, bool):
        return to_bool(stored)
    if isinstance(default, int) and isinstance(stored, (int, float, str)):
        return _to_number(stored)
    if isinstance(default, float):
        return float(stored)
    if isinstance(default, str):
        return str(stored)
    if isinstance(default, COLLECTIONS):
        return default if is_text_of(stored, default) else _cast_items(parse_text(stored), default)
    if isinstance(default, dict):
        return dict(parse_text(stored) if isinstance(stored, str) else stored)
    from datetime import date, time
    from numbers import Number

    if isinstance(default, (Number, PurePath)):
        return type(default)(stored)  # type: ignore[call-arg]
    if isinstance(default, (date, time)) and isinstance(stored, str):
        return type(default).fromisoformat(stored)
    if callable(getattr(default, "tolist", None)):
        return _to_array(stored, default)
    if isinstance(stored, str):
        return _keep_object(stored, default)
    if isinstance(default, MutableSequence):
        return default if list(default) == stored else type(default)(stored)  # type: ignore[call-arg]
    return stored


def _cast_mapping(stored: Mapping[Any, Any], default: Mapping[Any, Any]) -> Any:
    """Return a stored mapping with each value in the type of the code's own; the code's own where nothing changed."""
    made = {key: cast_like(item, default[key]) if key in default else item for key, item in stored.items()}
    if made.keys() == default.keys() and all(item is default[key] for key, item in made.items()):
        return default
    if not isinstance(default, dict) or type(default) is dict:
        return made
    copied = copy(default)  # a dict of the user's own kind
    copied.clear()
    copied.update(made)
    return copied


def _cast_items(stored: Any, default: Any) -> Any:
    """Return stored items in a collection like the code's own; that one itself where nothing changed.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError: an item can't be what the code's own items are.
    """
    items = list(stored) if isinstance(stored, COLLECTIONS) else [stored]
    own = list(default)
    objects: dict[str, list[Any]] = {}
    for one in own:
        if type(one) not in _PLAIN:
            objects.setdefault(_form(one), []).append(one)
    in_order = isinstance(default, (list, tuple)) and len(items) == len(own)
    likes = own if in_order else [_common(own)] * len(items)
    made = [_cast_item(item, like, objects, in_order) for item, like in zip(items, likes, strict=True)]
    if in_order and all(_is_own(new, old) for new, old in zip(made, own, strict=True)):
        return default
    make = getattr(default, "_make", type(default))  # a named tuple takes its items one by one
    return make(made)


def _is_own(new: Any, old: Any) -> bool:
    return new is old or (type(new) is type(old) and type(old) in _PLAIN and bool(new == old))


def _common(own: list[Any]) -> Any:
    """Return an item that others are to be like; None where they may be anything."""
    is_mixed = len({type(one) for one in own}) > 1
    return None if not own or (is_mixed and any(type(one) in _PLAIN for one in own)) else own[0]


def _cast_item(item: Any, like: Any, objects: Mapping[str, list[Any]], in_place: bool) -> Any:
    """Return one item: the code's own object that it stands for, or what it makes in the type of another.

    Args:
        item: as stored.
        like: the code's own item that it is to be like.
        objects: the code's own objects by their stored form.
        in_place: ``like`` is the code's own item at this place.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError: it can't be made.
    """
    is_plain = type(like) in _PLAIN
    if is_plain and (not objects or (type(item) is type(like) and item == like)):
        return float(item) if type(like) is float and type(item) is int else item
    if isinstance(like, COLLECTIONS) and not isinstance(item, COLLECTIONS):
        return item
    same = objects.get(_form(item), [])
    if in_place and any(like is one for one in same):
        return like
    if any(one is not same[0] and one != same[0] for one in same):
        raise ValueError(f"{item!r} may be any of {len(same)} objects")
    if same:
        return same[0]
    return item if is_plain else cast_like(item, like)


def _form(value: Any) -> str:
    """Return what is stored of a value, without the addresses in its objects' texts."""
    return re.sub(_ADDRESS, "", json.dumps(encode(value, other_as_text=True), sort_keys=True))


def _to_array(stored: Any, default: Any) -> Any:
    """Return a stored list as an array like the code's own, of its kind and element type; that one where nothing changed.

    Raises:
        ValueError: it is no numpy array, and the value was changed; or the items are none of its element type.
    """
    value = parse_text(stored) if isinstance(stored, str) else stored
    if str(default) == stored or default.tolist() == value:
        return default
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(default, numpy.ndarray):
        raise ValueError(f"no {type(default).__name__} can be made of {stored!r}")
    return numpy.asarray(value, dtype=default.dtype)


def _keep_object(text: str, default: Any) -> Any:
    """Return an object that is stored as its text only; the text alone can't make another one.

    Raises:
        ValueError: the text was changed.
    """
    if not is_text_of(text, default):
        raise ValueError(f"no {type(default).__name__} can be made of {text!r}")
    return default


def is_text_of(text: str, value: Any) -> bool:
    """Tell whether a text is what an object prints, its address aside, which is another in each process."""
    return re.sub(_ADDRESS, "", text) == re.sub(_ADDRESS, "", str(value))


def _to_number(value: float | str) -> int | float:
    """Return an integer where the value is one, exactly, however long it is."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)
    return int(value) if float(value).is_integer() else value


def to_bool(value: Any) -> bool:
    """Return a truth value that was written as text or a number.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("true", "yes", "on", "1"):
            return True
        if text in ("false", "no", "off", "0", "none", ""):
            return False
        raise ValueError(f"not a truth value: {value!r}")
    return bool(value)


def parse_text(text: str) -> Any:
    """Return the value that a text spells: JSON or a Python literal, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    import ast  # not at the top: most processes never come here, and it takes milliseconds

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def parse_override(text: str, current: Entry | None, name: str) -> Any:
    """Return the value that a user typed for a parameter, in the type that it has now.

    Where a command line's own type reads the text, and no value of that type is known or it takes several forms, the text
    stays what was typed.

    Raises:
        InvalidValueError: the text does not fit the type; names the parameter and the type.
    """
    if current is None:
        return parse_text(text)
    value = value_of(current)
    if isinstance(value, str):
        return text
    if text in ("None", "null", ""):
        return None
    kind = declared_kind(name, current)
    parsed = parse_text(text) if not isinstance(value, bool) else text
    if kind and value is None:
        return parsed if kind in ("int", "float") and type(parsed) in (int, float) else text
    if kind and is_read_by_parser(kind, parsed, value):
        return text
    try:
        return cast_like(parsed, value)
    except MISFITS:
        if kind and kind not in _PLAIN_KINDS and not isinstance(value, bool):
            return text
        raise InvalidValueError(
            f"parameter {name!r} is a {type_name(value)} ({value!r}): {text!r} can't become one", parameter=name
        ) from None


def declared_kind(name: str, current: Entry) -> str:
    """Return the type that an argument of a command line has besides that of its value; empty where there is none."""
    kind = str(current.get("type") or "")
    is_own = kind == type_name(value_of(current)) or "[" in kind
    return "" if is_own or not name.startswith(f"{ARGUMENT_SECTION}/") else kind


def is_read_by_parser(kind: str, parsed: Any, value: Any) -> bool:
    """Tell whether what was typed is for the command line's own type to read: a text, or one that spells no list for a list."""
    if isinstance(value, COLLECTIONS):
        return not isinstance(parsed, COLLECTIONS)
    return kind == "str"


def find_type_text(kind: type | str | None) -> str | None:
    """Return the stored name of a type given as a type or as text; None leaves it to the value."""
    return kind.__name__ if isinstance(kind, type) else kind
