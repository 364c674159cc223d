"""Click and Typer: options and commands go into the task, or come out of it when an agent runs it.

A single command's options are ``Args/<option>``; where there are several commands they are ``Args/<command>/<option>``,
and ``Args/<command>`` tells which was chosen.

Source: https://clear.ml/docs/latest/docs/integrations/click, measured.
"""

from __future__ import annotations

import datetime
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import FrameType
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.parameter_feed import ARGUMENTS, ParameterFeed, Parsed, feed_for, hide_options
from localtrack.capture.native_values import is_same, to_native
from localtrack.records.plain import dataclass

FRAMEWORK = "arg_parser"
MODULES = ("click.core", "typer.core")
COMMAND_KIND = "click.Command"
CLICK, TYPERS_COPY = "click.core", "typer._click.core"
DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S")  # what click and Typer take unless told
_OWN = "localtrack."


def install(ctx: BindingContext) -> Undo:
    """Bind ``click.core``, or with ``typer.core`` the copy of click that Typer carries since 0.20."""
    core: Any = ctx.module if ctx.module.__name__ == CLICK else sys.modules.get(TYPERS_COPY)
    if core is None:
        return ctx.patch.undo  # an older Typer: click's own is bound
    feed = feed_for(ctx, ARGUMENTS)
    hook = ClickHook(feed, ctx, core)
    hook.install()
    if feed.session is not None:  # else Task.init finds what runs then
        hook.record_running(sys._getframe(1))
    return ctx.patch.undo


class ClickHook:
    """Watches what commands parse.

    Args:
        feed: the section ``Args`` of the task.
        ctx: the hold on the module.
        core: ``click.core``, or Typer's copy of it.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext, core: Any) -> None:
        self._feed = feed
        self._ctx = ctx
        self._core = core
        self._chains: MutableMapping[Any, list[_Link]] = weakref.WeakKeyDictionary()

    def install(self) -> None:
        """Wrap click's parsing."""
        core = self._core
        self._ctx.patch.replace(core.Command, "parse_args", self._wrap_parse)
        if self._feed.stored:
            self._ctx.patch.replace(core.Parameter, "handle_parse_result", self._wrap_parameter)
            for group in self._groups():
                self._ctx.patch.replace(group, "parse_args", self._wrap_group_parse)
                self._ctx.patch.replace(group, "resolve_command", self._wrap_resolve)

    def record_running(self, frame: FrameType | None) -> None:
        """Record the commands that are running already: ``Task.init`` was called inside of one."""
        while frame is not None:  # a chain parses all of its commands before it runs the first
            contexts = (
                frame.f_locals.get("contexts") if frame.f_globals.get("__name__") == self._core.__name__ else None
            )
            for one in contexts if isinstance(contexts, list) else ():
                self._hide(one)
                self._remember(one)
            frame = frame.f_back
        find = getattr(
            sys.modules.get(self._core.__name__.rpartition(".")[0] + ".globals"), "get_current_context", None
        )
        context = find(silent=True) if callable(find) else None
        if context is not None:
            self._record(context)
        while context is not None:
            self._hide(context)
            context = context.parent

    def _groups(self) -> Iterator[type]:
        """Yield the classes of click, and of Typer where it is loaded, that choose a command."""
        seen: set[type] = set()
        typer = sys.modules.get("typer.core")
        for kind in (getattr(self._core, "Group", None), getattr(typer, "TyperGroup", None)):
            if kind is None or not issubclass(kind, self._core.Command):
                continue
            owner = next(base for base in kind.__mro__ if "resolve_command" in vars(base))
            if owner not in seen:
                seen.add(owner)
                yield owner

    def _wrap_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse_args(command: Any, context: Any, args: list[str]) -> Any:
            self._hide(context)  # also where the parse fails
            rest = original(command, context, args)
            try:
                self._remember(context)
                self._record(context)
            except Exception as error:  # the binding border
                self._ctx.failed("parse_args", error)
            return rest

        return parse_args

    def _hide(self, context: Any) -> None:
        """Mask what the command line gives to options of a command that are typed unseen."""
        try:
            hidden = [one for one in context.command.params if getattr(one, "hide_input", False)]
            if hidden:
                hide_options(self._feed.session, [name for one in hidden for name in (*one.opts, *one.secondary_opts)])
        except Exception as error:  # the binding border
            self._ctx.failed("parse_args", error)

    def _remember(self, context: Any) -> None:
        """Keep what a command of a chain was given, for when the next one is parsed."""
        if _is_chained(context):
            link = _Link(id(context), context.command, context.info_name, dict(context.params), self._place(context))
            self._chains.setdefault(context.parent, []).append(link)

    def _place(self, context: Any) -> int:
        """Return which of its kind a command is in its chain, from 1."""
        if not _is_chained(context):
            return 1
        links = self._chains.get(context.parent, [])
        before = [link for link in links if link.context_id != id(context) and link.command is context.command]
        return next((link.place for link in links if link.context_id == id(context)), len(before) + 1)

    def _links(self, context: Any) -> list[_Link]:
        """Return the commands that were chosen, with what they were given: the root first."""
        found: list[_Link] = []
        while context is not None:
            link = _Link(id(context), context.command, context.info_name, dict(context.params), self._place(context))
            beside = self._chains.get(context.parent, []) if _is_chained(context) else []
            found[:0] = [*(one for one in beside if one.context_id != link.context_id), link]
            context = context.parent
        return found

    def _record(self, context: Any) -> None:
        root = context.find_root()
        if _is_own(root.command):
            return
        chosen = self._links(context)
        tree = CommandTree(root.command, root.info_name)
        values: dict[str, Parsed] = {}
        for key, command in tree.commands.items():
            if key and command is not root.command:
                values[key] = Parsed(False, _help(command), COMMAND_KIND)
            for parameter in _parameters(command):
                values[tree.name(command, parameter)] = Parsed(_default(parameter), _help(parameter), None, True)
        for one in chosen:
            if one.command is not root.command:
                key = tree.key(one.command, one.info_name, one.place)
                values[key] = Parsed(True, _help(one.command), COMMAND_KIND)
            for parameter in _parameters(one.command):
                if parameter.name in one.params:
                    value = _native(parameter, one.params[parameter.name])
                    values[tree.name(one.command, parameter, one.place)] = Parsed(value, _help(parameter))
        self._feed.record(values)

    def _wrap_parameter(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def handle_parse_result(parameter: Any, context: Any, opts: Mapping[str, Any], args: list[str]) -> Any:
            name = self._stored_name(parameter, context)
            if name is None:
                return original(parameter, context, opts, args)
            stored = self._feed.get(name)
            before = dict(context.params)
            if _is_given(parameter, opts):
                try:
                    result = original(parameter, context, opts, args)
                except Exception:  # the command line's own value does not count any more
                    result = None
                if result is not None and is_same(_native(parameter, context.params.get(parameter.name)), stored):
                    return result
                context.params.clear()
                context.params.update(before)
            if stored is None:
                context.params[parameter.name] = None
                return None, args
            result = original(parameter, context, {**opts, parameter.name: _typed_in(parameter, stored)}, args)
            self._feed.changed(name, stored)
            return result

        return handle_parse_result

    def _stored_name(self, parameter: Any, context: Any) -> str | None:
        root = context.find_root()
        if not parameter.expose_value or context.resilient_parsing or _is_own(root.command):
            return None
        name = CommandTree(root.command, root.info_name).name(context.command, parameter, self._place(context))
        return name if self._feed.has(name) else None

    def _stored_command(self, group: Any, context: Any) -> str | None:
        """Return the command of a group that the task has chosen; None when it says nothing clear."""
        if getattr(group, "chain", False):
            return None
        root = context.find_root()
        tree = CommandTree(root.command, root.info_name)
        children: Mapping[str, Any] = getattr(group, "commands", {})
        chosen = [name for name, child in children.items() if self._feed.get(tree.key(child, name)) is True]
        return chosen[0] if len(chosen) == 1 else None

    def _wrap_group_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def parse_args(group: Any, context: Any, args: list[str]) -> Any:
            command = None if args else self._stored_command(group, context)
            return original(group, context, args if command is None else [command])

        return parse_args

    def _wrap_resolve(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def resolve_command(group: Any, context: Any, args: list[str]) -> Any:
            command = self._stored_command(group, context)
            if command is not None and args and group.get_command(context, args[0]) is not group.commands[command]:
                self._feed.changed(command, True)
                args = [command]
            return original(group, context, args)

        return resolve_command


class CommandTree:
    """The commands below a root, with the names that their options have in the task.

    Args:
        root: the command that the program is.
        name: what the program calls it.
    """

    def __init__(self, root: Any, name: str | None) -> None:
        self._keys: dict[int, str] = {}
        self.commands: dict[str, Any] = {}
        self.has_many = bool(getattr(root, "commands", None))
        self._walk(root, root.name or name or "", ())

    def _walk(self, command: Any, name: str, above: Sequence[str]) -> None:
        if id(command) in self._keys:
            return  # an alias
        key = name if name not in self.commands else "/".join((*above, name))
        self._keys[id(command)] = key
        self.commands[key] = command
        for child_name, child in dict(getattr(command, "commands", None) or {}).items():
            self._walk(child, child_name, (*above, name))

    def key(self, command: Any, name: str | None, place: int = 1) -> str:
        """Return the name of a command in the task; one that comes again in a chain has its number."""
        key = self._keys.get(id(command)) or command.name or name or ""
        return key if place == 1 else f"{key}#{place}"

    def name(self, command: Any, parameter: Any, place: int = 1) -> str:
        """Return the name of an option in the task."""
        return f"{self.key(command, None, place)}/{parameter.name}" if self.has_many else str(parameter.name)


@dataclass(frozen=True, slots=True)
class _Link:
    """A command that was chosen, and what it was given.

    Attributes:
        context_id: tells its context from others.
        command: click's.
        info_name: what the program calls it.
        params: values by name.
        place: which of its kind it is in a chain.
    """

    context_id: int
    command: Any
    info_name: str | None
    params: dict[str, Any]
    place: int


def _is_chained(context: Any) -> bool:
    return context.parent is not None and bool(getattr(context.parent.command, "chain", False))


def _parameters(command: Any) -> Iterator[Any]:
    """Yield the options and arguments that hold a value; what is typed unseen is a secret and is left out."""
    for parameter in getattr(command, "params", ()):
        if parameter.name and parameter.expose_value and not getattr(parameter, "hide_input", False):
            yield parameter


def _is_own(command: Any) -> bool:
    """Tell whether it is localtrack's own command line."""
    return str(getattr(getattr(command, "callback", None), "__module__", "")).startswith(_OWN)


def _help(thing: Any) -> str:
    return str(getattr(thing, "help", None) or "").strip()


def _default(parameter: Any) -> Any:
    value = parameter.default
    return None if callable(value) or _is_unset(value) else _native(parameter, value)


def _is_unset(value: Any) -> bool:
    return type(value).__name__ == "Sentinel" or str(value) == "Sentinel.UNSET"


def _is_given(parameter: Any, opts: Mapping[str, Any]) -> bool:
    """Tell whether parsing goes through without asking anybody."""
    value = opts.get(parameter.name)
    if value is not None and not _is_unset(value):
        return True
    return getattr(parameter, "prompt", None) is None and not parameter.required


def _native(parameter: Any, value: Any) -> Any:
    if _is_unset(value):
        return None
    if isinstance(value, datetime.datetime):
        value = next((text for text in _dates(parameter, value)), value)
    return to_native(None, value)


def _dates(parameter: Any, value: datetime.datetime) -> Iterator[str]:
    """Yield the forms in which the command line takes a date, those that keep all of it."""
    typers_own = getattr(getattr(parameter, "type_descriptor", None), "parameter_info", None)
    for form in getattr(getattr(parameter, "type", typers_own), "formats", None) or DATE_FORMATS:
        text = value.strftime(form)
        if datetime.datetime.strptime(text, form) == value:
            yield text


def _typed_in(parameter: Any, stored: Any) -> Any:
    """Return a stored value in the form in which the command line gives it."""
    takes_many = getattr(parameter, "multiple", False) or parameter.nargs != 1
    if not takes_many or isinstance(stored, (list, tuple)):
        return stored
    if isinstance(stored, str):
        kind = getattr(parameter, "type", None)
        return kind.split_envvar_value(stored) if kind is not None else stored.split()
    return [stored]
