"""Keeps what parsers other than argparse parse between the import of ``Task`` and ``Task.init``, which then records it.

Many programs have such a parser loaded that never use it, and many import ``Task`` that never call ``Task.init``. So at first
there is only a stub before each parser's entry; the first parse that comes to one puts the bindings in their place.

Source: docs/decisions/0014-early-parses-are-kept.md; ClearML patches these parsers when it is imported.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    from localtrack.runtime.early_bindings import Failure

#: Where a parse begins: the class or module, if it is not the watched one, and the function.
_ENTRIES = {
    "click.core": ("Command", "parse_args"),
    "typer._click.core": ("Command", "parse_args"),  # the copy that Typer carries since 0.20
    "draccus.argparsing": ("ArgumentParser", "parse_known_args"),
    "fire.core": ("parser", "CreateParser"),
    "jsonargparse._core": ("ArgumentParser", "parse_args"),
    "tyro._cli": ("", "_cli_impl"),
}
_BINDINGS = frozenset({"click", "draccus", "fire", "jsonargparse", "tyro"})
_BINDINGS_MODULE = "localtrack.runtime.early_bindings"
_WAIT_S = 2.0  # for another thread that puts the bindings on; in a forked child it is not there to end that


class EarlyParsers:
    """The watch on these parsers as long as there was no run.

    Args:
        prepare: loads the bindings, and returns what puts them on.
    """

    def __init__(self, prepare: Callable[[], Callable[[], object]]) -> None:
        self._prepare = prepare
        self._hook = PostImportHook(lambda module: self._place(module.__name__, module))
        self._lock = threading.RLock()
        self._is_over = False
        self._stubs: list[_Stub] = []

    def install(self) -> None:
        """Start, with the parsers that are imported and those that will be."""
        self._hook.watch(_ENTRIES)
        self._hook.install()
        for name in _ENTRIES:
            module = sys.modules.get(name)
            if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                self._place(name, module)

    def remove(self) -> None:
        """Take the stubs off, and watch no more."""
        with self._held():
            self._end()

    def _place(self, module_name: str, module: ModuleType) -> None:
        kind, name = _ENTRIES[module_name]
        owner = getattr(module, kind, None) if kind else module
        original = getattr(owner, "__dict__", {}).get(name)
        if not self._is_over and isinstance(original, FunctionType):
            self._stubs.append(_Stub(owner, name, original, self._begin))

    def _begin(self) -> None:
        """Put the bindings on in the place of the stubs, once; other threads' first parses wait for it."""
        with self._held():
            if not self._is_over:
                self._put_on()

    def _put_on(self) -> None:
        try:
            install = self._prepare()
        except Exception:  # Task.init meets the same error and says it
            self._end()
            return
        stubs = list(self._stubs)
        self._end(for_bindings=True)
        try:
            with contextlib.suppress(Exception):
                install()
        finally:  # also when a signal's handler raises in between
            for stub in stubs:
                stub.go_on()

    def _end(self, *, for_bindings: bool = False) -> None:
        self._is_over = True
        self._hook.remove()
        for stub in self._stubs:
            stub.remove(wholly=for_bindings)
        self._stubs = []

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        lock = self._lock
        if not lock.acquire(timeout=_WAIT_S):
            lock = self._lock = threading.RLock()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


class _Stub:
    """Stands before a parser's entry until the first parse; who keeps it gets to what took its place.

    Args:
        owner: the class or module that has the function.
        name: the function's name.
        original: the function.
        begin: puts the bindings on.
    """

    def __init__(self, owner: Any, name: str, original: FunctionType, begin: Callable[[], None]) -> None:
        self._owner = owner
        self._name = name
        self._original = original
        self._above: Any = None
        self._target: Callable[..., Any] = original

        @functools.wraps(original)
        def parse(*args: Any, **named: Any) -> Any:
            begin()
            return self._target(*args, **named)

        self._function = parse
        setattr(owner, name, parse)

    def remove(self, *, wholly: bool) -> None:
        """Put the function back.

        Args:
            wholly: also where somebody put his own over the stub, for a moment: the bindings' comes below it.
        """
        found = vars(self._owner).get(self._name)
        if wholly and found is not self._function:
            self._above = found
        if wholly or found is self._function:
            setattr(self._owner, self._name, self._original)

    def go_on(self) -> None:
        """Lead to what the bindings put there from now on."""
        self._target = vars(self._owner).get(self._name) or self._original
        if self._above is not None:
            setattr(self._owner, self._name, self._above)


_watch: EarlyParsers | None = None


def install() -> None:
    """Keep what is parsed from now on until a run takes it; under an agent the stored values are fed instead."""
    global _watch
    from localtrack.runtime import current

    if _watch is None and current.get() is None and not os.environ.get("LOCALTRACK_TASK_ID"):
        _watch = EarlyParsers(_prepare)
        _watch.install()


def stop() -> list[Failure]:
    """End it, as a run's own bindings follow; return what failed."""
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.remove()
    if _BINDINGS_MODULE not in sys.modules:
        return []
    from localtrack.runtime import early_bindings  # another thread may be importing it

    return early_bindings.stop_early_bindings()


def forget() -> set[str]:
    """Drop what was parsed, as nobody wants it; return the options whose value is typed unseen."""
    if _BINDINGS_MODULE not in sys.modules:
        return set()
    from localtrack.runtime import early_bindings

    return early_bindings.forget()


def _prepare() -> Callable[[], object]:
    from localtrack.runtime.early_bindings import prepare_early_bindings

    return prepare_early_bindings(_BINDINGS)
