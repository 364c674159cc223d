"""One parse of one argument parser with all its sub-parsers: what it gave, and what is fed into it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from localtrack.capture.argument_values import restore
from localtrack.capture.native_values import MISSING, RawValues, to_native
from localtrack.records.plain import dataclass, field

_HIDDEN_ACTIONS = (argparse._HelpAction, argparse._VersionAction)
_UNNAMED_COMMAND = "subcommand"
_CONVERTED_DEFAULTS = (int, float)


@dataclass(frozen=True, slots=True)
class ParsedArguments:
    """What one parse gave.

    Attributes:
        values: JSON value by destination, for the arguments of all sub-parsers: those of commands
            that were not chosen have their defaults.
        types: Name of the declared type by destination, else of the kind of value.
        help: Help text by destination, '' where there is none.
        prog: Name of the program as its parser shows it, '' when the parser is unknown.
        overridden: Destinations whose value was changed to a stored one.
        namespace: The user's own namespace object.
        parser: The parser, None when it is unknown.
    """

    values: Mapping[str, Any]
    types: Mapping[str, str]
    help: Mapping[str, str]
    prog: str = ""
    overridden: tuple[str, ...] = ()
    namespace: argparse.Namespace | None = field(default=None, compare=False, repr=False)
    parser: argparse.ArgumentParser | None = field(default=None, compare=False, repr=False)


class ArgumentTree:
    """A parser and its sub-parsers, with one name for each argument."""

    def __init__(self, top: argparse.ArgumentParser) -> None:
        """Walk the parsers below ``top``."""
        self.top = top
        self.parsers: list[argparse.ArgumentParser] = []
        self._keys: dict[int, str] = {}
        self._walk(top)
        self.destinations = frozenset(key for parser in self.parsers for key, _ in self.arguments(parser))
        for parser in self.parsers:
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction) and action.dest == argparse.SUPPRESS:
                    self._keys[id(action)] = self._name_command()

    def _walk(self, parser: argparse.ArgumentParser) -> None:
        if any(known is parser for known in self.parsers):
            return  # an alias
        self.parsers.append(parser)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action._name_parser_map.values():
                    self._walk(child)

    def _name_command(self) -> str:
        """Return a free name for the choice of a sub-command that has no destination."""
        taken = self.destinations | set(self._keys.values())
        names = [_UNNAMED_COMMAND, *(f"{_UNNAMED_COMMAND}_{number}" for number in range(2, len(taken) + 3))]
        return next(name for name in names if name not in taken)

    def arguments(self, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
        """Yield (name, action) for the arguments of ``parser`` that hold a value."""
        for action in parser._actions:
            key = self._keys.get(id(action), action.dest)
            if not isinstance(action, _HIDDEN_ACTIONS) and isinstance(key, str) and key != argparse.SUPPRESS:
                yield key, action

    def grouped(self, parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
        """Return the arguments of ``parser``, those with one destination together."""
        groups: dict[str, list[argparse.Action]] = {}
        for key, action in self.arguments(parser):
            groups.setdefault(key, []).append(action)
        return groups

    def matches(self, namespace: argparse.Namespace) -> bool:
        """Tell whether the top parser may have made ``namespace``."""
        names = {
            action.dest
            for _, action in self.arguments(self.top)
            if action.default is not argparse.SUPPRESS and action.dest != argparse.SUPPRESS
        }
        return bool(names) and names <= vars(namespace).keys()

    def guess_chosen(self, namespace: argparse.Namespace) -> list[argparse.ArgumentParser]:
        """Return the sub-parsers that took part in making ``namespace``."""
        chosen: list[argparse.ArgumentParser] = []
        parser: argparse.ArgumentParser | None = self.top
        while parser is not None:
            following = None
            for action in parser._actions:
                if not isinstance(action, argparse._SubParsersAction):
                    continue
                children = action._name_parser_map
                name = getattr(namespace, action.dest, None)
                if action.dest == argparse.SUPPRESS:
                    complete = [key for key, child in children.items() if ArgumentTree(child).matches(namespace)]
                    name = complete[0] if complete else None
                following = children.get(name) if isinstance(name, str) else None
            if following is not None:
                chosen.append(following)
            parser = following
        return chosen

    def describe(
        self,
        namespace: argparse.Namespace,
        chosen: Iterable[argparse.ArgumentParser],
        raw: RawValues,
        include: Callable[[str], bool],
        overridden: Iterable[str] = (),
    ) -> ParsedArguments:
        """Return the record of a parse that gave ``namespace`` by way of the ``chosen`` sub-parsers."""
        taken = [self.top, *chosen]
        unused = [parser for parser in self.parsers if not any(parser is one for one in taken)]
        values: dict[str, Any] = {}
        types: dict[str, str] = {}
        texts: dict[str, str] = {}
        for parser in [*taken, *unused]:
            is_unused = any(parser is one for one in unused)
            for key, action in self.arguments(parser):
                if key in values or not include(key):
                    continue
                value = self._find_value(action, namespace, taken, is_unused)
                if value is MISSING:
                    continue
                values[key] = to_native(action, value, raw)
                types[key] = _name_type(action, values[key])
                texts[key] = _expand_help(parser, action)
        prog = str(self.top.prog)
        return ParsedArguments(values, types, texts, prog, tuple(overridden), namespace, self.top)

    def _find_value(
        self,
        action: argparse.Action,
        namespace: argparse.Namespace,
        taken: list[argparse.ArgumentParser],
        is_unused: bool,
    ) -> object:
        if isinstance(action, argparse._SubParsersAction):
            if not is_unused and action.dest != argparse.SUPPRESS:
                return getattr(namespace, action.dest, None)
            names = (name for name, child in action._name_parser_map.items() if any(child is one for one in taken))
            return next(names, None)
        if not is_unused:
            return getattr(namespace, action.dest, MISSING)
        if action.default is argparse.SUPPRESS:
            return MISSING
        if isinstance(action.default, str) and action.type in _CONVERTED_DEFAULTS:
            try:
                return action.type(action.default)
            except ValueError:
                return action.default
        return action.default


class ParseSession:
    """A parse under way: notes which sub-parsers run and which texts are converted, feeds stored values."""

    def __init__(
        self,
        top: argparse.ArgumentParser,
        overrides: Mapping[str, object],
        include: Callable[[str], bool],
        errors: list[str],
        lock: Any,
    ) -> None:
        """Prepare to parse with ``top``; ``lock`` keeps two threads from relaxing one parser at once."""
        self._tree = ArgumentTree(top)
        self._include = include
        self._overrides = {key: value for key, value in overrides.items() if include(key)}
        self._errors = errors
        self._lock = lock
        self._chosen: list[argparse.ArgumentParser] = []
        self._running: list[argparse.ArgumentParser] = []
        self._raw: list[tuple[str, object, str]] = []
        self._overridden: dict[str, None] = {}
        self._watched: list[argparse.ArgumentParser] = []

    def __enter__(self) -> ParseSession:
        if self._overrides:
            self._lock.acquire()
        for parser in self._tree.parsers:
            if "_get_value" not in vars(parser):
                self._watch(parser)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for parser in self._watched:
            vars(parser).pop("_get_value", None)
        if self._overrides:
            self._lock.release()

    def _watch(self, parser: argparse.ArgumentParser) -> None:
        convert = parser._get_value
        raw = self._raw

        def get_value(action: argparse.Action, arg_string: str) -> Any:
            value = convert(action, arg_string)
            if type(value) not in (bool, str, int, float):
                raw.append((action.dest, value, arg_string))
            return value

        parser._get_value = get_value  # type: ignore[method-assign]
        self._watched.append(parser)

    def run(self, original: Callable[..., Any], parser: argparse.ArgumentParser, args: Any, namespace: Any) -> Any:
        """Parse with ``parser``: the top one, a sub-parser of it, or a stranger that is left alone."""
        is_ours = any(parser is one for one in self._tree.parsers)
        if not is_ours or any(parser is one for one in self._running):
            return original(parser, args, namespace)
        if parser is not self._tree.top:
            self._chosen.append(parser)
        relaxed = _Relaxed()
        if self._overrides:
            try:
                args = self._relax(parser, args, relaxed)
            except Exception as error:  # the plain parse is always better than none
                relaxed.undo()
                self._note(parser, error)
        self._running.append(parser)
        try:
            result = original(parser, args, namespace)
        finally:
            self._running.pop()
            relaxed.undo()
        if self._overrides:
            self._apply(parser, result[0], relaxed)
        return result

    def describe(self, namespace: argparse.Namespace) -> ParsedArguments:
        """Return the record of the finished parse."""
        return self._tree.describe(namespace, self._chosen, self._raw, self._include, self._overridden)

    def _relax(self, parser: argparse.ArgumentParser, args: Any, relaxed: _Relaxed) -> Any:
        """Let ``parser`` do without what is stored; return the arguments to parse."""
        argv = _without_missing_files(parser, list(sys.argv[1:] if args is None else args))
        has_positionals = any(not token.startswith(tuple(parser.prefix_chars)) for token in argv)
        commands: list[tuple[str, argparse._SubParsersAction[Any], str]] = []
        actions = [(key, action) for key, action in self._tree.arguments(parser) if key in self._overrides]
        for key, action in actions:
            relaxed.set(action, "required", False)
            if isinstance(action, argparse._SubParsersAction):
                if isinstance(self._overrides[key], str) and self._overrides[key]:
                    commands.append((key, action, str(self._overrides[key])))
            elif not action.option_strings and not has_positionals:
                # Its value is stored, so it must not swallow the name of a sub-command that is fed in.
                relaxed.bypass(action)
        for group in parser._mutually_exclusive_groups:
            if group.required and any(action is one for one in group._group_actions for _, action in actions):
                relaxed.set(group, "required", False)
        for key, action, command in commands:
            chosen = _choose_command(argv, action._name_parser_map, command)
            if chosen is not argv:
                argv = chosen
                self._overridden[key] = None
        return argv

    def _apply(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, relaxed: _Relaxed) -> None:
        for key, actions in self._tree.grouped(parser).items():
            if key not in self._overrides or isinstance(actions[0], argparse._SubParsersAction):
                continue
            current = getattr(namespace, key, MISSING)
            stored = self._overrides[key]
            try:
                if current is MISSING and relaxed.is_bypassed(actions[0]):
                    current = _default_of(parser, actions[0])
                value = restore(parser, actions, stored, current, self._raw)
            except argparse.ArgumentError as error:
                if getattr(parser, "exit_on_error", True):
                    parser.error(str(error))
                raise
            except Exception as error:  # one odd argument must not cost the others
                self._note(parser, error)
                continue
            setattr(namespace, key, value)
            if value is not current:
                self._overridden[key] = None

    def _note(self, parser: argparse.ArgumentParser, error: Exception) -> None:
        self._errors.append(f"feeding stored arguments into {parser.prog}: {type(error).__name__}: {error}")


class _Relaxed:
    """Changes to a parser that last for one parse."""

    def __init__(self) -> None:
        self._changes: list[tuple[Any, str, object]] = []
        self._bypassed: list[argparse.Action] = []

    def set(self, owner: Any, name: str, value: object) -> None:
        self._changes.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def bypass(self, action: argparse.Action) -> None:
        """Make a positional match nothing, the way ``parse_known_intermixed_args`` does."""
        self.set(action, "nargs", argparse.SUPPRESS)
        self.set(action, "default", argparse.SUPPRESS)
        self._bypassed.append(action)

    def is_bypassed(self, action: argparse.Action) -> bool:
        return any(action is one for one in self._bypassed)

    def undo(self) -> None:
        while self._changes:
            owner, name, value = self._changes.pop()
            setattr(owner, name, value)


def apply_overrides(
    parsed: ParsedArguments, overrides: Mapping[str, object], include: Callable[[str], bool] = lambda dest: True
) -> ParsedArguments:
    """Set stored values in the namespace of a parse that is over; return its new record.

    The choice of a sub-command cannot be changed any more: it stays, and so do its arguments'
    absent neighbours.

    Raises:
        argparse.ArgumentError: A stored value is none that its argument accepts.
    """
    namespace = parsed.namespace
    if namespace is None:
        return parsed
    changed: list[str] = []
    if parsed.parser is None:
        for key, stored in overrides.items():
            if include(key) and key in parsed.values and parsed.values[key] != stored:
                setattr(namespace, key, stored)
                changed.append(key)
        return describe_namespace(namespace, include, changed)
    tree = ArgumentTree(parsed.parser)
    chosen = tree.guess_chosen(namespace)
    for parser in [tree.top, *chosen]:
        for key, actions in tree.grouped(parser).items():
            current = getattr(namespace, key, MISSING)
            if key not in overrides or not include(key) or isinstance(actions[0], argparse._SubParsersAction):
                continue
            value = restore(parser, actions, overrides[key], current)
            setattr(namespace, key, value)
            if value is not current:
                changed.append(key)
    return tree.describe(namespace, chosen, (), include, dict.fromkeys(changed))


def describe_namespace(
    namespace: argparse.Namespace, include: Callable[[str], bool], overridden: Iterable[str] = ()
) -> ParsedArguments:
    """Return the record of a namespace whose parser is unknown; functions in it are no parameters."""
    values = {
        key: to_native(None, value) for key, value in vars(namespace).items() if include(key) and not callable(value)
    }
    types = {key: "str" if value is None else type(value).__name__ for key, value in values.items()}
    return ParsedArguments(values, types, dict.fromkeys(values, ""), "", tuple(overridden), namespace, None)


def _without_missing_files(parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """Return ``argv`` without files of arguments that are not here: what they held is stored, and wins."""
    prefixes = tuple(parser.fromfile_prefix_chars or ())
    result: list[str] = []
    for token in argv:
        if not prefixes or not token.startswith(prefixes) or os.path.exists(token[1:]):
            result.append(token)
            continue
        option = parser._option_string_actions.get(result[-1]) if result else None
        if option is not None and (option.nargs is None or option.nargs == "+" or option.nargs == 1):
            result.pop()  # the file held its value
    return result


def _choose_command(argv: list[str], children: Mapping[str, argparse.ArgumentParser], command: str) -> list[str]:
    """Return ``argv`` with ``command`` chosen; the arguments of another command go."""
    for position, token in enumerate(argv):
        if token in children:
            if children[token] is children.get(command):
                return argv
            return [*argv[:position], command]
    return [*argv, command]


def _default_of(parser: argparse.ArgumentParser, action: argparse.Action) -> object:
    """Return what an absent positional would have given, ``MISSING`` when it may not be absent."""
    if action.nargs not in (argparse.OPTIONAL, argparse.ZERO_OR_MORE) or action.default is argparse.SUPPRESS:
        return MISSING
    if isinstance(action.default, str):
        return parser._get_value(action, action.default)
    if action.default is None and action.nargs == argparse.ZERO_OR_MORE:
        return []
    return action.default


def _name_type(action: argparse.Action, value: object) -> str:
    if action.type is not None:
        return str(getattr(action.type, "__name__", None) or type(action.type).__name__)
    if value is None or (isinstance(value, list) and action.nargs is not None and all(type(x) is str for x in value)):
        return "str"
    return type(value).__name__


def _expand_help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = str(action.help or "")  # some parsers give an object that makes its text when it is asked
    if not text or text == argparse.SUPPRESS or "%" not in text:
        return "" if text == argparse.SUPPRESS else text
    try:
        return str(parser._get_formatter()._expand_help(action))
    except Exception:  # a help text with a stray "%" fails in argparse itself, too, but only in --help
        return text
