"""Finding tasks: every word of ClearML's filters, row by row, through the public calls."""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import logging
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError, ProjectNotFoundError
from localtrack.records.parameters import flatten
from localtrack.services import tasks
from localtrack.services.context import StoreContext, open_context


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _metrics(**values: float) -> dict[str, Any]:
    return {
        title: {"val": {"last": value, "min": value - 1, "max": value + 1, "last_iteration": 9, "count": 3}}
        for title, value in values.items()
    }


MADE: dict[str, dict[str, Any]] = {
    "alpha run": {
        "tags": ("best", "v1"), "status": "completed", "type": "training", "comment": "first try",
        "created": "2024-01-01T10:00:00.000000Z", "started": "2024-01-01T10:00:00.000000Z",
        "ended": "2024-01-01T11:00:00.000000Z", "last_iteration": 10, "metrics": _metrics(loss=0.5, acc=0.9),
        "parameters": {"Args": {"lr": 0.1, "net": "big"}, "General": {"seed": 1}}, "user": "ada",
        "script": {"repository": "https://github.com/ada/vision.git", "branch": "main", "commit": "c" * 40},
    },
    "beta": {
        "tags": ("best",), "status": "failed", "type": "testing", "comment": "Über", "created": "2024-02-01T00:00:00.000000Z",
        "last_iteration": 20, "metrics": _metrics(loss=0.25), "parameters": {"Args": {"lr": 0.01, "net": "small"}},
        "user": "eve", "input_models": ({"id": "m1"},),
    },
    "gamma": {
        "tags": ("v1", "-odd"), "status": "created", "type": "inference", "created": "2024-03-01T00:00:00.000000Z",
        "parameters": {"Args": {"lr": "0.1"}}, "runtime": {"queue": "fast"}, "parent": "alpha run",
    },
    "Alpha two": {"tags": (), "status": "completed", "created": "2024-04-01T00:00:00.000000Z", "metrics": _metrics(loss=2.0),
                  "started": "2024-04-01T00:00:00.000000Z", "ended": "2024-04-01T00:00:30.000000Z"},
    "old": {"tags": ("best",), "system_tags": ("archived",), "status": "completed", "created": "2023-01-01T00:00:00.000000Z"},
    "unseen": {"system_tags": ("hidden",), "status": "completed", "created": "2022-01-01T00:00:00.000000Z"},
}  # fmt: skip
PLACES = {"gamma": "vision/sub", "Alpha two": "nlp"}
VISIBLE = set(MADE) - {"unseen"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A store of six tasks, made once: its root, and name to id."""
    root = tmp_path_factory.mktemp("many") / "store"
    ctx = open_context(root)
    ids: dict[str, str] = {}
    for name, values in MADE.items():
        ids[name] = _make(ctx, name, dict(values), ids)
    return root, ids


@pytest.fixture
def many(made: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Name to id of the tasks in the store that the process finds."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(made[0]))
    return made[1]


def _make(ctx: StoreContext, name: str, values: dict[str, Any], ids: dict[str, str]) -> str:
    created, status, user = values.pop("created"), values.pop("status"), values.pop("user", "ada")
    flat: dict[str, Any] = {}
    for section, inner in values.pop("parameters", {}).items():
        flat.update(flatten(inner, section))
    values["parent"] = ids.get(values.get("parent", ""), "")
    values["last_metrics"] = values.pop("metrics", {})
    kind = values.pop("type", "training")
    _, record = tasks.create(
        ctx, name=name, project=PLACES.get(name, "vision"), task_type=kind, parent=values.pop("parent"), parameters=flat, **values
    )  # fmt: skip
    from dataclasses import replace

    tasks.edit(
        ctx, record.id, lambda old: replace(old, created=created, status=status, user=user), "made older", checked=False
    )
    return record.id


def names(**arguments: Any) -> set[str]:
    """Return the names that each of the three calls finds, which must agree."""
    rows = Task.query_tasks(additional_return_fields=["name"], **arguments)
    assert [row["id"] for row in rows] == Task.query_tasks(**arguments)  # type: ignore[index, call-overload]
    assert [task.id for task in Task.get_tasks(**arguments)] == [row["id"] for row in rows]  # type: ignore[index]
    return {row["name"] for row in rows}  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, VISIBLE),
        ({"project_name": "vision"}, {"alpha run", "beta", "old"}),
        ({"project_name": "/vision/"}, {"alpha run", "beta", "old"}),
        ({"project_name": "visio"}, set()),
        ({"project_name": ["vision/sub", "nlp"]}, {"gamma", "Alpha two"}),
        ({"project_name": ["nlp", "no such"]}, {"Alpha two"}),
        ({"task_name": "alpha"}, {"alpha run"}),
        ({"task_name": "(?i)alpha"}, {"alpha run", "Alpha two"}),
        ({"task_name": "^.{3,4}$"}, {"beta", "old"}),
        ({"task_name": "lpha.*n"}, {"alpha run"}),
        ({"tags": ["best"]}, {"alpha run", "beta", "old"}),
        ({"tags": "best"}, {"alpha run", "beta", "old"}),
        ({"tags": ["best", "v1"]}, {"alpha run", "beta", "gamma", "old"}),
        ({"tags": ["best", "-v1"]}, {"beta", "old"}),
        ({"tags": ["-best"]}, {"gamma", "Alpha two"}),
        ({"tags": ["__$all", "best", "v1"]}, {"alpha run"}),
        ({"tags": ["__$and", "best", "v1"]}, {"alpha run"}),
        ({"tags": ["__$any", "best", "v1"]}, {"alpha run", "beta", "gamma", "old"}),
        ({"tags": ["__$or", "best", "__$not", "v1"]}, {"alpha run", "beta", "Alpha two", "old"}),
        ({"tags": ["__$all", "best", "__$not", "v1"]}, {"beta", "old"}),
        ({"tags": ["__$not", "best"]}, {"gamma", "Alpha two"}),
        ({"tags": ["__$any", "-odd"]}, {"gamma"}),
        ({"tags": ["__$any", "best", "__$nop", "-v1"]}, {"alpha run", "beta", "Alpha two", "old"}),
        ({"tags": ["best", "__$any", "v1", "__$nop", "-odd"]}, {"alpha run", "beta", "gamma", "old"}),
        ({"tags": [None]}, {"Alpha two"}),
        ({"tags": [None, "v1"]}, {"alpha run", "gamma", "Alpha two"}),
        ({"tags": ["__$all", "best", "__$or", "v1", "no"]}, {"alpha run"}),
        ({"tags": ["__$all", "best", "__$not", "v1", "__$not", "v2"]}, {"beta", "old"}),
    ],
)
def test_arguments(many: dict[str, str], arguments: dict[str, Any], expected: set[str]) -> None:
    """Projects are exact, names regular expressions, tags ClearML's grammar."""
    assert names(**arguments) == expected


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"status": ["completed"]}, {"alpha run", "Alpha two", "old"}),
    ({"status": ["completed", "failed"]}, {"alpha run", "beta", "Alpha two", "old"}),
    ({"status": ["-completed"]}, {"beta", "gamma"}),
    ({"status": "failed"}, {"beta"}),
    ({"status": [Task.TaskStatusEnum.created]}, {"gamma"}),
    ({"type": ["testing"]}, {"beta"}),
    ({"type": [Task.TaskTypes.inference, "testing"]}, {"beta", "gamma"}),
    ({"user": ["eve"]}, {"beta"}),
    ({"parent": "id:alpha run"}, {"gamma"}),
    ({"parent": ""}, VISIBLE - {"gamma"}),
    ({"parent": ["id:alpha run", None]}, VISIBLE),
    ({"id": ["id:beta", "id:unseen"]}, {"beta", "unseen"}),
    ({"project": ["nlp"]}, {"Alpha two"}),
    ({"project": ["vision"], "include_subprojects": True}, {"alpha run", "beta", "old"}),
    ({"tags": ["best"]}, {"alpha run", "beta", "old"}),
    ({"system_tags": ["archived"]}, {"old"}),
    ({"system_tags": ["-archived"]}, VISIBLE - {"old"}),
    ({"system_tags": ["__$all", "hidden"], "search_hidden": True}, {"unseen"}),
    ({"search_hidden": True}, set(MADE)),
    ({"name": "a$"}, {"beta", "gamma"}),
    ({"comment": "^first"}, {"alpha run"}),
    ({"search_text": "ALPHA"}, {"alpha run", "Alpha two"}),
    ({"search_text": "über"}, {"beta"}),
    ({"created": ["2024-02-01", "2024-03-01"]}, {"beta", "gamma"}),
    ({"created": [None, "2024-01-01"]}, {"old"}),
    ({"created": [">=2024-02-01", "<2024-03-01T00:00:00"]}, {"beta"}),
    ({"created": ">2024-03-15"}, {"Alpha two"}),
    ({"created": [dt.datetime(2024, 4, 1, tzinfo=dt.timezone.utc), None]}, {"Alpha two"}),
    ({"created": ["2024-02-01T01:00:00+01:00", "2024-02-01T00:00:00"]}, {"beta"}),
    ({"last_update": [">2024-05-01"]}, VISIBLE),
    ({"last_change": ["<2024-05-01"]}, set()),
    ({"status_changed": [">=2024-01-01"]}, VISIBLE),
    ({"started": ["2024-01-01", "2024-01-02"]}, {"alpha run"}),
    ({"active_duration": [60, None]}, {"alpha run"}),
    ({"last_iteration": [15, None]}, {"beta"}),
    ({"last_iteration": [None, 10]}, VISIBLE - {"beta"}),
    ({"hyperparams.Args.lr": ["0.1"]}, {"alpha run", "gamma"}),
    ({"hyperparams.Args.lr": [0.1]}, {"alpha run"}),
    ({"filters": {"tags": {"all": {"include": ["best"], "exclude": ["v1"]}}}}, {"beta", "old"}),
    ({"hyperparams.Args.net": ["big", "small"]}, {"alpha run", "beta"}),
    ({"hyperparams": {"Args.lr": [0.005, 0.05]}}, {"beta"}),
    ({"parameters": {"Args/lr": [None, 0.05]}}, {"beta"}),
    ({"parameters": {"Args/lr": "0.1"}}, {"alpha run", "gamma"}),
    ({"parameters": {"seed": 1}}, {"alpha run"}),
    ({"parameters": {"Args/net": [None]}}, VISIBLE - {"alpha run", "beta"}),
    ({f"last_metrics.{_md5('loss')}.{_md5('val')}.value": [0.3, None]}, {"alpha run", "Alpha two"}),
    ({"last_metrics.loss.val.min_value": [None, -0.6]}, {"beta", "gamma", "old"}),
    ({"metrics": {"loss/val": [None, 0.5]}}, {"alpha run", "beta"}),
    ({"metrics": {"loss.max": [2.5, None]}}, {"Alpha two"}),
    ({"execution.queue": ["fast"]}, {"gamma"}),
    ({"runtime.queue": "fast"}, {"gamma"}),
    ({"models.input.model": ["m1"]}, {"beta"}),
    ({"script.branch": ["main"]}, {"alpha run"}),
    ({"_any_": {"fields": ["comment", "name"], "pattern": "FIRST|gamma"}}, {"alpha run", "gamma"}),
    ({"_or_": {"fields": ["created", "started"], "datetime": ["2024-04-01", None]}}, {"Alpha two"}),
    ({"_all_": {"fields": ["script.repository"], "pattern": "github.com/ada"}}, {"alpha run"}),
    ({"_and_": {"fields": ["name", "comment"], "pattern": "r"}}, {"alpha run"}),
    ({"_any_": {"fields": ["hyperparams.Args.net"], "pattern": "^b"}}, {"alpha run"}),
    ({"status": ["completed"], "tags": ["best"], "system_tags": ["-archived"]}, {"alpha run"}),
    ({"status": None, "only_fields": ["id"], "scroll_id": "x"}, VISIBLE),
]


@pytest.mark.parametrize(("task_filter", "expected"), FILTERS, ids=[str(row[0])[:60] for row in FILTERS])
def test_filters(many: dict[str, str], task_filter: dict[str, Any], expected: set[str]) -> None:
    """Each key of a filter finds what ClearML's server finds by it."""

    def ids(value: Any) -> Any:
        if isinstance(value, list):
            return [ids(item) for item in value]
        return many[value[3:]] if isinstance(value, str) and value.startswith("id:") else value

    assert names(task_filter={key: ids(value) for key, value in task_filter.items()}) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["name"], ["Alpha two", "alpha run", "beta", "gamma", "old"]),
        (["-created"], ["Alpha two", "gamma", "beta", "alpha run", "old"]),
        (["-last_metrics.loss.val.value", "name"], ["Alpha two", "alpha run", "beta", "gamma", "old"]),
        (
            [f"last_metrics.{_md5('loss')}.{_md5('val')}.min_value", "name"],
            ["beta", "alpha run", "Alpha two", "gamma", "old"],
        ),
        (["status", "-name"], ["old", "alpha run", "Alpha two", "gamma", "beta"]),
        (["-hyperparams.Args.lr", "-name"], ["gamma", "alpha run", "beta", "old", "Alpha two"]),
        ("-name", ["old", "gamma", "beta", "alpha run", "Alpha two"]),
    ],
)
def test_order(many: dict[str, str], order: Any, expected: list[str]) -> None:
    """Results come in the order that is asked for, by several fields, up or down; what has no value comes last."""
    rows = Task.query_tasks(additional_return_fields=["name"], task_filter={"order_by": order})
    assert [row["name"] for row in rows] == expected  # type: ignore[index]


def test_pages(many: dict[str, str]) -> None:
    """A page is cut out of the whole order; without a size it holds 500, as in ClearML."""
    everything = Task.query_tasks(task_filter={"order_by": ["name"]})
    pages = [Task.query_tasks(task_filter={"order_by": ["name"], "page": page, "page_size": 2}) for page in range(4)]
    assert pages == [everything[:2], everything[2:4], everything[4:], []]
    assert Task.query_tasks(task_filter={"order_by": ["name"], "page": 0}) == everything


def test_fields_of_the_answer(many: dict[str, str]) -> None:
    """Any field can be asked for: times as datetime, nested ones by dots, whole mappings; what is not there is None."""
    asked = [
        "name", "created", "ended", "tags", "parent", "script.repository", "hyperparams.Args.lr", "last_metrics.loss.val.min_value",
        "project", "status", "nonsense", "parameters", "metrics.loss",
    ]  # fmt: skip
    for some in (asked, asked[:10]):
        (row,) = Task.query_tasks(task_name="^alpha", additional_return_fields=some)
        assert row["id"] == many["alpha run"]  # type: ignore[index]
        values = [row[name] for name in some]  # type: ignore[index]
        assert values[:10] == [
            "alpha run", dt.datetime(2024, 1, 1, 10, tzinfo=dt.timezone.utc), dt.datetime(2024, 1, 1, 11, tzinfo=dt.timezone.utc),
            ["best", "v1"], None, "https://github.com/ada/vision.git", 0.1, -0.5, "vision", "completed",
        ]  # fmt: skip
    assert values[10:] == []
    assert row.keys() == {"id", *asked[:10]}  # type: ignore[union-attr]
    (row,) = Task.query_tasks(task_name="^alpha", additional_return_fields=asked)
    assert row["parameters"] == {"Args/lr": 0.1, "Args/net": "big", "General/seed": 1}  # type: ignore[index]
    assert (row["nonsense"], row["metrics.loss"]) == (None, 0.5)  # type: ignore[index]


def test_one_task(many: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """By id, or by exact project and name; of several the last changed, archived ones last; an unknown project raises."""
    assert Task.get_task(task_id=many["beta"]).name == "beta"  # type: ignore[union-attr]
    assert Task.get_task(project_name="vision", task_name="alpha run").id == many["alpha run"]  # type: ignore[union-attr]
    assert Task.get_task(project_name="vision", task_name="alpha") is None
    assert Task.get_task(project_name="vision", task_name="a.*") is None
    assert Task.get_task(task_name="old").id == many["old"]  # type: ignore[union-attr]
    assert Task.get_task(task_name="old", allow_archived=False) is None
    with pytest.raises(ProjectNotFoundError, match="'no such'"):
        Task.get_task(project_name="no such", task_name="alpha run")
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert Task.get_task(project_name="vision", tags=["best"]).id == many["beta"]  # type: ignore[union-attr]
    assert "2 tasks fit" in caplog.text
    assert Task.get_task(project_name="vision", task_filter={"status": ["failed"]}).name == "beta"  # type: ignore[union-attr]
    assert [task.name for task in Task.get_tasks(task_ids=many["beta"])] == ["beta"]
    with pytest.raises(InvalidValueError, match="'nonsense'"):
        Task.get_tasks(task_filter={"nonsense": 1})


def test_projects(many: dict[str, str]) -> None:
    """Projects that hold tasks, the last changed first; each is its own id."""
    assert [project.name for project in Task.get_projects()] == ["vision", "nlp", "vision/sub"]
    assert Task.get_project_id("vision") == "vision"
    assert Task.get_project_id("no such") is None


def test_metrics_of_a_killed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last values of a run that was killed are filtered, sorted and shown, though it told the metadata none."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent("""
        import time
        from localtrack import Task
        task = Task.init("p", "killed", auto_connect_streams=False)
        for i in range(100):
            task.get_logger().report_scalar("loss", "val", i / 10, i)
        print("reported", flush=True)
        time.sleep(60)
        """)
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "reported\n"
    other = Task.create(project_name="p", task_name="other")
    high = {"metrics": {"loss/val": [9.5, None]}}
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 10
    while not (
        found := Task.query_tasks(additional_return_fields=["name", "status", "last_iteration"], task_filter=high)
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    (row,) = found
    assert (row["name"], row["status"], row["last_iteration"]) == ("killed", "failed", 99)  # type: ignore[index]
    order = {"order_by": ["-last_metrics.loss.val.value"], "page": 0, "page_size": 1}
    assert Task.query_tasks(task_filter=order) == [row["id"]]  # type: ignore[index]
    assert Task.query_tasks(task_filter={"metrics": {"loss/val": [None, 5]}}) == []
    assert Task.query_tasks(task_filter={"last_iteration": [50, None]}) == [row["id"]]  # type: ignore[index]
    assert other.id in Task.query_tasks()


def test_the_page_on_finding_runs(many: dict[str, str]) -> None:
    """Each example of the page runs, and finds what it says."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "find-tasks.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names_there: dict[str, Any] = {"some_id": many["beta"]}
    for block in blocks:
        exec(compile(block, "find-tasks.md", "exec"), names_there)  # our own page
    assert len(blocks) == 3
    assert names_there["best"] == []
    conditions = re.findall(r"`(\{.*?\})` \|$", page, re.MULTILINE)
    assert len(conditions) >= 10
    for condition in conditions:
        assert isinstance(Task.query_tasks(task_filter=ast.literal_eval(condition)), list)
