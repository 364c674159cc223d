"""ClearML's grammar for lists of values: exclusion, all, any, not.

``["a", "b"]`` has any; ``["a", "-b"]`` has a and not b; ``["__$all", "a", "b"]`` has both; ``["__$not", "a"]`` lacks
a; ``None`` also takes tasks that have no value at all. After an explicit operator a leading ``-`` is part of the
value, until ``__$nop``.

Source: ClearML's server, list fields of ``tasks.get_all`` (shared behaviour notes, section 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from localtrack.errors import InvalidValueError

PREFIX = "__$"
_CONTEXTS = {"__$all": "all", "__$and": "all", "__$any": "any", "__$or": "any"}
Test = Callable[[Any], bool]


class _Groups:
    """Values by what is asked of them, and how the groups combine."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.wanted: dict[tuple[str, bool], list[Any]] = {}
        self.allow_missing = False
        self.combined = False
        self.combine_any = False
        self.seen_value = False
        self.context = "any"
        self.explicit = False
        self.negate = False

    def read(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, str) and value.startswith(PREFIX):
                self._operator(value)
            elif value is None:
                self._end_of_not(None)
                self.allow_missing = True
                self.seen_value = True
            else:
                self._value(value)
        if self.negate:
            raise self._error("'__$not' stands at the end: a value must follow it")

    def _operator(self, name: str) -> None:
        if self.negate:
            raise self._error(f"{name!r} follows '__$not': a value must follow it")
        if name == "__$not":
            self.negate = self.explicit = True
        elif name == "__$nop":
            self.context, self.explicit = "any", False
        elif name in _CONTEXTS:
            self.context, self.explicit = _CONTEXTS[name], True
            if not self.seen_value and not self.combined:
                self.combine_any = self.context == "any"
                self.combined = True
        else:
            raise self._error(f"unknown operator {name!r}")

    def _end_of_not(self, value: Any) -> None:
        if self.negate and value is None:
            raise self._error("None follows '__$not': a value must follow it")
        self.negate = False

    def _value(self, value: Any) -> None:
        include = not self.negate
        if not self.explicit and isinstance(value, str) and value.startswith("-"):
            value, include = value[1:], False
            if not value:
                raise self._error("'-' alone: a value must follow it")
        self._end_of_not(value)
        self.seen_value = True
        self.wanted.setdefault((self.context, include), []).append(value)

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
    parts = [_group_test(how, include, terms, loose) for (how, include), terms in groups.wanted.items()]
    combine = any if groups.combine_any else all

    def test(value: Any) -> bool:
        items = _items(value)
        if groups.allow_missing and not items:
            return True
        if not parts:
            return not groups.allow_missing
        return combine(part(items) for part in parts)

    return test


def _group_test(how: str, include: bool, terms: Sequence[Any], loose: bool) -> Callable[[Sequence[Any]], bool]:
    wanted = set(terms)

    def found(items: Sequence[Any]) -> set[Any]:
        hits = {item for item in items if item in wanted}
        if loose:
            hits |= {text for item in items if (text := str(item)) in wanted}
        return hits

    if how == "all":
        return (
            (lambda items: len(found(items)) >= len(wanted))
            if include
            else (lambda items: len(found(items)) < len(wanted))
        )
    return (lambda items: bool(found(items))) if include else (lambda items: not found(items))


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
