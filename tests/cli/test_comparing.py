"""`localtrack diff`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localtrack.services import tasks
from localtrack.store.blobs import put_content


@pytest.fixture
def pair(ctx, make):
    """Two tasks that differ in a parameter's value, another's type, a metric, a package, and the diff."""

    def with_code(task, requirements, patch):
        folder = tasks.folder_of(ctx, task.id)
        script = {"commit": "a" * 40, "entry_point": "train.py"}
        for field, suffix, text in (("requirements", ".txt", requirements), ("diff", ".patch", patch)):
            script[field] = put_content(ctx.store.disk, folder, "code", field, suffix, text.encode()).to_json()
        return tasks.edit(ctx, task.id, lambda record: replace(record, script=script), "script")

    first = make("one", parameters={"Args/lr": 0.1, "Args/seed": 1}, points=[("loss", "test", 0.5, 1)])
    second = make(
        "two", parameters={"Args/lr": 0.2, "Args/seed": "1", "Args/new": None}, points=[("loss", "test", 0.4, 1)]
    )
    return (
        with_code(first, "numpy==1.26\npandas==2.2\n", "-a = 1\n+a = 2\n"),
        with_code(second, "numpy==2.0\npandas==2.2\n", "-a = 1\n+a = 3\n"),
    )


def test_json_holds_only_what_differs(cli, pair):
    """Parameters, packages, metrics and code that differ are listed with both values; equal ones are not."""
    body = cli("diff", pair[0].id, pair[1].id, "--json").json
    assert body["parameters"] == {
        "Args/lr": {"a": 0.1, "b": 0.2},
        "Args/seed": {"a": 1, "b": "1"},
    }
    assert body["packages"] == {"numpy": {"a": "1.26", "b": "2.0"}}
    assert body["metrics"] == {"loss/test": {"a": 0.5, "b": 0.4}}
    assert set(body["task"]) == {"name"}
    assert "commit" not in body["code"]
    assert "-+a = 2" in body["uncommitted"]
    assert "++a = 3" in body["uncommitted"]


def test_all_shows_what_is_equal(cli, pair):
    """--all lists equal values, too."""
    body = cli("diff", pair[0].id, pair[1].id, "--all", "--json").json
    assert body["packages"]["pandas"] == {"a": "2.2", "b": "2.2"}
    assert "commit" in body["code"]


def test_plain_text_names_both_sides(cli, pair):
    """Plain text has a table a section and the changed lines."""
    ran = cli("diff", pair[0].id, pair[1].id)
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["Args/lr", "0.1", "0.2"] in lines
    assert ["++a", "=", "3"] in lines


def test_a_task_does_not_differ_from_itself(cli, make):
    """The same task twice: no difference, NaN included."""
    task = make(parameters={"Args/lr": float("nan")})
    assert "no difference" in cli("diff", task.id, task.id).out


def test_an_unreadable_file_is_said_and_the_rest_shown(cli, ctx, pair):
    """A requirements file that is gone is named on stderr; the other sections are still there."""
    folder = tasks.folder_of(ctx, pair[0].id)
    (folder / pair[0].script["requirements"]["file"]).unlink()
    ran = cli("diff", pair[0].id, pair[1].id, "--json")
    assert ran.code == 0
    assert "requirements" in ran.err
    assert ran.json["parameters"]
