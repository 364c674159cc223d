"""Values and parameters through the store's JSON and back, whatever they are."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localtrack.records.parameters import cast_like, entry, flatten, leaves, nest, parse_override, value_of
from localtrack.records.values import decode, encode
from localtrack.store.documents import canonical

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
    | st.dates() | st.datetimes() | st.datetimes(timezones=st.just(dt.timezone.utc))
)  # fmt: skip
HASHABLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=5),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
MARKS = st.sampled_from(["$float", "$tuple", "$set", "$bytes", "$map", "$date", "plain"])
VALUES = st.recursive(
    ATOMS | st.sets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3)
        | st.dictionaries(HASHABLE, inner, max_size=3) | st.dictionaries(MARKS, inner, max_size=2)
    ),
    max_leaves=12,
)  # fmt: skip
NESTED = st.recursive(
    st.dictionaries(st.text(st.characters(exclude_characters="/"), min_size=1), VALUES.filter(lambda v: type(v) is not dict), max_size=3),
    lambda inner: st.dictionaries(st.text(st.characters(exclude_characters="/"), min_size=1), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal with their types; a NaN is a NaN, whatever its bits are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (
            math.isnan(other) if math.isnan(one) else (one, math.copysign(1, one)) == (other, math.copysign(1, other))
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            _same(a, b) and _same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    return bool(one == other)


@given(VALUES)
def test_every_value_comes_back(value: Any) -> None:
    """Through strict JSON, each value is itself again: types, NaN, tuples, keys of any kind."""
    text = json.dumps(encode(value), allow_nan=False)

    assert _same(decode(json.loads(text)), value)


@given(VALUES)
def test_every_value_fits_a_sealed_document(value: Any) -> None:
    """The canonical spelling takes every encoded value, and its order of keys changes no value."""
    back = decode(json.loads(canonical({"value": encode(value)}).decode("utf-8", "surrogatepass")))["value"]

    assert back == value or value != value or "nan" in repr(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), lambda i: st.lists(i) | st.dictionaries(MARKS | st.text(), i), max_leaves=10))  # fmt: skip
def test_decoding_never_fails(stored: Any) -> None:
    """Any JSON at all decodes to something: foreign marks do not break a reader."""
    decode(stored)


@given(NESTED)
def test_nested_parameters_come_back(values: dict[str, Any]) -> None:
    """Flattened into a section and nested again, parameters are what they were."""
    flat = flatten(values, "General")
    back = nest({key: value_of(stored) for key, stored in flat.items()}).get("General", {})

    assert _same(_ordered(back), _ordered(values))


def _ordered(value: Any) -> Any:
    return (
        {key: _ordered(value[key]) for key in sorted(value)}
        if type(value) is dict and all(type(k) is str for k in value)
        else value
    )


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_every_leaf_is_stored_once(values: dict[str, Any]) -> None:
    """The number of entries is the number of different paths."""
    assert len(flatten(values, "S")) == len({path for path, _ in leaves(values)})


@given(st.integers() | st.booleans() | st.floats() | st.text())
def test_an_override_typed_as_shown_is_the_value(value: Any) -> None:
    """Typing the text that a listing shows gives the value back, in its type."""
    text = str(value)
    result = parse_override(text, entry(value), "Args/x")

    assert _same(result, value)


@given(st.integers() | st.floats(allow_nan=False) | st.booleans(), st.integers() | st.floats(allow_nan=False))
def test_numbers_cast_like_the_code(stored: Any, default: Any) -> None:
    """A stored number takes the code's type without changing its amount where the type has room for it."""
    if isinstance(default, float) and isinstance(stored, int) and abs(stored) > 2**53:
        return
    assert cast_like(stored, default) == stored
