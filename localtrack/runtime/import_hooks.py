"""Tells of modules as soon as they have been imported, through one finder on ``sys.meta_path``.

The module itself sees nothing of it: while its code runs, and ever after, its ``__spec__`` and ``__loader__`` are those
that the import system would have given it.

Source: PEP 302 and PEP 451; the Python library reference, importlib.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Told = Callable[[ModuleType], None]


class PostImportHook:
    """Calls a function with each watched module right after its code has run; also when it is reloaded.

    The call happens in the importing thread, while the import system still holds the lock of that one module.

    Args:
        told: gets the module; must not raise.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._watched: frozenset[str] = frozenset()
        self._asked = threading.local()

    def install(self) -> None:
        """Go first on ``sys.meta_path``."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave ``sys.meta_path``; an import that is under way still ends as it began, and tells nobody."""
        self._watched = frozenset()
        try:
            sys.meta_path.remove(self)
        except ValueError:
            pass

    def watch(self, names: Iterable[str]) -> None:
        """Add modules to watch, by their full names."""
        self._watched |= frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders give for a watched module, with a loader that tells; else None."""
        if name not in self._watched or name in self._being_asked():
            return None
        self._being_asked().add(name)
        try:
            spec = self._ask_others(name, path, target)
        finally:
            self._being_asked().discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            telling: Any = _TellingLoader(spec.loader, self._tell)
            spec.loader = telling
        return spec

    def _being_asked(self) -> set[str]:
        try:
            names: set[str] = self._asked.names
        except AttributeError:
            names = self._asked.names = set()
        return names

    def _ask_others(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _tell(self, module: ModuleType) -> None:
        if getattr(module, "__name__", None) in self._watched:
            self._told(module)


class _TellingLoader:
    """Stands in for a loader from the moment the module is found until its code runs.

    Whoever looks at it in between, such as ``importlib.util.find_spec``'s callers, meets the loader behind it.
    """

    def __init__(self, loader: Any, tell: Told) -> None:
        self._loader = loader
        self._tell = tell

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create is not None else None

    def exec_module(self, module: ModuleType) -> None:
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.loader is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._tell(module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __reduce__(self) -> Any:
        return (_unchanged, (self._loader,))


def _unchanged(loader: Any) -> Any:
    return loader
