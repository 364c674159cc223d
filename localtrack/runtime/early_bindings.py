"""The bindings of argument parsers, as long as there is no run: they feed what an agent's task has stored, and what is
parsed waits for ``Task.init``.

Source: docs/how-to/agent.md; docs/decisions/0014-early-parses-are-kept.md; ClearML patches its parsers when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from localtrack.runtime.binding_context import BindingContext, Undo
from localtrack.runtime.binding_registry import ARGUMENT_PARSERS, BUILT_IN, BindingSpec
from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    from localtrack.records.parameters import Entry

#: Which binding failed, where and how.
Failure = tuple[str, str, Exception]

_active: EarlyBindings | None = None
_entries: dict[str, dict[str, Entry]] = {}  # by the binding that they come from
_hidden: set[str] = set()


class EarlyBindings:
    """The bindings of argument parsers, as long as there is no run.

    Args:
        specs: which there are.
        remote: an agent started this process; failures are said at once then, as the run may never know of them.

    Attributes:
        failures: what failed, for the run to say.
    """

    def __init__(self, specs: Iterable[BindingSpec] = BUILT_IN, *, remote: bool = True) -> None:
        self.failures: list[Failure] = []
        self._remote = remote
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
            context = BindingContext(spec.name, module, remote=self._remote, failed=self._failed, find=lambda: None)
            self._undo.append(context.patch.undo)
            try:
                spec.load()(context)
            except Exception as error:  # the binding border: the user's import goes on
                context.patch.undo()
                self._failed(spec.name, "install", error)

    def _failed(self, name: str, place: str, error: Exception) -> None:
        if self._remote:
            _say(name, place, error)
        elif all((name, place) != known[:2] for known in self.failures):
            self.failures.append((name, place, error))


def start_early_bindings(names: Iterable[str] | None = None) -> None:
    """Put them on.

    Args:
        names: of those that only keep what is parsed for ``Task.init``; None for all of them, in a process of an agent's.
    """
    global _active
    stop_early_bindings()
    chosen = BUILT_IN if names is None else [spec for spec in BUILT_IN if spec.name in names]
    _active = EarlyBindings(chosen, remote=names is None)
    _active.install()


def stop_early_bindings() -> list[Failure]:
    """Take them off, as the run's own follow; return what failed and was not said."""
    global _active
    active, _active = _active, None
    if active is None:
        return []
    active.remove()
    return active.failures


def keep(binding: str, entries: dict[str, Entry]) -> None:
    """Let what was parsed wait for the run."""
    _entries.setdefault(binding, {}).update(entries)


def keep_hidden(options: Iterable[str]) -> None:
    """Let the options whose value is typed unseen wait for the run."""
    _hidden.update(options)


def take(binding: str) -> dict[str, Entry]:
    """Return, once, what a binding has parsed before there was a run."""
    return _entries.pop(binding, {})


def take_hidden() -> set[str]:
    """Return, once, the options whose value is typed unseen."""
    found = set(_hidden)
    _hidden.clear()
    return found


def forget() -> None:
    """Drop what waits: nobody wants it."""
    _entries.clear()
    _hidden.clear()


def _say(name: str, place: str, error: Exception) -> None:
    sys.stderr.write(f"localtrack: binding {name}, {place}: {type(error).__name__}: {error}. The script goes on.\n")
