"""Modules that are named at the top of a file, and loaded when a call needs them.

Source: docs/explanation/performance.md, "Why it costs what it costs".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging


class LateModule:
    """Stands for a module; asking it for a name imports the module, once.

    Args:
        name: the module's full name.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"<late module {self._name!r}>"


class _LateLogger:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        import logging

        return getattr(logging.getLogger(self._name), attribute)


def late_logger(name: str = "localtrack") -> logging.Logger:
    """Return what acts as the logger of that name; :mod:`logging` is imported when something is logged."""
    logger: Any = _LateLogger(name)
    return logger  # type: ignore[no-any-return]
