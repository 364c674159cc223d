"""Is the owner of a running task still there? Judged on its own host by pid and start token, elsewhere by its lease.

A single look at a task of another host can't time a lease, so it compares the heartbeat's age by the *store's* clock:
both times are stamped by the file server, no two hosts' clocks meet. Such a verdict is shown, and decides nothing
before :class:`localtrack.queue.lease.LeaseObserver` has watched the heartbeat stand still.

Source: docs/format/v1.md, "Locks, leases, clocks".
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import Json, TaskRecord
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.capture.host import HostState

LOST_REASON = "lost"
GRACE = 2.0


@lru_cache(maxsize=1)
def _this_host() -> HostState:
    from localtrack.capture.host import capture_host

    return capture_host()


def owner_alive(owner: Json) -> bool | None:
    """Tell whether a writer lives; None when only its lease can say (another machine)."""
    here = _this_host()
    if not owner.get("machine") or owner["machine"] != here.machine_id:
        return None
    if owner.get("boot") != here.boot_id:
        return None  # started anew, or another machine made from the same image: only the lease tells them apart
    if owner.get("pidns", here.pid_namespace) != here.pid_namespace:
        return None  # another container of this machine: its process numbers mean nothing here
    from localtrack.capture.host import is_alive

    try:
        return is_alive(int(owner.get("pid", -1)), str(owner.get("start", "")))
    except (TypeError, ValueError):
        return None


def effective(record: TaskRecord, folder: Path, lease_s: float, tmp: Path) -> TaskRecord:
    """Return the record as a reader should see it: a running task whose owner is dead is failed, lost.

    Args:
        record: the record on disk.
        folder: the task's folder.
        lease_s: the lease of the store's writers, in seconds.
        tmp: a folder of the same store in which a file may be made to read the store's clock.
    """
    if record.state is not Status.IN_PROGRESS or not record.owner:
        return record
    alive = owner_alive(record.owner)
    if alive is None:
        beat_age_s = age_s(TaskLayout(folder).heartbeat(str(record.owner.get("writer", ""))), tmp)
        alive = beat_age_s is None or beat_age_s <= GRACE * lease_s
        how = f"host {record.owner.get('host')} has sent no heartbeat for {beat_age_s or 0:.0f} s"
    else:
        how = f"process {record.owner.get('pid')} on {record.owner.get('host')} is gone"
    if alive:
        return record
    return replace(
        record,
        status=Status.FAILED.value,
        status_reason=LOST_REASON,
        status_message=f"the run ended without a word: {how}",
        exit={**record.exit, "failure_class": LOST_REASON},
    )


def age_s(path: Path, tmp: Path) -> float | None:
    """Return for how many seconds a file did not change, by the store's own clock; None when it can't be read."""
    probe = tmp / f"clock-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with open(path, "rb") as file:  # opened, as a bare stat may be answered from an old cache on NFS
            changed = os.fstat(file.fileno()).st_mtime
        with open(probe, "wb") as stream:
            stream.write(b"t")
        return max(0.0, probe.stat().st_mtime - changed)
    except OSError:
        return None
    finally:
        try:
            probe.unlink()
        except OSError:
            pass
