"""absl flags: every flag as ``TF_DEFINE/<flag>``, or the stored value instead when an agent runs the task.

A program that never parses them, as most that use TensorFlow, has what they are by default.

Source: ClearML's binding of absl-py, measured; absl.flags.FlagValues.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.parameter_feed import ParameterFeed, Parsed, feed_for
from localtrack.capture.native_values import is_same, to_native

FRAMEWORK = ("arg_parser", "tfdefines")
MODULES = ("absl.flags._flagvalues",)
SECTION = "TF_DEFINE"


def install(ctx: BindingContext) -> Undo:
    """Bind ``absl.flags._flagvalues``."""
    hook = AbslHook(feed_for(ctx, SECTION), ctx)
    hook.install()
    hook.record_running()
    ctx.at_close(hook.record_unparsed)
    return ctx.patch.undo


class AbslHook:
    """Watches the parse of the program's flags.

    Args:
        feed: the section ``TF_DEFINE`` of the task.
        ctx: the hold on ``absl.flags._flagvalues``.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext) -> None:
        self._feed = feed
        self._ctx = ctx
        self._flags: Any = ctx.module

    def install(self) -> None:
        """Wrap the parse."""
        self._ctx.patch.replace(self._flags.FlagValues, "__call__", self._wrap_parse)

    def record_running(self) -> None:
        """Record flags that are parsed already; under an agent set them to what is stored."""
        if self._flags.FLAGS.is_parsed():
            self._override(self._flags.FLAGS)
            self._record(self._flags.FLAGS)

    def record_unparsed(self) -> None:
        """Record flags that were defined only, at the run's end."""
        if not self._flags.FLAGS.is_parsed():
            self._record(self._flags.FLAGS)

    def _wrap_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(values: Any, argv: Any, known_only: bool = False) -> Any:
            with self._without_validators(values):
                rest = original(values, argv, known_only)
                if self._feed.stored:
                    self._override(values)
            if self._feed.stored:
                values.validate_all_flags()
            try:
                self._record(values)
            except Exception as error:  # the binding border
                self._ctx.failed("parse", error)
            return rest

        return parse

    @contextlib.contextmanager
    def _without_validators(self, values: Any) -> Iterator[None]:
        """Let the parse pass without a flag that is required: its value may be stored; all are checked after that."""
        if not self._feed.stored:
            yield
            return
        values.__dict__["validate_all_flags"] = lambda: None
        try:
            yield
        finally:
            values.__dict__.pop("validate_all_flags", None)

    def _override(self, values: Any) -> None:
        by_flag: dict[int, list[str]] = {}
        for name in values:
            by_flag.setdefault(id(values[name]), []).append(name)
        for names in by_flag.values():  # a flag may have a short name, too: the name that was edited counts
            flag = values[names[0]]
            current = native(flag)
            changed = next((n for n in names if self._feed.has(n) and not is_same(current, self._feed.get(n))), None)
            if changed is not None:
                stored = self._feed.get(changed)
                self._feed.changed(changed, stored)
                set_value(flag, stored)

    def _record(self, values: Any) -> None:
        self._feed.record({name: Parsed(native(values[name]), str(values[name].help or "")) for name in values})


def native(flag: Any) -> Any:
    """Return a flag's value as JSON holds it; what JSON has no form for becomes the text of the command line."""
    value = flag.value
    if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)):
        return to_native(None, value)
    return flag.serializer.serialize(value) if flag.serializer is not None else to_native(None, value)


def set_value(flag: Any, stored: Any) -> None:
    """Give a flag a stored value, through the flag's own parser.

    Raises:
        absl.flags.IllegalFlagValueError: the flag takes no such value.
    """
    flag.present = 0  # a flag that may be given many times adds to what it has
    if stored is None:
        flag.value = None
    elif isinstance(stored, (list, tuple)) and "Multi" in type(flag).__name__:
        flag.parse([_text(item) for item in stored])
    elif isinstance(stored, (list, tuple)):
        flag.value = list(stored)
    else:
        flag.parse(_text(stored))
    flag.using_default_value = False


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
