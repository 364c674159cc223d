"""Runs the steps of a pipeline in a thread: launches those whose parents have ended, watches them, tells what happens.

Source: the loop of ClearML's PipelineController; docs/how-to/pipelines.md.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from localtrack.automation.job import LocalClearmlJob
from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.node import Node
from localtrack.errors import LocaltrackError
from localtrack.records.status import Status
from localtrack.store.documents import seconds

if TYPE_CHECKING:
    from localtrack.automation.job import BaseJob

LOG = logging.getLogger("localtrack.pipeline")
LOCAL_POLL_S = 0.1
QUEUE_POLL_S = 1.0  # a look at a step reads files, which may lie on a network
ABORT_WAIT_S = 20.0
LEAVE_WAIT_S = 10


class Asked(Protocol):
    """What the engine asks its pipeline."""

    def make_job(self, node: Node) -> BaseJob | None:
        """Return the job of a step; None when the step is to be skipped."""

    def queue_of(self, node: Node) -> str:
        """Return the queue of a step."""

    def may_retry(self, node: Node) -> bool:
        """Tell whether a failed step is to be run once more."""

    def step_changed(self, node: Node, before: str) -> None:
        """Hear that the status of a step has changed."""

    def step_reported(self, node: Node) -> None:
        """Hear that a step reports nothing more; its status is set after that."""

    def step_ended(self, node: Node) -> None:
        """Hear that a step that had a job has ended."""

    def progressed(self) -> None:
        """Hear that something has happened."""

    def steps_run(self, nodes: Sequence[Node]) -> None:
        """Hear which steps run, at each look."""


class Engine:
    """The loop of one pipeline.

    Args:
        nodes: the steps by name; more may come while it runs.
        conductor: the pipeline.
        poll_s: seconds between two looks, at most.
        is_local: whether this machine runs the steps; then looks are cheap, and closer together.
        abort_on_failure: whether a failed step ends the others.
        time_limit_s: seconds for all of it.
        is_open: whether more steps may come, until :meth:`close`.
    """

    def __init__(
        self,
        nodes: dict[str, Node],
        conductor: Asked,
        poll_s: float,
        *,
        is_local: bool = False,
        abort_on_failure: bool = False,
        time_limit_s: float | None = None,
        is_open: bool = False,
    ) -> None:
        self.nodes = nodes
        self.started_at = time.time()
        self.ended_at: float | None = None
        self.stop_reason = ""
        self.error: BaseException | None = None
        self._conductor = conductor
        most_s = LOCAL_POLL_S if is_local else QUEUE_POLL_S
        self._poll_s = min(poll_s, most_s) if poll_s > 0 else most_s
        self._abort_on_failure = abort_on_failure
        self._time_limit_s = time_limit_s
        self._is_open = is_open
        self._leaving: list[BaseJob] = []
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="localtrack-pipeline", daemon=True)

    def start(self) -> None:
        """Start the loop."""
        self._thread.start()

    def add(self, node: Node) -> None:
        """Take one more step."""
        with self._lock:
            self.nodes[node.name] = node
        self._wake.set()

    def close(self) -> None:
        """Say that no more steps come."""
        self._is_open = False
        self._wake.set()

    def stop(self, reason: str) -> None:
        """End the loop: steps that run are aborted, the others skipped."""
        self.stop_reason = self.stop_reason or reason
        self._wake.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the loop; tell whether it has come."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def wait_for(self, node: Node) -> None:
        """Wait for the end of one step."""
        with self._changed:
            while not node.has_ended and self._thread.is_alive():
                self._changed.wait(1.0)

    @property
    def is_running(self) -> bool:
        """Whether the loop runs."""
        return self._thread.is_alive()

    def running(self) -> list[Node]:
        """Return the steps that wait in a queue or run."""
        return [node for node in list(self.nodes.values()) if node.status in (states.QUEUED, states.RUNNING)]

    def _run(self) -> None:
        try:
            while not self.stop_reason:
                self._check_limits()
                with self._lock:
                    # one pass may free the next steps: a skipped or cached one has ended at once
                    while self._look_at_running() | self._launch_ready():
                        self._changed.notify_all()
                        self._conductor.progressed()
                    is_over = not self._is_open and all(node.has_ended for node in self.nodes.values())
                if is_over or self.stop_reason:
                    break
                self._conductor.steps_run(self.running())
                self._wake.wait(self._poll_s)
                self._wake.clear()
        except BaseException as error:  # a thread of its own: whoever waits is told
            self.error = error
            self.stop_reason = self.stop_reason or f"the pipeline failed: {error}"
            LOG.exception("the pipeline ended by an error")
        finally:
            self._end()

    def _check_limits(self) -> None:
        now = time.time()
        if self._time_limit_s and now - self.started_at > self._time_limit_s:
            self.stop(f"the pipeline's time limit of {self._time_limit_s:g} s has passed")
        for node in self.running():
            if node.timeout and node.job_started and now - node.job_started > node.timeout and not node._problem:
                node._problem = f"its time limit of {node.timeout:g} s has passed"
                assert node.job is not None
                node.job.abort()

    def _look_at_running(self) -> bool:
        """Take over what has happened to the jobs; tell whether anything did."""
        has_changed = False
        for node in self.running():
            assert node.job is not None
            status = node.job.status()
            if status == Status.IN_PROGRESS and node.status == states.QUEUED:
                node.job_started = _started(node.job) or time.time()
                self._set(node, states.RUNNING)
                has_changed = True
            elif status not in (Status.CREATED, Status.QUEUED, Status.IN_PROGRESS):
                self._take_end(node, status)
                has_changed = True
        return has_changed

    def _take_end(self, node: Node, status: str) -> None:
        assert node.job is not None
        self._leaving.append(node.job)
        node.job_started = node.job_started or _started(node.job)
        node.job_ended = time.time()
        if status in (Status.COMPLETED, Status.PUBLISHED):
            node.executed = node.job.task_id()
            self._finish(node, states.COMPLETED)
            return
        has_failed = status != Status.STOPPED or bool(node._problem)
        if has_failed and not self.stop_reason and not node._problem and self._conductor.may_retry(node):
            LOG.warning("step %s failed and is run again: %s", node.name, node.job.status_message())
            node.job, node.job_started, node.job_ended = None, None, None
            self._set(node, states.PENDING)
            return
        node._problem = node._problem or node.job.status_message() or f"its task is {status}"
        self._fail(node, states.FAILED if has_failed else states.ABORTED)

    def _fail(self, node: Node, status: str) -> None:
        skips = node.skip_children_on_fail if status == states.FAILED else node.skip_children_on_abort
        node.executed = False if skips or node.job is None else node.job.task_id()
        LOG.warning(
            "step %s %s%s: %s", node.name, status, f", task {node.task_id()}" if node.job else "", node._problem
        )
        self._finish(node, status)
        if self._abort_on_failure and node.fails_pipeline:
            self.stop(f"step {node.name} {status}")

    def _finish(self, node: Node, status: str) -> None:
        """Tell of a step's end before anybody who waits for it goes on."""
        if node.job is not None:
            self._conductor.step_reported(node)
        self._set(node, status)
        if node.job is not None:
            self._conductor.step_ended(node)

    def _launch_ready(self) -> bool:
        has_changed = False
        for node in list(self.nodes.values()):
            if node.status != states.PENDING or self.stop_reason:
                continue
            parents = [self.nodes[name] for name in node.parents if name in self.nodes]
            if any(parent.has_ended and not parent.executed for parent in parents):
                self._skip(node, [parent for parent in parents if parent.has_ended and not parent.executed])
            elif all(parent.has_ended for parent in parents):
                self._launch(node)
            else:
                continue
            has_changed = True
        return has_changed

    def _skip(self, node: Node, because: Sequence[Node]) -> None:
        node.skip_job, node.executed = True, False
        causes = [f"step {one.name} {one.status}: {one._problem}" for one in because if one.status != states.SKIPPED]
        causes += [one._problem for one in because if one.status == states.SKIPPED]
        node._problem = "; ".join(causes)
        self._set(node, states.SKIPPED)

    def _launch(self, node: Node) -> None:
        try:
            job = self._conductor.make_job(node)
            if job is None:
                self._skip(node, [])
                return
            node.job = job
            if job.is_cached_task():
                node.executed = job.task_id()
                LOG.info("step %s is task %s of before", node.name, job.task_id())
                self._finish(node, states.CACHED)
                return
            LOG.info("step %s is task %s", node.name, job.task_id())
            if not node.draft and not job.launch(self._conductor.queue_of(node)):
                node._problem = f"task {job.task_id()} is {job.status()}, no draft: it was not launched"
                self._fail(node, states.FAILED)
                return
        except (LocaltrackError, OSError) as error:
            node._problem = str(error)
            self._fail(node, states.FAILED)
            return
        self._set(node, states.QUEUED)

    def _set(self, node: Node, status: str) -> None:
        before, node.status = node.status, status
        if before != status:
            self._conductor.step_changed(node, before)

    def _end(self) -> None:
        """Abort what runs, skip the rest, and wake everybody."""
        try:
            left = self.running()
            for node in left:
                if node.job is not None:
                    node.job.abort()
            deadline = time.monotonic() + ABORT_WAIT_S
            while self.running() and time.monotonic() < deadline:
                self._look_at_running()
                time.sleep(LOCAL_POLL_S if self.running() else 0.0)
            for node in list(self.nodes.values()):
                if not node.has_ended and node.job is None:
                    self._skip(node, [])
                elif not node.has_ended:
                    node._problem = node._problem or "asked to stop; it had not ended yet when the pipeline did"
                    node.executed = False
                    self._set(node, states.ABORTED)
            self._conductor.progressed()
            for job in self._leaving:
                if isinstance(job, LocalClearmlJob):
                    job.wait_for_process(LEAVE_WAIT_S)  # it may still bring the step's last lines to its console
        except BaseException as error:  # the end must come all the same
            self.error = self.error or error
            LOG.exception("ending the pipeline failed")
        finally:
            self.ended_at = time.time()
            with self._changed:
                self._changed.notify_all()


def _started(job: Any) -> float | None:
    started = job.record().started
    return seconds(started) if started else None
