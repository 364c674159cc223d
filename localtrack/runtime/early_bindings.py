"""Feeds the stored arguments into parsers that run before ``Task.init``, in a process that an agent started.

Source: docs/how-to/agent.md; ClearML patches its parsers when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType

from localtrack.runtime.binding_context import BindingContext, Undo
from localtrack.runtime.binding_registry import ARGUMENT_PARSERS, BUILT_IN, BindingSpec
from localtrack.runtime.import_hooks import PostImportHook

_active: EarlyBindings | None = None


class EarlyBindings:
    """The bindings of argument parsers, as long as there is no run.

    Args:
        specs: which there are.
    """

    def __init__(self, specs: Iterable[BindingSpec] = BUILT_IN) -> None:
        self._specs: dict[str, list[BindingSpec]] = {}
        for spec in specs:
            if ARGUMENT_PARSERS in spec.frameworks:
                for module in spec.modules:
                    self._specs.setdefault(module, []).append(spec)
        self._hook = PostImportHook(self._bind)
        self._undo: list[Undo] = []

    def install(self) -> None:
        """Bind what is imported already, and watch for the rest."""
        self._hook.watch(self._specs)
        self._hook.install()
        for name in self._specs:
            if name in sys.modules:
                self._bind(sys.modules[name])

    def remove(self) -> None:
        """Take all of them off."""
        self._hook.remove()
        while self._undo:
            self._undo.pop()()

    def _bind(self, module: ModuleType) -> None:
        for spec in self._specs.get(module.__name__, ()):
            context = BindingContext(spec.name, module, remote=True, failed=_say, find=lambda: None)
            self._undo.append(context.patch.undo)
            try:
                spec.load()(context)
            except Exception as error:  # the binding border: the user's import goes on
                context.patch.undo()
                _say(spec.name, "install", error)


def start_early_bindings() -> None:
    """Put them on."""
    global _active
    stop_early_bindings()
    _active = EarlyBindings()
    _active.install()


def stop_early_bindings() -> None:
    """Take them off: the run's own follow."""
    global _active
    if _active is not None:
        _active.remove()
        _active = None


def _say(name: str, place: str, error: Exception) -> None:
    sys.stderr.write(f"localtrack: binding {name}, {place}: {type(error).__name__}: {error}. The script goes on.\n")
