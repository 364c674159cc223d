"""Changes of the running task's metadata that wait when the disk takes none: the script never sees the disk's error.

Source: docs/explanation/runs.md, "When the disk fails".
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from localtrack.errors import CorruptFileError, LocaltrackError, LostClaimError, StoreError, TaskNotFoundError
from localtrack.records.plain import dataclass
from localtrack.records.task import TaskRecord
from localtrack.runtime.writer import TaskWriter
from localtrack.services import tasks

PENDING_LIMIT = 10_000

Change = Callable[[TaskRecord], TaskRecord]


@dataclass(frozen=True, slots=True)
class _Edit:
    change: Change
    label: str
    checked: bool


class PatientEdits:
    """Commits changes of the task that this process runs, and keeps those that the disk refuses.

    Args:
        writer: the run's writer: knows the store and the task, and says what goes wrong.
        record: the task as it was at the start.
        check: raises ``LostClaimError`` when this process must not change the task any more.
    """

    def __init__(self, writer: TaskWriter, record: TaskRecord, check: Callable[[TaskRecord], None]) -> None:
        self._check = check
        self._writer = writer
        self._known = record
        self._pending: list[_Edit] = []
        self._actions: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def know(self, record: TaskRecord) -> None:
        """Take a record as the task's latest."""
        self._known = record

    @property
    def known(self) -> TaskRecord:
        """The task as this process knows it: as it was at the start, with what was changed here since."""
        return self._known

    def commit(self, change: Change, label: str, *, checked: bool = True) -> TaskRecord:
        """Commit a change, behind those that wait.

        Returns:
            The task as it is, or as it will be once the disk takes writes again.

        Raises:
            LocaltrackError: misuse, such as a field that may not change now; never the disk's state.
        """
        with self._lock:
            edit = _Edit(change, label, checked)
            if self._pending and not self.retry():
                return self._keep(edit)
            try:
                self._known = self._apply(edit)
            except LostClaimError as error:
                self._writer.say_once("claim", str(error))
                return self._known
            except (StoreError, TaskNotFoundError, CorruptFileError, OSError) as error:
                self._say(error)
                return self._keep(edit)
            return self._known

    def retry(self) -> bool:
        """Try to commit what waits; True when nothing waits any more."""
        with self._lock:
            while self._pending:
                try:
                    self._known = self._apply(self._pending[0])
                except LostClaimError:
                    self._pending.clear()
                    return True
                except (StoreError, TaskNotFoundError, CorruptFileError, OSError):
                    return False
                except LocaltrackError as error:  # it may not change any more, as a change that waited before it says
                    self._writer.say_once(f"edit-{self._pending[0].label}", f"a change that waited is void: {error}")
                del self._pending[0]
            while self._actions:
                try:
                    self._actions[0]()
                except OSError:
                    return False
                del self._actions[0]
            return True

    def _apply(self, edit: _Edit) -> TaskRecord:
        writer = self._writer

        def fenced(record: TaskRecord) -> TaskRecord:
            self._check(record)
            return edit.change(record)

        return tasks.edit(
            writer.ctx, writer.task_id, fenced, edit.label,
            by_owner=True, folder=writer.folder, checked=edit.checked,
        )  # fmt: skip

    def _keep(self, edit: _Edit) -> TaskRecord:
        if len(self._pending) < PENDING_LIMIT:
            self._pending.append(edit)
        else:
            self._writer.say_once("edits", f"more than {PENDING_LIMIT} changes wait for the disk: later ones are lost")
        try:
            self._known = edit.change(self._known)
        except OSError:
            pass  # a change that writes a file as well: it is only known once the disk takes it
        return self._known

    def later(self, action: Callable[[], object]) -> None:
        """Keep a write that the disk refused, to be tried again; bounded in number."""
        with self._lock:
            if len(self._actions) < PENDING_LIMIT:
                self._actions.append(action)
            else:
                self._writer.say_once(
                    "reports", f"more than {PENDING_LIMIT} reports wait for the disk: later ones are lost"
                )

    def finish(self) -> None:
        """Try once more at the end of the run, and say what the disk did not take."""
        if not self.retry():
            counts = ((len(self._pending), "changes"), (len(self._actions), "plots and media"))
            lost = " and ".join(f"{count} {what}" for count, what in counts if count)
            self._writer.say_once("lost-edits", f"{lost} of the task could not be written: the disk took no more.")

    def _say(self, error: Exception) -> None:
        if isinstance(error, TaskNotFoundError):
            self._writer.say_gone()
        else:
            cause = error if isinstance(error, OSError) and error.errno else error.__cause__
            number = (
                cause.errno if isinstance(cause, OSError) else None
            )  # the writer tells of each kind of trouble once
            key = f"writing-{number}" if number else "edit"
            self._writer.say_once(key, f"{error}. The script goes on; the change is kept and tried again.")
