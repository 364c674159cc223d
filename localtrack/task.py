"""Tasks, under the module's name that ClearML has: ``from clearml.task import Task`` with the first word changed."""

from localtrack import Task
from localtrack.api.task import Artifact
from localtrack.records.status import TaskTypes

__all__ = ["Artifact", "Task", "TaskTypes"]
