"""ClearML's grammar for lists of values: exclusion, all, any, not.

``["a", "b"]`` has any; ``["a", "-b"]`` has a and not b; ``["__$all", "a", "b"]`` has both; ``["__$not", "a"]`` lacks
a; ``None`` also takes tasks that have no value at all. After ``__$all``, ``__$any`` and their kin a leading ``-`` is
part of the value, until ``__$nop``.

Source: ClearML's server, list fields of ``tasks.get_all`` and its ``filters``; Task.get_tasks, "tags".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from localtrack.errors import InvalidValueError

PREFIX = "__$"
_CONTEXTS = {"__$all": "all", "__$and": "all", "__$any": "any", "__$or": "any"}
Test = Callable[[Any], bool]


class _Groups:
    """Values by what is asked of them (``any``, ``all``, ``none``), and how the groups combine."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.wanted: dict[str, list[Any]] = {}
        self.allow_missing = False
        self.combine_any: bool | None = None
        self.context = "any"
        self.explicit = False
        self.negate = False

    def read(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, str) and value.startswith(PREFIX):
                self._operator(value)
                continue
            if self.combine_any is None:
                self.combine_any = False
            if value is None:
                self.negate = False
                self.allow_missing = True
            else:
                self._value(value)
        if self.negate:
            raise self._error("'__$not' stands at the end: a value must follow it")

    def _operator(self, name: str) -> None:
        if name == "__$nop":
            self.context, self.explicit, self.negate = "any", False, False
            self.combine_any = bool(self.combine_any)
        elif self.negate:
            raise self._error(f"{name!r} follows '__$not': a value must follow it")
        elif name == "__$not":
            self.negate = True
        elif name in _CONTEXTS:
            self.context, self.explicit = _CONTEXTS[name], True
            if self.combine_any is None:
                self.combine_any = self.context == "any"
        else:
            raise self._error(f"unknown operator {name!r}")

    def _value(self, value: Any) -> None:
        include = not self.negate
        if include and not self.explicit and isinstance(value, str) and value.startswith("-"):
            value, include = value[1:], False
            if not value:
                raise self._error("'-' alone: a value must follow it")
        self.negate = False
        self.wanted.setdefault(self.context if include else "none", []).append(value)

    def _error(self, what: str) -> InvalidValueError:
        return InvalidValueError(
            f"filter on {self.field!r}: {what}; accepted are values, '-value', and before values "
            "'__$all', '__$any', '__$not', '__$nop'",
            field=self.field,
        )


def list_test(field: str, values: Any, check: Callable[[str], Any] | None = None, *, loose: bool = False) -> Test:
    """Return the predicate of a list filter over a row's value (a text, a list, or None).

    Args:
        field: name of the field, for errors.
        values: the filter: one value or a list in ClearML's grammar.
        check: told each plain value; may raise.
        loose: a text also equals a value of another type that is written so, as ``"0.1"`` the number 0.1.

    Raises:
        InvalidValueError: the list breaks the grammar.
    """
    groups = _Groups(field)
    groups.read(values if isinstance(values, (list, tuple, set, frozenset)) else [values])
    for terms in groups.wanted.values():
        for term in terms:
            if not isinstance(term, (str, int, float)):
                raise groups._error(f"a {type(term).__name__} can't be looked for")
            if check is not None:
                check(str(term))
    if not loose and not groups.allow_missing and list(groups.wanted) == ["any"]:
        return _any_of(frozenset(groups.wanted["any"]))
    parts = [_group_test(how, terms, loose) for how, terms in groups.wanted.items()]
    combine = any if groups.combine_any else all

    def test(value: Any) -> bool:
        items = _items(value)
        if groups.allow_missing and not items:
            return True
        if not parts:
            return not groups.allow_missing
        return combine(part(items) for part in parts)

    return test


def _any_of(wanted: frozenset[Any]) -> Test:
    """Return the test of the plainest list, which is by far the most frequent one."""

    def test(value: Any) -> bool:
        if type(value) is str:
            return value in wanted
        return not wanted.isdisjoint(_items(value))

    return test


def _group_test(how: str, terms: Sequence[Any], loose: bool = False) -> Callable[[Sequence[Any]], bool]:
    wanted = set(terms)

    def found(items: Sequence[Any]) -> set[Any]:
        hits = {item for item in items if item in wanted}
        if loose:
            hits |= {text for item in items if (text := str(item)) in wanted}
        return hits

    if how == "any":
        return lambda items: bool(found(items))
    if how == "none":
        return lambda items: not found(items)
    if how == "not all":
        return lambda items: len(found(items)) < len(wanted)
    return lambda items: len(found(items)) >= len(wanted)


def filter_test(field: str, wanted: Any) -> Test:
    """Return the predicate of the newer form of a list filter.

    ``{"any": {"include": [...], "exclude": [...]}, "all": {"include": [...], "exclude": [...]}, "op": "and"}``: within
    ``any`` one of what is included, or not all of what is excluded; within ``all`` all that is included and none that
    is excluded; ``op`` joins the two. None stands for no value at all.

    Raises:
        InvalidValueError: it is not so.
    """
    if (
        not isinstance(wanted, Mapping)
        or not set(wanted) <= {"any", "all", "op"}
        or wanted.get("op", "and") not in ("and", "or")
    ):
        raise _bad_filter(field, wanted)
    parts: list[Callable[[Sequence[Any]], bool]] = []
    for name, include, exclude, combine in (("any", "any", "not all", any), ("all", "all", "none", all)):
        body = wanted.get(name)
        if not body:
            continue
        if not isinstance(body, Mapping) or not set(body) <= {"include", "exclude"}:
            raise _bad_filter(field, wanted)
        inner = [*_filter_part(include, body.get("include"), True), *_filter_part(exclude, body.get("exclude"), False)]
        if inner:
            parts.append(lambda items, inner=inner, combine=combine: combine(part(items) for part in inner))  # type: ignore[misc]
    join = any if wanted.get("op") == "or" and parts else all
    return lambda value: join(part(_items(value)) for part in parts)


def _filter_part(how: str, values: Any, include: bool) -> list[Callable[[Sequence[Any]], bool]]:
    values = list(values) if isinstance(values, (list, tuple, set, frozenset)) else [] if values is None else [values]
    found: list[Callable[[Sequence[Any]], bool]] = []
    if None in values:
        found.append((lambda items: not items) if include else (lambda items: bool(items)))
    terms = [value for value in values if value is not None]
    return [*found, _group_test(how, terms)] if terms else found


def _bad_filter(field: str, wanted: Any) -> InvalidValueError:
    return InvalidValueError(
        f"filters on {field!r}: {wanted!r} is not {{'any': {{'include': [...], 'exclude': [...]}}, 'all': {{...}}, 'op': "
        "'and' or 'or'}",
        field=field,
    )


def _items(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return ()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [item if _hashable(item) else repr(item) for item in value]
    return (value if _hashable(value) else repr(value),)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
