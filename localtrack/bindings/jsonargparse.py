"""jsonargparse and LightningCLI: the leaves of the parsed namespace as ``Args/<dotted name>``.

Under an agent the stored leaves win over defaults, configuration files and the command line, each through the type that
its argument declares.

Source: https://clear.ml/docs/latest/docs/integrations/jsonargparse, measured; jsonargparse's parse_object.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.parameter_feed import ARGUMENTS, ParameterFeed, Parsed, feed_for
from localtrack.capture.native_values import is_same, to_native

FRAMEWORK = "arg_parser"
MODULES = ("jsonargparse._core",)
COMMAND_KIND = "jsonargparse.Command"
_COMMAND = "subcommand"
_FRAME_LIMIT = 64


def install(ctx: BindingContext) -> Undo:
    """Bind ``jsonargparse._core``."""
    feed = feed_for(ctx, ARGUMENTS)
    hook = JsonargparseHook(feed, ctx)
    hook.install()
    if feed.session is not None and not feed.goes_on:  # the script may have changed what earlier parses gave
        hook.record_running(sys._getframe(1))
    return ctx.patch.undo


class JsonargparseHook:
    """Watches what jsonargparse's parsers give.

    Args:
        feed: the section ``Args`` of the task.
        ctx: the hold on ``jsonargparse._core``.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext) -> None:
        self._feed = feed
        self._ctx = ctx
        self._module: Any = ctx.module
        self._depth = 0

    def install(self) -> None:
        """Wrap the parser's entry."""
        self._ctx.patch.replace(self._module.ArgumentParser, "parse_args", self._wrap_parse)

    def record_running(self, frame: FrameType | None) -> None:
        """Record what was parsed before, as far as the callers' variables hold it."""
        seen: set[int] = set()
        for _ in range(_FRAME_LIMIT):
            if frame is None:
                return
            for value in (*frame.f_locals.values(), *frame.f_globals.values()):
                if isinstance(value, self._module.Namespace) and id(value) not in seen:
                    seen.add(id(value))
                    self._record(value, None)
            frame = frame.f_back

    def _wrap_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse_args(parser: Any, args: Any = None, *rest: Any, **named: Any) -> Any:
            if self._depth:
                return original(parser, args, *rest, **named)
            self._depth += 1
            try:
                if self._feed.stored:
                    args = self._choose(parser, list(sys.argv[1:] if args is None else args))
                    result = self._parse_and_feed(original, parser, args, *rest, **named)
                else:
                    result = original(parser, args, *rest, **named)
            finally:
                self._depth -= 1
            try:
                self._record(result, parser)
            except Exception as error:  # the binding border
                self._ctx.failed("parse_args", error)
            return result

        return parse_args

    def _parse_and_feed(
        self, original: Callable[..., Any], parser: Any, args: list[str], *rest: Any, **named: Any
    ) -> Any:
        """Parse, then parse once more from the result with the stored values in it."""
        with _lenient(parser) as validate:
            result = original(parser, args, *rest, **named)
        values = dict(leaves(result))
        changed = {
            name: stored
            for name, stored in self._feed.stored.items()
            if name in values and self._feed.wants(name) and not is_same(native(values[name]), stored)
        }
        changed = {name: value for name, value in changed.items() if name.rpartition(".")[2] != _COMMAND}
        if not changed:
            try:
                validate(result)
            except (TypeError, KeyError) as error:
                parser.error(str(error))
            return result
        merged = result.clone()
        for name, value in changed.items():
            self._feed.changed(name, value)
            merged[name] = value
        return parser.parse_object(_drop_configs(merged.as_dict()))

    def _choose(self, parser: Any, args: list[str]) -> list[str]:
        """Return the command line with the sub-command that the task has chosen."""
        action = getattr(parser, "_subcommands_action", None)
        wanted = self._feed.get(action.dest if action is not None else _COMMAND)
        if action is None or not isinstance(wanted, str) or wanted not in action.choices:
            return args
        position = next((index for index, token in enumerate(args) if token in action.choices), None)
        if position is None:
            return [*args, wanted]
        return args if args[position] == wanted else [*args[:position], wanted]

    def _record(self, result: Any, parser: Any) -> None:
        texts = dict(_help(parser)) if parser is not None else {}
        parsed = {}
        for name, value in leaves(result):
            kind = COMMAND_KIND if name.rpartition(".")[2] == _COMMAND else None
            parsed[name] = Parsed(native(value), texts.get(name, ""), kind)
        self._feed.record(parsed)


def leaves(namespace: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a namespace by their dotted names; what the parser keeps for itself is left out."""
    for name, value in namespace.items():
        if not name.startswith("__") and ".__" not in name:
            yield name, value


def native(value: Any) -> Any:
    """Return a value as JSON holds it: a namespace as a dict, a path as its text."""
    if isinstance(value, argparse.Namespace):
        as_dict = getattr(value, "as_dict", None)
        return native(as_dict() if callable(as_dict) else vars(value))
    if isinstance(value, Mapping):
        return {str(key): native(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [native(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((native(item) for item in value), key=repr)
    relative = getattr(value, "relative", None) or getattr(value, "rel_path", None)
    if isinstance(relative, str):
        return relative
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return to_native(None, value)


@contextlib.contextmanager
def _lenient(parser: Any) -> Iterator[Callable[[Any], None]]:
    """Let a parse pass without what is required: it may be stored. Yields the full check, for afterwards."""
    name = "validate" if hasattr(parser, "validate") else "check_config"
    check = getattr(parser, name)

    def check_what_is_there(*args: Any, **named: Any) -> None:
        check(*args, **{**named, "skip_required": True})

    setattr(parser, name, check_what_is_there)
    try:
        yield check
    finally:
        delattr(parser, name)


def _help(parser: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if isinstance(action.dest, str) and action.help and action.help != argparse.SUPPRESS:
            yield f"{prefix}{action.dest}", str(action.help).replace("%%", "%")
    action = getattr(parser, "_subcommands_action", None)
    for name, child in dict(getattr(action, "choices", None) or {}).items():
        yield from _help(child, f"{prefix}{name}.")


def _drop_configs(values: Any) -> Any:
    """Return the values without the paths of configuration files, which are in the values already."""
    if not isinstance(values, dict):
        return values
    return {key: _drop_configs(item) for key, item in values.items() if key != "config"}
