"""What ClearML's offline mode wrote becomes a task; a hostile session harms nothing."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task
from localtrack.errors import CorruptFileError, InvalidValueError, TaskNotFoundError

MADE_IN = "/home/ada/.clearml/cache/offline/offline-1"
PLACE = "data/P/n.offline-1"


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """Return one event as ClearML writes it."""
    return {"timestamp": 1795546819625, "type": kind, "task": "offline-1", "method": "get", **fields}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's folder, as clearml 2.1.12 leaves it."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    folder = tmp_path / "offline-1"
    for name in ("artifacts/dict", "artifacts/array", "artifacts/evil", "metrics/img/s"):
        (folder / PLACE / name).mkdir(parents=True)
    (folder / PLACE / "artifacts/dict/dict.json").write_text('{"k": 1}')
    np.savez(folder / PLACE / "artifacts/array/array.npz", array=np.arange(4))
    (folder / PLACE / "artifacts/evil/evil.pkl").write_bytes(pickle.dumps({"x": 1}))
    (folder / PLACE / "metrics/img/s/img.jpeg").write_bytes(b"\xff\xd8image")
    stored = [
        {"key": name, "type": kind, "uri": f"{MADE_IN}/{PLACE}/artifacts/{name}/{name}{suffix}", "timestamp": 1795546819,
         "type_data": {"preview": "seen"}}
        for name, kind, suffix in (("dict", "dict", ".json"), ("array", "numpy", ".npz"), ("evil", "pickle", ".pkl"))
    ]  # fmt: skip
    write_task(folder, {
        "id": "offline-1", "name": "far away", "project_name": "P/Q", "type": "testing", "tags": ["x"],
        "offline_folder": MADE_IN, "execution": {"artifacts": stored},
        "hyperparams": {"Args": {"lr": {"value": "0.1", "type": "float", "description": "None"}}},
        "configuration": {"c": {"name": "c", "type": "dictionary", "value": "a {\n  b = 1\n}"}},
        "script": {"diff": "import clearml\n", "entry_point": "t.py", "requirements": {"pip": "# Python\n\nnumpy == 2.4\n"}},
    })  # fmt: skip
    events = [
        event("training_stats_scalar", metric="loss", variant="train", iter=i, value=1.0 / (i + 1)) for i in range(3)
    ]
    events += [
        event("training_stats_scalar", metric="Summary", variant="final", iter=-(2**31), value=0.5),
        event("plot", metric="h", variant="v", iter=2, plot_str='{"data": [], "layout": {}}'),
        event(
            "training_debug_image", metric="img", variant="s", iter=1, url=f"{MADE_IN}/{PLACE}/metrics/img/s/img.jpeg"
        ),
    ]
    (folder / "metrics.jsonl").write_text(json.dumps(events[:3]) + "\n" + json.dumps(events[3:]) + "\n")
    (folder / "log.jsonl").write_text(json.dumps([event("log", level="info", msg="one\ntwo")]) + "\n")
    return folder


def write_task(folder: Path, body: dict[str, Any]) -> None:
    """Write the session's task."""
    (folder / "task.json").write_text(json.dumps(body))


def take(path: Path, **options: Any) -> Task:
    """Import a session and return its task."""
    task_id = Task.import_offline_session(str(path), **options)
    task = Task.get_task(task_id=task_id)
    assert task is not None
    return task


def test_everything_is_taken_over(session: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names, parameters, configuration, code, scalars with their times, plots, images, console, artifacts."""
    archive = session.parent / "s.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in session.rglob("*"):
            packed.write(path, path.relative_to(session))
    task = take(archive)
    assert (task.name, task.project, task.status, task.task_type, task.get_tags()) == (
        "far away", "P/Q", "completed", "testing", ["x"],
    )  # fmt: skip
    assert task.get_parameters(cast=True) == {"Args/lr": 0.1}
    assert "description" not in task._read().parameters["Args/lr"]
    assert task.get_configuration_object_as_dict("c") == {"a": {"b": 1}}
    assert task.get_script()["diff"] == "import clearml\n"
    assert task.get_requirements()["pip"] == "numpy == 2.4\n"
    loss = task.get_all_reported_scalars(x_axis="timestamp")["loss"]["train"]
    assert loss["y"] == [1.0, 0.5, 1 / 3]
    assert set(loss["x"]) == {1795546819625}
    assert task.get_last_scalar_metrics()["Summary"]["final"]["last"] == 0.5
    assert task.get_last_iteration() == 2
    assert [plot["iter"] for plot in task.get_reported_plots()] == [2]
    (image,) = task.get_debug_samples("img", "s")
    assert Path(image["url"]).read_bytes() == b"\xff\xd8image"
    assert task.get_reported_console_output(0) == ["one", "two"]
    assert task.artifacts["dict"].get() == {"k": 1}
    assert task.artifacts["array"].get().tolist() == [0, 1, 2, 3]
    assert isinstance(task.artifacts["evil"].get(), Path)  # a pickle of others is never loaded
    assert task.artifacts["dict"].preview == "seen"
    assert caplog.messages == []


def test_a_session_goes_on_with_a_task(session: Path) -> None:
    """With a previous task its outputs are added to it, iterations shifted; a name that is not there is an error."""
    first = take(session)
    again = take(session, previous_task_id=first.id, iteration_offset=10)
    assert again.id == first.id
    assert again.get_all_reported_scalars()["loss"]["train"]["x"] == [0, 1, 2, 10, 11, 12]
    assert (again.status, again.get_last_iteration()) == ("completed", 12)
    with pytest.raises(TaskNotFoundError):
        take(session, previous_task_id="0" * 32)


def test_a_hostile_session(session: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Paths that lead out, links, broken lines and odd events are left out and said; the rest comes."""
    secret = session.parent / "secret"
    secret.write_text("secret")
    body = json.loads((session / "task.json").read_text())
    (session / "link").symlink_to(secret)
    body["execution"]["artifacts"] += [
        {"key": "up", "type": "string", "uri": f"{MADE_IN}/../secret"},
        {"key": "abs", "type": "string", "uri": str(secret)},
        {"key": "link", "type": "string", "uri": "link"},
    ]
    write_task(session, body)
    with open(session / "metrics.jsonl", "a") as stream:
        stream.write("{torn\n[1, {}]\n")
        stream.write(json.dumps([event("training_stats_scalar", metric="m", variant="v", iter=1, value="x")]) + "\n")
        stream.write(
            json.dumps([event("training_debug_image", metric="m", variant="v", iter=1, url=str(secret))]) + "\n"
        )
    task = take(session)
    assert sorted(task.artifacts) == ["array", "dict", "evil"]
    said = "\n".join(caplog.messages)
    for word in ("'up'", "'abs'", "'link'", "a line of metrics.jsonl", "ValueError", "'None'"):
        assert word in said
    assert task.get_debug_samples("m", "v")[0]["url"] == str(secret)  # an address, not a copy
    store = Path(os.environ["LOCALTRACK_ROOT"])
    assert not any(path.is_file() and path.read_bytes() == b"secret" for path in store.rglob("*"))


def test_what_is_no_session(session: Path) -> None:
    """A missing path, a folder without a task, a task that is none, and a broken zip are named."""
    broken = session.parent / "b.zip"
    broken.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(CorruptFileError):
        take(broken)
    for body in ("[1]", '{"hyperparams": 3}', "{"):
        (session / "task.json").write_text(body)
        with pytest.raises(InvalidValueError):
            take(session)
    with pytest.raises(InvalidValueError):
        take(session.parent / "nothing")
    assert Task.query_tasks() == []
