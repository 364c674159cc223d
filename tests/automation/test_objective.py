"""What counts as a value, and who is best by it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack import Task
from localtrack.automation.objective import MultiObjective, Objective, dominates, sort_by_dominance
from localtrack.errors import InvalidValueError
from localtrack.services.context import StoreContext
from tests.automation.conftest import let_go

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30)


def make_task(values: Any, status: str = "completed", series: str = "valid") -> str:
    """Make a task that reported values of one scalar, and ended."""
    task = Task.create("search", "job")
    task.mark_started()
    for iteration, value in enumerate(values):
        task.get_logger().report_scalar("loss", series, value, iteration)
    task.flush()
    let_go(task)
    {
        "completed": task.mark_completed, "failed": task.mark_failed, "stopped": task.mark_stopped, "in_progress": bool,
    }[status]()  # fmt: skip
    return task.id


@given(pairs)
def test_nobody_comes_before_one_that_beats_them(points: list[tuple[int, int]]) -> None:
    """The order by fronts holds every point once, and none before one that dominates it."""
    order = sort_by_dominance(points)
    assert sorted(order) == list(range(len(points)))
    for place, number in enumerate(order):
        assert not any(dominates(points[later], points[number]) for later in order[place:])


@given(st.lists(st.floats(-10, 10)))
def test_of_one_objective_the_highest_comes_first(values: list[float]) -> None:
    """With one objective the fronts are the sorted order."""
    order = sort_by_dominance([[value] for value in values])
    assert [values[place] for place in order] == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("order", "expected"), [("min", (2, 3.0)), ("max", (2, 3.0)), ("min_global", (1, 1.0)), ("max_global", (0, 5.0))]
)
def test_the_last_value_or_the_best_ever_counts(
    store_in_force: StoreContext, order: str, expected: tuple[int, float]
) -> None:
    """Iteration and value come from the stored scalars."""
    task_id = make_task([5.0, 1.0, 3.0])
    assert Objective("loss", "valid", order).get_current_raw_objective(task_id) == expected


def test_the_sign_makes_higher_better(store_in_force: StoreContext) -> None:
    """A loss to be made low is turned round."""
    task_id = make_task([3.0])
    low = Objective("loss", "valid", "min")
    assert (low.get_objective(task_id), low.get_normalized_objective(task_id)) == (3.0, -3.0)
    assert (low.get_objective_sign(), low.get_objective_metric()) == (-1.0, ("loss", "valid"))
    both = MultiObjective(["loss", "loss"], ["valid", "valid"], ["min", "max"])
    assert both.get_objective(task_id) == [3.0, 3.0]
    assert both.get_normalized_objective(task_id) == [-3.0, 3.0]


def test_what_failed_or_has_no_number_is_never_best(store_in_force: StoreContext) -> None:
    """Failed tasks, those without the scalar and those that diverged are left out; aborted and running ones count."""
    good, running = make_task([2.0]), make_task([1.5], "in_progress")
    stopped = make_task([1.0], "stopped")
    make_task([0.0], "failed")
    make_task([math.nan])
    make_task([-math.inf])
    make_task([0.0], series="train")
    best = Objective("loss", "valid", "min").get_top_tasks(10)
    assert [task.id for task in best] == [stopped, running, good]
    assert [task.id for task in Objective("loss", "valid", "min").get_top_tasks(1)] == [stopped]


def test_a_task_without_the_scalar_has_no_value(store_in_force: StoreContext) -> None:
    """None, not zero."""
    task_id = make_task([1.0], series="train")
    assert Objective("loss", "valid").get_objective(task_id) is None
    assert Objective("loss", "valid").get_normalized_objective(task_id) is None
    assert MultiObjective(["loss", "loss"], ["valid", "train"], ["min", "min"]).get_objective(task_id) is None


@pytest.mark.parametrize(
    "arguments",
    [("loss", "valid", "least"), (["loss"], ["valid", "train"], "min"), ("", "valid", "min"), ([], [], [])],
)
def test_objectives_that_do_not_fit_are_refused(arguments: Any) -> None:
    """Lists of different lengths, unknown signs, and no name."""
    with pytest.raises(InvalidValueError, match="objective"):
        MultiObjective(*arguments)
