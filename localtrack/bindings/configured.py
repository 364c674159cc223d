"""Objects that a parser fills with configuration: their leaves by dotted name, and copies with other values.

Dataclasses, attrs and pydantic classes, named tuples, dicts and simple objects nest in each other; whatever else there
is, is a leaf.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from localtrack.bindings import BindingContext
from localtrack.bindings.parameter_feed import ParameterFeed, Parsed
from localtrack.capture.native_values import is_same, to_native
from localtrack.records.parameters import cast_like, parse_text

_Path = tuple[str, ...]


def fed_values(ctx: BindingContext, feed: ParameterFeed, value: Any) -> Any:
    """Return a configuration object with the stored values in it, and record what it is then.

    A stored value that does not fit is said and left out; the others are not lost with it.
    """
    try:
        wanted: Mapping[str, Any] = {name: new for name, new in feed.stored.items() if feed.wants(name)}
        value = _changed(feed, value, changes_in(value, wanted))
        feed.record({name: Parsed(leaf) for name, leaf in leaves(value)})
    except Exception as error:  # the binding border
        ctx.failed("parse", error)
    return value


def _changed(feed: ParameterFeed, value: Any, changes: Mapping[str, Any]) -> Any:
    """Return the object with what fits of the changes, all at once where its own checks take them so."""
    old = {".".join(path): leaf for path, leaf in _walk(value)}
    fitting: dict[str, Any] = {}
    for name, new in changes.items():
        try:
            fitting[name] = _cast(new, old[name])
        except Exception as error:  # what a type of the script's raises
            feed.refused(name, new, error)
    if not fitting:
        return value
    try:
        result = with_changes(value, fitting)
        for name in fitting:
            feed.changed(name, changes[name])
        return result
    except Exception:  # a check of the script's own: which of them it refuses shows one by one
        for name, new in fitting.items():
            try:
                value = with_changes(value, {name: new})
                feed.changed(name, changes[name])
            except Exception as error:
                feed.refused(name, changes[name], error)
        return value


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the parts of a configuration object by name; None for a leaf."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):  # what its constructor does not take is no argument, but made of them
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    for attribute in ("__attrs_attrs__", "_fields"):
        declared = getattr(type(value), attribute, None)
        if declared is not None:
            names = [getattr(one, "name", one) for one in declared if getattr(one, "init", True)]
            return {name: getattr(value, name) for name in names}
    declared = getattr(type(value), "model_fields", None)
    if isinstance(declared, Mapping):
        return {name: getattr(value, name) for name in declared}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) and value else None


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a configuration object by their dotted names, as JSON holds them."""
    for path, leaf in _walk(value):
        yield ".".join(path), _native(leaf)


def _walk(value: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    fields = fields_of(value)
    if fields is None:
        if path:
            yield path, value
        return
    for name, part in fields.items():
        yield from _walk(part, (*path, name))


def _native(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted((to_native(None, item) for item in value), key=repr)
    return to_native(None, value)


def changes_in(value: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those stored values that the object does not have already."""
    current = dict(leaves(value))
    return {name: new for name, new in stored.items() if name in current and not is_same(current[name], new)}


def with_changes(value: Any, changes: Mapping[str, Any]) -> Any:
    """Return a copy of a configuration object with other values at dotted names, each in the type of the old one."""
    paths = {".".join(path): path for path, _ in _walk(value)}
    return _with_parts(value, {paths[name]: new for name, new in changes.items()})


def _with_parts(value: Any, changes: Mapping[_Path, Any]) -> Any:
    by_part: dict[str, dict[_Path, Any]] = {}
    for path, new in changes.items():
        by_part.setdefault(path[0], {})[path[1:]] = new
    fields = fields_of(value) or {}
    parts = {
        name: _cast(inner[()], fields[name]) if () in inner else _with_parts(fields[name], inner)
        for name, inner in by_part.items()
    }
    return _replaced(value, parts)


def _cast(stored: Any, old: Any) -> Any:
    if isinstance(old, (set, frozenset)) and not isinstance(stored, (set, frozenset)):
        items = parse_text(stored) if isinstance(stored, str) else stored
        if not isinstance(items, (list, tuple, set)):
            raise ValueError(f"{stored!r} is no list")
        return type(old)(items)
    try:
        return cast_like(stored, old)
    except KeyError:  # a member of an enum, by its value
        return type(old)(stored)


def _replaced(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        by_text = {str(key): key for key in value}
        return type(value)({**value, **{by_text[name]: part for name, part in parts.items()}})
    if hasattr(type(value), "_fields"):
        return value._replace(**parts)
    built = _built(value, parts)
    if built is not None:
        return built
    copied = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(copied, name, part)
    return copied


def _built(value: Any, parts: dict[str, Any]) -> Any:
    """Return an object that its own constructor makes of the parts and the rest, with all that it derives from them.

    None where that can't be done: there is no such constructor, or it makes of the old parts something else than it did.

    Raises:
        Exception: it takes the old parts, but not the new ones.
    """
    kind, fields = type(value), fields_of(value) or {}
    if dataclasses.is_dataclass(value):
        names = {name: name for name in fields}
    elif hasattr(kind, "__attrs_attrs__"):
        declared = [one for one in kind.__attrs_attrs__ if one.name in fields]
        names = {one.name: getattr(one, "alias", None) or one.name.lstrip("_") for one in declared}
    else:
        return None
    try:
        again = kind(**{names[name]: part for name, part in fields.items()})
        if not is_same(dict(leaves(again)), dict(leaves(value))):
            return None
    except Exception:  # its constructor takes other arguments
        return None
    return kind(**{names[name]: part for name, part in {**fields, **parts}.items()})
