"""What a search shows in its own task: a table of all jobs, a plot for each objective, curves, what is left to spend.

Source: the plots of ClearML's HyperParameterOptimizer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import BaseJob, read_metric
from localtrack.automation.objective import Objective, objectives_of, points_of, ranked, values_of
from localtrack.automation.parameters import Parameter
from localtrack.automation.strategy import SearchStrategy
from localtrack.services import reports, tasks
from localtrack.services.context import open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.index.rows import Row

LOG = logging.getLogger("localtrack.optimization")
OBJECTIVE_TITLE = "Optimization Objective"
SUMMARY_TITLE = "summary"
LINES_TITLE = "Parallel Coordinates"
COUNTS_TITLE = "jobs"
BUDGET_TITLE = "remaining budget"


class Report:
    """Writes the state of a search to its task.

    Args:
        task: the search's task; None writes nothing.
        strategy: the search.
        space: what it varies.
    """

    def __init__(self, task: Task | None, strategy: SearchStrategy, space: Sequence[Parameter]) -> None:
        self._task = task
        self._strategy = strategy
        self._space = space
        self._ctx = open_context()
        self._objectives = objectives_of(strategy._objective_metric)
        self._counted: set[str] = set()
        self._best: list[float | None] = [None] * len(self._objectives)
        self._warned = False

    def best(self) -> str | None:
        """Return the id of the best job so far; of several objectives one that none beats."""
        found = ranked(self._ctx, self._strategy.rows(), self._objectives)
        return found[0][0].id if found else None

    def points(self, task_id: str) -> list[tuple[int, float]] | None:
        """Return iteration and value of each objective of a job that ended; None when it does not count."""
        row = next((row for row in self._strategy.rows() if row.id == task_id), None)
        return None if row is None else points_of(self._ctx, row, self._objectives)

    def say_missing(self, job: BaseJob) -> None:
        """Say once why a job has no value."""
        if self._warned or job.is_failed():
            if job.is_failed():
                LOG.warning("job %s failed: %s", job.task_id(), job.status_message())
            return
        record = tasks.read(self._ctx, job.task_id())
        for one in self._objectives:
            if read_metric(self._ctx, record, one.title, one.series) is None:
                self._warned = True
                names = [f"{title}/{name}" for title, line in reports.last_metrics(record).items() for name in line]
                shown = ", ".join(sorted(name for name in names if not name.startswith(":monitor:"))[:20]) or "nothing"
                LOG.warning(
                    "job %s ended without the objective %s: it reported %s", job.task_id(), one.name, shown
                )  # fmt: skip

    def say_ended(self, job: BaseJob, points: Sequence[tuple[int, float]], best: str | None) -> None:
        """Say how a job ended in the search's console."""
        named = zip(self._objectives, points, strict=True)
        values = ", ".join(f"{one.name} = {value:g}" for one, (_, value) in named)
        place = "the best so far" if best == job.task_id() else f"the best so far is {best}"
        message = f"job {job.task_id()} {job.status()}: {values}; {place}"
        if self._task is None:
            LOG.info(message)
        else:
            self._task.get_logger().report_text(message)

    def write_curves(self) -> None:
        """Add what is new to the curves."""
        rows = self._strategy.rows()
        if self._task is not None and rows:
            self._write_curves(rows, {row.id: values_of(self._ctx, row, self._objectives) for row in rows})

    def write(self) -> None:
        """Write the table and the plots as they are now, and what is new in the curves."""
        rows = self._strategy.rows()
        if self._task is None or not rows:
            return
        values = {row.id: values_of(self._ctx, row, self._objectives) for row in rows}
        parameters = self._strategy.get_created_jobs_ids()
        self._write_table(rows, parameters)
        self._write_objectives(rows, values, parameters)
        self._write_lines(rows, values, parameters)
        self._write_curves(rows, values)

    def _write_table(self, rows: Sequence[Row], parameters: dict[str, dict[str, Any]]) -> None:
        """Write all jobs, the best first, then those without a value."""
        assert self._task is not None
        order = [row for row, _ in ranked(self._ctx, rows, self._objectives)]
        order += [row for row in rows if row.id not in {one.id for one in order}]
        names = list(dict.fromkeys(name for given in parameters.values() for name in given))
        header = ["task id", "name", *(one.name for one in self._objectives), "iteration", "status", *names]
        table: list[list[Any]] = [header]
        for row in order:
            found = values_of(self._ctx, row, self._objectives)
            given = parameters.get(row.id, {})
            shown = ["" if found is None else found[place] for place in range(len(self._objectives))]
            table.append(
                [row.id, row.name, *shown, row.last_iteration, row.status, *(_cell(given.get(name)) for name in names)]
            )
        self._task.get_logger().report_table(SUMMARY_TITLE, "job", iteration=0, table_plot=table)

    def _write_objectives(self, rows: Sequence[Row], values: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Write one plot for each objective: every job's value in order, and the best up to there."""
        assert self._task is not None
        for place, one in enumerate(self._objectives):
            numbers = [number for number, row in enumerate(rows, 1) if values[row.id] is not None]
            ys = [values[row.id][place] for row in rows if values[row.id] is not None]
            texts = [_label(row, parameters) for row in rows if values[row.id] is not None]
            figure = {
                "data": [
                    {"type": "scatter", "mode": "markers", "name": "job", "x": numbers, "y": ys, "text": texts},
                    {"type": "scatter", "mode": "lines", "name": "best so far", "x": numbers,
                     "y": _running_best(ys, one), "line": {"shape": "hv"}},
                ],
                "layout": {"xaxis": {"title": {"text": "job"}}, "yaxis": {"title": {"text": one.name}}},
            }  # fmt: skip
            self._task.get_logger().report_plotly(OBJECTIVE_TITLE, one.name, figure, iteration=0)

    def _write_lines(self, rows: Sequence[Row], values: dict[str, Any], parameters: dict[str, Any]) -> None:
        """Write the jobs with a value as lines through their parameters and objectives."""
        assert self._task is not None
        counted = [row for row in rows if values[row.id] is not None]
        if not counted:
            return
        names = list(dict.fromkeys(name for row in counted for name in parameters[row.id]))
        axes = [_axis(name, [parameters[row.id].get(name) for row in counted]) for name in names]
        for place, one in enumerate(self._objectives):
            axes.append({"label": one.name, "values": [values[row.id][place] for row in counted]})
        first = [values[row.id][0] for row in counted]
        line = {"color": first, "showscale": True, "reversescale": self._objectives[0].sign < 0}
        figure = {"data": [{"type": "parcoords", "dimensions": axes, "line": line}], "layout": {}}
        self._task.get_logger().report_plotly(LINES_TITLE, "jobs", figure, iteration=0)

    def _write_curves(self, rows: Sequence[Row], values: dict[str, Any]) -> None:
        """Add what is new to the curves: each ended job's value once, the counts of jobs, and what is left to spend."""
        assert self._task is not None
        logger = self._task.get_logger()
        for number, row in enumerate(rows, 1):
            if row.id in self._counted or row.status in ("created", "queued", "in_progress"):
                continue
            self._counted.add(row.id)
            if values[row.id] is None:
                continue
            for place, one in enumerate(self._objectives):
                value, best = values[row.id][place], self._best[place]
                self._best[place] = value if best is None or one.sign * value > one.sign * best else best
                logger.report_scalar(one.name, "job", value, number)
                logger.report_scalar(one.name, "best", float(self._best[place] or 0.0), number)
        step = len(self._counted)
        for status in ("queued", "in_progress", "completed", "stopped", "failed"):
            count = sum(row.status == status for row in rows)
            logger.report_scalar(COUNTS_TITLE, status, count, step)
        for name, kind in self._strategy.budget.to_dict().items():
            logger.report_scalar(BUDGET_TITLE, f"{name} %", 100.0 * max(0.0, 1.0 - kind["used"]), step)


def _running_best(values: Sequence[float], objective: Objective) -> list[float]:
    best: list[float] = []
    for value in values:
        is_better = not best or objective.sign * value > objective.sign * best[-1]
        best.append(value if is_better else best[-1])
    return best


def _label(row: Row, parameters: dict[str, dict[str, Any]]) -> str:
    words = [f"{name}={value}" for name, value in parameters.get(row.id, {}).items()]
    return f"{row.id[:8]} {row.status}<br>{'<br>'.join(words)}"


def _axis(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; what is no number gets a place of its own for each value."""
    if all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values
    ):
        return {"label": name, "values": list(values)}
    texts = [str(value) for value in values]
    kinds = sorted(set(texts))
    places = [kinds.index(text) for text in texts]
    return {"label": name, "values": places, "tickvals": list(range(len(kinds))), "ticktext": kinds}


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else str(value)
