"""localtrack: the ClearML Task experience in a folder. No server, no daemon, no database.

``from localtrack import Task, Logger, TaskTypes`` loads the facade; ``import localtrack`` alone loads nothing, starts
nothing and patches nothing, except in a process that an agent started: there it feeds the stored arguments into the
parser, since the script may parse before it calls ``Task.init``. With ``Task`` the name ``localtrack`` becomes known to
transformers' ``report_to``, once that is imported, and what argument parsers parse from then on is kept for ``Task.init``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.api.logger import Logger
    from localtrack.api.model import InputModel, Model, OutputModel
    from localtrack.api.storage import StorageManager
    from localtrack.api.task import Task
    from localtrack.automation.pipelines import PipelineController, PipelineDecorator
    from localtrack.records.status import TaskTypes
    from localtrack.runtime.as_clearml import use_as_clearml

__version__ = "0.1.0"
__all__ = [
    "InputModel", "Logger", "Model", "OutputModel", "PipelineController", "PipelineDecorator", "StorageManager", "Task",
    "TaskTypes", "__version__", "use_as_clearml",
]  # fmt: skip

_HOMES = {
    "Task": "localtrack.api.task",
    "Logger": "localtrack.api.logger",
    "Model": "localtrack.api.model",
    "InputModel": "localtrack.api.model",
    "OutputModel": "localtrack.api.model",
    "PipelineController": "localtrack.automation.pipelines.controller",
    "PipelineDecorator": "localtrack.automation.pipelines.decorator",
    "StorageManager": "localtrack.api.storage",
    "TaskTypes": "localtrack.records.status",
    "use_as_clearml": "localtrack.runtime.as_clearml",
    "Dataset": "localtrack.compat.datasets",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'localtrack' has no attribute {name!r}")
    value = getattr(_load(home), name)
    globals()[name] = value
    if name == "Task":
        _load("localtrack.integrations.report_to").install()
        _load("localtrack.runtime.early_parses").install()
        _load("localtrack.runtime.early_parsers").install()
    return value


def _load(module: str) -> Any:
    """Import a module without collecting garbage meanwhile: it would be looked for 25 times, and there is none."""
    import gc
    import importlib

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if was_enabled:
            gc.enable()


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("LOCALTRACK_TASK_ID") and not os.environ.get("LOCALTRACK_PARENT"):
    from localtrack.runtime.arguments import install_early as _install_early

    _install_early(os.environ["LOCALTRACK_TASK_ID"])
