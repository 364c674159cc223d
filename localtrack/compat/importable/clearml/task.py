"""Tasks."""

from localtrack import Task
from localtrack.api.task import Artifact
from localtrack.records.status import TaskTypes

__all__ = ["Artifact", "Task", "TaskTypes"]
