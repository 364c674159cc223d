"""Reading back what a task reported."""

from __future__ import annotations

import math
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.services import reports
from localtrack.store.scalars import Scalars, SeriesPoints

FLOATS = st.lists(st.floats(), min_size=0, max_size=60)


def _points(values: list[float]) -> SeriesPoints:
    count = len(values)
    return SeriesPoints(array("q", range(count)), array("q", [n * 1_000_000 for n in range(count)]), array("d", values))


@given(FLOATS, st.integers(1, 70))
def test_thinning_keeps_the_limit_and_the_extremes(values: list[float], limit: int) -> None:
    """At most so many points, all of them real ones, first and last among them, and the extremes where there is room."""
    kept = reports.thinned(_points(values), limit)

    assert len(kept.values) <= limit
    assert all(repr(values[step]) == repr(value) for step, value in zip(kept.iterations, kept.values, strict=True))
    if values:
        assert kept.iterations[-1] == len(values) - 1
    if values and limit >= 2:
        assert kept.iterations[0] == 0
    finite = [value for value in values if not math.isnan(value)]
    if finite and limit >= 4:
        assert min(finite) in kept.values
        assert max(finite) in kept.values


def test_nothing_is_thinned_unless_asked() -> None:
    """Zero means all."""
    assert reports.thinned(_points([1.0] * 5000), 0).values == array("d", [1.0] * 5000)


def _found() -> Scalars:
    found = Scalars()
    found.series["loss", "train"] = _points([3.0, math.nan, 1.0, 2.0])
    found.series["Summary", "best"] = SeriesPoints(
        array("q", [reports.SINGLE_VALUE_ITERATION] * 2), array("q", [1, 2]), array("d", [0.5, math.inf])
    )
    found.series["Summary", "curve"] = _points([1.0])
    found.series["nan", "only"] = _points([math.nan])
    found.series["empty", "one"] = SeriesPoints()
    return found


@pytest.mark.parametrize(
    ("x_axis", "x"),
    [("iter", [0, 1, 2, 3]), ("timestamp", [0, 1000, 2000, 3000]), ("iso_time", None)],
)
def test_graphs(x_axis: str, x: list[int] | None) -> None:
    """Graphs leave single values out and have the axis that was asked for."""
    found = reports.graphs(_found(), x_axis=x_axis)

    assert "best" not in found["Summary"]
    assert found["Summary"]["curve"]["y"] == [1.0]
    assert repr(found["loss"]["train"]["y"]) == "[3.0, nan, 1.0, 2.0]"
    assert found["loss"]["train"]["x"] == x or found["loss"]["train"]["x"][1] == "1970-01-01T00:00:01.000000Z"


def test_single_values_and_summaries() -> None:
    """The last single value counts; a summary has last, lowest and highest with their iterations, NaN aside."""
    assert reports.single_values(_found()) == {"best": math.inf}
    summary = reports.summarise(_found())
    assert summary["loss"]["train"] == {
        "last": 2.0, "last_iteration": 3, "min": 1.0, "min_iteration": 2, "max": 3.0, "max_iteration": 0, "count": 4,
    }  # fmt: skip
    assert math.isnan(summary["nan"]["only"]["min"])
    assert "empty" not in summary
