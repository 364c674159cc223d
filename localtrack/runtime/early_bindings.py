"""The bindings of argument parsers, as long as there is no run: they feed what an agent's task has stored, and what is
parsed waits for ``Task.init``.

Source: docs/how-to/agent.md; docs/decisions/0014-early-parses-are-kept.md; ClearML patches its parsers when it is imported.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from localtrack.runtime.binding_context import BindingContext, Undo
from localtrack.runtime.binding_registry import ARGUMENT_PARSERS, BUILT_IN, BindingSpec
from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    from localtrack.records.parameters import Entry

#: Which binding failed, where and how; no exception, which would hold the script's objects.
Failure = tuple[str, str, str]

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
        self._hook = PostImportHook(lambda module: self._bind(module.__name__, module))
        self._undo: list[Undo] = []

    def load(self) -> None:
        """Import the bindings of what is imported already, which takes longer than to put them on."""
        for name, specs in self._specs.items():
            if sys.modules.get(name) is not None:
                for spec in specs:
                    with contextlib.suppress(Exception):  # it is met again, and said, when they are put on
                        spec.load()

    def install(self) -> None:
        """Bind what is imported already, and watch for the rest."""
        self._hook.watch(self._specs)
        self._hook.install()
        for name in self._specs:
            module = sys.modules.get(name)  # None: somebody keeps it from being imported
            if module is not None:
                self._bind(name, module)

    def remove(self) -> None:
        """Take all of them off."""
        self._hook.remove()
        while self._undo:
            self._undo.pop()()

    def _bind(self, module_name: str, module: ModuleType) -> None:
        for spec in self._specs.get(module_name, ()):
            context = BindingContext(spec.name, module, remote=self._remote, failed=self._failed, find=lambda: None)
            self._undo.append(context.patch.undo)
            try:
                spec.load()(context)
            except Exception as error:  # the binding border: the user's import goes on
                context.patch.undo()
                self._failed(spec.name, "install", error)

    def _failed(self, name: str, place: str, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        if self._remote:
            sys.stderr.write(f"localtrack: binding {name}, {place}: {said}. The script goes on.\n")
        elif all((name, place) != known[:2] for known in self.failures):
            self.failures.append((name, place, said))


def start_early_bindings() -> None:
    """Put all of them on, in a process of an agent's."""
    _start(EarlyBindings())


def prepare_early_bindings(names: Iterable[str]) -> Callable[[], None]:
    """Load those of what is imported already; return what puts them on, to keep what is parsed for ``Task.init``.

    Args:
        names: the bindings.
    """
    bindings = EarlyBindings([spec for spec in BUILT_IN if spec.name in names], remote=False)
    bindings.load()
    return functools.partial(_start, bindings)


def _start(bindings: EarlyBindings) -> None:
    global _active
    stop_early_bindings()
    _active = bindings
    bindings.install()


def are_on() -> bool:
    """Tell whether there is still to be a run, for which what is parsed waits."""
    return _active is not None


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


def forget() -> set[str]:
    """Drop what waits, as nobody wants it; return the options whose value is typed unseen."""
    _entries.clear()
    return take_hidden()
