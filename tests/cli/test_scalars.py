"""`localtrack scalars`."""

from __future__ import annotations

import csv
import io
import math

import pytest

from localtrack.services import tasks
from localtrack.store.layout import TaskLayout

SINGLE = -(2**31)


@pytest.fixture
def task(make):
    """A task with two series, a single value, and the machine's load."""
    points = [("loss", "test", value, step) for step, value in enumerate((0.5, math.nan, 0.1))]
    return make(
        points=[*points, ("loss", "train", 1 / 3, 7), ("Summary", "best", 0.9, SINGLE), (":monitor:gpu", "x", 1, 1)]
    )


def test_the_table_has_last_min_and_max(cli, task):
    """The plain table shows last, lowest and highest value with their iterations; a single value has none."""
    rows = [line.split() for line in cli("scalars", task.id).out.splitlines()]
    assert rows[0] == ["TITLE", "SERIES", "LAST", "MIN", "AT", "MAX", "AT", "POINTS"]
    assert ["loss", "test", "0.1", "0.1", "2", "0.5", "0", "3"] in rows
    assert ["Summary", "best", "0.9", "-", "-", "-", "-", "-"] in rows
    assert len(rows) == 4


def test_csv_has_every_point_exactly(cli, task):
    """--csv prints every point; a value reads back bit for bit, NaN included."""
    rows = list(csv.DictReader(io.StringIO(cli("scalars", task.id, "--csv").out)))
    test = [float(row["value"]) for row in rows if row["series"] == "test"]
    assert test[0] == 0.5
    assert math.isnan(test[1])
    assert [float(row["value"]) for row in rows if row["series"] == "train"] == [1 / 3]
    assert [row["iteration"] for row in rows if row["series"] == "best"] == [""]


def test_json_is_strict_and_whole(cli, task):
    """--json holds every point; NaN is a text, the iteration of a single value null."""
    body = cli("scalars", task.id, "--json").json
    series = {(item["title"], item["series"]): item for item in body["series"]}
    assert set(series) == {("loss", "test"), ("loss", "train"), ("Summary", "best")}
    assert series["loss", "test"]["values"] == [0.5, "NaN", 0.1]
    assert series["loss", "test"]["iterations"] == [0, 1, 2]
    assert series["loss", "test"]["count"] == 3
    assert series["Summary", "best"]["iterations"] == [None]
    assert body["problems"] == []


def test_title_and_series_narrow(cli, task):
    """--title and --series keep one graph or line; the machine's load comes when asked for."""
    assert len(cli("scalars", task.id, "--title", "loss", "--series", "train", "--json").json["series"]) == 1
    assert len(cli("scalars", task.id, "--monitor", "--json").json["series"]) == 4
    assert len(cli("scalars", task.id, "--title", ":monitor:gpu", "--json").json["series"]) == 1


def test_nothing_there_is_said(cli, make):
    """A task without scalars is no failure."""
    task = make()
    ran = cli("scalars", task.id)
    assert (ran.code, ran.out) == (0, "")
    assert "no scalars" in ran.err


def test_a_damaged_part_is_named_and_the_rest_shown(cli, ctx, task):
    """A Parquet part that is none is named on stderr and in the JSON; other series are still shown."""
    part = TaskLayout(tasks.folder_of(ctx, task.id)).scalars / "broken-1.parquet"
    part.write_bytes(b"PAR1 and no more")
    ran = cli("scalars", task.id, "--json")
    assert ran.code == 0
    assert len(ran.json["series"]) == 3
    assert str(part) in ran.json["problems"][0]
    assert str(part) in ran.err
