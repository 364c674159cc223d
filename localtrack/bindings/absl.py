"""absl flags: every flag as ``TF_DEFINE/<flag>``, or the stored value instead when an agent runs the task.

A program that never parses them, as most that use TensorFlow, has what they are by default.

Source: ClearML's binding of absl-py, measured; absl.flags.FlagValues.
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable, Collection, Iterator, MutableMapping
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.parameter_feed import ParameterFeed, Parsed, feed_for
from localtrack.capture.native_values import is_same, to_native

FRAMEWORK = ("arg_parser", "tfdefines")
MODULES = ("absl.flags._flagvalues",)
SECTION = "TF_DEFINE"
_applied: MutableMapping[Any, str] = (
    weakref.WeakKeyDictionary()
)  # flags that have their stored value, and under which name


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
            self._override(self._flags.FLAGS, set(_applied))
            self._record(self._flags.FLAGS)

    def record_unparsed(self) -> None:
        """Record flags that were defined only, at the run's end."""
        if not self._flags.FLAGS.is_parsed():
            self._record(self._flags.FLAGS)

    def _wrap_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse(values: Any, argv: Any, known_only: bool = False) -> Any:
            before = {flag: native(flag) for flag in _applied}
            with self._without_validators(values):
                rest = original(values, argv, known_only)
                if self._feed.stored:
                    # parsed once more: what the script has set meanwhile stays, unless the command line has it
                    self._override(values, {flag for flag, value in before.items() if is_same(value, native(flag))})
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

    def _override(self, values: Any, settled: Collection[Any]) -> None:
        """Set flags to what is stored, without those that are settled.

        A flag may have a short name and aliases, and a stored value under each: the one that was edited counts.
        """
        if not self._feed.stored:
            return
        names_of: dict[Any, list[str]] = {}
        for name in values:
            if self._feed.has(name):
                names_of.setdefault(target(values[name]), []).append(name)
        for flag, names in names_of.items():
            if flag in settled:
                continue
            current = native(flag)
            edited = (name for name in names if not is_same(current, self._feed.get(name)))
            name = _applied.setdefault(flag, next(edited, names[0]))
            stored = self._feed.get(name)
            if not is_same(current, stored):
                self._feed.changed(name, stored)
                set_value(flag, stored)

    def _record(self, values: Any) -> None:
        self._feed.record({name: Parsed(native(values[name]), str(values[name].help or "")) for name in values})


def target(flag: Any) -> Any:
    """Return the flag that an alias stands for; any other is itself."""
    while type(flag).__name__ == "_FlagAlias":
        inner = inspect.getclosurevars(type(flag).parse).nonlocals.get("flag")
        if inner is None:
            break
        flag = inner
    return flag


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
