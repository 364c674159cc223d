"""A task as one dictionary: exported, imported, merged; ClearML's own dictionaries; Task.data."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localtrack import Task
from localtrack.errors import CorruptFileError, InvalidValueError, NotEditableError
from localtrack.records.fields import md5_name
from localtrack.records.parameters import entry
from localtrack.records.task import OUTPUT_FIELDS, TaskRecord
from localtrack.services import tasks
from localtrack.services.context import open_context
from localtrack.services.parameters import dump_configuration, with_configuration
from localtrack.services.script_edits import with_script

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=9)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)
IDENTITY = {
    "id",
    "created",
    "last_update",
    "generation",
    "history",
    "status_changed",
    "user",
    "parent",
    "extra",
    "attempt",
}


def inputs(task: Task) -> dict[str, Any]:
    """Return everything of a task that is neither an output nor its identity."""
    record = task._read()
    found = {f.name: getattr(record, f.name) for f in fields(TaskRecord) if f.name not in (*OUTPUT_FIELDS, *IDENTITY)}
    return {**found, "script": {name: value for name, value in record.script.items() if value}}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parameters=st.dictionaries(st.tuples(NAMES, NAMES).map("/".join), VALUES, max_size=4),
    properties=st.dictionaries(NAMES, SCALARS, max_size=3),
    configuration=st.dictionaries(
        NAMES, VALUES.filter(lambda v: isinstance(v, (dict, list))) | st.just([]), max_size=2
    ),
    tags=st.lists(NAMES, max_size=3, unique=True),
    diff=st.text(max_size=30).filter(lambda text: "\r" not in text),
    comment=st.text(max_size=10),
)
def test_a_round_trip_keeps_every_input(
    root: Path,
    parameters: dict[str, Any],
    properties: dict[str, Any],
    configuration: dict[str, Any],
    tags: list[str],
    diff: str,
    comment: str,
) -> None:
    """export_task, JSON, import_task gives a draft with the same inputs, types included."""
    ctx = open_context()
    folder, record = tasks.create(
        ctx,
        name="source",
        project="a/b",
        task_type="testing",
        parameters={name: entry(value, "d" * len(tags)) for name, value in parameters.items()},
        properties={name: entry(value) for name, value in properties.items()},
        tags=tuple(tags),
        comment=comment,
        labels={"cat": 1},
        container={"image": "image:1", "setup_script": "a\nb"},
        output_uri="/somewhere",
    )
    fields_ = {
        "repository": "https://example.org/r.git",
        "commit": "a" * 40,
        "argv": ["--x"],
        "entry_point": "train.py",
    }
    script = with_script(ctx, folder, fields_, {"diff": diff, "requirements": "numpy==1.26.4\n", "freeze": "a==1\n"})
    texts = [
        with_configuration(ctx, folder, name, dump_configuration(value), "dictionary", "d")
        for name, value in configuration.items()
    ]
    tasks.edit(ctx, record.id, lambda old: reduce(lambda done, change: change(done), [script, *texts], old), "filled")
    task = Task.get_task(task_id=record.id)
    assert task is not None
    body = json.loads(json.dumps(task.export_task()))
    other = Task.import_task(body)
    assert other is not None
    assert other.id != task.id
    assert inputs(other) == inputs(task)
    assert other.get_script()["diff"] == diff


CLEARML = {
    "id": "offline-1", "name": "from afar", "type": "training", "project_name": "Their/Project", "tags": ["x"],
    "session_api_version": "2.31", "status": "created", "comment": "auto",
    "hyperparams": {
        "General": {
            "lr": {"section": "General", "name": "lr", "value": "0.1", "type": "float"},
            "layers": {"section": "General", "name": "layers", "value": "[1, 2]", "type": "list/int"},
            "shape": {"section": "General", "name": "shape", "value": '[1, "x"]', "type": "tuple"},
            "none": {"section": "General", "name": "none", "value": ""},
            "flag": {"section": "General", "name": "flag", "value": "True", "type": "bool"},
            "odd": {"section": "General", "name": "odd", "value": "many", "type": "int"},
        },
        "properties": {"who": {"section": "properties", "name": "who", "value": "ada", "type": "str"}},
    },
    "configuration": {"model": {"name": "model", "value": "layers: 3", "type": "yaml"}},
    "script": {
        "repository": "https://example.org/r.git", "branch": "main", "version_num": "b" * 40, "entry_point": "t.py",
        "working_dir": "src", "diff": "", "requirements": {"pip": ["numpy==1.26", "torch"]}, "binary": "python3",
    },
    "container": {"image": "cuda"}, "execution": {"queue": "", "parameters": {}},
    "models": {"input": [{"name": "base", "model": "m1"}], "output": []},
}  # fmt: skip


def test_clearmls_dictionary_is_read(root: Path) -> None:
    """What ClearML exported becomes a draft with typed parameters; a text that does not fit its type stays a text."""
    task = Task.import_task(CLEARML)
    assert task is not None
    assert (task.name, task.project, task.status) == ("from afar", "Their/Project", "created")
    values = task.get_parameters(cast=True)
    assert values == {
        "General/lr": 0.1, "General/layers": [1, 2], "General/shape": (1, "x"), "General/none": None,
        "General/flag": True, "General/odd": "many", "properties/who": "ada",
    }  # fmt: skip
    assert task.get_user_properties(value_only=True) == {"who": "ada"}
    assert task.get_configuration_object("model") == "layers: 3"
    assert task.get_requirements()["pip"] == "numpy==1.26\ntorch\n"
    assert task.get_script()["version_num"] == "b" * 40
    assert task.get_base_docker() == "cuda"


def test_update_keeps_what_is_not_named(draft: Task) -> None:
    """update_task merges, import_task into a target replaces, a task that ran is refused."""
    draft.set_parameters({"A/x": 1, "B/y": 2})
    assert draft.update_task({"hyperparams": {"A": {"x": {"value": "5", "type": "int"}}}, "name": "renamed"})
    assert draft.get_parameters(cast=True) == {"A/x": 5, "B/y": 2}
    assert draft.name == "renamed"
    assert Task.import_task({"hyperparams": {"C": {"z": 3}}}, target_task=draft.id) == draft
    assert draft.get_parameters(cast=True) == {"C/z": 3}
    draft.mark_started()
    draft.mark_completed()
    with pytest.raises(NotEditableError):
        draft.update_task({"hyperparams": {"A": {"x": 1}}})
    for bad in ({"hyperparams": [1]}, {"script": "x"}, {"type": "nonsense"}):
        with pytest.raises(InvalidValueError):
            Task.import_task(bad)


def test_data_has_clearmls_fields(task: Task) -> None:
    """Task.data: fields as attributes, as deep as they go, with outputs and state."""
    task.connect({"lr": 0.1}, name="My section")
    task.get_logger().report_scalar("loss", "train", 0.5, 3)
    task.upload_artifact("a", {"x": 1})
    task.close()
    data = task.data
    assert (data.status, data.last_iteration, data.project, data.user) == ("completed", 3, "p", task.user)
    assert data.hyperparams["My section"].lr.value == "0.1"
    assert data.last_metrics.loss.train.last == 0.5
    value = data.last_metrics[md5_name("loss")][md5_name("train")]
    assert (value.metric, value.variant, value.value, value.min_value) == ("loss", "train", 0.5, 0.5)
    with pytest.raises(KeyError):
        _ = data.last_metrics["none"]
    (artifact,) = data.execution.artifacts
    assert (artifact.key, artifact.uri, artifact.hash) == ("a", task.artifacts["a"].url, task.artifacts["a"].hash)
    assert data.completed >= data.started >= data.created
    assert data.to_dict()["created"] == data.created.isoformat().replace("+00:00", "Z")
    assert data.script.repository == task.get_script()["repository"]
    with pytest.raises(AttributeError, match="no field 'nonsense'"):
        _ = data.nonsense
    found = Task.get_all(project=["p"], status=["completed"])
    assert found.ok()
    assert [item.id for item in found.response.tasks] == [task.id]
    assert [item["id"] for item in found.response_data["tasks"]] == [task.id]
    assert "1 task" in repr(found)
    assert Task.get_by_name("n") == task


def test_data_gives_what_can_be_read(task: Task, caplog: pytest.LogCaptureFixture) -> None:
    """A diff that is altered on the disk is empty in Task.data, and said; export_task refuses to leave it out."""
    task.set_script(diff="--- a\n+++ b\n")
    task.set_configuration_object("c", config_text="kept")
    stored = task._read().script["diff"]
    (task._where() / stored["file"]).write_text("altered")
    assert task.data.script.diff == ""
    assert task.data.configuration.c.value == "kept"
    assert "does not match its checksum" in caplog.text
    with pytest.raises(CorruptFileError):
        task.export_task()


def test_a_repository_is_found_by_its_folder(draft: Task, tmp_path: Path) -> None:
    """set_repo on a local clone takes its remote, branch and commit; a folder without one is refused."""
    repo = tmp_path / "repo"
    for words in (
        ["init", "-q", "-b", "work", str(repo)],
        ["-C", str(repo), "remote", "add", "origin", "https://e.org/r"],
    ):
        subprocess.run(["git", *words], check=True)
    with pytest.raises(InvalidValueError, match="commit"):
        draft.set_repo(str(repo))
    subprocess.run(["git", "-C", str(repo), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    draft.set_repo(str(repo))
    head = subprocess.run(["git", "-C", str(repo), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    script = draft.get_script()
    assert (script["repository"], script["branch"]) == ("https://e.org/r", "work")
    assert script["version_num"] == head.stdout.strip()
    draft.set_repo("https://e.org/other", "main", "c" * 40)
    assert {draft.get_script()[key] for key in ("repository", "branch", "version_num", "root")} == {
        "https://e.org/other", "main", "c" * 40, "",
    }  # fmt: skip


def test_a_running_task_keeps_its_packages(start: Callable[..., Task], tmp_path: Path) -> None:
    """set_packages and set_script stand against what the captures find, also at the end of the run."""
    task = start()
    listed = tmp_path / "requirements.txt"
    listed.write_text("alpha==1\nbeta\n")
    task.set_packages(str(listed))
    task.set_script(entry_point="other.py")
    import colorsys  # noqa: F401  (one more module, so that the end looks at the packages again)

    task.close()
    assert task.get_requirements()["pip"] == "alpha==1\nbeta\n"
    assert task.get_script()["entry_point"] == "other.py"
    assert task.get_requirements()["freeze"]


def test_the_entry_point_is_relative_to_the_working_directory(draft: Task) -> None:
    """ClearML's spelling goes in and comes out; the store's is relative to the root, and so an agent finds the file."""
    draft.set_script(working_dir="sub", entry_point="train.py")
    assert draft._read().script["entry_point"] == "sub/train.py"
    assert (draft.get_script()["entry_point"], draft.get_script()["working_dir"]) == ("train.py", "sub")
    draft.set_script(working_dir="other")
    assert draft._read().script["entry_point"] == "other/train.py"
    copied = Task.import_task(draft.export_task())
    assert copied is not None
    assert copied._read().script["entry_point"] == "other/train.py"
