"""`localtrack show`."""

from __future__ import annotations

import math

import pytest

from localtrack.records.status import Status


@pytest.fixture
def task(make):
    """A completed task with parameters and scalars."""
    return make(
        "base",
        "vision/resnet",
        parameters={"Args/lr": math.inf, "General/shape": (1, 2)},
        points=[("loss", "test", 0.5, 1), ("Summary", "accuracy", 0.9, -(2**31)), (":monitor:machine", "cpu", 1.0, 1)],
        status=Status.COMPLETED,
        tags=("best",),
    )


@pytest.mark.parametrize("reference", ["{id}", "{short}", "@last", "@-1", "vision/resnet/base"])
def test_every_reference_finds_it(cli, task, reference):
    """An id, its beginning, @last, @-1 and project/name all mean the task."""
    text = reference.format(id=task.id, short=task.id[:6])
    assert cli("show", text, "--json").json["id"] == task.id


def test_without_a_reference_the_newest_is_shown(cli, task, make):
    """`show` alone shows the newest task."""
    newer = make("newer")
    assert cli("show", "--json").json["id"] == newer.id


def test_one_screen_says_what_matters(cli, task):
    """Plain text has the status, parameters, last metrics and the folder, and not the machine's load."""
    out = cli("show", task.id).out
    for words in ("vision/resnet/base", "completed", "Args/lr", "inf", "(1, 2)", "accuracy", "best", "projects/vision"):
        assert words in out
    assert ":monitor:" not in out
    assert str(-(2**31)) not in out


def test_json_holds_every_field_decoded(cli, task, store_root):
    """JSON has the metadata's fields, native values and the folder."""
    body = cli("show", task.id, "--json").json
    assert body["parameters"]["Args/lr"] == {"value": "Infinity", "type": "float"}
    assert body["parameters"]["General/shape"] == {"value": [1, 2], "type": "tuple"}
    assert body["last_metrics"]["loss"]["test"]["last"] == 0.5
    assert body["folder"].startswith(str(store_root))
    assert {"history", "script", "artifacts", "generation", "exit"} <= body.keys()


def test_a_failure_says_why(cli, make, ctx):
    """A failed task shows its reason and message."""
    from localtrack.services.lifecycle import change_status

    task = make(status=Status.IN_PROGRESS)
    change_status(ctx, task.id, Status.FAILED, reason="exception", message="ValueError: no\x1b[2J")
    out = cli("show", task.id).out
    assert "failed (exception, ValueError: no\\x1b[2J)" in out


def test_a_terminal_gets_the_status_in_colour(cli, make, monkeypatch):
    """With FORCE_COLOR, the status is coloured, and nothing else in the identity is."""
    task = make(status=Status.FAILED)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31mfailed\x1b[0m" in cli("show", task.id).out


def test_ambiguous_and_unknown_references_are_refused(cli, make):
    """A beginning of several ids lists them; an unknown one says what may be given."""
    tasks = [make(f"task {number}") for number in range(17)]
    firsts = [task.id[0] for task in tasks]
    twice = next(digit for digit in firsts if firsts.count(digit) > 1)
    ran = cli("show", twice)
    assert ran.code == 1
    assert "give more digits" in ran.err
    assert cli("show", "@-99").code == 1
    assert "project/name" in cli("show", "nothing at all").err
