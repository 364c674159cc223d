"""Section: the life cycle: status, ending, publishing, resetting, deleting.

Source: ClearML's mark_*, reset, publish, delete, wait_for_status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from localtrack.api.task.handle import Section
from localtrack.errors import IllegalTransitionError, InvalidValueError, UsageError
from localtrack.records.late import late_logger
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.status import TaskStatusEnum as _TaskStatusEnum
from localtrack.records.task import TaskRecord
from localtrack.runtime.aborting import ABORT_TIMEOUT_KEY
from localtrack.runtime.exits import Outcome
from localtrack.runtime.ownership import OWNER
from localtrack.services import lifecycle, tasks
from localtrack.store.documents import now

LOG = late_logger()


class StateSection(Section):
    """Status of a task and its changes."""

    TaskStatusEnum = _TaskStatusEnum
    DeleteError = UsageError

    @property
    def status(self) -> str:
        """The status; a run whose process died reads as ``failed``."""
        return self._read().status

    @property
    def task_status(self) -> str:
        """The same as :attr:`status`."""
        return self.status

    def get_status(self) -> str:
        """Return the status; a run whose process died reads as ``failed``."""
        return self.status

    def get_status_message(self) -> str | None:
        """Return what the last status change said."""
        return self._read().status_message or None

    @property
    def status_history(self) -> list[dict[str, Any]]:
        """Status changes, oldest first: ``from, to, at, by, reason, message``."""
        return [dict(change) for change in self._read().history]

    def _mark(self, target: Status, force: bool, reason: str, message: str) -> None:
        if self._owned:
            by = f"{self._ctx.author.user}@{self._ctx.author.host}"

            def change(record: TaskRecord) -> TaskRecord:
                changed = record.with_status(target, at=now(), by=by, reason=reason, message=message, force=force)
                return lifecycle.published_if_wished(changed, by)

            lifecycle.with_models_published(self._ctx, self._edit(change, f"status: {target.value}", checked=False))
            return
        lifecycle.change_status(
            self._ctx, self._id, target, reason=reason, message=message, force=force, folder=self._where()
        )

    def mark_started(self, force: bool = False) -> None:
        """Set the status to in_progress."""
        self._mark(Status.IN_PROGRESS, force, "", "")

    def started(self, ignore_errors: bool = True, force: bool = False) -> None:
        """Set the status to in_progress; an illegal change is ignored when asked."""
        try:
            self.mark_started(force)
        except IllegalTransitionError:
            if not ignore_errors:
                raise

    def mark_stopped(self, force: bool = False, status_message: str | None = None) -> None:
        """Set the status to stopped. The process goes on."""
        self._mark(Status.STOPPED, force, "", status_message or "")

    def stopped(
        self,
        ignore_errors: bool = True,
        force: bool = False,
        status_reason: str | None = None,
        status_message: str | None = None,
    ) -> None:
        """Set the status to stopped; an illegal change is ignored when asked."""
        self._lenient(Status.STOPPED, ignore_errors, force, status_reason, status_message)

    def mark_completed(
        self, ignore_errors: bool = True, status_message: str | None = None, force: bool = False
    ) -> None:
        """Set the status to completed. The process goes on, unlike with ClearML."""
        self._lenient(Status.COMPLETED, ignore_errors, force, None, status_message)

    def completed(self, ignore_errors: bool = True) -> None:
        """Set the status to completed."""
        self.mark_completed(ignore_errors)

    def mark_failed(
        self,
        ignore_errors: bool = True,
        status_reason: str | None = None,
        status_message: str | None = None,
        force: bool = False,
    ) -> None:
        """Set the status to failed. The process goes on."""
        self._lenient(Status.FAILED, ignore_errors, force, status_reason, status_message)

    def failed(
        self,
        ignore_errors: bool = True,
        force: bool = False,
        status_reason: str | None = None,
        status_message: str | None = None,
    ) -> None:
        """Set the status to failed."""
        self._lenient(Status.FAILED, ignore_errors, force, status_reason, status_message)

    def _lenient(self, target: Status, ignore: bool, force: bool, reason: str | None, message: str | None) -> None:
        try:
            self._mark(target, force, reason or "", message or "")
        except IllegalTransitionError as error:
            if not ignore:
                raise
            LOG.warning("ignored, as asked by ignore_errors: %s", error)

    def mark_stop_request(self, force: bool = False, status_message: str | None = None) -> None:
        """Ask a running task to stop; its own process or its agent does."""
        lifecycle.request_stop(self._ctx, self._id, status_message or "")

    def stop_request(self, ignore_errors: bool = True, force: bool = False, status_message: str | None = None) -> None:
        """Ask a running task to stop: its own process, or its agent, does within seconds.

        Args:
            ignore_errors: whether a task that does not run is passed over.
            force: kept for ClearML's signature.
            status_message: what the status will say.

        Raises:
            UsageError: it does not run, and errors are not ignored.
        """
        try:
            lifecycle.request_stop(self._ctx, self._id, status_message or "")
        except UsageError as error:
            if not ignore_errors:
                raise
            LOG.warning("ignored, as asked by ignore_errors: %s", error)

    def register_abort_callback(
        self, callback_function: Callable[[], object] | None, callback_execution_timeout: float = 30.0
    ) -> None:
        """Call a function when this run is aborted from outside, before its process is stopped.

        It is called once, in a thread of its own, on ``localtrack abort``, when the agent stops, and on SIGTERM; not
        on Ctrl-C. Meanwhile the script goes on. Of a distributed launch only rank 0 calls it: the other ranks live on
        meanwhile, and take part in what it does.

        Args:
            callback_function: the function; None takes the one before away.
            callback_execution_timeout: seconds after which the process is stopped whether or not it has returned.

        Raises:
            UsageError: this process does not run the task.
            InvalidValueError: a timeout that is not positive.
        """
        session = self._session
        if session is not None and session.follows:
            return  # rank zero is asked to stop, and calls its own
        if session is None or session.closed or session.role != OWNER:
            raise UsageError(
                f"task {self._id}: the process that runs it registers the abort callback", task_id=self._id
            )
        timeout_s = float(callback_execution_timeout)
        if callback_function is not None and timeout_s <= 0:
            raise InvalidValueError(f"callback_execution_timeout must be positive, not {timeout_s:g}")
        session.abort.register(callback_function, timeout_s)
        wanted = {} if callback_function is None else {ABORT_TIMEOUT_KEY: timeout_s}

        def change(record: TaskRecord) -> TaskRecord:
            runtime = {key: value for key, value in record.runtime.items() if key != ABORT_TIMEOUT_KEY}
            return replace(record, runtime={**runtime, **wanted})

        self._edit(change, "abort callback", checked=False)

    def publish_on_completion(self, enable: bool = True) -> None:
        """Publish the task as soon as it is completed."""
        self._edit(lambda record: lifecycle.with_publication(record, enable), "publish on completion", checked=False)

    def publish(self, ignore_errors: bool = True) -> None:
        """Publish an ended task: it can be neither reset nor deleted any more.

        Raises:
            IllegalTransitionError: it has not ended, and errors are not ignored.
        """
        try:
            lifecycle.publish(self._ctx, self._id)
        except IllegalTransitionError as error:
            if not ignore_errors:
                raise
            LOG.warning("ignored, as asked by ignore_errors: %s", error)

    def reset(self, set_started_on_success: bool = False, force: bool = False) -> None:
        """Make the task a draft again; what its run produced goes to the trash.

        Raises:
            UsageError: this process runs the task.
            IllegalTransitionError: it is published, or its process still lives.
        """
        if self._owned:
            raise UsageError(f"task {self._id} is run by this process: close() it before you reset it")
        lifecycle.reset(self._ctx, self._id, force=force)
        self._place = tasks.folder_of(self._ctx, self._id)
        if set_started_on_success:
            self.mark_started()

    def delete(
        self,
        delete_artifacts_and_models: bool = True,
        skip_models_used_by_other_tasks: bool = True,
        raise_on_error: bool = False,
        callback: Callable[[str, str], bool] | None = None,
    ) -> bool:
        """Move the task with all its files to the trash, from where ``localtrack restore`` brings it back.

        Returns:
            True.

        Raises:
            UsageError: it is published or runs.
        """
        if self._owned:
            raise UsageError(f"task {self._id} is run by this process: close() it before you delete it")
        tasks.delete(self._ctx, self._id)
        return True

    def close(self) -> None:
        """End this process's run of the task: all is written when it returns. Calling it again does nothing."""
        from localtrack.runtime import current

        session = self._session
        if session is None or session.closed:
            return
        session.close(Outcome("completed", 0))
        if current.get() is None:
            current.put(None)

    def flush(self, wait_for_uploads: bool = False) -> bool:
        """Bring everything reported so far to the medium.

        Args:
            wait_for_uploads: wait for uploads in the background as well.

        Returns:
            True.
        """
        if self._session is not None and not self._session.closed:
            self._session.settle()
            self._session.writer.scalars.drain()
            self._session.writer.scalars.sync()
            self._session.writer.console.sync()
        if wait_for_uploads:
            from localtrack.services import uploads

            uploads.wait_for_uploads()
        return True

    def wait_for_status(
        self,
        status: Iterable[str] | str = (Status.COMPLETED, Status.STOPPED, Status.CLOSED),
        raise_on_status: Iterable[str] | str | None = (Status.FAILED,),
        check_interval_sec: float = 60.0,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Wait until the task has one of the states.

        Args:
            status: the states to wait for, or the one.
            raise_on_status: states that are a failure, or the one.
            check_interval_sec: seconds between two looks.
            timeout_s: how long to wait at most; without end when None.

        Raises:
            RuntimeError: it has one of ``raise_on_status``.
            TimeoutError: it had none of them in time.
            InvalidValueError: there is no such state.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wanted, bad = _states(status), _states(raise_on_status or ())
        while True:
            record = self._read()
            if record.status in wanted:
                return
            if record.status in bad:
                raise RuntimeError(
                    f"task {self._id} is {record.status}: {record.status_message or record.status_reason}"
                )
            left = check_interval_sec if deadline is None else min(check_interval_sec, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"task {self._id} is still {record.status} after {timeout_s:g} s")
            time.sleep(left)

    def set_progress(self, progress: float) -> None:
        """Set how far the run is, 0 to 100."""
        value = min(100.0, max(0.0, float(progress)))
        self._edit(lambda record: replace(record, progress=value), "progress", checked=False)

    def get_progress(self) -> float | None:
        """Return how far the run is, 0 to 100; None when it never said."""
        return self._read().progress

    @property
    def capture_errors(self) -> Sequence[str]:
        """What could not be captured of this run."""
        return self._read().errors


def _states(given: Iterable[str] | str) -> set[str]:
    """Return states by their names.

    Raises:
        InvalidValueError: there is no such state, for which one would wait without end.
    """
    names = {str(one) for one in ((given,) if isinstance(given, str) else given)}
    unknown = names - {str(one) for one in _TaskStatusEnum}
    if unknown:
        raise InvalidValueError(f"no status {min(unknown)!r}: use one of {', '.join(map(str, _TaskStatusEnum))}")
    return names
