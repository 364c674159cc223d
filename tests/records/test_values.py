"""Python values through strict JSON and back."""

from __future__ import annotations

import datetime as dt
import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack.records.values import UnstorableValueError, decode, encode, type_name


class Colour(Enum):
    red = 1


def _through_json(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value), allow_nan=False)))


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**70, 0.1, -0.0, 1e308, 5e-324, "", "text", "\ud800", "NaN", [], {}, [None], (), (1,),
        (1, (2, [3])), {1: "a", None: 2, (1, 2): 3}, {"a": {"b": {}}}, set(), {1, 2}, {(1, 2)}, b"", b"\x00\xff",
        {"$float": "nan"}, {"$map": []}, {"$tuple": [1], "x": 2}, dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, 4, 5, 6),
        dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc), {frozenset({1}): 2}, {frozenset({frozenset({1})})},
        {((frozenset({1}),),): 1},
    ],
)  # fmt: skip
def test_values_come_back(value: Any) -> None:
    """Every value of a plain kind is itself again, with its type."""
    back = _through_json(value)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_json_has_no_number_for(value: float) -> None:
    """NaN and infinities stay what they are, also deep inside."""
    back = _through_json({"a": [value, (value,)]})

    assert repr(back) == repr({"a": [value, (value,)]})


def test_kinds_that_become_simpler() -> None:
    """Enums become their name, paths their text, bytearrays bytes, frozensets sets."""
    assert _through_json(Colour.red) == "red"
    assert _through_json(Path("/a/b")) == "/a/b"
    assert _through_json(bytearray(b"x")) == b"x"
    assert _through_json(frozenset({1})) == {1}


def test_numpy_scalars_and_small_arrays() -> None:
    """Numbers of numpy are stored as numbers, and small arrays as lists."""
    assert _through_json({"a": np.float32(0.5), "b": np.int64(7), "c": np.bool_(True)}) == {"a": 0.5, "b": 7, "c": True}
    assert _through_json(np.arange(3)) == [0, 1, 2]
    assert math.isnan(_through_json(np.float64("nan")))


@pytest.mark.parametrize("value", [object(), [object()], {"a": object()}, np.zeros(2000), 1j])
def test_objects_are_refused(value: Any) -> None:
    """What JSON has no place for raises, naming its type."""
    with pytest.raises(UnstorableValueError, match="can't be stored"):
        encode(value)


@pytest.mark.parametrize(
    "stored",
    [
        {"$float": []}, {"$float": "one"}, {"$tuple": 3}, {"$set": [[1]]}, {"$bytes": "%%"}, {"$map": [1]},
        {"$map": [[[1], 2]]}, {"$date": 5}, {"$date": "yesterday"}, {"$unknown": 1},
    ],
)  # fmt: skip
def test_false_marks_stay_as_they_are(stored: Any) -> None:
    """A foreign or damaged mark is shown as it lies there; reading never fails on it."""
    assert decode(stored) == stored


def test_type_names() -> None:
    """Types have the names that ClearML shows."""
    assert [type_name(v) for v in (None, 1, 1.0, "a", True, [1, 2], [1, "a"], [], {})] == [
        "", "int", "float", "str", "bool", "list/int", "list", "list", "dict",
    ]  # fmt: skip
