"""kill -9 after every call to the file system that a whole run makes: start, report, connect, upload, close."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.config import Settings
from localtrack.fs.disk import remove_tree
from localtrack.services import artifacts, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.root import Store
from tests.crash.reaper import Say, deaths

POINTS = 5
QUIET = {"auto_connect_streams": False, "auto_resource_monitoring": False, "auto_connect_arg_parser": False}
STEP = 3


def _whole_run(root: Path, say: Say) -> None:
    os.environ["LOCALTRACK_ROOT"] = str(root)
    task = Task.init(project_name="p", task_name="n", reuse_last_task_id=False, **QUIET)  # type: ignore[arg-type]
    say(f"id {task.id}")
    for step in range(POINTS):
        task.get_logger().report_scalar("t", "s", step * 0.5, step)
        say(f"point {step}")
    task.connect({"lr": 0.1})
    say("connected")
    task.upload_artifact("a", {"x": 1})
    say("uploaded")
    task.close()
    say("closed")


def test_a_run_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was acknowledged is there, the task reads as lost, and a run that was closed reads as completed."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    base = tmp_path / "worlds"

    def prepare(number: int) -> Path:
        remove_tree(base)
        Store.create(base / str(number))
        return base / str(number)

    ends: set[str] = set()
    for root, death in deaths(prepare, _whole_run, step=STEP):
        ctx = StoreContext(Store.open(root), Settings())
        rows = ctx.index.rows()
        assert ctx.index.problems == []
        if not death.said:
            assert len(rows) <= 1
            continue
        task_id = death.said[0].split()[1]
        assert [row.id for row in rows] == [task_id]
        record, folder = tasks.read(ctx, task_id), tasks.folder_of(ctx, task_id)
        found = reports.scalars(folder)
        assert found.problems == []
        acknowledged = sum(line.startswith("point") for line in death.said)
        values = found.of("t", "s").values.tolist()
        assert values[:acknowledged] == [step * 0.5 for step in range(acknowledged)]
        assert len(values) <= acknowledged + 1
        if "connected" in death.said:
            assert record.parameters["General/lr"]["value"] == 0.1
        if "uploaded" in death.said:
            assert artifacts.load(ctx, folder, artifacts.find(record, "a")) == {"x": 1}
        if "closed" in death.said:
            assert record.status == "completed"
        else:
            assert (record.status, record.exit["failure_class"]) in (("failed", "lost"), ("completed", ""))
        ends.add(f"{record.status} {death.said[-1].split()[0]}")
    assert {"failed id", "failed point", "failed connected", "failed uploaded", "completed closed"} <= ends
