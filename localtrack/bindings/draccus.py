"""draccus: the parsed configuration as ``Args/<dotted name>``, or the stored values instead when an agent runs the task.

Source: draccus.parse and draccus.wrap, which both parse through its ``ArgumentParser``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.configured import fed_values
from localtrack.bindings.parameter_feed import ARGUMENTS, feed_for
from localtrack.capture.unwatched import unwatched

FRAMEWORK = "arg_parser"
MODULES = ("draccus.argparsing",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``draccus.argparsing``."""
    feed = feed_for(ctx, ARGUMENTS)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(*args: Any, **named: Any) -> Any:
            with unwatched():  # its argparse sees texts that are only read as YAML afterwards
                config, rest = original(*args, **named)
            return fed_values(ctx, feed, config), rest

        return parse

    parser: Any = ctx.module
    ctx.patch.replace(parser.ArgumentParser, "parse_known_args", wrap)
    return ctx.patch.undo
