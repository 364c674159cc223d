"""Searches: ClearML's filter grammar as a predicate over rows, and their order.

Pure: a search knows neither the disk nor the clock, so the index and a scan of the tree answer alike.

Source: ClearML's ``Task.get_tasks`` and ``tasks.get_all`` (shared behaviour notes, section 8).
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from localtrack.errors import InvalidValueError
from localtrack.records.fields import (
    LIST_FIELDS,
    NUMBER_FIELDS,
    TEXT_FIELDS,
    TIME_FIELDS,
    Field,
    parse_field,
    seconds_of,
)
from localtrack.records.ids import normal_project
from localtrack.records.list_grammar import Test, filter_test, list_test
from localtrack.records.plain import dataclass, field
from localtrack.records.status import Status, parse_status, parse_type

__all__ = ["Condition", "Plan", "Query", "parse_expression"]

_R = TypeVar("_R")
DEFAULT_ORDER = ("-last_update",)
PAGE_SIZE = 500  # as ClearML's server, for a page without a size
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
    "": lambda a, b: bool(a == b),
}
_TIME_FILTER = re.compile(r"\s*(<=|>=|<|>)?\s*(.*?)\s*", re.DOTALL)
_STORED_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_ANY, _ALL = ("_any_", "_or_"), ("_all_", "_and_")
_IGNORED = frozenset({"only_fields", "allow_public", "projection", "scroll_id", "refresh_scroll", "size", "start"})
_OPTIONS = frozenset({"order_by", "page", "page_size", "search_hidden", "include_subprojects", "search_text"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a hit must fulfil: a test of the values of some fields."""

    fields: tuple[Field, ...]
    test: Callable[..., bool]

    @property
    def is_seen(self) -> bool:
        """Whether a reader may see another answer than the index gives."""
        return any(one.is_seen for one in self.fields)

    def matches(self, row: Any) -> bool:
        """Tell whether a row fulfils it."""
        return self.test(*[one.read(row) for one in self.fields])


@dataclass(frozen=True, slots=True)
class Plan:
    """A search ready to run.

    Attributes:
        conditions: all of them must hold.
        order: fields to sort by, each with whether it is descending; the id decides in the end, ascending.
        skip: so many of the sorted hits are left out first.
        limit: at most so many hits; None for all.
    """

    conditions: tuple[Condition, ...]
    order: tuple[tuple[Field, bool], ...]
    skip: int = 0
    limit: int | None = None

    @property
    def is_seen(self) -> bool:
        """Whether which rows are found, or their order, depends on more than the index has."""
        return any(one.is_seen for one in self.conditions) or any(one.is_seen for one, _ in self.order)

    def running(self) -> Plan:
        """Return the search for all running tasks that may be found, whatever they have reported."""
        is_running = Condition((Field("plain", "status"),), lambda value: value == Status.IN_PROGRESS.value)
        return Plan((is_running, *(one for one in self.conditions if not one.is_seen)), ())

    def matches(self, row: Any) -> bool:
        """Tell whether a row fulfils every condition."""
        return all(condition.matches(row) for condition in self.conditions)

    def cut(self, hits: list[_R]) -> list[_R]:
        """Return the page of the sorted hits that was asked for."""
        return hits[self.skip :] if self.limit is None else hits[self.skip : self.skip + self.limit]

    def apply(self, rows: Sequence[_R]) -> list[_R]:
        """Filter, sort and cut rows."""
        hits = [row for row in rows if self.matches(row)]
        columns = [[one.read(row) for row in hits] for one, _ in self.order]
        ids = [str(Field("plain", "id").read(row)) for row in hits]
        return self.cut([hits[i] for i in sorted_positions(columns, [down for _, down in self.order], ids)])


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; everything that is given must hold.

    Attributes:
        ids: only these tasks; hidden ones too.
        project: exact name of a project, or several.
        include_subprojects: tasks of sub-projects count as well.
        name: regular expression, found anywhere in the name, case-sensitive.
        tags: list in ClearML's grammar.
        task_filter: ClearML's filter, plus ``parameters`` and ``metrics``: a mapping of name to filter.
        order_by: field names, ``-`` in front for descending; default ``-last_update``.
        limit: at most so many; None for all.
        allow_archived: whether tasks with the system tag ``archived`` may be found.
        search_hidden: whether tasks with the system tag ``hidden`` may be found.
        conditions: further ones, as :func:`parse_expression` returns them.
    """

    ids: Sequence[str] | None = None
    project: str | Sequence[str] | None = None
    include_subprojects: bool = False
    name: str | None = None
    tags: Sequence[str | None] | str | None = None
    task_filter: Mapping[str, Any] = field(default_factory=dict)
    order_by: Sequence[str] | str | None = None
    limit: int | None = None
    allow_archived: bool = True
    search_hidden: bool = False
    conditions: tuple[Condition, ...] = ()

    def plan(self) -> Plan:
        """Return the search ready to run.

        Raises:
            InvalidValueError: an unknown field, a bad pattern, list or range; names the field and what it accepts.
        """
        found: list[Condition] = []
        wanted = self.task_filter
        if self.ids is not None:
            known = frozenset(self.ids)
            found.append(Condition((_plain("id"),), lambda value: value in known))
        if self.project is not None:
            deep = self.include_subprojects or bool(wanted.get("include_subprojects"))
            found.append(_project_condition(self.project, deep))
        if self.name is not None:
            found.append(_pattern_condition("name", self.name))
        if self.tags is not None:
            found.append(Condition((_plain("tags"),), list_test("tags", self.tags)))
        if not self.allow_archived:
            found.append(_without_system_tag("archived"))
        if not (self.search_hidden or wanted.get("search_hidden") or self.ids is not None or "id" in wanted):
            found.append(_without_system_tag("hidden"))
        for key, value in wanted.items():
            found += _filter_conditions(key, value)
        skip, limit = _page(wanted, self.limit)
        order = self.order_by if self.order_by is not None else wanted.get("order_by")
        return Plan((*found, *self.conditions), _parse_order(order), skip, limit)


def parse_expression(text: str) -> tuple[Condition, ...]:
    """Return the conditions that a line such as ``params.lr<0.01 and status==completed`` spells.

    Raises:
        InvalidValueError: it can't be understood; the message shows where.
    """
    from localtrack.records import expressions

    return expressions.parse(text)


def _plain(name: str) -> Field:
    return Field("plain", name)


def _without_system_tag(tag: str) -> Condition:
    return Condition((_plain("system_tags"),), lambda value: tag not in (value or ()))


def _project_condition(project: str | Sequence[str], deep: bool) -> Condition:
    names = frozenset(normal_project(name) for name in ([project] if isinstance(project, str) else project))
    starts = tuple(f"{name}/" if name else "" for name in names)
    if deep:
        return Condition((_plain("project"),), lambda value: value in names or str(value).startswith(starts))
    return Condition((_plain("project"),), lambda value: value in names)


def compile_pattern(label: str, pattern: Any, flags: int = 0) -> re.Pattern[str]:
    """Return a compiled regular expression.

    Raises:
        InvalidValueError: it is none; names the field and the place in the pattern.
    """
    try:
        return re.compile(pattern, flags)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise InvalidValueError(
            f"filter on {label!r}: {pattern!r} is no regular expression ({error}); use re.escape for a literal text",
            field=label,
        ) from None


def _pattern_condition(name: str, pattern: Any, flags: int = 0) -> Condition:
    search = compile_pattern(name, pattern, flags).search
    return Condition((parse_field(name),), lambda value: search(value_text(value)) is not None)


def value_text(value: Any) -> str:
    """Return the text that a pattern is matched against; lists by their items, one a line."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return "\n".join(str(item) for item in value)
    return value if isinstance(value, str) else str(value)


def _filter_conditions(key: str, value: Any) -> list[Condition]:
    if value is None or key in _IGNORED or (key in _OPTIONS and key != "search_text"):
        return []
    if key == "search_text":
        search = compile_pattern(key, value, re.IGNORECASE).search
        fields_ = (_plain("name"), _plain("comment"), _plain("id"))
        return [Condition(fields_, lambda *texts: any(search(value_text(text)) for text in texts))]
    if key == "filters" and isinstance(value, Mapping):
        return [_list_filter(name, wanted) for name, wanted in value.items()]
    if key in _ANY or key in _ALL:
        return [_multi_condition(key, value)]
    if key in ("parameters", "params", "hyperparams", "metrics", "last_metrics", "runtime") and isinstance(
        value, Mapping
    ):
        return [_value_condition(parse_field(f"{key}.{name}"), wanted) for name, wanted in value.items()]
    if key == "parent" and isinstance(value, str) and not value:
        return [Condition((_plain("parent"),), lambda parent: not parent)]
    one = parse_field(key)
    if key.startswith("last_metrics."):
        return [_range_condition(one, value, missing=True)] if _is_range(value) else [_value_condition(one, value)]
    if one.kind != "plain":
        return [_value_condition(one, value)]
    if one.name in TEXT_FIELDS:
        return [_pattern_condition(one.name, value)]
    if one.name in TIME_FIELDS:
        return [_time_condition(one, value)]
    if one.name in NUMBER_FIELDS:
        return [_range_condition(one, value, missing=True)] if _is_list(value) else [_value_condition(one, value)]
    checks: dict[str, Callable[[str], Any]] = {"status": _check_status, "type": parse_type}
    if one.name == "project" and one.name in LIST_FIELDS:
        value = [normal_project(text) if isinstance(text, str) else text for text in _as_list(value)]
    return [Condition((one,), list_test(key, _plain_values(value), checks.get(one.name)))]


def _list_filter(name: str, wanted: Any) -> Condition:
    one = parse_field(name)
    if one.kind == "plain" and one.name not in LIST_FIELDS:
        raise InvalidValueError(f"filters on {name!r}: it is no list field", field=name)
    return Condition((one,), filter_test(name, wanted))


def _check_status(text: str) -> None:
    if text != "publishing":
        parse_status(text)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def _plain_values(value: Any) -> list[Any]:
    return [str(item.value) if hasattr(item, "value") else item for item in _as_list(value)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_range(value: Any) -> bool:
    return (
        _is_list(value)
        and len(value) == 2
        and any(item is not None for item in value)
        and all(item is None or as_number(item) is not None for item in value)
    )


def as_number(value: Any) -> float | int | None:
    """Return a number, or the number that a text spells; None for anything else."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    return None


def _value_condition(one: Field, value: Any) -> Condition:
    """A filter on a parameter, a metric or the like: a range of numbers, a list, or one value."""
    if _is_list(value) and len(value) == 2 and any(_is_number(v) for v in value):
        return _range_condition(one, value, missing=False)
    if _is_list(value) or isinstance(value, (set, frozenset)):
        return Condition((one,), list_test(one.label, _plain_values(value), loose=True))
    if isinstance(value, Mapping):
        raise _bad_range(one, value)
    return Condition((one,), lambda stored: equal(stored, value))


def equal(stored: Any, wanted: Any) -> bool:
    """Tell whether a stored value is the wanted one; numbers and texts that spell each other are the same."""
    if stored is None or wanted is None:
        return stored is wanted
    if isinstance(stored, (list, tuple)) and isinstance(wanted, (list, tuple)):
        return list(stored) == list(wanted)
    if isinstance(stored, bool) is not isinstance(wanted, bool) or isinstance(stored, str) is not isinstance(
        wanted, str
    ):
        return str(stored) == str(wanted) or (as_number(stored) is not None and as_number(stored) == as_number(wanted))
    return bool(stored == wanted)


def _bad_range(one: Field, value: Any) -> InvalidValueError:
    return InvalidValueError(
        f"filter on {one.label!r}: {value!r} is no range; accepted are [min, max] with numbers, one of which may be "
        "None, or a list of values",
        field=one.label,
    )


def _range_condition(one: Field, value: Any, *, missing: bool) -> Condition:
    """Both ends belong to the range. As in ClearML, an open lower end also takes tasks that have no value."""
    if not _is_list(value) or len(value) != 2 or all(item is None for item in value):
        raise _bad_range(one, value)
    ends = [None if item is None else as_number(item) for item in value]
    if any(end is None and item is not None for end, item in zip(ends, value, strict=True)):
        raise _bad_range(one, value)
    low = -math.inf if ends[0] is None else ends[0]
    high = math.inf if ends[1] is None else ends[1]
    with_missing = missing and ends[0] is None

    def test(stored: Any) -> bool:
        if type(stored) is not float:
            if stored is None:
                return with_missing
            stored = as_number(stored)
            if stored is None:
                return False
        return bool(low <= stored <= high)

    return Condition((one,), test)


def time_test(label: str, comparison: str, text: Any) -> Test:
    """Return the comparison of a stored time with a given one.

    Raises:
        InvalidValueError: ``text`` is no time.
    """
    if isinstance(text, dt.datetime):
        text = text.isoformat()
    moment = seconds_of(text) if isinstance(text, str) else as_number(text)
    if moment is None:
        raise InvalidValueError(
            f"filter on {label!r}: {text!r} is no time; accepted are ISO times such as '2024-05-01' or "
            "'2024-05-01T12:00:00', with '<', '<=', '>' or '>=' in front, or [from, to]",
            field=label,
        )
    compare = _COMPARISONS[comparison]
    try:
        exact = dt.datetime.fromtimestamp(moment, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        exact = ""
    as_text = bool(_STORED_TIME.fullmatch(exact))

    def test(stored: Any) -> bool:
        if not stored:
            return False
        if as_text and len(stored) == 27 and stored[-1] == "Z":  # the store's own spelling sorts as text
            return compare(stored, exact)
        actual = seconds_of(stored)
        return actual is not None and compare(actual, moment)

    return test


def _time_condition(one: Field, value: Any) -> Condition:
    items = _as_list(value)
    texts = [item.isoformat() if isinstance(item, dt.datetime) else item for item in items]
    if len(texts) == 2 and not any(isinstance(t, str) and t.lstrip().startswith(("<", ">")) for t in texts):
        if all(text is None for text in texts):
            raise _bad_range(one, value)
        tests = [time_test(one.name, how, t) for how, t in zip((">=", "<="), texts, strict=True) if t is not None]
        open_start = texts[0] is None
        return Condition((one,), lambda stored: (open_start and not stored) or all(test(stored) for test in tests))
    tests = []
    for text in texts:
        if isinstance(text, str):
            match = _TIME_FILTER.fullmatch(text)
            assert match is not None
            tests.append(time_test(one.name, match[1] or "", match[2]))
        else:
            tests.append(time_test(one.name, "", text))
    return Condition((one,), lambda stored: all(test(stored) for test in tests))


def _multi_condition(key: str, value: Any) -> Condition:
    if not isinstance(value, Mapping) or not isinstance(value.get("fields"), (list, tuple)) or len(value) != 2:
        raise InvalidValueError(
            f"filter on {key!r}: accepted are {{'fields': [names], 'pattern': regular expression}} and "
            "{'fields': [names], 'datetime': [from, to]}",
            field=key,
        )
    fields_ = tuple(parse_field(str(name)) for name in value["fields"])
    combine: Callable[[Any], bool] = any if key in _ANY else all
    if "pattern" in value:
        search = compile_pattern(key, value["pattern"], re.IGNORECASE).search
        tests: list[Test] = [lambda stored: stored is not None and search(value_text(stored)) is not None] * len(
            fields_
        )
    elif "datetime" in value:
        tests = [_time_condition(one, value["datetime"]).test for one in fields_]
    else:
        raise InvalidValueError(f"filter on {key!r}: needs 'pattern' or 'datetime' beside 'fields'", field=key)
    if not fields_:
        return Condition((), lambda: True)
    return Condition(fields_, lambda *values: combine(test(v) for test, v in zip(tests, values, strict=True)))


def _parse_order(order: Sequence[str] | str | None) -> tuple[tuple[Field, bool], ...]:
    names = DEFAULT_ORDER if order is None else (order,) if isinstance(order, str) else tuple(order)
    return tuple((parse_field(name.removeprefix("-")), name.startswith("-")) for name in names)


def _page(wanted: Mapping[str, Any], limit: int | None) -> tuple[int, int | None]:
    page, size = wanted.get("page"), wanted.get("page_size")
    for name, value in (("limit", limit), ("page", page), ("page_size", size)):
        least = 1 if name == "page_size" else 0
        if value is not None and (not isinstance(value, int) or value < least):
            raise InvalidValueError(f"{name} must be a whole number of at least {least}, not {value!r}", field=name)
    if size is None:
        if page is None:
            return 0, limit
        size = PAGE_SIZE
    return (page or 0) * size, size if limit is None else min(size, limit)


def sorted_positions(columns: Sequence[Sequence[Any]], descending: Sequence[bool], ids: Sequence[str]) -> list[int]:
    """Return the order of rows by several columns, the first one first; equal rows by id.

    Missing values, empty texts and NaN come last, whichever the direction; numbers before texts before lists.
    """
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for values, down in reversed(list(zip(columns, descending, strict=True))):
        keys: Sequence[Any] = values
        types = set(map(type, values))
        plain = types <= {int, float} and all(value == value for value in values)
        if not (plain or (types == {str} and all(values))):
            keys = [_sort_key(value, down) for value in values]
        order.sort(key=keys.__getitem__, reverse=down)
    return order


def _sort_key(value: Any, down: bool) -> tuple[Any, ...]:
    if value is None or value == "" or value != value:
        return (0 if down else 1,)
    present = 1 if down else 0
    if isinstance(value, (int, float)):
        return present, 0, value
    if isinstance(value, str):
        return present, 1, value
    return present, 2, repr(list(value) if isinstance(value, tuple) else value)
