"""The agent's loop: look, claim, run, record, and look again.

Source: docs/how-to/agent.md; docs/format/v1.md, "Claiming an entry".
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from localtrack.agent.gateway import StoreGateway, TaskGateway
from localtrack.agent.job import LOST, Job, JobSettings
from localtrack.errors import QueueNotFoundError, UsageError
from localtrack.executors.base import Executor
from localtrack.fs.probe import find_mount
from localtrack.fs.watch import Waker
from localtrack.queue.agents import STOP_NOW, Agents
from localtrack.queue.consumer import Consumer, Offer
from localtrack.queue.folder import Queue
from localtrack.queue.lease import Heartbeat, LeaseObserver
from localtrack.records.plain import dataclass, field
from localtrack.services.context import StoreContext, current_user, host_name
from localtrack.services.liveness import owner_alive

STOP_LOOK_S = 1.0
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
_LOG = logging.getLogger("localtrack.agent")


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent works.

    Attributes:
        queues: in order of priority: the first with a task that can be had wins.
        once: run one task, then leave; leave too when there is none.
        drain: leave when no task is to be had any more.
        name: for people; the host's name by default.
        workdir: where checkouts are made; the user's cache folder by default.
        python: interpreter of the tasks; the agent's own by default.
        grace_s: seconds between SIGTERM and SIGKILL when a task is stopped.
        keep_workspaces: whether the checkout of a completed task stays; that of a failed one always does.
        create_queues: whether missing queues are made.
    """

    queues: tuple[str, ...] = ("default",)
    once: bool = False
    drain: bool = False
    name: str = ""
    workdir: Path | None = None
    python: str = field(default_factory=lambda: sys.executable)
    grace_s: float = 30.0
    keep_workspaces: bool = False
    create_queues: bool = False


class Agent:
    """One agent process.

    Args:
        ctx: the store.
        options: how it works.
        say: told one line at a time what happens.
        gateway: its view of tasks.
        executor: how tasks are started; child processes by default.
    """

    def __init__(
        self,
        ctx: StoreContext,
        options: AgentOptions,
        say: Callable[[str], None] = _LOG.info,
        *,
        gateway: TaskGateway | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._ctx = ctx
        self._options = options
        self._say = say
        self._gateway = gateway or StoreGateway(ctx)
        self._executor = executor or _subprocess_executor()
        self._agents = Agents(ctx.store)
        self._stop_reason = ""
        self._stops_after_task = False
        self._next_look = 0.0
        self._wake = threading.Event()
        self._waker: Waker | None = None
        self._job: Job | None = None
        self.id = ""
        self.outcomes: Counter[str] = Counter()
        self.ran: list[tuple[str, str]] = []

    def stop(self, reason: str) -> None:
        """Stop now: the running task is stopped too. Safe from any thread and from a signal handler."""
        if self._stop_reason and self._job is not None:
            self._job.kill()
        self._stop_reason = self._stop_reason or reason
        self._wake.set()
        if self._waker is not None:
            self._waker.wake()

    def run(self) -> Counter[str]:
        """Work until told to stop, or as ``once`` and ``drain`` say.

        Returns:
            How many tasks ended in which way, by final status.

        Raises:
            QueueNotFoundError: a queue does not exist.
            UsageError: the agent would run as root in a store of another user.
            OSError: the store can't be written.
        """
        queues = self._open_queues()
        owner = self._identify()
        settings = self._ctx.settings
        self.id, heartbeat = self._agents.register(
            self._options.name or host_name(), [queue.name for queue in queues], owner, settings.lease_s
        )
        self._say(f"agent {self.id} takes tasks from {', '.join(queue.name for queue in queues)}")
        try:
            with self._signals(), Waker([queue.paths.pending for queue in queues], settings.poll_interval_s) as waker:
                self._waker = waker
                self._work(queues, owner, heartbeat, waker)
        finally:
            self._waker = None
            heartbeat.close()
            self._agents.remove(self.id, force=True)
            self._leave_workdir()
        self._say(f"agent {self.id} leaves: {self._summary()}")
        return self.outcomes

    def _work(self, queues: list[Queue], owner: dict[str, Any], heartbeat: Heartbeat, waker: Waker) -> None:
        settings = self._ctx.settings
        is_local = find_mount(self._ctx.store.root).is_network is False
        observer = LeaseObserver(
            self._ctx.store.disk, settings.lease_s, owner_alive, slack_s=0.0 if is_local else settings.lease_s
        )
        consumer = Consumer(self.id, owner, observer, self._agents.heartbeat)
        while not self._must_leave():
            offer, is_undecided = self._next_offer(queues, consumer)
            if offer is not None:
                self._run_offer(offer, owner, heartbeat)
                if self._options.once:
                    return
                continue
            if (self._options.drain or self._options.once) and not is_undecided:
                return
            waker.wait(settings.poll_interval_s)

    def _next_offer(self, queues: list[Queue], consumer: Consumer) -> tuple[Offer | None, bool]:
        is_undecided = False
        for queue in queues:
            try:
                look = consumer.next_offer(queue)
            except OSError as error:
                _LOG.warning("looking at queue %s failed: %s", queue.name, error)
                is_undecided = True
                continue
            if look.offer is not None:
                return look.offer, is_undecided
            is_undecided |= look.is_undecided
        return None, is_undecided

    def _run_offer(self, offer: Offer, owner: dict[str, Any], heartbeat: Heartbeat) -> None:
        if self._stop_reason:
            offer.queue.claims.release(offer.claim, "the agent stops")
            return
        settings = JobSettings(
            workdir=self._workdir(), python=self._options.python, grace_s=self._options.grace_s,
            lease_s=self._ctx.settings.lease_s, keep_workspaces=self._options.keep_workspaces,
        )  # fmt: skip
        self._job = Job(
            self._ctx.store, self._gateway, self._executor, self._agents.folder(self.id), offer, owner, settings,
            say=self._say, is_expired=heartbeat.is_expired, stop_wanted=self._wanted_stop, pause=self._pause,
        )  # fmt: skip
        try:
            outcome = self._job.run()
        except OSError as error:  # the lease runs out and another takes the task
            _LOG.error("task %s is given up, as the store takes no writes: %s", offer.entry.task_id, error)
            outcome = LOST
        finally:
            self._job = None
        self.outcomes[outcome] += 1
        self.ran.append((offer.entry.task_id, outcome))

    def _must_leave(self) -> bool:
        self._wanted_stop()
        return bool(self._stop_reason) or self._stops_after_task

    def _wanted_stop(self) -> str:
        moment = time.monotonic()
        if not self._stop_reason and moment >= self._next_look:
            self._next_look = moment + STOP_LOOK_S
            mode = self._agents.stop_requested(self.id)
            if mode == STOP_NOW:
                self._stop_reason = "the agent was asked to stop"
            elif mode:
                self._stops_after_task = True
        return self._stop_reason

    def _pause(self, seconds: float) -> None:
        if self._stop_reason:
            self._wake.clear()
        self._wake.wait(seconds)

    def _open_queues(self) -> list[Queue]:
        if not self._options.queues:
            raise UsageError("an agent needs a queue: give --queue NAME")
        queues = []
        for name in dict.fromkeys(self._options.queues):
            try:
                queues.append(self._ctx.queues.get(name))
            except QueueNotFoundError:
                if not self._options.create_queues:
                    raise
                queues.append(self._ctx.queues.create(name))
        return queues

    def _identify(self) -> dict[str, Any]:
        from localtrack.capture.host import capture_host

        uid = self._ctx.store.root.stat().st_uid
        if os.geteuid() == 0 and uid != 0:
            raise UsageError(
                f"the store {self._ctx.store.root} belongs to uid {uid}: an agent must not run as root there, it would run "
                "that user's code as root; start it as that user"
            )
        host = capture_host()
        return {
            "host": host_name(), "machine": host.machine_id, "boot": host.boot_id, "pid": host.pid,
            "pidns": host.pid_namespace, "start": host.start_token, "user": current_user(),
        }  # fmt: skip

    def _workdir(self) -> Path:
        if self._options.workdir is not None:
            base = self._options.workdir.absolute()
        else:
            import platformdirs

            base = Path(platformdirs.user_cache_dir("localtrack", appauthor=False)) / "workspaces"
        return base / self.id

    def _leave_workdir(self) -> None:
        try:
            self._workdir().rmdir()
        except OSError:
            pass  # there was none, or checkouts of failed tasks stay in it

    def _summary(self) -> str:
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items())) or "no task was run"

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into an orderly stop, where this is the main thread; the handlers before come back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {}

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop(f"the agent got {signal.Signals(number).name}")

        for name in STOP_SIGNALS:
            number = getattr(signal, name)
            previous[number] = signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _subprocess_executor() -> Executor:
    from localtrack.executors.subprocess import SubprocessExecutor

    return SubprocessExecutor()
