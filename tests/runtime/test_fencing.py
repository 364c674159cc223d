"""A process whose agent was taken over can waste time and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from localtrack.records.status import Status
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

SCRIPT = """
import sys, time
from localtrack import Task
task = Task.init()
for step in range(int(sys.argv[1])):
    task.get_logger().report_scalar("t", "s", float(sys.argv[2]), step)
print("attempt", sys.argv[2], flush=True)
time.sleep(float(sys.argv[3]))
"""


def launch(ctx: StoreContext, tmp_path: Path, task_id: str, claim: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the script as an agent with that claim would."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {
        **os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "LOCALTRACK_TASK_ID": task_id, "LOCALTRACK_CLAIM": claim,
        "LOCALTRACK_HEARTBEAT_S": "0.3", "LOCALTRACK_METRICS_INTERVAL_S": "0.3",
    }  # fmt: skip
    command = [sys.executable, "-m", "localtrack.runtime.bootstrap", str(script), *arguments]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def claimed(ctx: StoreContext, task_id: str, claim: str) -> None:
    """Commit a claim as an agent does."""
    tasks.edit(ctx, task_id, lambda r: replace(r, runtime={**r.runtime, "claim": claim}), "claim", checked=False)


def test_lost_claim_is_refused_at_the_start(ctx: StoreContext, tmp_path: Path) -> None:
    """A child of an older claim does not start, and changes nothing."""
    _, record = tasks.create(ctx, name="n", project="p")
    claimed(ctx, record.id, "q/entry.2")
    child = launch(ctx, tmp_path, record.id, "q/entry.1", "1", "1", "0")
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "q/entry.2" in errors
    assert tasks.read(ctx, record.id).state is Status.CREATED


def test_takeover_stops_the_old_run_and_hides_its_reports(ctx: StoreContext, tmp_path: Path) -> None:
    """The old child ends itself by SIGTERM; only the new attempt's points, lines and metrics are the task's."""
    _, record = tasks.create(ctx, name="n", project="p")
    claimed(ctx, record.id, "q/entry.1")
    old = launch(ctx, tmp_path, record.id, "q/entry.1", "5", "1", "60")
    assert old.stdout is not None
    assert old.stdout.readline() == "attempt 1\n"
    deadline = time.monotonic() + 30
    while not tasks.read(ctx, record.id).last_iteration and time.monotonic() < deadline:
        time.sleep(0.05)
    claimed(ctx, record.id, "q/entry.2")
    old.communicate(timeout=60)
    assert old.returncode == -signal.SIGTERM
    assert tasks.read(ctx, record.id).history[-1]["to"] == "in_progress"
    new = launch(ctx, tmp_path, record.id, "q/entry.2", "3", "2", "0")
    _, errors = new.communicate(timeout=60)
    assert new.returncode == 0, errors
    ended = tasks.read(ctx, record.id)
    folder = tasks.folder_of(ctx, record.id)
    assert ended.status == "completed"
    points = reports.scalars(folder).of("t", "s")
    assert (points.iterations.tolist(), points.values.tolist()) == ([0, 1, 2], [2.0, 2.0, 2.0])
    assert ended.last_metrics["t"]["s"]["count"] == 3
    assert [line.text for line in reports.console(folder)] == ["attempt 2"]


def test_stop_request_ends_the_run(ctx: StoreContext, tmp_path: Path) -> None:
    """`abort` reaches the running process itself: stopped, with who asked."""
    from localtrack.services import lifecycle

    _, record = tasks.create(ctx, name="n", project="p")
    child = launch(ctx, tmp_path, record.id, "", "1", "1", "60")
    assert child.stdout is not None
    assert child.stdout.readline() == "attempt 1\n"
    begun = time.monotonic()
    lifecycle.request_stop(ctx, record.id, "enough")
    child.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert child.returncode == -signal.SIGTERM
    ended = tasks.read(ctx, record.id)
    assert (ended.status, ended.exit["failure_class"]) == ("stopped", "stopped")
    assert "enough" in ended.status_message
