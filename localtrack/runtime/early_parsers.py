"""Keeps what parsers other than argparse parse between the import of ``Task`` and ``Task.init``, which then records it.

Many programs have such a parser loaded that never use it, and many import ``Task`` that never call ``Task.init``. So at first
there is only a stub before each parser's entry; the first parse that comes to one puts the bindings in their place.

Source: docs/decisions/0014-early-parses-are-kept.md; ClearML patches these parsers when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.runtime.import_hooks import PostImportHook
from localtrack.runtime.patches import Patches

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


class EarlyParsers:
    """The watch on these parsers as long as there was no run.

    Args:
        begin: puts the bindings on.
    """

    def __init__(self, begin: Callable[[], object]) -> None:
        self._begin = begin
        self._hook = PostImportHook(self._patch)
        self._patches = Patches(lambda place, error: None)

    def install(self) -> None:
        """Start, with the parsers that are imported and those that will be."""
        self._hook.watch(_ENTRIES)
        self._hook.install()
        for name in _ENTRIES:
            module = sys.modules.get(name)
            if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
                self._patch(module)

    def remove(self) -> None:
        """Take the stubs off, and watch no more."""
        self._hook.remove()
        self._patches.undo()

    def _patch(self, module: ModuleType) -> None:
        kind, name = _ENTRIES[module.__name__]
        owner = getattr(module, kind, None) if kind else module
        if owner is not None:
            self._patches.place(owner, name, lambda original: self._stub(owner, name, original))

    def _stub(self, owner: Any, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(*args: Any, **named: Any) -> Any:
            if not self._patches.is_live:
                return original(*args, **named)
            self.remove()
            is_outermost = vars(owner).get(name) is original  # else somebody's own wrapper would run twice
            with contextlib.suppress(Exception):  # Task.init meets the same error and says it
                self._begin()
            return (vars(owner)[name] if is_outermost else original)(*args, **named)

        return parse


_watch: EarlyParsers | None = None


def install() -> None:
    """Keep what is parsed from now on until a run takes it; under an agent the stored values are fed instead."""
    global _watch
    from localtrack.runtime import current

    if _watch is None and current.get() is None and not os.environ.get("LOCALTRACK_TASK_ID"):
        _watch = EarlyParsers(_begin)
        _watch.install()


def stop(*, forget: bool = False) -> list[Failure]:
    """End it, as a run's own bindings follow; return what failed.

    Args:
        forget: also drop what was parsed.
    """
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.remove()
    bindings = sys.modules.get("localtrack.runtime.early_bindings")
    if bindings is None:
        return []
    failures: list[Failure] = bindings.stop_early_bindings()
    if forget:
        bindings.forget()
    return failures


def _begin() -> None:
    from localtrack.runtime.early_bindings import start_early_bindings

    start_early_bindings(_BINDINGS)
