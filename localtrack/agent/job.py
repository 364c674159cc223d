"""One entry from claim to end: bring the code back, run it, watch it, tell how it ended.

Source: docs/how-to/agent.md; docs/format/v1.md, "Claiming an entry", "Fencing".
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from localtrack.agent.console import ConsoleRelay
from localtrack.agent.gateway import NotRunnableError, RunEnd, TaskGateway
from localtrack.agent.supervise import Cause, Supervisor, judge
from localtrack.agent.workspace import Workspace, build_command, prepare_workspace
from localtrack.capture.launch import AROUND_VARIABLE, find_launch
from localtrack.errors import CodeUnavailableError, LocaltrackError, LostClaimError, StoreError, TaskNotFoundError
from localtrack.executors.base import Executor, Handle, LaunchPlan
from localtrack.fs.disk import list_names, read_bytes, remove_files
from localtrack.queue.consumer import Offer
from localtrack.queue.lease import Heartbeat
from localtrack.records.ids import new_sortable_id
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.store.console import ConsoleLog
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store

CHILD_PREFIX = "child-"
LEFTOVER_GRACE_S = 5.0
SAME_SYSTEM = ("machine", "boot", "pidns")
DROPPED_VARIABLES = ("LOCALTRACK_PARENT", "LOCALTRACK_TASK_ID", "LOCALTRACK_CLAIM")
LOST, SKIPPED, RELEASED = "lost", "skipped", "released"
_LOG = logging.getLogger("localtrack.agent")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How one entry is run; see :class:`localtrack.agent.loop.AgentOptions`."""

    workdir: Path
    python: str
    grace_s: float
    lease_s: float
    keep_workspaces: bool = False


class Job:
    """Runs one claimed entry.

    Args:
        store: the store.
        gateway: the agent's view of tasks.
        executor: how the child is started.
        agent_folder: the agent's folder in the store.
        offer: the claimed entry.
        owner: the record of the agent's process.
        settings: how it is run.
        say: told one line at a time.
        is_expired: whether the agent's lease is as good as over.
        stop_wanted: the reason for which the agent must stop now.
        pause: waits, and less when something happens.
    """

    def __init__(
        self,
        store: Store,
        gateway: TaskGateway,
        executor: Executor,
        agent_folder: Path,
        offer: Offer,
        owner: dict[str, Any],
        settings: JobSettings,
        *,
        say: Callable[[str], None],
        is_expired: Callable[[], bool],
        stop_wanted: Callable[[], str],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._executor = executor
        self._agent_folder = agent_folder
        self._offer = offer
        self._owner = owner
        self._settings = settings
        self._say = say
        self._is_expired = is_expired
        self._stop_wanted = stop_wanted
        self._pause = pause
        self._handle: Handle | None = None
        self._writer = new_sortable_id()
        self._task_id = offer.entry.task_id
        self._short = self._task_id[:8]
        self._why_lost = ""

    def kill(self) -> None:
        """End the child at once; safe in a signal handler."""
        if self._handle is not None:
            self._handle.kill()

    def run(self) -> str:
        """Run the entry to its end and finish it.

        Returns:
            The task's final status, or ``lost`` (another took over), ``skipped`` (it was not to be run), ``released``.
        """
        claims, claim = self._offer.queue.claims, self._offer.claim
        try:
            if self._offer.previous is not None:
                self._end_leftover()
            if self._offer.is_exhausted:
                return self._bury()
            record = self._persist(lambda: self._gateway.start(self._task_id, claim, self._identity()))
            end, workspace = self._attempt(record)
            if end is None:
                self._say(f"task {self._short} is no longer this agent's: {self._why_lost}")
                self._give_up()
                return LOST
            final = self._persist(lambda: self._gateway.finish(self._task_id, claim, end))
            self._persist(lambda: claims.finish(claim, final.status))
            self._tidy(workspace, final)
            self._say(f"task {self._short} {final.status}{f': {end.message}' if end.message else ''}")
            return final.status
        except (NotRunnableError, TaskNotFoundError) as error:
            self._say(f"entry of task {self._short} is dropped: {error}")
            self._persist(lambda: claims.finish(claim, SKIPPED))
            return SKIPPED
        except LostClaimError as error:
            self._say(f"task {self._short}: {error}")
            return LOST

    def _attempt(self, record: TaskRecord) -> tuple[RunEnd | None, Workspace | None]:
        """Prepare, launch and watch; whatever goes wrong on the way is a failure of the infrastructure."""
        workspace = None
        try:
            folder = self._gateway.folder(self._task_id)
            with _TaskHeartbeat(self._store, folder, self._writer, self._settings.lease_s):
                place = self._settings.workdir / f"{self._task_id[:12]}-{self._writer[-6:]}"
                workspace = prepare_workspace(place, folder, self._task_id, record.script)
                self._say(f"task {self._short} {record.name!r} runs in {workspace.cwd}, code from {workspace.origin}")
                command = build_command(self._settings.python, workspace.source, self._task_id, record.script)
                return self._run_child(command, workspace, folder), workspace
        except (TaskNotFoundError, LostClaimError):
            raise
        except CodeUnavailableError as error:
            return self._fail(error.message, "code unavailable"), workspace
        except OSError as error:
            return self._fail(f"starting the task failed: {error}", "launch failed"), workspace
        except Exception as error:  # the border: a fault of the agent must not leave the task running for ever
            _LOG.exception("running task %s failed", self._task_id)
            text = "".join(traceback.format_exception_only(type(error), error)).strip()
            return self._fail(f"the agent failed: {text}", "agent failed"), workspace

    def _run_child(self, command: tuple[str, ...], workspace: Workspace, folder: Path) -> RunEnd | None:
        layout = TaskLayout(folder)
        console = ConsoleLog(self._store.disk, layout.console, self._writer, lambda error: _LOG.warning("%s", error))
        relay = ConsoleRelay(workspace.log, console, layout.console)
        if workspace.notes:
            console.write("e", [f"localtrack agent: {note}" for note in workspace.notes])
        supervisor = Supervisor(
            self._gateway, self._offer.queue.claims, self._offer.claim, self._task_id, self._writer,
            is_expired=self._is_expired, stop_wanted=self._stop_wanted, grace_s=self._settings.grace_s,
            pause=self._pause,
        )  # fmt: skip
        name = f"task {self._short}"
        plan = LaunchPlan(command, workspace.cwd, self._environment(), workspace.log, name)
        self._handle = handle = self._executor.launch(plan)
        note = self._agent_folder / f"{CHILD_PREFIX}{self._offer.entry.name}.{self._offer.claim.number}"
        try:
            self._store.disk.publish(json.dumps(handle.to_json()).encode(), note)
            watched = supervisor.watch(handle, relay)
        except BaseException:
            handle.stop(0.0)
            raise
        finally:
            self._handle = None
            remove_files([note])
        end = judge(watched)
        self._why_lost = watched.message
        relay.finish(watched.is_attached, has_failed=end is not None and end.status is Status.FAILED)
        if watched.cause is not Cause.EXIT:
            self._say(f"task {self._short} was stopped: {watched.message}")
        return end

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in DROPPED_VARIABLES}
        env["LOCALTRACK_ROOT"] = str(self._store.root.absolute())
        env["LOCALTRACK_TASK_ID"] = self._task_id
        env["LOCALTRACK_CLAIM"] = self._offer.claim.reference
        env["LOCALTRACK_AGENT"] = self._offer.claim.agent
        env["PYTHONUNBUFFERED"] = "1"
        launch = find_launch()
        if launch is not None:  # agents that srun or mpirun started are ranks; what they run is none
            env[AROUND_VARIABLE] = launch.key
        return env

    def _identity(self) -> dict[str, Any]:
        return {
            **self._owner, "writer": self._writer, "role": "agent", "claim": self._offer.claim.reference,
        }  # fmt: skip

    def _fail(self, message: str, reason: str) -> RunEnd:
        """Return the end of a run that never began, and show why in the task's console."""
        try:
            console = TaskLayout(self._gateway.folder(self._task_id)).console
            log = ConsoleLog(self._store.disk, console, new_sortable_id(), lambda error: None)
            log.write("e", [f"localtrack agent: {line}" for line in message.splitlines()])
            log.close()
        except (LocaltrackError, OSError) as error:
            _LOG.warning("writing to the console of task %s failed: %s", self._task_id, error)
        return RunEnd(Status.FAILED, None, "", "infrastructure", reason, message)

    def _bury(self) -> str:
        claim = self._offer.claim
        count = self._offer.entry.attempt_limit
        message = f"{count} agents died while they ran it: it is a dead letter of queue {self._offer.queue.name!r} now"
        end = RunEnd(Status.FAILED, None, "", LOST, LOST, message)
        self._persist(lambda: self._gateway.bury(self._task_id, claim, end))
        self._persist(lambda: self._offer.queue.claims.finish(claim, LOST, bury=True))
        self._say(f"task {self._short} failed: {message}")
        return Status.FAILED.value

    def _give_up(self) -> None:
        """Finish the entry of a task that was reset or deleted; one that another took over is theirs to finish."""
        try:
            self._offer.queue.claims.finish(self._offer.claim, LOST)
        except (LocaltrackError, OSError):
            pass

    def _end_leftover(self) -> None:
        """End the child that a dead agent left running on this host, so that the task does not run twice."""
        previous = self._offer.previous
        if previous is None or not previous.agent:
            return
        if any(previous.owner.get(key) != self._owner.get(key) for key in SAME_SYSTEM):
            return  # hosts made from one image share a machine id: the process numbers are not of this kernel
        folder = self._agent_folder.parent / previous.agent
        for name in list_names(folder):
            if name != f"{CHILD_PREFIX}{previous.entry}.{previous.number}":
                continue
            try:
                handle = self._executor.restore(json.loads(read_bytes(folder / name, 1 << 16)))
                handle.stop(LEFTOVER_GRACE_S)
            except (OSError, ValueError) as error:
                _LOG.warning("ending what agent %s left running failed: %s", previous.agent, error)
            else:
                self._say(f"task {self._short}: what the dead agent {previous.agent} left running was ended")

    def _tidy(self, workspace: Workspace | None, final: TaskRecord) -> None:
        if workspace is not None and final.state is not Status.FAILED and not self._settings.keep_workspaces:
            workspace.remove()

    def _persist(self, action: Callable[[], _T]) -> _T:
        """Commit, trying again while the store takes no writes, but only as long as the claim surely holds."""
        delay_s = 0.2
        while True:
            try:
                return action()
            except (TaskNotFoundError, LostClaimError, NotRunnableError):
                raise
            except (StoreError, OSError) as error:
                if self._is_expired() or self._stop_wanted():
                    raise
                _LOG.warning("committing task %s failed, trying again: %s", self._task_id, error)
            time.sleep(delay_s)
            delay_s = min(10.0, delay_s * 2)


class _TaskHeartbeat:
    """Keeps the agent's heartbeat in the task: until the child registers, its life is the agent's."""

    def __init__(self, store: Store, folder: Path, writer: str, lease_s: float) -> None:
        path = TaskLayout(folder).heartbeat(writer)
        store.disk.make_dirs(path.parent)
        self._heartbeat = Heartbeat(store.disk, path, lease_s)

    def __enter__(self) -> None:
        self._heartbeat.start()

    def __exit__(self, *error: object) -> None:
        self._heartbeat.close()
