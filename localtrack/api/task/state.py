"""Section: the life cycle: status, ending, publishing, resetting, deleting.

Source: ClearML's mark_*, reset, publish, delete, wait_for_status.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from localtrack.api.task.handle import Section
from localtrack.errors import IllegalTransitionError, UsageError
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.runtime.exits import Outcome
from localtrack.services import lifecycle, tasks
from localtrack.store.documents import now


class StateSection(Section):
    """Status of a task and its changes."""

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
                return record.with_status(target, at=now(), by=by, reason=reason, message=message, force=force)

            self._edit(change, f"status: {target.value}", checked=False)
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
            logging.getLogger("localtrack").warning("ignored, as asked by ignore_errors: %s", error)

    def mark_stop_request(self, force: bool = False, status_message: str | None = None) -> None:
        """Ask a running task to stop; its own process or its agent does."""
        lifecycle.request_stop(self._ctx, self._id, status_message or "")

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
            logging.getLogger("localtrack").warning("ignored, as asked by ignore_errors: %s", error)

    def reset(self, set_started_on_success: bool = False, force: bool = False) -> None:
        """Make the task a draft again; what its run produced goes to the trash.

        Raises:
            UsageError: this process runs the task.
            IllegalTransitionError: it is published, or its process still lives.
        """
        if self._owned:
            raise UsageError(f"task {self._id} is run by this process: close() it before you reset it")
        lifecycle.reset(self._ctx, self._id, force=force)
        self._folder = tasks.folder_of(self._ctx, self._id)
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

        Returns:
            True.
        """
        if self._session is not None and not self._session.closed:
            self._session.writer.scalars.drain()
            self._session.writer.scalars.sync()
            self._session.writer.console.sync()
        return True

    def wait_for_status(
        self,
        status: Iterable[str | Status] = (Status.COMPLETED, Status.STOPPED, Status.CLOSED),
        raise_on_status: Iterable[str | Status] | None = (Status.FAILED,),
        check_interval_sec: float = 60.0,
    ) -> None:
        """Wait until the task has one of the states.

        Raises:
            RuntimeError: it has one of ``raise_on_status``.
        """
        wanted, bad = {str(s) for s in status}, {str(s) for s in raise_on_status or ()}
        while True:
            record = self._read()
            if record.status in wanted:
                return
            if record.status in bad:
                raise RuntimeError(
                    f"task {self._id} is {record.status}: {record.status_message or record.status_reason}"
                )
            time.sleep(check_interval_sec)

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
