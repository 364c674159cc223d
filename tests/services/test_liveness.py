"""Is the owner of a running task still there?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from localtrack.capture.host import capture_host
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services.context import host_name
from localtrack.services.liveness import age_s, effective, owner_alive


def _me(**changes: Any) -> dict[str, Any]:
    host = capture_host()
    if not host.machine_id:
        pytest.skip("this machine has no id")
    return {
        "writer": "w", "host": "h", "machine": host.machine_id, "boot": host.boot_id, "pid": os.getpid(),
        "pidns": host.pid_namespace, "start": host.start_token, **changes,
    }  # fmt: skip


def _running(owner: dict[str, Any] | None) -> TaskRecord:
    return TaskRecord("0" * 32, "n", "p", status=Status.IN_PROGRESS.value, owner=owner)


def test_owners_on_this_machine() -> None:
    """A process is itself by pid and start token; another boot, a reused pid and a dead one are told apart."""
    assert owner_alive(_me()) is True
    assert owner_alive(_me(start="1")) is False
    assert owner_alive(_me(boot="another", host=host_name())) is None
    assert owner_alive(_me(pidns="another container")) is None
    assert owner_alive(_me(machine="another")) is None
    assert owner_alive(_me(machine="")) is None
    assert owner_alive({}) is None


def test_damaged_owners_are_no_error() -> None:
    """A foreign record gives an answer, not an exception."""
    assert owner_alive(_me(pid="x")) in (None, False)
    assert owner_alive(_me(pid=None)) in (None, False)


def test_a_living_owner_changes_nothing(tmp_path: Path) -> None:
    """A task that runs, one without an owner and one that ended are shown as they are."""
    for record in (_running(_me()), _running(None), TaskRecord("0" * 32, "n", "p")):
        assert effective(record, tmp_path, 60.0, tmp_path) is record


def test_a_dead_owner_makes_a_lost_run(tmp_path: Path) -> None:
    """The verdict names host and process."""
    seen = effective(_running(_me(start="1")), tmp_path, 60.0, tmp_path)

    assert (seen.status, seen.status_reason) == ("failed", "lost")
    assert f"process {os.getpid()} on h is gone" in seen.status_message


def test_owners_elsewhere_by_the_stores_clock(tmp_path: Path) -> None:
    """An old heartbeat of another host is a lost run; a young one, or none that can be read, is not."""
    beat = tmp_path / "writers" / "w" / "heartbeat"
    record = _running(_me(machine="elsewhere"))
    assert effective(record, tmp_path, 60.0, tmp_path) is record
    beat.parent.mkdir(parents=True)
    beat.write_bytes(b"x" * 24)
    assert effective(record, tmp_path, 60.0, tmp_path) is record
    os.utime(beat, (time.time() - 1000, time.time() - 1000))
    assert effective(record, tmp_path, 60.0, tmp_path).status == "failed"
    assert effective(record, tmp_path, 600.0, tmp_path) is record
    assert age_s(beat, tmp_path / "missing") is None
    assert not list(tmp_path.glob("clock-*"))
