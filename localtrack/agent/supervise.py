"""Watches one running child: its end, requests to stop it, the lease and the claim under which it runs.

Source: docs/how-to/agent.md, "How a run ends"; docs/format/v1.md, "Leases".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum

from localtrack.agent.console import ConsoleRelay
from localtrack.agent.gateway import CLAIM_KEY, RunEnd, TaskGateway
from localtrack.errors import LocaltrackError, TaskNotFoundError
from localtrack.executors.base import Exit, Handle
from localtrack.queue.claims import Claim, Claims
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.runtime.aborting import ABORT_TIMEOUT_KEY

CHECK_S = 0.5
OWN_STOP_S = 5.0
LEFT_GRACE_S = 5.0
LAST_WORD_LIMIT_S = 600.0
_LOG = logging.getLogger("localtrack.agent")


class Cause(str, Enum):
    """Why a child's run is over."""

    EXIT = "exit"
    ABORTED = "aborted"
    AGENT_STOPPED = "agent stopped"
    LOST_CLAIM = "lost claim"
    LOST_LEASE = "lost lease"
    GONE = "task gone"


@dataclass(frozen=True, slots=True)
class Watched:
    """How the watching of a child ended."""

    cause: Cause
    exit: Exit
    message: str = ""
    is_attached: bool = False


class Supervisor:
    """Watches one child.

    Args:
        gateway: the agent's view of tasks.
        claims: the claims of the queue.
        claim: the claim under which the child runs.
        task_id: its task.
        writer: the agent's own writer id in the task: another owner means that the child has attached.
        is_expired: whether the agent's own lease is as good as over.
        stop_wanted: the reason for which the agent itself must stop now; ``""`` for none.
        grace_s: seconds between SIGTERM and SIGKILL.
        pause: waits so many seconds at most, and less when something happens.
    """

    def __init__(
        self,
        gateway: TaskGateway,
        claims: Claims,
        claim: Claim,
        task_id: str,
        writer: str,
        *,
        is_expired: Callable[[], bool],
        stop_wanted: Callable[[], str],
        grace_s: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gateway = gateway
        self._claims = claims
        self._claim = claim
        self._task_id = task_id
        self._writer = writer
        self._is_expired = is_expired
        self._stop_wanted = stop_wanted
        self._grace_s = grace_s
        self._pause = pause
        self._old_requests = set(self._requests())
        self.is_attached = False

    def watch(self, handle: Handle, relay: ConsoleRelay) -> Watched:
        """Watch a child to its end, stopping it when it must not go on."""
        checked = time.monotonic()
        pause_s = 0.02
        while True:
            ended = handle.poll()
            if ended is not None:
                self._look_at_task()
                handle.stop(
                    min(self._grace_s, LEFT_GRACE_S)
                )  # what it left running would keep the machine's memory and devices
                return Watched(Cause.EXIT, ended, is_attached=self.is_attached)
            cause, message = self._reason_at_once()
            if cause is None and time.monotonic() - checked >= CHECK_S:
                checked = time.monotonic()
                cause, message = self._reason_on_disk()
                relay.tick(self.is_attached)
            if cause is not None:
                return self._stop(handle, relay, cause, message)
            self._pause(pause_s)
            pause_s = min(0.25, pause_s * 1.3)

    def _reason_at_once(self) -> tuple[Cause | None, str]:
        wanted = self._stop_wanted()
        if wanted:
            return Cause.AGENT_STOPPED, wanted
        if self._is_expired():
            return Cause.LOST_LEASE, "the store took no heartbeat for most of the lease"
        return None, ""

    def _reason_on_disk(self) -> tuple[Cause | None, str]:
        """Look for a reason to stop. A store that can't be read is none: the lease decides about that."""
        try:
            if self._claims.is_superseded(self._claim):
                return Cause.LOST_CLAIM, "another agent has taken over"
            cause, message = self._look_at_task()
            if cause is not None:
                return cause, message
            fresh = [text for name, text in self._requests().items() if name not in self._old_requests]
            if fresh:
                return Cause.ABORTED, fresh[0]
        except OSError as error:
            _LOG.debug("looking at task %s failed: %s", self._task_id, error)
        return None, ""

    def _look_at_task(self) -> tuple[Cause | None, str]:
        try:
            record = self._gateway.read(self._task_id)
        except TaskNotFoundError:
            return Cause.GONE, "the task was deleted"
        except (LocaltrackError, OSError) as error:
            _LOG.debug("reading task %s failed: %s", self._task_id, error)
            return None, ""
        if record.runtime.get(CLAIM_KEY) != self._claim.reference:
            return Cause.LOST_CLAIM, "the task was reset, or runs under another claim"
        owner = record.owner or {}
        if owner.get("writer") not in (None, self._writer):
            self.is_attached = True
        if record.state in (Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED):
            return None, ""  # a script may close its task and go on
        if record.state is Status.STOPPED and self._is_own_stop(record):
            return None, ""
        return Cause.ABORTED, f"the task became {record.status}: {record.status_message or record.status_reason}"

    def _is_own_stop(self, record: TaskRecord) -> bool:
        """Tell whether the child itself wrote that it stopped: then it is on its way out."""
        return self.is_attached and bool(record.exit)

    def _requests(self) -> dict[str, str]:
        try:
            return self._gateway.stop_requests(self._task_id)
        except (LocaltrackError, OSError):
            return {}

    def _last_word_s(self) -> float:
        """Return how long the script's own abort callback may take."""
        try:
            wanted = self._gateway.read(self._task_id).runtime.get(ABORT_TIMEOUT_KEY)
        except (LocaltrackError, OSError):
            return 0.0
        return min(float(wanted), LAST_WORD_LIMIT_S) if isinstance(wanted, (int, float)) else 0.0

    def _stop(self, handle: Handle, relay: ConsoleRelay, cause: Cause, message: str) -> Watched:
        last_word_s = self._last_word_s() if self.is_attached and cause in (Cause.ABORTED, Cause.AGENT_STOPPED) else 0.0
        if cause is Cause.ABORTED and self.is_attached:
            # the child reads the same request and may save a checkpoint: a second signal would cut that short
            deadline = time.monotonic() + OWN_STOP_S + last_word_s
            while handle.poll() is None and time.monotonic() < deadline:
                self._pause(0.1)
        ended = handle.stop(self._grace_s + last_word_s)
        relay.tick(self.is_attached)
        return Watched(cause, ended, message, self.is_attached)


def judge(watched: Watched) -> RunEnd | None:
    """Return how a run is to be recorded; None when the task is no longer this agent's to tell about."""
    code, signal = watched.exit.code, watched.exit.signal
    if watched.cause in (Cause.LOST_CLAIM, Cause.GONE):
        return None
    if watched.cause in (Cause.ABORTED, Cause.AGENT_STOPPED):
        return RunEnd(Status.STOPPED, code, signal, "stopped", watched.cause.value, watched.message)
    if watched.cause is Cause.LOST_LEASE:
        return RunEnd(Status.FAILED, code, signal, "infrastructure", "lost lease", watched.message)
    if signal:
        return RunEnd(Status.FAILED, None, signal, "killed", signal, f"the process was ended by {signal}")
    if code == 0:
        return RunEnd(Status.COMPLETED, 0)
    return RunEnd(Status.FAILED, code, "", "user_error", "exit code", f"the script ended with exit code {code}")
