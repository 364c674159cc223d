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
from localtrack.records.parameters import cast_like


def fed_values(ctx: BindingContext, feed: ParameterFeed, value: Any) -> Any:
    """Return a configuration object with the stored values in it, and record what it is then."""
    try:
        wanted: Mapping[str, Any] = {name: new for name, new in feed.stored.items() if feed.wants(name)}
        changes = changes_in(value, wanted)
        for name, new in changes.items():
            feed.changed(name, new)
        value = with_changes(value, changes) if changes else value
        feed.record({name: Parsed(leaf) for name, leaf in leaves(value)})
    except Exception as error:  # the binding border
        ctx.failed("parse", error)
    return value


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the parts of a configuration object by name; None for a leaf."""
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)
        }
    for attribute in ("__attrs_attrs__", "_fields"):
        declared = getattr(type(value), attribute, None)
        if declared is not None:
            names = [getattr(one, "name", one) for one in declared]
            return {name: getattr(value, name) for name in names}
    declared = getattr(type(value), "model_fields", None)
    if isinstance(declared, Mapping):
        return {name: getattr(value, name) for name in declared}
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) and value else None


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a configuration object by their dotted names, as JSON holds them."""
    fields = fields_of(value)
    if fields is None:
        if prefix:
            yield prefix, to_native(None, value)
        return
    for name, part in fields.items():
        yield from leaves(part, f"{prefix}.{name}" if prefix else name)


def changes_in(value: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return those stored values that the object does not have already."""
    current = dict(leaves(value))
    return {name: new for name, new in stored.items() if name in current and not is_same(current[name], new)}


def with_changes(value: Any, changes: Mapping[str, Any]) -> Any:
    """Return a copy of a configuration object with other values at dotted names, each in the type of the old one."""
    by_part: dict[str, dict[str, Any]] = {}
    for name, new in changes.items():
        part, _, rest = name.partition(".")
        by_part.setdefault(part, {})[rest] = new
    fields = fields_of(value) or {}
    parts: dict[str, Any] = {}
    for name, inner in by_part.items():
        old = fields[name]
        parts[name] = _cast(inner[""], old) if "" in inner else with_changes(old, inner)
    return _replaced(value, parts)


def _cast(stored: Any, old: Any) -> Any:
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
    copied = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(copied, name, part)
    return copied
