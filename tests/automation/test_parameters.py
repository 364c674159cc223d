"""Ranges give values of their type, within their bounds, and survive being stored."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.automation import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    ParameterSet,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from localtrack.automation.parameters import Parameter, RandomSeed
from localtrack.errors import InvalidValueError

bounds = st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)).map(sorted)
int_bounds = st.tuples(st.integers(-500, 500), st.integers(-500, 500)).map(sorted)


@given(bounds, st.none() | st.floats(0.5, 50), st.booleans())
def test_floats_lie_in_their_range(pair: list[float], step: float | None, with_max: bool) -> None:
    """Every listed and every drawn value is a float of the range; the last is left out when it is to be."""
    low, high = pair
    one = UniformParameterRange("lr", low, high, step_size=step, include_max_value=with_max)
    values = [item["lr"] for item in one.to_list()]
    values.append(one.get_value()["lr"])
    assert all(type(value) is float and low - 1e-9 <= value <= high + 1e-9 for value in values)
    if step is not None and not with_max and high - low > step:
        assert max(values) < high


@given(int_bounds, st.integers(1, 100), st.booleans())
def test_integers_stay_integers(pair: list[int], step: int, with_max: bool) -> None:
    """Every value is an int, a whole number of steps from the lowest, and never past the highest."""
    low, high = pair
    one = UniformIntegerParameterRange("layers", low, high, step_size=step, include_max_value=with_max)
    values = [item["layers"] for item in one.to_list()]
    assert type(one.get_value()["layers"]) is int
    assert one.get_value()["layers"] in values
    assert all(type(value) is int and low <= value <= high and (value - low) % step == 0 for value in values)
    assert with_max or high == low or high not in values


def test_steps_of_a_tenth_give_tenths() -> None:
    """No 0.30000000000000004 in a task's parameters, and the highest value is there."""
    one = UniformParameterRange("p", 0.1, 0.5, step_size=0.1)
    assert [item["p"] for item in one.to_list()] == [0.1, 0.2, 0.3, 0.4, 0.5]
    without = UniformParameterRange("p", 0.1, 0.5, step_size=0.1, include_max_value=False)
    assert [item["p"] for item in without.to_list()] == [0.1, 0.2, 0.3, 0.4]


def test_a_step_that_misses_the_highest_value_stops_before_it() -> None:
    """A value past the range would be one that the user ruled out."""
    assert [item["p"] for item in UniformParameterRange("p", 0, 1, step_size=0.4).to_list()] == [0.0, 0.4, 0.8]


def test_a_logarithmic_range_varies_the_exponent() -> None:
    """Steps are of the exponent; the values are powers."""
    one = LogUniformParameterRange("lr", -3, -1, base=10, step_size=1)
    assert [item["lr"] for item in one.to_list()] == pytest.approx([0.001, 0.01, 0.1])
    drawn = [LogUniformParameterRange("lr", -3, -1).get_value()["lr"] for _ in range(50)]
    assert all(0.001 <= value <= 0.1 for value in drawn)
    assert sum(value < 0.01 for value in drawn) > 10


def test_discrete_values_keep_their_types() -> None:
    """What was given comes out: numbers, texts, None, lists."""
    values: list[Any] = [1, 1.5, "a", None, True, [1, 2]]
    assert [item["v"] for item in DiscreteParameterRange("v", values).to_list()] == values


def test_a_set_expands_the_ranges_in_it() -> None:
    """Parameters of one combination go together; a range inside one gives one combination for each value."""
    one = ParameterSet(
        [
            {"opt": "sgd", "momentum": UniformParameterRange("momentum", 0.8, 0.9, step_size=0.1)},
            {"opt": "adam", "beta": 0.99},
        ]
    )
    assert one.to_list() == [
        {"opt": "sgd", "momentum": 0.8},
        {"opt": "sgd", "momentum": 0.9},
        {"opt": "adam", "beta": 0.99},
    ]
    assert all(one.get_value() in one.to_list() for _ in range(20))


@pytest.mark.parametrize(
    "one",
    [
        UniformParameterRange("General/lr", 0, 1, step_size=0.25, include_max_value=False),
        LogUniformParameterRange("lr", -4, -1, base=2),
        UniformIntegerParameterRange("n", 1, 9, step_size=2),
        DiscreteParameterRange("opt", ["sgd", None, 3]),
        ParameterSet([{"type": "x", "n": UniformIntegerParameterRange("n", 1, 2)}]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_range_survives_json(one: Parameter) -> None:
    """The space of a search is kept in its task, where it can be edited before an agent runs it."""
    again = Parameter.from_dict(json.loads(json.dumps(one.to_dict())))
    assert type(again) is type(one)
    assert again.to_list() == one.to_list()


def test_the_seed_decides_what_is_drawn() -> None:
    """A search can be repeated, whatever else in the process draws random numbers."""
    one = UniformParameterRange("lr", 0, 1)
    RandomSeed.set_random_seed(7)
    first = [one.get_value() for _ in range(3)]
    assert RandomSeed.get_random_seed() == 7
    RandomSeed.set_random_seed(7)
    assert [one.get_value() for _ in range(3)] == first
    RandomSeed.set_random_seed()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: UniformParameterRange("lr", 2, 1), "lr"),
        (lambda: UniformParameterRange("lr", math.nan, 1), "lr"),
        (lambda: UniformIntegerParameterRange("n", 1, 2, step_size=0), "step_size"),
        (lambda: DiscreteParameterRange("opt", []), "opt"),
        (lambda: DiscreteParameterRange("", [1]), "name"),
        (lambda: LogUniformParameterRange("lr", -1, 1, base=0), "base"),
        (lambda: ParameterSet([]), "ParameterSet"),
        (lambda: Parameter.from_dict({"type": "nothing"}), "UniformParameterRange"),
    ],
)
def test_a_range_without_sense_is_refused(make: Any, word: str) -> None:
    """The message names the parameter, or what is wrong with it."""
    with pytest.raises(InvalidValueError, match=word):
        make()
