"""Names of ClearML that localtrack has no answer for yet: they can be imported, and say so when they are used.

Clients often import more than they use, so an import must not fail.

Source: docs/how-to/switch-from-clearml.md, "What is not there".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localtrack.errors import UnsupportedError

DATASETS = "keep the data in a folder and record its path with Task.connect, or store it with Task.upload_artifact"
WATCHERS = "add_task_trigger of localtrack.automation.TriggerScheduler calls a function for each task that fits"
FILES = "StorageManager copies and lists files by URL"
REPORTERS = "report from a callback of your own, with Task.current_task().get_logger()"
SETTINGS = "localtrack has settings of its own: docs/reference/configuration.md"
SERVER = "there is no server: Task.get_tasks and Task.query_tasks read the store"
CLOUD = "start `localtrack agent start` on the machines that are to run tasks"


class _Refusing(type):
    """Kind of a class that can be named and inherited from, and does nothing else."""

    _instead: str

    def _refuse(cls, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{what} is not supported by localtrack yet; instead, {cls._instead}", instead=cls._instead
        )

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise cls._refuse(f"clearml's {cls.__name__}")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise cls._refuse(f"clearml's {cls.__name__}.{name}")


def unsupported(name: str, instead: str) -> type:
    """Return a class that raises as soon as it is called, or asked for anything.

    Args:
        name: its name in ClearML.
        instead: what to do today, a clause without a full stop.

    Raises:
        UnsupportedError: on use; names the class and what to do.
    """
    return _Refusing(name, (), {"_instead": instead, "__doc__": f"Not supported by localtrack yet: {instead}."})


def unsupported_module(name: str, instead: str) -> Callable[[str], type]:
    """Return the ``__getattr__`` of a module of which nothing is there: any public name can be imported.

    Args:
        name: the module's name.
        instead: what to do today, a clause without a full stop.
    """

    def get(attribute: str) -> type:
        if attribute.startswith("_"):
            raise AttributeError(f"module {name!r}, which is localtrack here, has no attribute {attribute!r}")
        return unsupported(attribute, instead)

    return get
