"""Parameters: nested and flat, with their types."""

from __future__ import annotations

from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import numpy
import pytest

from localtrack.errors import InvalidValueError
from localtrack.records.parameters import (
    cast_like,
    entry,
    flatten,
    full_name,
    nest,
    parse_override,
    parse_text,
    split_name,
    text_of,
    to_bool,
    value_of,
)


class Mode(Enum):
    fast = 1
    slow = 2


def test_sections() -> None:
    """A name without a section belongs to General; the first slash divides."""
    assert full_name("lr") == "General/lr"
    assert full_name("Args/lr") == "Args/lr"
    assert split_name("lr") == ("General", "lr")
    assert split_name("Args/net/depth") == ("Args", "net/depth")


def test_flatten_and_nest() -> None:
    """Nested values become flat keys and nested values again; an empty dict is a value."""
    flat = flatten({"net": {"depth": 2, "extra": {}}, "lr": 0.1, 3: None}, "General")

    assert set(flat) == {"General/net/depth", "General/net/extra", "General/lr", "General/3"}
    assert nest({key: value_of(stored) for key, stored in flat.items()}) == {
        "General": {"net": {"depth": 2, "extra": {}}, "lr": 0.1, "3": None}
    }


def test_nest_keeps_a_leaf_that_is_also_a_branch() -> None:
    """Neither order of a leaf and a branch of the same name loses one."""
    assert nest({"a": 1, "a/b": 2}) == {"a": {"": 1, "b": 2}}
    assert nest({"a/b": 2, "a": 1}) == {"a": {"": 1, "b": 2}}


def test_entries() -> None:
    """An entry holds value, type and description; a foreign object its text."""
    assert entry(3, "depth") == {"value": 3, "type": "int", "description": "depth"}
    assert entry(Mode.fast) == {"value": "fast", "type": "Mode", "description": "one of fast, slow"}
    assert entry(1j)["value"] == "1j"
    assert entry([1j, 2]) == {"value": ["1j", 2], "type": "list"}
    assert value_of({}) is None


def test_texts() -> None:
    """As text, None is empty and containers are JSON."""
    assert [text_of(entry(v)) for v in (None, 1, 0.5, True, "a", [1, 2], {"a": 1}, float("nan"))] == [
        "", "1", "0.5", "True", "a", "[1, 2]", '{"a": 1}', "nan",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "default", "expected"),
    [
        ("3", 1, 3), ("0.5", 1, 0.5), (2.0, 1, 2), ("12345678901234567890", 1, 12345678901234567890), ("1e3", 1, 1000),
        (1, 0.5, 1.0), ("nan", 0.5, float("nan")), ("inf", 1, float("inf")), ("yes", False, True), (0, True, False),
        (5, "a", "5"), ("[1, 2]", [0], [1, 2]), ("(1, 2)", (0,), (1, 2)), ([1], (0,), (1,)), ("3", [0], [3]),
        ("{'a': 1}", {}, {"a": 1}), ("slow", Mode.fast, Mode.slow), (None, 1, None), ("x", None, "x"),
    ],
)  # fmt: skip
def test_overrides_take_the_type_of_the_code(stored: Any, default: Any, expected: Any) -> None:
    """A stored override comes in the type of the code's own value, and long integers stay exact."""
    result = cast_like(stored, default)

    assert repr(result) == repr(expected)


@pytest.mark.parametrize(("stored", "default"), [("x", 1), ("maybe", True), ("x", 0.5), ("x", {}), ("none", Mode.fast)])
def test_overrides_that_do_not_fit(stored: Any, default: Any) -> None:
    """What can't become the type raises."""
    with pytest.raises((ValueError, KeyError)):
        cast_like(stored, default)


class Schedule:
    """An object of the user's that is no parameter type."""

    def __str__(self) -> str:
        return "Schedule(warmup=3)"


def test_objects_stored_as_text_are_never_replaced_by_it() -> None:
    """The code's own object is used; text that was changed is refused, since no object can be made of it."""
    code = Schedule()
    assert cast_like(value_of(entry(code)), code) is code
    with pytest.raises(ValueError, match="no Schedule can be made"):
        cast_like("Schedule(warmup=4)", code)


def test_lists_stored_as_one_text_are_known_again() -> None:
    """A list of objects that was stored as one text is the code's own, whatever addresses it had then."""
    code = [Schedule]
    assert cast_like(str(code), code) is code
    own = [object(), 3]
    assert cast_like("[<object object at 0x7f0012>, 3]", own) is own


def test_numbers_and_paths_of_other_types() -> None:
    """NumPy's numbers and paths come back in their type."""
    for stored, default in (("5", numpy.int64(3)), (5, numpy.float32(3))):
        result = cast_like(stored, default)
        assert (type(result), result) == (type(default), 5)
    assert cast_like("/b", PurePosixPath("/a")) == PurePosixPath("/b")


def test_typed_overrides() -> None:
    """What a user types takes the type that the parameter has; a misfit is named with its type."""
    assert parse_override("0.5", entry(1.0), "Args/lr") == 0.5
    assert parse_override("0.5", entry("text"), "Args/lr") == "0.5"
    assert parse_override("none", entry(True), "Args/flag") is False
    assert parse_override("None", entry(3), "Args/n") is None
    assert parse_override("[1]", None, "Args/new") == [1]
    assert parse_override("0", entry(None, "", "str"), "Args/gpu") == "0"
    assert parse_override("0", entry(None), "General/gpu") == 0
    assert parse_override("a,b", entry(["a"], "", "<lambda>"), "Args/l") == "a,b"
    assert parse_override("b", entry(["a"]), "Args/l") == ["b"]
    with pytest.raises(InvalidValueError, match=r"'Args/lr' is a float \(1\.0\): 'fast'"):
        parse_override("fast", entry(1.0), "Args/lr")


def test_texts_that_spell_values() -> None:
    """JSON, Python literals and plain text are told apart."""
    assert [parse_text(t) for t in ("1", "true", "'a'", "(1,)", "adam", "1.5", "[", "")] == [
        1, True, "a", (1,), "adam", 1.5, "[", "",
    ]  # fmt: skip


def test_truth() -> None:
    """Truth values by word; others raise."""
    assert [to_bool(v) for v in ("yes", "OFF", "", 1, 0.0)] == [True, False, False, True, False]
    with pytest.raises(ValueError, match="not a truth value"):
        to_bool("perhaps")
