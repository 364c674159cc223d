"""The ``Task``: sections of ClearML's surface over one handle.

Source: ClearML's Task; docs/reference/task.md.
"""

from __future__ import annotations

from localtrack.api.task.artifacts import Artifact, Artifacts, ArtifactsSection
from localtrack.api.task.cloud import CloudSection
from localtrack.api.task.entry import EntrySection
from localtrack.api.task.execution import ExecutionSection
from localtrack.api.task.identity import IdentitySection
from localtrack.api.task.parameters import ParametersSection
from localtrack.api.task.reports import ReportsSection
from localtrack.api.task.script import ScriptSection
from localtrack.api.task.serverless import ServerlessSection
from localtrack.api.task.state import StateSection
from localtrack.api.task.transfer import TransferSection

__all__ = ["Artifact", "Artifacts", "Task"]


class Task(
    EntrySection,
    StateSection,
    IdentitySection,
    ParametersSection,
    ArtifactsSection,
    CloudSection,
    ReportsSection,
    ScriptSection,
    ExecutionSection,
    TransferSection,
    ServerlessSection,
):
    """One run, or a plan of one: what it was given, what it did, what it made.

    Made by :meth:`Task.init`, :meth:`Task.get_task`, :meth:`Task.create` and :meth:`Task.clone`, never by its
    constructor.
    """

    def __repr__(self) -> str:
        return f"Task({self._id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and other._id == self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _unpickle, (self._id,)


def _unpickle(task_id: str) -> Task | None:
    return Task.get_task(task_id=task_id)
