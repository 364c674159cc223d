"""Keeps what argparse parsed between the import of ``Task`` and ``Task.init``, which then records it.

Nothing is loaded for it, and a parse costs some ten microseconds: what a parse gave is copied, and looked at by
``Task.init``, if there ever is one.

Source: docs/decisions/0014-early-parses-are-kept.md; ClearML patches the parser when it is imported.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.capture.unwatched import is_unwatched
from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    import argparse

#: How many parses wait for ``Task.init``; of more, the first ones are forgotten.
KEPT = 8
_PATCHED = ("parse_known_args", "parse_known_intermixed_args")
#: Who parses by argparse for itself, or makes something else of what that gives.
_LIBRARIES = frozenset((
    "IPython", "_pytest", "draccus", "hydra", "ipykernel", "jsonargparse", "localtrack", "pytest", "ray", "torch",
    "tyro",
))  # fmt: skip

_local = threading.local()


class EarlyParse:
    """One parse: the parser, the script's own namespace, and what was in it when the parse was over.

    Args:
        parser: the parser that was called.
    """

    __slots__ = ("chosen", "namespace", "parser", "raw", "values")

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.chosen: list[argparse.ArgumentParser] = []
        self.raw: list[tuple[str, object, str]] = []
        self.namespace: Any = None
        self.values: dict[str, Any] = {}

    def run(self, original: Callable[..., Any], parser: argparse.ArgumentParser, args: Any, namespace: Any) -> Any:
        """Parse with the parser or a sub-parser of it, and note which texts it converts."""
        if parser is not self.parser:
            self.chosen.append(parser)
        is_ours = "_get_value" not in vars(parser)
        if is_ours:
            parser._get_value = _noting(parser._get_value, self.raw)  # type: ignore[method-assign]
        try:
            return original(parser, args, namespace)
        finally:
            if is_ours:
                vars(parser).pop("_get_value", None)


class EarlyParses:
    """The watch on argparse as long as there was no run."""

    def __init__(self) -> None:
        self._hook = PostImportHook(self._patch)
        self._originals: dict[str, Callable[..., Any]] = {}
        self._wrappers: dict[str, Callable[..., Any]] = {}
        self._kept: list[EarlyParse] = []
        self._is_active = False

    def install(self) -> None:
        """Start, now or when argparse is imported; under an agent the stored values are fed instead."""
        if self._is_active or os.environ.get("LOCALTRACK_TASK_ID"):
            return
        self._is_active = True
        module = sys.modules.get("argparse")
        if module is not None and hasattr(module, "ArgumentParser"):
            self._patch(module)
        else:
            self._hook.watch(["argparse"])
            self._hook.install()

    def take(self) -> list[EarlyParse]:
        """Return what was kept, in the order of the parses, and stop watching."""
        self._is_active = False
        self._hook.remove()
        kept, self._kept = self._kept, []
        module = sys.modules.get("argparse")
        if module is not None:
            for name, wrapper in list(self._wrappers.items()):
                if vars(module.ArgumentParser).get(name) is wrapper:  # else somebody patched on top: it passes through
                    setattr(module.ArgumentParser, name, self._originals[name])
        self._originals, self._wrappers = {}, {}
        return kept

    def _patch(self, module: ModuleType) -> None:
        self._hook.remove()
        kind = getattr(module, "ArgumentParser", None)
        for name in _PATCHED:
            original = getattr(kind, name, None)
            if original is not None and name not in self._wrappers:
                self._originals[name] = original
                self._wrappers[name] = self._wrap(original)
                setattr(kind, name, self._wrappers[name])

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def parse(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            if not self._is_active:
                return original(parser, args, namespace)
            running: EarlyParse | None = getattr(_local, "running", None)
            if running is not None:  # a sub-parser, or what the script's own types and actions parse
                return running.run(original, parser, args, namespace)
            if is_unwatched() or _is_a_librarys(parser, sys._getframe(1)):
                return original(parser, args, namespace)
            found = _local.running = EarlyParse(parser)
            try:
                result = found.run(original, parser, args, namespace)
            finally:
                _local.running = None
            self._keep(found, result[0])
            return result

        return parse

    def _keep(self, found: EarlyParse, namespace: Any) -> None:
        try:
            found.values = {name: _copied(value) for name, value in vars(namespace).items()}
        except Exception:  # a namespace of an unusual make: the script's parse goes on
            return
        found.namespace = namespace
        self._kept.append(found)
        del self._kept[:-KEPT]


def _noting(convert: Callable[..., Any], raw: list[tuple[str, object, str]]) -> Callable[..., Any]:
    def get_value(action: argparse.Action, arg_string: str) -> Any:
        value = convert(action, arg_string)
        if type(value) not in (bool, str, int, float):
            raw.append((action.dest, value, arg_string))
        return value

    return get_value


def _copied(value: Any) -> Any:
    """Return a value that later changes of the script's do not reach, where it is a list or a dict."""
    if type(value) is list:
        return [_copied(item) for item in value]
    return {key: _copied(item) for key, item in value.items()} if type(value) is dict else value


def _is_a_librarys(parser: object, frame: FrameType | None) -> bool:
    if type(parser).__module__.partition(".")[0] in _LIBRARIES:
        return True
    while frame is not None and frame.f_globals.get("__name__") == "argparse":
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _LIBRARIES


_watch = EarlyParses()


def install() -> None:
    """Keep what is parsed from now on until a run takes it."""
    from localtrack.runtime import current

    if current.get() is None:
        _watch.install()


def take() -> list[EarlyParse]:
    """Return what was parsed since, once, and stop watching."""
    return _watch.take()
