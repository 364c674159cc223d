"""`localtrack ls`."""

from __future__ import annotations

import math

import pytest

from localtrack.records.status import Status
from localtrack.services import lifecycle


@pytest.fixture
def three(make):
    """Three tasks: two of vision/resnet with another lr each, one of nlp without."""
    first = make("base", "vision/resnet", parameters={"Args/lr": 0.1}, tags=("best",), status=Status.COMPLETED,
                 points=[("loss", "test", 0.5, 1), ("loss", "test", 0.2, 2)])  # fmt: skip
    second = make("small", "vision/resnet", parameters={"Args/lr": 0.01}, points=[("loss", "test", 0.9, 1)])
    third = make("words", "nlp", comment="about tokens", status=Status.FAILED)
    return first, second, third


def ids(ran):
    """Return the ids that a listing printed, in its order."""
    assert ran.code == 0, ran.err
    return [row["id"] for row in ran.json]


def test_the_last_changed_comes_first(cli, three):
    """Without options, every task is listed, the last changed first."""
    assert ids(cli("ls", "--json")) == [task.id for task in reversed(three)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--project", "vision"], {0, 1}),
        (["--project", "vision/resnet/"], {0, 1}),
        (["--project", "vis"], set()),
        (["--tag", "best"], {0}),
        (["--tag=-best"], {1, 2}),
        (["--tag", "best", "--tag=-other"], {0}),
        (["--tag", "best", "--tag", "other"], set()),
        (["--status", "failed", "--status", "completed"], {0, 2}),
        (["--filter", "params.lr < 0.05"], {1}),
        (["--filter", "metrics.loss.test.min < 0.3 and status == completed"], {0}),
        (["--search", "^about"], {2}),
        (["--search", "S.ALL"], {1}),
    ],
)
def test_filters(cli, three, options, expected):
    """Each filter keeps exactly the tasks that it describes."""
    assert set(ids(cli("ls", "--json", *options))) == {three[number].id for number in expected}


def test_archived_tasks_are_hidden_until_asked_for(cli, ctx, three):
    """An archived task is listed only with --archived."""
    lifecycle.set_archived(ctx, three[0].id, True)
    assert three[0].id not in ids(cli("ls", "--json"))
    assert three[0].id in ids(cli("ls", "--json", "--archived"))


def test_sort_by_parameter_puts_missing_last(cli, three):
    """Sorting by a parameter orders numbers; tasks without it come last, both ways."""
    assert ids(cli("ls", "--json", "--sort", "Args/lr")) == [three[1].id, three[0].id, three[2].id]
    assert ids(cli("ls", "--json", "--sort=-params.lr")) == [three[0].id, three[1].id, three[2].id]


def test_limit(cli, three):
    """-n cuts the sorted list."""
    assert ids(cli("ls", "--json", "-n", 1, "--sort", "name")) == [three[0].id]
    assert ids(cli("ls", "--json", "-n", 0)) == []


def test_columns_are_fields_parameters_and_metrics(cli, three):
    """--columns takes fields, parameters and metrics, in that order, and plain text cuts nothing."""
    lines = cli("ls", "--sort", "name", "--columns", "name,Args/lr,loss/test,metrics.loss.min").out.splitlines()
    assert lines[0].split() == ["NAME", "Args/lr", "loss/test", "metrics.loss.min"]
    assert [line.split() for line in lines[1:]] == [
        ["base", "0.1", "0.2", "0.2"],
        ["small", "0.01", "0.9", "0.9"],
        ["words", "-", "-", "-"],
    ]


def test_csv_and_json_lines(cli, three):
    """--csv prints a header and whole values; --jsonl one object a line."""
    assert cli("ls", "--csv", "--columns", "name,Args/lr", "--sort", "name").out == (
        "name,Args/lr\nbase,0.1\nsmall,0.01\nwords,\n"
    )
    assert len(cli("ls", "--jsonl").out.splitlines()) == 3


def test_json_shape_is_stable(cli, make):
    """The JSON's fields are those that the documentation promises, and a NaN is the text "NaN"."""
    make(parameters={"Args/lr": math.nan, "General/shape": (1, 2)})
    (row,) = cli("ls", "--json").json
    assert list(row) == [
        "id", "name", "project", "type", "status", "tags", "system_tags", "comment", "parent", "user", "created",
        "started", "ended", "last_update", "last_iteration", "parameters", "metrics",
    ]  # fmt: skip
    assert row["parameters"] == {"Args/lr": "NaN", "General/shape": [1, 2]}


def test_nothing_found_is_said_on_stderr(cli, store, make):
    """No hit is no failure: stdout stays empty, JSON is an empty list."""
    make()
    ran = cli("ls", "--status", "failed")
    assert (ran.code, ran.out) == (0, "")
    assert "no task fits" in ran.err
    assert cli("ls", "--status", "failed", "--json").json == []


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--status", "done"], 1, "unknown task status 'done'"),
        (["--filter", "lr <"], 1, "filter"),
        (["--columns", "nonsense"], 1, "unknown field 'nonsense'"),
        (["--sort", "nonsense"], 1, "unknown field 'nonsense'"),
        (["--search", "("], 1, "no regular expression"),
    ],
)
def test_what_can_not_be_understood_is_named(cli, make, options, code, words):
    """A filter that can't be understood is refused with the part in question."""
    make()
    ran = cli("ls", *options)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_an_unreadable_task_is_named_and_the_others_listed(cli, ctx, make):
    """A task none of whose metadata is whole is named on stderr; the others are listed, exit code 0."""
    from localtrack.services import tasks
    from localtrack.store.layout import TaskLayout

    sound, broken = make("sound"), make("broken")
    folder = tasks.folder_of(ctx, broken.id)
    for path in TaskLayout(folder).metadata.iterdir():
        path.chmod(0o644)
        path.write_bytes(b"{")
    ran = cli("ls", "--json")
    assert ids(ran) == [sound.id]
    assert str(folder) in ran.err


def test_a_lost_run_is_listed_as_failed(cli, ctx, make):
    """A running task whose process is gone is listed, and found, as failed."""
    import subprocess
    import sys
    from dataclasses import replace

    from localtrack.capture.host import capture_host
    from localtrack.services import tasks

    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    host = capture_host()
    task = make()
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    owner = {
        "writer": "w",
        "host": "h",
        "machine": host.machine_id,
        "boot": host.boot_id,
        "pid": child.pid,
        "start": "0",
    }
    tasks.edit(ctx, task.id, lambda record: replace(record, owner=owner), "owner", checked=False)
    assert ids(cli("ls", "--json", "--status", "failed")) == [task.id]
