"""tyro: what ``tyro.cli`` gives, as ``Args/<dotted name>``, or the stored values instead when an agent runs the task.

Source: tyro.cli; the names are those of its command line.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.configured import fed_values
from localtrack.bindings.parameter_feed import ARGUMENTS, ParameterFeed, feed_for
from localtrack.capture.unwatched import unwatched

FRAMEWORK = "arg_parser"
MODULES = ("tyro._cli",)
_DECLARED = ("__dataclass_fields__", "__attrs_attrs__", "_fields", "model_fields", "__total__")
_VALUES = (str, bytes, int, float, list, tuple, dict, set, frozenset)
_INNER = "__tyro_dummy_inner__"  # tyro's name for what has none: the choice between commands, a single value


def install(ctx: BindingContext) -> Undo:
    """Bind ``tyro._cli``, whose ``_cli_impl`` returns what is still to be called with the parsed arguments."""
    hook = TyroHook(feed_for(ctx, ARGUMENTS), ctx)
    hook.install()
    return ctx.patch.undo


class TyroHook:
    """Watches what tyro calls with what it has parsed: a function, or a class, whose object is changed when it is there.

    Args:
        feed: the section ``Args`` of the task.
        ctx: the hold on ``tyro._cli``.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext) -> None:
        self._feed = feed
        self._ctx = ctx
        self._called = [False]  # whether arguments were fed; one for each parse that goes on, as they may nest

    def install(self) -> None:
        """Wrap the parse, and the making of each call in it."""
        module: Any = self._ctx.module
        self._ctx.patch.replace(module, "_cli_impl", self._wrap_parse)
        calling = getattr(module, "_calling", None)
        if hasattr(calling, "callable_with_args"):
            self._ctx.patch.replace(calling, "callable_with_args", self._wrap_call)

    def _wrap_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(*args: Any, **named: Any) -> Any:
            self._called.append(False)
            try:
                with unwatched():
                    found = original(*args, **named)
            finally:
                called = self._called.pop()
            if named.get("return_parser"):
                return found
            call, *unknown = found if isinstance(found, tuple) else (found,)
            fed = functools.partial(self._result, call, called)
            return (fed, *unknown) if unknown else fed

        return parse

    def _result(self, call: Callable[[], Any], called: bool) -> Any:
        """Return what tyro's call gives; an object of configuration, that no function has made, with the stored values."""
        self._called.append(called)
        try:
            value = call()
        finally:
            called = self._called.pop()
        while hasattr(value, _INNER):
            value = getattr(value, _INNER)
        return value if called else fed_values(self._ctx, self._feed, value)

    def _wrap_call(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def callable_with_args(
            function: Any, parser: Any, default: Any, values: Any, field_name_prefix: str, *rest: Any, **named: Any
        ) -> Any:
            found = original(function, parser, default, values, field_name_prefix, *rest, **named)
            is_outer = all(part == _INNER for part in field_name_prefix.replace("-", "_").split(".") if part)
            if not is_outer or not isinstance(found, tuple) or not _takes_arguments(parser.f):
                return found
            return (functools.partial(self._call, found[0]), *found[1:])

        return callable_with_args

    def _call(self, call: Any) -> Any:
        """Call a function with its arguments, and the stored values in their place."""
        self._called[-1] = True
        try:
            parts = call_parts(call)
            bound = None if parts is None else inspect.signature(parts[0]).bind(*parts[1], **parts[2])
        except Exception as error:  # the binding border
            self._ctx.failed("parse", error)
            return call()
        if parts is None or bound is None:
            return call()
        bound.arguments.update(fed_values(self._ctx, self._feed, dict(bound.arguments)))
        if isinstance(call, functools.partial):
            return call.func(*bound.args, **bound.kwargs)
        parts[1][:] = bound.args
        parts[2].clear()
        parts[2].update(bound.kwargs)
        return call()


def _takes_arguments(function: Any) -> bool:
    """Tell whether the arguments of a call are what counts: of a function, or of a class without declared fields."""
    if not inspect.isclass(function):  # a function of tyro's own makes an object of a class
        return callable(function) and not str(getattr(function, "__module__", "")).startswith("tyro.")
    declares = any(hasattr(function, name) for name in _DECLARED)
    return not declares and not issubclass(function, _VALUES)


def call_parts(call: Any) -> tuple[Any, list[Any], dict[str, Any]] | None:
    """Return function, arguments and keywords of a call that tyro has made ready; the very objects where it is a closure."""
    if isinstance(call, functools.partial):
        return call.func, list(call.args), dict(call.keywords)
    names = inspect.getclosurevars(call).nonlocals
    found = tuple(names.get(name) for name in ("unwrapped_f", "positional_args", "kwargs"))
    if callable(found[0]) and isinstance(found[1], list) and isinstance(found[2], dict):
        return found[0], found[1], found[2]
    return None
