"""kill -9 after every call to the file system with which a launch's ranks meet: nobody is misled, and nobody hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.config import Settings
from localtrack.fs.disk import remove_tree
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.root import Store
from tests.crash.reaper import Death, Say, _run, deaths

QUIET = {"auto_connect_streams": False, "auto_resource_monitoring": False, "auto_connect_arg_parser": False}
NEVER = 1_000_000
STEP = 3


def _rank(root: Path, rank: int, restarts: int, say: Say) -> None:
    """Run a rank of a launch of torchrun up to its first report."""
    os.environ.update({
        "LOCALTRACK_ROOT": str(root), "LOCALTRACK_RANK_WAIT_S": "0.05", "RANK": str(rank), "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": str(restarts),
        "TORCHELASTIC_ERROR_FILE": f"/tmp/torchelastic_x/none_a/attempt_{restarts}/{rank}/error.json",
    })  # fmt: skip
    task = Task.init(project_name="p", task_name="n", **QUIET)  # type: ignore[arg-type]
    say(f"id {task.id}")
    task.get_logger().report_scalar("t", f"rank {rank}, attempt {restarts}", 1.0, 0)
    say("reported")


def _whole(root: Path, rank: int, restarts: int = 0) -> str:
    """Run a rank to its end and return its task."""

    def operation(world: Path, say: Say) -> None:
        _rank(world, rank, restarts, say)
        task = Task.current_task()
        assert task is not None
        task.close()
        say("closed")

    death = _run(root, operation, NEVER)
    assert death.said[1:] == ["reported", "closed"]
    return death.said[0].split()[1]


def _prepare(base: Path, number: int) -> Path:
    remove_tree(base)
    Store.create(base / str(number))
    return base / str(number)


def _started(death: Death) -> str:
    return death.said[0].split()[1] if death.said else ""


def test_rank_0_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 1 joins its task or has one of its own; torchrun's next attempt of both is one task, the same if it was told of."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    ends: set[bool] = set()
    for root, death in deaths(lambda n: _prepare(tmp_path / "w", n), lambda w, say: _rank(w, 0, 0, say), step=STEP):
        ctx = StoreContext(Store.open(root), Settings())
        first, second = _started(death), _whole(root, 1)
        joined = tasks.read(ctx, second)
        is_told = (joined.owner or {})["rank"] == "0"
        ends.add(is_told)
        assert is_told or (not first and joined.status == "completed")
        assert first in ("", second)
        again = _whole(root, 0, 1)
        assert _whole(root, 1, 1) == again
        assert (again == second) is is_told
        record = tasks.read(ctx, again)
        assert record.status == "completed"
        assert {"rank 0, attempt 1", "rank 1, attempt 1"} <= set(record.last_metrics["t"])
        assert ctx.index.problems == []
        assert second in [row.id for row in ctx.index.rows()]
        assert ctx.store.trash_entries() == []
    assert ends == {False, True}


def test_rank_1_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0's task keeps its status and its values, and what rank 1 acknowledged; the next attempt has both."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    known: dict[Path, str] = {}

    def prepare(number: int) -> Path:
        root = _prepare(tmp_path / "w", number)
        known[root] = _whole(root, 0)
        return root

    finished = 0
    for root, death in deaths(prepare, lambda w, say: _rank(w, 1, 0, say), step=STEP):
        ctx = StoreContext(Store.open(root), Settings())
        task_id = known[root]
        assert _started(death) in ("", task_id)
        assert [row.id for row in ctx.index.rows()] == [task_id]
        assert tasks.read(ctx, task_id).status == "completed"
        found = reports.scalars(tasks.folder_of(ctx, task_id))
        assert found.problems == []
        assert found.of("t", "rank 0, attempt 0").values.tolist() == [1.0]
        if "reported" in death.said:
            assert found.of("t", "rank 1, attempt 0").values.tolist() == [1.0]
        if death.call % 10 == 1 or death.finished:
            assert _whole(root, 0, 1) == _whole(root, 1, 1) == task_id
            assert {"rank 0, attempt 1", "rank 1, attempt 1"} <= set(tasks.read(ctx, task_id).last_metrics["t"])
        finished += death.finished
    assert finished == 1
