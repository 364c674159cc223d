"""Tasks."""

from localtrack.api.task import Artifact, Task
from localtrack.records.status import TaskTypes

__all__ = ["Artifact", "Task", "TaskTypes"]
