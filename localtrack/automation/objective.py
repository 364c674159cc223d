"""What a search optimises: one scalar of its tasks, or several, and who is best by them.

A task that failed, was lost or reported no finite value is never among the best.

Source: ClearML's clearml.automation.optimization.Objective.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import BaseJob, read_metric, read_points
from localtrack.errors import InvalidValueError
from localtrack.records.status import Status
from localtrack.services import tasks
from localtrack.services.context import StoreContext, open_context
from localtrack.services.search import Search, find

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.index.rows import Row

ORDERS = ("min", "max", "min_global", "max_global")
COUNTED = frozenset({Status.IN_PROGRESS, Status.STOPPED, Status.COMPLETED, Status.PUBLISHED, Status.CLOSED})
Values = tuple[float, ...]


class Objective:
    """One scalar, to be made as high or as low as possible.

    Args:
        title: the graph.
        series: the line in it.
        order: ``min`` or ``max``; ``min_global`` and ``max_global`` as with ``extremum``.
        extremum: take the best value that a task ever reported, not its last one.

    Raises:
        InvalidValueError: another order, or no name.
    """

    def __init__(self, title: str, series: str, order: str = "max", extremum: bool = False) -> None:
        if order not in ORDERS:
            raise InvalidValueError(f"an objective is one of {', '.join(ORDERS)}, not {order!r}")
        if not title or not series:
            raise InvalidValueError(f"an objective needs title and series of a scalar, not {title!r} and {series!r}")
        self.title = str(title)
        self.series = str(series)
        self.sign = -1.0 if order.startswith("min") else 1.0
        self.extremum = bool(extremum) or order.endswith("_global")

    @property
    def name(self) -> str:
        """Title and series in one."""
        return f"{self.title}/{self.series}"

    def point_of(self, summary: Mapping[str, Any] | None) -> tuple[int, float] | None:
        """Return iteration and value of a scalar's summary; None where there is no number."""
        key = ("max" if self.sign > 0 else "min") if self.extremum else "last"
        value = None if summary is None else summary.get(key)
        if summary is None or not isinstance(value, (int, float)):
            return None
        return int(summary.get(f"{key}_iteration", 0)), float(value)

    def get_objective(self, task_id: str | Task | BaseJob) -> float | None:
        """Return a task's value; None when it reported none."""
        point = self.get_current_raw_objective(task_id)
        return None if point is None else point[1]

    def get_current_raw_objective(self, task: str | Task | BaseJob) -> tuple[int, float] | None:
        """Return iteration and value of a task; None when it reported none."""
        ctx = open_context()
        record = tasks.read(ctx, _id_of(task))
        return self.point_of(read_metric(ctx, record, self.title, self.series))

    def get_objective_sign(self) -> float:
        """Return 1 for the highest, -1 for the lowest."""
        return self.sign

    def get_objective_metric(self) -> tuple[str, str]:
        """Return title and series."""
        return self.title, self.series

    def get_normalized_objective(self, task_id: str | Task | BaseJob) -> float | None:
        """Return a task's value so that higher is better; None when it reported none."""
        value = self.get_objective(task_id)
        return None if value is None else self.sign * value

    def get_top_tasks(
        self, top_k: int, optimizer_task_id: str | None = None, task_filter: Mapping[str, Any] | None = None
    ) -> list[Task]:
        """Return the best tasks, the best first.

        Args:
            top_k: how many at most.
            optimizer_task_id: only those that this task started.
            task_filter: further conditions; see :meth:`localtrack.Task.get_tasks`.
        """
        return MultiObjective.of([self]).get_top_tasks(top_k, optimizer_task_id, task_filter)


class MultiObjective:
    """Several scalars at once; one is a special case.

    Args:
        title: the graphs.
        series: the line in each.
        order: ``min`` or ``max`` of each.
        extremum: whether the best value ever counts, of each.

    Raises:
        InvalidValueError: lists of different lengths, or another order.
    """

    def __init__(
        self,
        title: str | Sequence[str],
        series: str | Sequence[str],
        order: str | Sequence[str],
        extremum: bool | Sequence[bool] = False,
    ) -> None:
        titles, names, orders = _listed(title), _listed(series), _listed(order)
        if not titles or not len(titles) == len(names) == len(orders):
            raise InvalidValueError(
                "objective_metric_title, objective_metric_series and objective_metric_sign must be lists of one length, "
                f"not {titles!r}, {names!r}, {orders!r}"
            )
        extrema = [extremum] * len(titles) if isinstance(extremum, bool) else list(extremum)
        self.objectives = [Objective(*each) for each in zip(titles, names, orders, extrema, strict=True)]

    @classmethod
    def of(cls, objectives: Sequence[Objective]) -> MultiObjective:
        """Return these objectives as one."""
        made = cls.__new__(cls)
        made.objectives = list(objectives)
        return made

    def get_objective(self, task_id: str | Task | BaseJob) -> list[float] | None:
        """Return a task's values; None when one of them is missing."""
        points = self.get_current_raw_objective(task_id)
        if points is None or any(point is None for point in points):
            return None
        return [point[1] for point in points if point is not None]

    def get_current_raw_objective(self, task: str | Task | BaseJob) -> list[tuple[int, float] | None] | None:
        """Return iteration and value of each objective; None when a task reported none of them."""
        ctx = open_context()
        record = tasks.read(ctx, _id_of(task))
        points = [one.point_of(read_metric(ctx, record, one.title, one.series)) for one in self.objectives]
        return points if any(point is not None for point in points) else None

    def get_objective_sign(self) -> list[float]:
        """Return 1 for the highest, -1 for the lowest, of each."""
        return [one.sign for one in self.objectives]

    def get_objective_metric(self) -> list[tuple[str, str]]:
        """Return title and series of each."""
        return [one.get_objective_metric() for one in self.objectives]

    def get_normalized_objective(self, task_id: str | Task | BaseJob) -> list[float] | None:
        """Return a task's values so that higher is better; None when one of them is missing."""
        values = self.get_objective(task_id)
        return (
            None if values is None else [one.sign * value for one, value in zip(self.objectives, values, strict=True)]
        )

    def get_top_tasks(
        self, top_k: int, optimizer_task_id: str | None = None, task_filter: Mapping[str, Any] | None = None
    ) -> list[Task]:
        """Return the best tasks, the best first; of several objectives the Pareto front first, then the next one.

        Args:
            top_k: how many at most.
            optimizer_task_id: only those that this task started.
            task_filter: further conditions; see :meth:`localtrack.Task.get_tasks`.
        """
        from localtrack.api.task import Task

        ctx = open_context()
        wanted = {**(task_filter or {}), **({"parent": optimizer_task_id} if optimizer_task_id else {})}
        best = ranked(ctx, find(ctx, Search(task_filter=wanted)), self.objectives)
        return [task for task in (Task.get_task(task_id=row.id) for row, _ in best[:top_k]) if task is not None]


def objectives_of(metric: Objective | MultiObjective) -> list[Objective]:
    """Return the objectives that there are, one by one."""
    return metric.objectives if isinstance(metric, MultiObjective) else [metric]


def values_of(ctx: StoreContext, row: Row, objectives: Sequence[Objective]) -> Values | None:
    """Return a task's values; None when it does not count, or one of them is missing or no finite number."""
    points = points_of(ctx, row, objectives)
    return None if points is None else tuple(value for _, value in points)


def points_of(ctx: StoreContext, row: Row, objectives: Sequence[Objective]) -> list[tuple[int, float]] | None:
    """Return iteration and value of each objective; None where :func:`values_of` is."""
    if row.status not in COUNTED:
        return None
    found = [one.point_of(_summary(ctx, row, one)) for one in objectives]
    points = [point for point in found if point is not None and math.isfinite(point[1])]
    return points if len(points) == len(objectives) else None


def _summary(ctx: StoreContext, row: Row, objective: Objective) -> Mapping[str, Any] | None:
    told = row.metrics.get(objective.title, {}).get(objective.series)
    if told is None or row.status == Status.IN_PROGRESS:  # the index knows of a run's scalars only now and then
        return read_points(ctx.store.root / row.folder, objective.title, objective.series)
    if row.status == Status.STOPPED:  # whose last scalars are told to the metadata only after the status
        return _points_at(str(ctx.store.root / row.folder), row.generation, objective.title, objective.series)
    return told


@lru_cache(maxsize=4096)
def _points_at(folder: str, generation: int, title: str, series: str) -> Mapping[str, Any] | None:
    return read_points(Path(folder), title, series)


def ranked(ctx: StoreContext, rows: Iterable[Row], objectives: Sequence[Objective]) -> list[tuple[Row, Values]]:
    """Return the tasks that count with their values, the best first, equals by age."""
    found = [(row, values) for row in rows if (values := values_of(ctx, row, objectives)) is not None]
    found.sort(key=lambda pair: pair[0].created)
    signs = [one.sign for one in objectives]
    order = sort_by_dominance([[s * v for s, v in zip(signs, values, strict=True)] for _, values in found])
    return [found[place] for place in order]


def sort_by_dominance(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the places of points, higher being better: the Pareto front first, then that of the rest, and so on.

    Args:
        points: (n, objectives) values.
    """
    if not points or len(points[0]) == 1:
        return sorted(range(len(points)), key=lambda place: -points[place][0])
    losers: list[list[int]] = [[] for _ in points]
    better = [0] * len(points)
    for first in range(len(points)):
        for second in range(first + 1, len(points)):
            if dominates(points[first], points[second]):
                losers[first].append(second)
                better[second] += 1
            elif dominates(points[second], points[first]):
                losers[second].append(first)
                better[first] += 1
    order: list[int] = []
    front = [place for place, count in enumerate(better) if count == 0]
    while front:
        order += front
        following = []
        for place in front:
            for loser in losers[place]:
                better[loser] -= 1
                if better[loser] == 0:
                    following.append(loser)
        front = sorted(following)
    return order


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether a point is nowhere worse than another and somewhere better; higher is better."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _id_of(task: str | Task | BaseJob) -> str:
    if isinstance(task, str):
        return task
    return task.task_id() if isinstance(task, BaseJob) else task.id
