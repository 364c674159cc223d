"""Python Fire: the arguments of every call that Fire makes, or the stored ones instead when an agent runs the task.

``Args/<command>`` tells which command ran, ``Args/<command>/<argument>`` holds its arguments, ``Args/<argument>`` those
that belong to no command: of a single function, or of the class that holds the commands.

Source: https://clear.ml/docs/latest/docs/integrations/python_fire, measured.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, ModuleType
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.parameter_feed import ARGUMENTS, ParameterFeed, Parsed, feed_for
from localtrack.capture.native_values import is_same, to_native
from localtrack.capture.unwatched import unwatched

FRAMEWORK = "arg_parser"
MODULES = ("fire.core",)
COMMAND_KIND = "fire.Command"
SEPARATOR = "."
_DEPTH_LIMIT = 8
_COMMAND_LIMIT = 1000


def install(ctx: BindingContext) -> Undo:
    """Bind ``fire.core``."""
    feed = feed_for(ctx, ARGUMENTS)
    hook = FireHook(feed, ctx)
    if feed.session is not None and not _running.commands:  # those are recorded already
        hook.record_running(sys._getframe(1))
    hook.install()
    return ctx.patch.undo


class _Running(threading.local):
    """The calls of Fire that run in a thread, also those that began before ``Task.init``, the innermost last."""

    def __init__(self) -> None:
        self.commands: list[Commands] = []


_running = _Running()


class FireHook:
    """Watches what Fire calls.

    Args:
        feed: the section ``Args`` of the task.
        ctx: the hold on ``fire.core``.
    """

    def __init__(self, feed: ParameterFeed, ctx: BindingContext) -> None:
        self._feed = feed
        self._ctx = ctx
        self._core: Any = ctx.module
        self._found = Commands(self._core, None, {})

    @property
    def _commands(self) -> Commands:
        """Those of the call that runs in this thread."""
        return _running.commands[-1] if _running.commands else self._found

    def install(self) -> None:
        """Wrap Fire's parsing."""
        self._ctx.patch.replace(self._core, "_Fire", self._wrap_fire)
        self._ctx.patch.replace(self._core, "_MakeParseFn", self._wrap_make_parse)
        self._ctx.patch.replace(self._core.parser, "CreateParser", self._wrap_create)

    def record_running(self, frame: FrameType | None) -> None:
        """Record the call in which ``Task.init`` happens, when Fire made it."""
        calls: list[tuple[Any, Any, Any]] = []
        while frame is not None:
            names = frame.f_locals
            if frame.f_code is self._core._CallAndUpdateTrace.__code__:
                if "varargs" in names:
                    calls.append((names["component"], names["varargs"], names["kwargs"]))
            elif frame.f_code.co_name == "_Fire" and frame.f_globals.get("__name__") == self._core.__name__:
                self._found = Commands(self._core, names.get("initial_component"), names.get("context") or {})
                break
            frame = frame.f_back
        for component, values, named in reversed(calls):
            self._record(component, component, values, named)

    def _wrap_fire(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def fire(component: Any, args: Any, flags: Any, context: Any, name: Any = None) -> Any:
            _running.commands.append(Commands(self._core, None, {}))
            try:
                args = self._chosen(component, args, context)
                return original(component, args, flags, context, name)
            finally:  # nothing of the script's is held after the call
                _running.commands.pop()

        return fire

    def _wrap_create(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the parser of Fire's own flags alone where the function that is called has arguments of their names."""

        def create(*args: Any, **named: Any) -> Any:
            parser = original(*args, **named)
            try:
                flags = {action.dest for action in parser._actions}
                if flags.isdisjoint(self._arguments_called()):
                    return parser  # a parser like any other
            except Exception as error:  # the binding border
                self._ctx.failed("parse", error)
            parse_known_args = parser.parse_known_args

            def parse_unwatched(*args: Any, **named: Any) -> Any:
                with unwatched():
                    return parse_known_args(*args, **named)

            parser.parse_known_args = parse_unwatched
            return parser

        return create

    def _arguments_called(self) -> set[str]:
        """Return the names that are recorded without a command's: those of what ``Fire``, which is running, was given."""
        frame: Any = sys._getframe(1)
        while frame is not None and not (frame.f_code.co_name == "Fire" and frame.f_globals is vars(self._core)):
            frame = frame.f_back
        component = None if frame is None else frame.f_locals.get("component")
        if not callable(component):
            return set()
        spec = self._core.inspectutils.GetFullArgSpec(component)
        return {*spec.args, *spec.kwonlyargs}

    def _chosen(self, component: Any, args: Any, context: Any) -> Any:
        """Note what a call of Fire has to choose from; return its command line, with the command that the task has chosen."""
        try:
            commands = _running.commands[-1] = Commands(self._core, component, context)
            args = self._choose(commands, list(args))
            commands.planned = commands.find(args)[0]
        except Exception as error:  # the binding border
            self._ctx.failed("parse", error)
        return args

    def _choose(self, commands: Commands, args: list[str]) -> list[str]:
        """Return the command line with the command that the task has chosen."""
        stored = [name for name in commands.members if self._feed.get(name) is True]
        found, position = commands.find(args)
        if len(stored) != 1 or stored[0] == found:
            return args
        if found is None and not args and not stored:
            return args
        self._feed.changed(stored[0], True)
        # what the other command took makes no sense to this one, whose arguments are stored; flags before it stay
        return args[:position] + stored[0].split(SEPARATOR)

    def _wrap_make_parse(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def make(function: Any, metadata: Any) -> Any:
            parse = original(function, metadata)

            def parse_and_feed(args: list[str]) -> Any:
                return self._parse(parse, function, args)

            return parse_and_feed

        return make

    def _parse(self, parse: Callable[..., Any], function: Any, args: list[str]) -> Any:
        component = _component_of(function)
        spec = self._core.inspectutils.GetFullArgSpec(function)
        command = self._commands.name_of(component)
        if self._feed.stored:
            args = [*args, *self._missing(spec, command, args)]
        (values, named), consumed, rest, capacity = parse(args)
        try:
            if self._feed.stored:
                values, named = self._fed(spec, command, values, named)
            self._record(component, function, values, named)
        except Exception as error:  # the binding border
            self._ctx.failed("parse", error)
        return (values, named), consumed, rest, capacity

    def _missing(self, spec: Any, command: str | None, args: list[str]) -> list[str]:
        """Return flags for required arguments that the command line does not give and the task has."""
        required = [*spec.args[: len(spec.args) - len(spec.defaults)], *set(spec.kwonlyargs) - set(spec.kwonlydefaults)]
        flags = {token.lstrip("-").partition("=")[0].replace("-", "_") for token in args if token.startswith("-")}
        free = sum(not token.startswith("-") for token in args)
        wanted = [name for name in required if name not in flags][free:]
        keys = {name: _key(command, name) for name in wanted}
        return [f"--{name}={self._feed.get(key)!r}" for name, key in keys.items() if self._feed.has(key)]

    def _fed(self, spec: Any, command: str | None, values: list[Any], named: dict[str, Any]) -> tuple[Any, Any]:
        """Return the arguments of a call with the stored values in their place."""

        def feed(name: str, current: Any) -> Any:
            key = _key(command, name)
            if not self._feed.has(key):
                return current
            stored = self._feed.get(key)
            if is_same(to_native(None, current), stored):
                return current
            self._feed.changed(key, stored)
            return stored

        count = len(spec.args)
        fed = [feed(name, value) for name, value in zip(spec.args, values, strict=False)]
        extra = {name: feed(name, value) for name, value in named.items()}
        for name in spec.kwonlyargs:
            if name not in extra and self._feed.has(_key(command, name)):
                extra[name] = feed(name, None)
        return [*fed, *values[count:]], extra

    def _record(self, component: Any, function: Any, values: list[Any], named: Mapping[str, Any]) -> None:
        commands = self._commands
        command = commands.name_of(component)
        spec = self._core.inspectutils.GetFullArgSpec(function)
        parsed: dict[str, Parsed] = {}
        for name, arguments in commands.arguments().items():
            if name not in (command, commands.planned) and name not in commands.called:
                parsed[name] = Parsed(False, "", COMMAND_KIND)
                parsed.update({_key(name, argument): Parsed(None, is_unused=True) for argument in arguments})
        if command is not None:
            commands.called.add(command)
            parsed[command] = Parsed(True, "", COMMAND_KIND)
        for name, value in [*zip(spec.args, values, strict=False), *named.items()]:
            parsed[_key(command, name)] = Parsed(_native(value))
        self._feed.record(parsed)


class Commands:
    """The commands that a component offers on the command line.

    Args:
        core: the module ``fire.core``.
        component: what ``Fire`` was called with.
        context: the caller's variables, which are the commands when there is no component.
    """

    def __init__(self, core: Any, component: Any, context: Mapping[str, Any]) -> None:
        self._core = core
        self.members: dict[str, Any] = {}
        self.groups: set[str] = set()
        self.called: set[str] = set()
        self.planned: str | None = None
        if component is None:
            component = {name: value for name, value in context.items() if _is_offered(name, value)}
        if not inspect.ismodule(component) and not inspect.isroutine(component):
            self._walk(component, "", set(), 0)

    def _walk(self, component: Any, prefix: str, seen: set[int], depth: int) -> None:
        from fire import value_types

        if id(component) in seen or depth > _DEPTH_LIMIT:
            return
        seen.add(id(component))
        for name, member in _members(component):
            if len(self.members) + len(self.groups) > _COMMAND_LIMIT:
                return
            key = f"{prefix}{name}"
            if value_types.IsCommand(member):
                self.members[key] = member
            elif not value_types.IsValue(member) and not isinstance(member, ModuleType):
                self.groups.add(key)
                self._walk(member, f"{key}{SEPARATOR}", seen, depth + 1)

    def arguments(self) -> dict[str, list[str]]:
        """Return the names of every command's arguments."""
        found: dict[str, list[str]] = {}
        for name, member in self.members.items():
            try:
                found[name] = list(self._core.inspectutils.GetFullArgSpec(member).args)
            except Exception:  # a builtin without a signature
                found[name] = []
        return found

    def name_of(self, component: Any) -> str | None:
        """Return the name of the command that a component is."""
        target = getattr(component, "__func__", component)
        for name, member in self.members.items():
            if getattr(member, "__func__", member) is target:
                return name
        return None

    def find(self, args: list[str]) -> tuple[str | None, int]:
        """Return the command that a command line names, and where its name begins: after flags at most."""
        start = 0
        while start < len(args) and args[start].startswith("--"):
            start += 1 if "=" in args[start] else 2
        name = ""
        for token in args[start:]:
            name = (f"{name}{SEPARATOR}{token}" if name else token).replace("-", "_")
            if name in self.members:
                return name, start
            if name not in self.groups:
                break
        return None, 0


def _members(component: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a component holds by name, without running any property of it."""
    if isinstance(component, dict):
        yield from ((str(name), member) for name, member in component.items())
        return
    for name in dir(component):
        if name.startswith("__"):
            continue
        try:
            if not inspect.isdatadescriptor(inspect.getattr_static(component, name)):
                yield name, getattr(component, name)
        except AttributeError:
            continue


def _key(command: str | None, name: str) -> str:
    return f"{command}/{name}" if command is not None else name


def _component_of(function: Any) -> Any:
    """Return what Fire calls; of a callable object it parses the ``__call__``."""
    owner = getattr(function, "__self__", None)
    return owner if getattr(function, "__name__", "") == "__call__" and owner is not None else function


def _is_offered(name: str, value: Any) -> bool:
    """Tell whether a variable of the script is a command or a group of them: nothing that was imported to write it."""
    home = str(getattr(value, "__module__", "")).partition(".")[0]
    return not name.startswith("__") and not inspect.ismodule(value) and home not in ("localtrack", "clearml", "typing")


def _native(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted((to_native(None, item) for item in value), key=repr)
    return to_native(None, value)
