"""Whose run it is: which task an agent or a parent gave this process, and the commit that makes a run its own.

Source: docs/format/v1.md, "Fencing"; docs/explanation/runs.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.config import TASK_VARIABLE
from localtrack.errors import LostClaimError
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.runtime.rank_failures import without_rank_failures
from localtrack.services import lifecycle, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout
from localtrack.store.writers import taken_over

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

PARENT_VARIABLE = "LOCALTRACK_PARENT"
FRAMEWORKS_VARIABLE = "LOCALTRACK_PARENT_FRAMEWORKS"
CAPTURED_VARIABLE = "LOCALTRACK_CAPTURED"
OWNER, CHILD = "owner", "child"


def open_record(ctx: StoreContext, task_id: str) -> tuple[Path, TaskRecord]:
    """Return a task's folder and record as they are on disk."""
    from localtrack.store.metadata import read_latest

    folder = tasks.folder_of(ctx, task_id)
    return folder, read_latest(TaskLayout(folder))


def claim_run(ctx: StoreContext, folder: Path, session: Session, *, force: bool) -> TaskRecord:
    """Commit that this process runs the task now: status, owner, attempt; forced, from any state."""
    owner = {**session.writer.identity, "role": OWNER}
    claim = str(owner.get("claim", ""))
    taken = taken_over(TaskLayout(folder), claim)

    def intent(record: TaskRecord) -> TaskRecord:
        check_claim(record, claim)
        if taken:
            # the earlier attempt ran the script up to some point; this one runs it from the start
            superseded = {**record.runtime, reports.SUPERSEDED_KEY: list(taken)}
            base = replace(record, last_metrics={}, last_iteration=0, runtime=superseded)
        else:
            base = lifecycle.admit_loss(ctx, record, folder)  # with what it reported, after which this run goes on
        if base.state is not Status.IN_PROGRESS:
            by = f"{ctx.author.user}@{ctx.author.host}"
            forced = force or base.state is Status.FAILED  # a run that failed is what one continues
            base = base.with_status(Status.IN_PROGRESS, at=now(), by=by, reason="started", force=forced)
        return replace(without_rank_failures(base), owner=owner, attempt=record.attempt + 1, ended="")

    return ctx.store.update(folder, intent, ctx.author, "started")


def check_claim(record: TaskRecord, claim: str) -> None:
    """Refuse to act for an agent whose claim another one has taken over.

    Raises:
        LostClaimError: names both claims.
    """
    current = str(record.runtime.get("claim", "")) if claim else ""
    if current and current != claim:
        raise LostClaimError(
            f"task {record.id} is run under the claim {current} now: this process, of claim {claim}, must stop",
            task_id=record.id,
        )


def parent_of() -> tuple[int, str, str] | None:
    """Return ``(pid, task id, store root)`` of the process whose task this child belongs to."""
    text = os.environ.get(PARENT_VARIABLE, "")
    pid, _, rest = text.partition(":")
    task_id, _, root = rest.partition(":")
    if not pid.isdigit() or not task_id or int(pid) == os.getpid():
        return None
    return int(pid), task_id, root


def storable_frameworks(frameworks: bool | Mapping[str, Any]) -> Any:
    """Return what of ``auto_connect_frameworks`` another process can be told; all of them where it is no JSON."""
    try:
        return json.loads(json.dumps(frameworks, allow_nan=False))
    except (TypeError, ValueError):
        return True


def parents_frameworks() -> bool | Mapping[str, Any]:
    """Return which frameworks the process watches whose task this child belongs to."""
    try:
        value = json.loads(os.environ.get(FRAMEWORKS_VARIABLE, "false"))
    except ValueError:
        return False
    return value if isinstance(value, (bool, dict)) else False


def agent_task() -> str:
    """Return the id of the task that an agent started this process for; ``""`` for an ordinary run."""
    return os.environ.get(TASK_VARIABLE, "")
