"""Record what argparse parsed, and feed stored values into it when a task runs again.

Importing this module imports argparse: do so only where the script uses argparse, that is when it
is in ``sys.modules`` already or from a hook that waits for it.
"""

from __future__ import annotations

import argparse
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any, Protocol

from localtrack.capture.argument_session import (
    ArgumentTree,
    ParsedArguments,
    ParseSession,
    apply_overrides,
    describe_namespace,
)
from localtrack.capture.unwatched import is_unwatched
from localtrack.records.plain import replace

__all__ = ["ArgparseHook", "ParsedArguments", "apply_overrides", "describe_kept", "find_parsed"]

_PATCHED = ("parse_known_args", "parse_known_intermixed_args")
_FRAME_LIMIT = 64

Parse = Callable[..., Any]


def _include_all(dest: str) -> bool:
    return True


class ArgparseHook:
    """Watches every parse of every ``ArgumentParser`` in the process until it is uninstalled.

    The user's call gets the very namespace its parser made. An error inside of the hook is kept in
    ``errors`` and the parse goes on as if there were no hook; an error of the user's arguments is
    the user's to see.
    """

    def __init__(
        self,
        on_parsed: Callable[[ParsedArguments], None],
        overrides: Mapping[str, object] | None = None,
        include: Callable[[str], bool] = _include_all,
    ) -> None:
        """Prepare a hook.

        Args:
            on_parsed: Called after each successful parse with what it gave.
            overrides: Stored values by destination. They win over defaults and command line, and
                an argument that has one is not required any more.
            include: Which destinations are recorded and overridden at all.
        """
        self.errors: list[str] = []
        self._on_parsed = on_parsed
        self._overrides = dict(overrides or {})
        self._include = include
        self._originals: dict[str, Parse] = {}
        self._wrappers: dict[str, Parse] = {}
        self._is_active = False
        self._local = threading.local()
        self._lock = threading.RLock()

    def install(self) -> None:
        """Start watching; a second call changes nothing."""
        if self._is_active:
            return
        self._is_active = True
        for name in _PATCHED:
            if vars(argparse.ArgumentParser).get(name) is self._wrappers.get(name, self):
                continue  # an earlier uninstall found another patch on top and left ours in place
            original: Parse = getattr(argparse.ArgumentParser, name)
            self._originals[name] = original
            self._wrappers[name] = self._wrap(original)
            setattr(argparse.ArgumentParser, name, self._wrappers[name])

    def uninstall(self) -> None:
        """Stop watching and put back what was there; where somebody patched on top, ours turns into a pass-through."""
        self._is_active = False
        for name, wrapper in list(self._wrappers.items()):
            if vars(argparse.ArgumentParser).get(name) is wrapper:
                setattr(argparse.ArgumentParser, name, self._originals.pop(name))
                del self._wrappers[name]

    def _wrap(self, original: Parse) -> Parse:
        @functools.wraps(original)
        def parse(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            is_magic = type(parser).__module__.startswith("IPython.")  # %%capture and others parse by argparse
            if not self._is_active or is_magic or is_unwatched():
                return original(parser, args, namespace)
            session: ParseSession | None = getattr(self._local, "session", None)
            if session is None:
                return self._parse(original, parser, args, namespace)
            # Sub-parsers come through here again, and so does anything the user's own types and actions parse.
            return session.run(original, parser, args, namespace)

        return parse

    def _parse(self, original: Parse, parser: argparse.ArgumentParser, args: Any, namespace: Any) -> Any:
        """Run one parse as the user sees it, with all its sub-parsers."""
        try:
            session = ParseSession(parser, self._overrides, self._include, self.errors, self._lock)
        except Exception as error:  # an unusual parser must still parse
            self._note("looking at the arguments of", parser, error)
            return original(parser, args, namespace)
        self._local.session = session
        try:
            with session:
                result = session.run(original, parser, args, namespace)
        finally:
            self._local.session = None
        try:
            self._on_parsed(session.describe(result[0]))
        except Exception as error:  # recording must not break the user's parse
            self._note("recording the arguments of", parser, error)
        return result

    def _note(self, doing: str, parser: object, error: Exception) -> None:
        self.errors.append(f"{doing} {getattr(parser, 'prog', 'a parser')}: {type(error).__name__}: {error}")


class KeptParse(Protocol):
    """A parse that was only kept: the parser, its sub-parsers that took part, the texts that were converted.

    ``values`` is what the parse gave; ``namespace`` is the script's own, which may have been changed since.
    """

    parser: argparse.ArgumentParser
    chosen: list[argparse.ArgumentParser]
    raw: list[tuple[str, object, str]]
    namespace: argparse.Namespace
    values: dict[str, Any]


def describe_kept(kept: Iterable[KeptParse], include: Callable[[str], bool] = _include_all) -> list[ParsedArguments]:
    """Return what parses gave, whatever the script did with it since.

    What it added to its namespace is there, too, and what it filled in for an argument that nobody gave and that has no default.
    """
    found: list[ParsedArguments] = []
    for one in kept:
        try:
            tree = ArgumentTree(one.parser)
            chosen = [parser for parser in tree.parsers[1:] if any(parser is taken for taken in one.chosen)]
            now = vars(one.namespace)
            values = {name: now.get(name) if value is None else value for name, value in one.values.items()}
            parsed = tree.describe(argparse.Namespace(**values), chosen, one.raw, include)
            added = {name: value for name, value in vars(one.namespace).items() if name not in one.values}
            whole = describe_namespace(argparse.Namespace(**added), include)
            found.append(_with_added(replace(parsed, namespace=one.namespace), whole, tree))
        except Exception:  # a parser of an unusual make; nothing was promised about it
            continue
    return found


def find_parsed(
    frame: FrameType | None,
    include: Callable[[str], bool] = _include_all,
    known: Iterable[argparse.Namespace] = (),
) -> list[ParsedArguments]:
    """Find parses that happened before anybody watched.

    Looks through the variables of ``frame`` and its callers for parsers and the namespaces they made.
    A namespace whose parser is gone is described from its own attributes. ``known`` ones are left out.
    """
    left_out = {id(namespace) for namespace in known}
    parsers: dict[int, argparse.ArgumentParser] = {}
    namespaces: dict[int, argparse.Namespace] = {}
    seen: dict[int, object] = {}  # held: each f_locals is an object of its own since Python 3.13, and ids come again
    for _ in range(_FRAME_LIMIT):
        if frame is None:
            break
        for variables in (frame.f_locals, frame.f_globals):
            if id(variables) in seen:
                continue
            seen[id(variables)] = variables
            for value in list(variables.values()):
                if isinstance(value, argparse.ArgumentParser):
                    parsers[id(value)] = value
                elif isinstance(value, argparse.Namespace) and id(value) not in left_out:
                    namespaces[id(value)] = value
        frame = frame.f_back
    try:
        return _pair(list(parsers.values()), list(namespaces.values()), include)
    except Exception:  # a parser of an unusual make; nothing was promised about it
        return []


def _pair(
    parsers: list[argparse.ArgumentParser], namespaces: list[argparse.Namespace], include: Callable[[str], bool]
) -> list[ParsedArguments]:
    trees = [ArgumentTree(parser) for parser in parsers]
    nested = {id(parser) for tree in trees for parser in tree.parsers if parser is not tree.top}
    trees = [tree for tree in trees if id(tree.top) not in nested]
    found: list[ParsedArguments] = []
    for namespace in namespaces:
        matching = [tree for tree in trees if tree.matches(namespace)]
        if matching:
            tree = max(matching, key=lambda tree: len(tree.destinations))
            parsed = tree.describe(namespace, tree.guess_chosen(namespace), (), include)
            found.append(_with_added(parsed, describe_namespace(namespace, include), tree))
        elif vars(namespace):
            found.append(describe_namespace(namespace, include))
    return found


def _with_added(parsed: ParsedArguments, whole: ParsedArguments, tree: ArgumentTree) -> ParsedArguments:
    """Return what a parser gave together with what the script put into its namespace since."""
    added = [key for key in whole.values if key not in tree.destinations]
    return replace(
        parsed,
        values={**parsed.values, **{key: whole.values[key] for key in added}},
        types={**parsed.types, **{key: whole.types[key] for key in added}},
    )
