"""What every section of the facade works on: one task, in one store, perhaps run by this very process.

Source: docs/reference/task.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from localtrack.fs.disk import refresh_names
from localtrack.records.task import TaskRecord
from localtrack.runtime.session import Session
from localtrack.services import tasks
from localtrack.services.context import StoreContext


class Section:
    """Base of the facade's sections: the handle and nothing else."""

    _ctx: StoreContext
    _id: str
    _place: Path | str
    _session: Session | None
    _iteration_offset: int

    def _bind(self, ctx: StoreContext, task_id: str, folder: Path | str, session: Session | None = None) -> None:
        self._ctx = ctx
        self._id = task_id
        self._place = folder  # a text where thousands of tasks are listed: making paths of all would take longer
        self._session = session
        self._iteration_offset = 0

    @property
    def _owned(self) -> bool:
        """Whether this process runs the task now."""
        return self._session is not None and not self._session.closed

    def _where(self) -> Path:
        """Return the task's folder, also after it was moved."""
        if self._session is not None and self._owned:
            self._session.settle()
            return self._session.writer.folder  # its writer notices when it goes, and says so
        folder = self._place if isinstance(self._place, Path) else Path(self._place)
        refresh_names(folder.parent)  # another host may have moved the folder
        if not (folder / "task").is_dir():
            folder = tasks.folder_of(self._ctx, self._id)
        self._place = folder
        return folder

    def _read(self) -> TaskRecord:
        return tasks.read(self._ctx, self._id, self._where())

    def _edit(self, change: Callable[[TaskRecord], TaskRecord], label: str, *, checked: bool = True) -> TaskRecord:
        if self._session is not None and self._owned:
            return self._session.update(change, label, checked=checked)
        return tasks.edit(self._ctx, self._id, change, label, folder=self._where(), checked=checked)
