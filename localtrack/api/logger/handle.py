"""What every section of the logger works on: one task, and the writer of this process's reports to it.

Source: docs/reference/logger.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localtrack.runtime.session import Session
from localtrack.runtime.writer import TaskWriter
from localtrack.services.recording import Place, Recorder

if TYPE_CHECKING:
    from localtrack.api.task.reports import ReportsSection


class LoggerSection:
    """Base of the logger's sections.

    Args:
        task: the task's facade.
        previous: the logger of an earlier run of the task in this process, whose settings go on.
    """

    def __init__(self, task: ReportsSection, previous: LoggerSection | None = None) -> None:
        self._task = task
        session = task._session
        self._writer: TaskWriter | None = session.writer if session is not None else None
        self._destination: str = previous._destination if previous is not None else ""
        self._history: int = previous._history if previous is not None else 0
        self._flush_period: float | None = previous._flush_period if previous is not None else None

    def _open_writer(self) -> TaskWriter:
        """Return a writer for a task that this process does not run: reports may be added to any unpublished task."""
        from localtrack.api.adopt import late_writer

        self._writer = late_writer(self._task)
        return self._writer

    def _run(self) -> Session:
        """Return the session that the reports go through, opening one where this process runs none of the task."""
        if self._writer is None or self._task._session is None:
            self._open_writer()
        session = self._task._session
        assert session is not None  # opening a writer makes one
        return session

    @property
    def _recorder(self) -> Recorder:
        return self._run().recorder

    def _place(self, title: str, series: str, iteration: int | None) -> Place:
        return Place(str(title), str(series), int(iteration or 0) + self._task._iteration_offset)
