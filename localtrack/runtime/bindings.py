"""Puts the bindings of one run on when their frameworks are imported, and takes them off at its end.

Source: docs/contributing.md, "A binding"; ClearML's Task.init.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.runtime.binding_registry import BUILT_IN, FRAMEWORKS, BindingSpec, installed_plugins
from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    from localtrack.runtime.binding_context import BindingContext, Undo
    from localtrack.runtime.session import Session

FAILURE_LIMIT = 100


class Bindings:
    """The bindings of one run.

    Args:
        session: the run.
        specs: which there are; the built-in ones without.
        failures: binding, place and what is to be said of what failed before there was this run.
    """

    def __init__(
        self,
        session: Session,
        specs: Iterable[BindingSpec] | None = None,
        failures: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        self._session = session
        self._hook = PostImportHook(self._on_import)
        self._lock = threading.Lock()
        self._specs: dict[str, list[tuple[BindingSpec, Any]]] = {}
        self._installed: dict[tuple[str, str], tuple[ModuleType, BindingContext, Undo]] = {}
        self._said: set[tuple[str, str]] = set()
        self._unrecorded: list[str] = []
        self._is_on = True
        self._is_plugin_search_due = True
        self._add(BUILT_IN if specs is None else specs)
        for name, place, said in failures:
            self._note(name, place, f"binding {name}, {place}: {said}")

    def install(self) -> None:
        """Bind what is imported already, and watch for the rest."""
        self._hook.watch(self._specs)
        self._hook.install()
        self._catch_up()

    def tick(self) -> None:
        """Once a second, in the writer's thread: search for plug-ins the first time, bind what was missed, record failures."""
        if self._is_plugin_search_due:
            self._is_plugin_search_due = False
            self._find_plugins()
        self._catch_up()
        self._record_failures()

    def finish(self) -> None:
        """Before the run's files are closed: let the bindings report what they still hold."""
        for _, context, _ in list(self._installed.values()):
            context.finish()
        self._record_failures()

    def remove(self) -> None:
        """Take all of them off, last first, and stop watching; record what failed since the last tick."""
        self._is_on = False
        self._hook.remove()
        with self._lock:
            installed = list(self._installed.values())
            self._installed.clear()
        for _, context, undo in reversed(installed):
            self._undo(context, undo)
        self._record_failures()

    def leave(self, framework: str) -> None:
        """Take the bindings of one framework off for the rest of the run, and watch for it no more."""
        with self._lock:
            names = {spec.name for pairs in self._specs.values() for spec, _ in pairs if framework in spec.frameworks}
            for module, pairs in list(self._specs.items()):
                self._specs[module] = [pair for pair in pairs if pair[0].name not in names]
            gone = [self._installed.pop(key) for key in list(self._installed) if key[0] in names]
        for _, context, undo in reversed(gone):
            context.finish()
            self._undo(context, undo)

    def renew_lock(self) -> None:
        """In a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def _add(self, specs: Iterable[BindingSpec]) -> None:
        options = self._session.options
        for spec in specs:
            choice = spec.choice(options.frameworks, options.arguments)
            if choice:
                for module in spec.modules:
                    self._specs.setdefault(module, []).append((spec, choice))

    def _find_plugins(self) -> None:
        known = set(FRAMEWORKS)
        for found in installed_plugins():
            if isinstance(found, BindingSpec):
                known.update(found.frameworks)
                self._add([found])
            else:
                self._failed("plug-ins", str(found), found)
        self._hook.watch(self._specs)
        frameworks = self._session.options.frameworks
        unknown = sorted(set(frameworks) - known) if isinstance(frameworks, Mapping) else []
        if unknown:
            self._session.writer.say_once(
                "frameworks",
                f"auto_connect_frameworks has no {', '.join(unknown)}; it knows {', '.join(sorted(known))}",
            )

    def _catch_up(self) -> None:
        for name in list(self._specs):
            module = sys.modules.get(name)
            if module is None or getattr(getattr(module, "__spec__", None), "_initializing", False):
                continue
            for spec, choice in self._specs[name]:
                known = self._installed.get((spec.name, name))
                if known is None or known[0] is not module:
                    self._bind(spec, choice, name, module)

    def _on_import(self, module: ModuleType) -> None:
        for spec, choice in self._specs.get(module.__name__, ()):
            self._bind(spec, choice, module.__name__, module)

    def _bind(self, spec: BindingSpec, choice: Any, name: str, module: ModuleType) -> None:
        """Install one binding for one module; one that is reloaded gets it anew."""
        from localtrack.runtime.binding_context import BindingContext  # only runs with a framework pay for it

        context = BindingContext(spec.name, module, choice, remote=self._session.options.remote, failed=self._failed)
        key = (spec.name, name)
        with self._lock:  # never held while foreign code runs: that may import, and wait for another thread's import
            if not self._is_on:
                return
            old = self._installed.get(key)
            self._installed[key] = (module, context, context.patch.undo)
        if old is not None:
            self._undo(old[1], old[2])
        try:
            undo = spec.load()(context)
        except Exception as error:  # the binding border: the user's import goes on
            context.patch.undo()
            self._failed(spec.name, f"install for {name}", error)
            return
        with self._lock:
            if self._is_on and self._installed.get(key, (None, None))[1] is context:
                self._installed[key] = (module, context, undo)
                return
        self._undo(context, undo)

    def _undo(self, context: BindingContext, undo: Undo) -> None:
        for action in (undo, context.patch.undo):
            try:
                action()
            except Exception as error:  # the binding border
                self._failed(context.name, "undo", error)

    def _failed(self, name: str, place: str, error: Exception) -> None:
        is_whole = name == "plug-ins"
        self._note(name, place, str(error) if is_whole else f"binding {name}, {place}: {type(error).__name__}: {error}")

    def _note(self, name: str, place: str, text: str) -> None:
        key = (name, place)
        if key in self._said or len(self._said) >= FAILURE_LIMIT:
            return
        self._said.add(key)
        self._unrecorded.append(text)
        self._session.writer.say_once(f"binding-{name}-{place}", f"{text}. The script goes on; this is not captured.")

    def _record_failures(self) -> None:
        texts, self._unrecorded = self._unrecorded, []
        if not texts:
            return

        def change(record: TaskRecord) -> TaskRecord:
            return replace(record, errors=(*record.errors, *(text for text in texts if text not in record.errors)))

        self._session.update(change, "binding failures", checked=False)
