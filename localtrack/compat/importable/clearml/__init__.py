"""localtrack under the name ``clearml``, for programs that import that name.

Source: docs/how-to/switch-from-clearml.md.
"""

import importlib
import os
import sys

_HOMES = {
    "Task": "clearml.task",
    "TaskTypes": "clearml.task",
    "Logger": "clearml.logger",
    "Model": "clearml.model",
    "InputModel": "clearml.model",
    "OutputModel": "clearml.model",
    "StorageManager": "clearml.storage",
    "UsageError": "clearml.errors",
    "Dataset": "clearml.datasets",
    "PipelineController": "clearml.automation.controller",
    "PipelineDecorator": "clearml.automation.controller",
    "browser_login": "clearml.backend_api",
    **dict.fromkeys(
        (
            "HyperDataset", "HyperDatasetManagement", "HyperDatasetQuery", "DataView", "DataEntry", "DataEntryImage",
            "DataSubEntry", "DataSubEntryImage",
        ),
        "clearml.hyperdatasets",
    ),
}  # fmt: skip
_MODULES = (
    "automation", "backend_api", "backend_interface", "binding", "config", "datasets", "errors", "hyperdatasets", "logger",
    "model", "storage", "task", "task_parameters", "utilities", "version",
)  # fmt: skip


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"clearml.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'clearml', which is localtrack here, has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted({*globals(), *_HOMES, *_MODULES})


def _give_way():
    """Another Python was started with our folder in PYTHONPATH, and has no localtrack: what it finds itself counts."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != ours]
    del sys.modules["clearml"]
    importlib.invalidate_caches()
    importlib.import_module("clearml")


try:
    import localtrack  # noqa: F401
except ModuleNotFoundError:
    _give_way()
else:
    from clearml.version import __version__

    __all__ = ["__version__", *_HOMES]  # noqa: PLE0604
