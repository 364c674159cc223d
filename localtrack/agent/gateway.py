"""What the agent does to tasks, fenced: nothing is committed under a claim that another has taken over.

The metadata log decides between an agent that was thought dead and its successor: each status change is committed
only while the record carries the committer's own claim, so of the two exactly one tells how the task ended.

Source: docs/format/v1.md, "Fencing".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from localtrack.errors import LostClaimError, UsageError
from localtrack.fs.disk import list_names, read_bytes
from localtrack.queue.claims import Claim
from localtrack.records.plain import dataclass, replace
from localtrack.records.status import ENDED, Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle
from localtrack.services.context import StoreContext
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import read_latest

CLAIM_KEY, AGENT_KEY = "claim", "agent"
REQUEST_LIMIT_BYTES = 1 << 20


class NotRunnableError(UsageError):
    """The task is not queued any more: it was dequeued, reset, deleted, or has ended."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, as it is to be recorded.

    Attributes:
        code: exit code; None when a signal ended it.
        failure_class: ``""``, ``user_error``, ``killed``, ``stopped``, ``infrastructure`` or ``lost``.
    """

    status: Status
    code: int | None = None
    signal: str = ""
    failure_class: str = ""
    reason: str = ""
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the record's ``exit``."""
        return {"code": self.code, "signal": self.signal, "failure_class": self.failure_class}


class TaskGateway(Protocol):
    """The agent's view of tasks."""

    def folder(self, task_id: str) -> Path:
        """Return where a task lies."""

    def read(self, task_id: str) -> TaskRecord:
        """Return a task's record as it is on disk."""

    def start(self, task_id: str, claim: Claim, owner: dict[str, Any]) -> TaskRecord:
        """Commit that the task runs under a claim."""

    def finish(self, task_id: str, claim: Claim, end: RunEnd) -> TaskRecord:
        """Commit how the run ended, unless its own process did."""

    def bury(self, task_id: str, claim: Claim, end: RunEnd) -> TaskRecord:
        """Commit the end of a task whose agents died."""

    def stop_requests(self, task_id: str) -> dict[str, str]:
        """Return the requests to stop: name to a text that says who asks."""


class StoreGateway:
    """Tasks of an opened store.

    Args:
        ctx: the store.
    """

    def __init__(self, ctx: StoreContext) -> None:
        self._ctx = ctx

    def folder(self, task_id: str) -> Path:
        """Return where a task lies.

        Raises:
            TaskNotFoundError: it is gone.
        """
        return self._ctx.index.locate(task_id)

    def read(self, task_id: str) -> TaskRecord:
        """Return a task's record as it is on disk.

        Raises:
            TaskNotFoundError: it is gone.
        """
        return read_latest(TaskLayout(self.folder(task_id)))

    def start(self, task_id: str, claim: Claim, owner: dict[str, Any]) -> TaskRecord:
        """Commit that the task runs under a claim; one whose agent died under an earlier claim is taken over.

        Args:
            task_id: the task.
            claim: the claim in force.
            owner: whose death is the task's death until its own process registers.

        Raises:
            NotRunnableError: it is not queued.
            LostClaimError: a higher claim runs it.
        """

        def intent(record: TaskRecord) -> TaskRecord:
            is_takeover = self._check_startable(record, claim)
            started = record.with_status(
                Status.IN_PROGRESS,
                at=now(),
                by=self._by(),
                reason="taken over" if is_takeover else "started",
                message=f"agent {claim.agent}",
            )
            runtime = {**record.runtime, CLAIM_KEY: claim.reference, AGENT_KEY: claim.agent}
            return replace(started, owner=owner, runtime=runtime, exit={}, ended="")

        return self._update(task_id, intent, "started by an agent")

    def finish(self, task_id: str, claim: Claim, end: RunEnd) -> TaskRecord:
        """Commit how the run ended. What the task's own process told stays, unless it said completed and failed after.

        Raises:
            LostClaimError: another claim runs the task, or it was reset.
        """

        def intent(record: TaskRecord) -> TaskRecord:
            if record.runtime.get(CLAIM_KEY) != claim.reference:
                raise LostClaimError(
                    f"task {task_id} is no longer run under claim {claim.reference}: another agent took over, or it was "
                    "reset; how this run ended is not recorded",
                    task_id=task_id,
                )
            failed_late = record.state is Status.COMPLETED and end.status is Status.FAILED
            if record.state is Status.IN_PROGRESS or failed_late:
                return self._ended(record, end, force=failed_late)
            if record.state in ENDED and not record.exit:
                return replace(record, exit=end.to_json())
            return record

        return self._update(task_id, intent, f"end: {end.status.value}")

    def bury(self, task_id: str, claim: Claim, end: RunEnd) -> TaskRecord:
        """Commit the end of a task over which its agents died.

        Raises:
            LostClaimError: a higher claim runs it.
            NotRunnableError: it has ended otherwise.
        """

        def intent(record: TaskRecord) -> TaskRecord:
            self._check_startable(record, claim)
            ended = self._ended(record, end, force=True)
            return replace(ended, runtime={**record.runtime, CLAIM_KEY: claim.reference})

        return self._update(task_id, intent, f"end: {end.status.value}")

    def stop_requests(self, task_id: str) -> dict[str, str]:
        """Return the requests to stop: name to a text that says who asks and why."""
        folder = TaskLayout(self.folder(task_id)).requests
        found = {}
        for name in list_names(folder):
            try:
                body = json.loads(read_bytes(folder / name, REQUEST_LIMIT_BYTES))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(body, dict) and body.get("kind") == "stop":
                by = body.get("by") if isinstance(body.get("by"), dict) else {}
                who = f"{by.get('user', '?')}@{by.get('host', '?')}" if by else "?"
                found[name] = f"{body.get('message') or 'aborted'} (asked by {who})"
        return found

    def _check_startable(self, record: TaskRecord, claim: Claim) -> bool:
        """Return whether starting means taking over from a dead agent."""
        if record.state is Status.QUEUED:
            return False
        entry, _, number = str(record.runtime.get(CLAIM_KEY, "")).rpartition(".")
        if record.state is Status.IN_PROGRESS and entry == f"{claim.queue}/{claim.entry}" and number.isdigit():
            if int(number) > claim.number:
                raise LostClaimError(
                    f"task {record.id} runs under a later claim than {claim.reference}", task_id=record.id
                )
            return True
        raise NotRunnableError(
            f"task {record.id} is {record.status}, not queued: its entry is dropped", task_id=record.id
        )

    def _ended(self, record: TaskRecord, end: RunEnd, *, force: bool) -> TaskRecord:
        ended = record.with_status(
            end.status, at=now(), by=self._by(), reason=end.reason, message=end.message, force=force
        )
        ended = replace(ended, exit=end.to_json(), ended=now())
        return lifecycle.published_if_wished(ended, self._by())

    def _update(self, task_id: str, intent: Any, label: str) -> TaskRecord:
        return self._ctx.store.update(self.folder(task_id), intent, self._ctx.author, label)

    def _by(self) -> str:
        author = self._ctx.author
        return f"{author.user}@{author.host}"
