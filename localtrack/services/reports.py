"""Reading back what a task reported: scalars, single values, plots, media, console.

Source: ClearML's get_reported_scalars, get_last_scalar_metrics, get_reported_plots, get_reported_console_output.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError, LocaltrackError
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.records.values import encode
from localtrack.store.blobs import read_reports
from localtrack.store.documents import stamp
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import read_latest

if TYPE_CHECKING:
    from localtrack.store.console_reader import ConsoleLine, ConsoleReader
    from localtrack.store.scalars import Scalars, SeriesPoints

SUMMARY_TITLE = "Summary"
X_AXES = ("iter", "timestamp", "iso_time")
SUPERSEDED_KEY = "superseded_writers"
SINGLE_VALUE_ITERATION = -(2**31)


def scalars(folder: Path, title: str | None = None, series: str | None = None) -> Scalars:
    """Return every point of a task's current attempt, or of one graph or line of it."""
    from localtrack.store.scalars import read_scalars

    return read_scalars(TaskLayout(folder).scalars, title, series, superseded(folder))


def superseded(folder: Path) -> frozenset[str]:
    """Return the writers of attempts that another agent took over: their files stay, and are not the task's any more."""
    try:
        return frozenset(read_latest(TaskLayout(folder)).runtime.get(SUPERSEDED_KEY, ()))
    except (LocaltrackError, OSError):
        return frozenset()


def thinned(points: SeriesPoints, limit: int) -> SeriesPoints:
    """Return at most ``limit`` points that keep each stretch's lowest and highest value; 0 keeps all.

    Args:
        points: (n,) points.
        limit: how many to keep; first and last always stay.
    """
    count = len(points.values)
    if limit <= 0 or count <= limit:
        return points
    keep = {count - 1} if limit == 1 else {0, count - 1}
    buckets = (limit - 2) // 2
    for number in range(buckets):
        span = range(number * count // buckets, (number + 1) * count // buckets)
        finite = [index for index in span if points.values[index] == points.values[index]] or list(span)
        keep.add(min(finite, key=points.values.__getitem__))
        keep.add(max(finite, key=points.values.__getitem__))
    order = sorted(keep)
    result = type(points)()
    for index in order:
        result.iterations.append(points.iterations[index])
        result.times_us.append(points.times_us[index])
        result.values.append(points.values[index])
    return result


def graphs(found: Scalars, *, max_samples: int = 0, x_axis: str = "iter") -> dict[str, dict[str, dict[str, Any]]]:
    """Return ``{title: {series: {"name", "x", "y"}}}``; single values are left out.

    Args:
        found: the points.
        max_samples: at most so many points a series, 0 for all.
        x_axis: ``iter``, ``timestamp`` (ms since 1970) or ``iso_time``.

    Raises:
        InvalidValueError: another axis.
    """
    if x_axis not in X_AXES:
        raise InvalidValueError(f"no x_axis {x_axis!r}: use one of {', '.join(X_AXES)}")
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for (title, series), points in sorted(found.series.items()):
        if points.iterations and points.iterations[0] == SINGLE_VALUE_ITERATION and title == SUMMARY_TITLE:
            continue
        kept = thinned(points, max_samples)
        result.setdefault(title, {})[series] = {"name": series, "x": _x_values(kept, x_axis), "y": kept.values.tolist()}
    return result


def _x_values(points: SeriesPoints, x_axis: str) -> list[Any]:
    if x_axis == "iter":
        return points.iterations.tolist()
    if x_axis == "timestamp":
        return [time_us // 1000 for time_us in points.times_us]
    return [stamp(time_us / 1e6) for time_us in points.times_us]


def single_values(found: Scalars) -> dict[str, float]:
    """Return the last of each single value by its name."""
    return {
        series: points.values[-1]
        for (title, series), points in found.series.items()
        if title == SUMMARY_TITLE and points.iterations and points.iterations[0] == SINGLE_VALUE_ITERATION
    }


def summarise(found: Scalars) -> dict[str, dict[str, dict[str, Any]]]:
    """Return last, lowest and highest value of every series, with their iterations, from the points themselves."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for (title, series), points in found.series.items():
        if not points.values:
            continue
        finite = [i for i, value in enumerate(points.values) if value == value]
        low = min(finite, key=points.values.__getitem__, default=len(points.values) - 1)
        high = max(finite, key=points.values.__getitem__, default=len(points.values) - 1)
        result.setdefault(title, {})[series] = {
            "last": points.values[-1],
            "last_iteration": points.iterations[-1],
            "min": points.values[low],
            "min_iteration": points.iterations[low],
            "max": points.values[high],
            "max_iteration": points.iterations[high],
            "count": len(points.values),
        }
    return result


def _current(folder: Path, found: tuple[list[Json], list[str]]) -> tuple[list[Json], list[str]]:
    gone = superseded(folder)
    return ([body for body in found[0] if body.get("writer") not in gone], found[1]) if gone else found


def with_reported_metrics(record: TaskRecord, folder: Path) -> TaskRecord:
    """Return the record with the last values of the points themselves: a killed run told the metadata not all of them."""
    found = scalars(folder)
    steps = [
        points.iterations[-1]
        for (title, _), points in found.series.items()
        if points.iterations and title != SUMMARY_TITLE and not title.startswith(":monitor:")
    ]
    metrics = encode(summarise(found))
    return replace(record, last_metrics=metrics, last_iteration=max(steps, default=record.last_iteration))


def plots(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a task's plots in the order of their reporting, and what could not be read."""
    return _current(folder, read_reports(TaskLayout(folder).plots))


def media(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records of a task's images, audio, video and HTML, and what could not be read."""
    return _current(folder, read_reports(TaskLayout(folder).media))


def console(folder: Path) -> list[ConsoleLine]:
    """Return every line that the task's processes printed or reported."""
    return list(console_reader(folder).read())


def console_reader(folder: Path) -> ConsoleReader:
    """Return what reads the task's console a line at a time, and goes on from there."""
    from localtrack.store.console_reader import ConsoleReader

    return ConsoleReader(TaskLayout(folder).console, superseded(folder))


def last_metrics(record: TaskRecord) -> dict[str, Any]:
    """Return ``{title: {series: {"last", "min", "max", ...}}}`` with native floats."""
    from localtrack.records.values import decode

    return dict(decode(record.last_metrics))
