"""``localtrack scalars``: a summary of each series, or every point as CSV or JSON.

Source: docs/reference/cli.md, "scalars".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from localtrack.cli.output import print_csv, print_json, print_table
from localtrack.cli.shell import TASK, Shell, json_option, note, pass_shell, root_option

if TYPE_CHECKING:
    from localtrack.store.scalars import Scalars

MONITOR_PREFIX = ":monitor:"


@click.command("scalars")
@click.argument("reference", metavar="TASK", type=TASK, default="@last")
@click.option("--title", help="Only this graph.")
@click.option("--series", help="Only this line of it.")
@click.option("--monitor", is_flag=True, help="The resource monitor's series, too.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every point as CSV.")
@json_option
@root_option
@pass_shell
def scalars(
    shell: Shell, reference: str, title: str | None, series: str | None, monitor: bool, as_csv: bool, as_json: bool
) -> None:
    """Show last, lowest and highest value of each series; with --csv or --json every point, none left out."""
    from localtrack.services import reports, tasks

    task_id = shell.resolve(reference)
    found = reports.scalars(tasks.folder_of(shell.ctx, task_id), title, series)
    for problem in found.problems:
        note(f"localtrack: {problem}")
    if not monitor and title is None:
        for name in [name for name in found.series if name[0].startswith(MONITOR_PREFIX)]:
            del found.series[name]
    if as_json:
        print_json({"id": task_id, "series": list(_series_json(found)), "problems": found.problems})
    elif as_csv:
        print_csv(["title", "series", "iteration", "time", "value"], _points(found))
    elif not any(points.values for points in found.series.values()):
        note("no scalars" if title is None and series is None else "no scalars of that name")
    else:
        _print_summary(found)


def _step(iteration: int) -> int | None:
    from localtrack.services.reports import SINGLE_VALUE_ITERATION

    return None if iteration == SINGLE_VALUE_ITERATION else iteration


def _series_json(found: Scalars) -> Iterator[dict[str, Any]]:
    from localtrack.services.reports import summarise
    from localtrack.store.documents import stamp

    summary = summarise(found)
    for (title, series), points in sorted(found.series.items()):
        if not points.values:
            continue
        short = summary[title][series]
        yield {
            "title": title,
            "series": series,
            **{key: _step(value) if key.endswith("iteration") else value for key, value in short.items()},
            "iterations": [_step(iteration) for iteration in points.iterations],
            "times": [stamp(time_us / 1e6) for time_us in points.times_us],
            "values": points.values,
        }


def _points(found: Scalars) -> Iterator[tuple[Any, ...]]:
    from localtrack.store.documents import stamp

    for (title, series), points in sorted(found.series.items()):
        for iteration, time_us, value in zip(points.iterations, points.times_us, points.values, strict=True):
            yield title, series, _step(iteration), stamp(time_us / 1e6), repr(value)


def _print_summary(found: Scalars) -> None:
    from localtrack.services.reports import summarise

    rows = []
    for title, by_series in sorted(summarise(found).items()):
        for series, short in sorted(by_series.items()):
            single = _step(short["last_iteration"]) is None
            rows.append(
                [title, series, short["last"], None, None, None, None, None] if single else
                [title, series, short["last"], short["min"], short["min_iteration"], short["max"],
                 short["max_iteration"], short["count"]]
            )  # fmt: skip
    header = ["title", "series", "last", "min", "at", "max", "at", "points"]
    print_table(header, rows, right=range(2, len(header)))
