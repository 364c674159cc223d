"""Reports to a task that this process does not run: a later evaluation adds its points to an ended task.

Source: docs/how-to/report-later.md; clearml issue 1364, in which offline tasks could not be continued.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from localtrack.errors import UsageError
from localtrack.records.status import Status
from localtrack.runtime.ownership import CHILD
from localtrack.runtime.session import Session, SessionOptions

if TYPE_CHECKING:
    from localtrack.api.task.handle import Section
    from localtrack.runtime.writer import TaskWriter


def late_writer(task: Section) -> TaskWriter:
    """Return a writer that adds to the task's outputs and leaves its status alone; it closes with the process.

    Raises:
        UsageError: the task is published.
    """
    record = task._read()
    if record.state is Status.PUBLISHED:
        raise UsageError(f"task {task._id} is published: nothing can be reported to it any more")
    options = SessionOptions(arguments=False, streams={})
    session = Session(task._ctx, record, task._where(), CHILD, options)
    session.start(None)
    task._session = session
    atexit.register(session.close)
    return session.writer
