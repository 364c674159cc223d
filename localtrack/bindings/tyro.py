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
from localtrack.capture.arguments import unwatched

FRAMEWORK = "arg_parser"
MODULES = ("tyro._cli",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``tyro._cli``, whose ``_cli_impl`` returns what is still to be called with the parsed arguments."""
    feed = feed_for(ctx, ARGUMENTS)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(*args: Any, **named: Any) -> Any:
            with unwatched():
                found = original(*args, **named)
            if named.get("return_parser"):
                return found
            call, *unknown = found if isinstance(found, tuple) else (found,)
            fed = functools.partial(_call_fed, ctx, feed, call)
            return (fed, *unknown) if unknown else fed

        return parse

    ctx.patch.replace(ctx.module, "_cli_impl", wrap)
    return ctx.patch.undo


def _call_fed(ctx: BindingContext, feed: ParameterFeed, call: Callable[[], Any]) -> Any:
    """Call a function with its arguments, or build an object, with the stored values in their place."""
    arguments = _arguments(call)
    if arguments is not None:
        assert isinstance(call, functools.partial)
        return call.func(**fed_values(ctx, feed, arguments))
    return fed_values(ctx, feed, call())


def _arguments(call: Any) -> dict[str, Any] | None:
    """Return the arguments of a function by name; None for a class, whose object is changed when it is there."""
    if not isinstance(call, functools.partial) or inspect.isclass(call.func):
        return None
    try:
        bound = inspect.signature(call.func).bind(*call.args, **call.keywords)
    except (TypeError, ValueError):
        return None
    kinds = [parameter.kind for parameter in bound.signature.parameters.values()]
    if any(kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds):
        return None
    return dict(bound.arguments)
