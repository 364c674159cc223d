"""Turn stored values of arguments back into what the parser would have made of them.

The rule that makes a clone run like its original: a stored value that equals what the parser made
by itself changes nothing; any other becomes exactly what is stored, through the argument's own type
where the stored form is text that the type understands.
"""

from __future__ import annotations

import argparse
import enum
import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from localtrack.capture.native_values import MISSING, RawValues, is_same, to_native

_TRUE_WORDS = frozenset({"true", "1", "yes", "y", "on", "t"})
_FALSE_WORDS = frozenset({"false", "0", "no", "n", "off", "f", "none", "null", ""})
_BOOLEAN_ACTIONS: tuple[type[argparse.Action], ...] = (
    argparse._StoreTrueAction,
    argparse._StoreFalseAction,
    argparse.BooleanOptionalAction,
)
_STANDARD_ACTIONS: tuple[type[argparse.Action], ...] = (argparse._StoreAction, argparse._AppendAction)


def restore(
    parser: argparse.ArgumentParser,
    actions: Sequence[argparse.Action],
    stored: object,
    current: object,
    raw: RawValues = (),
) -> object:
    """Return what the namespace must hold so that it has the ``stored`` value.

    Args:
        parser: The parser, for its registry of types and its check of choices.
        actions: All actions that share the destination.
        stored: The JSON value of the task; a text where somebody typed it.
        current: What the parser made by itself, or ``MISSING``.
        raw: What the parser converted in this parse.

    Raises:
        argparse.ArgumentError: The stored value is none that the argument accepts.
    """
    action = next((action for action in actions if action.nargs != 0), actions[0])
    if current is not MISSING and is_same(to_native(action, current, raw), stored):
        return current
    if stored is None:
        return None
    constants = [item for item in actions if item.nargs == 0 or item.nargs == argparse.OPTIONAL]
    match = _match_constant(constants, stored)
    if match is not MISSING:
        return match
    if action.nargs == 0:
        return _restore_flag(action, actions, stored)
    if _is_list(action):
        value: object = _restore_list(parser, action, stored)
    else:
        value = _restore_item(parser, action, stored)
    if isinstance(action, _STANDARD_ACTIONS):
        _check_choices(parser, action, value)
    return value


def _match_constant(actions: Iterable[argparse.Action], stored: object) -> object:
    """Return the constant, or the default, that the stored value stands for."""
    for action in actions:
        if isinstance(action, (argparse._AppendConstAction, *_BOOLEAN_ACTIONS, argparse._CountAction)):
            continue
        for value in (action.const, action.default):
            native = to_native(action, value)
            if value is not None and (is_same(native, stored) or (isinstance(stored, str) and str(native) == stored)):
                return value
    return MISSING


def _restore_flag(action: argparse.Action, actions: Sequence[argparse.Action], stored: object) -> object:
    """Restore an argument that takes no value on the command line."""
    if isinstance(action, _BOOLEAN_ACTIONS):
        return parse_bool(action, stored)
    if isinstance(action, argparse._CountAction):
        try:
            return int(stored) if isinstance(stored, str) else stored
        except ValueError:
            raise argparse.ArgumentError(action, f"invalid int value: {stored!r}") from None
    if isinstance(action, argparse._AppendConstAction):
        by_native = [(to_native(item, item.const), item.const) for item in actions]
        items = _split_text(stored, is_typed=False) if isinstance(stored, str) else stored
        if isinstance(items, list):
            return [next((const for native, const in by_native if is_same(native, item)), item) for item in items]
    return stored


def parse_bool(action: argparse.Action, stored: object) -> object:
    """Return the truth value a text stands for; anything but a text stays as it is."""
    if not isinstance(stored, str):
        return stored
    word = stored.strip().lower()
    if word in _TRUE_WORDS:
        return True
    if word in _FALSE_WORDS:
        return False
    raise argparse.ArgumentError(action, f"invalid bool value: {stored!r}")


def _is_list(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) or _takes_many(action)


def _takes_many(action: argparse.Action) -> bool:
    return isinstance(action.nargs, int) or action.nargs in ("*", "+", argparse.REMAINDER, argparse.PARSER)


def _restore_list(parser: argparse.ArgumentParser, action: argparse.Action, stored: object) -> object:
    convert = _find_type(parser, action)
    items = _split_text(stored, is_typed=convert is not None) if isinstance(stored, str) else stored
    if not isinstance(items, list):
        return _restore_item(parser, action, stored)
    is_nested = isinstance(action, argparse._AppendAction) and _takes_many(action)
    is_nested = is_nested and not isinstance(action, argparse._ExtendAction)
    return [
        [_restore_item(parser, action, part) for part in item]
        if is_nested and isinstance(item, list)
        else _restore_item(parser, action, item)
        for item in items
    ]


def _split_text(text: str, *, is_typed: bool) -> list[Any]:
    """Split what somebody typed for a list: JSON, a Python list, or words as a shell splits them."""
    import ast  # takes milliseconds, and few parsers come here

    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, (list, tuple)):
            return [item if isinstance(item, (str, list)) or not is_typed else str(item) for item in found]
    try:
        return list(shlex.split(text))
    except ValueError:
        return list(text.split())


def _find_type(parser: argparse.ArgumentParser, action: argparse.Action) -> Callable[[Any], object] | None:
    """Return the function that converts the text of ``action``, None where the text stays as it is."""
    if action.type is None or action.type is str:
        return None
    convert = parser._registry_get("type", action.type, action.type)
    return convert if callable(convert) else None


def _restore_item(parser: argparse.ArgumentParser, action: argparse.Action, stored: object) -> object:
    convert = _find_type(parser, action)
    if convert is None or stored is None:
        return _as_text(action, stored)
    if type(action.default) is tuple and isinstance(stored, list):
        return tuple(stored)
    if convert is bool:  # bool("False") is True: nobody who typed it meant that
        return parse_bool(action, stored)
    if isinstance(stored, str):
        return _convert_text(action, convert, stored)
    if convert is float and type(stored) is int:
        return float(stored)
    if convert is int and isinstance(stored, float):
        return int(stored) if stored.is_integer() else stored
    if isinstance(convert, type) and not isinstance(stored, (convert, bool)):
        try:
            converted = convert(stored)
            return converted if bool(converted == stored) else stored
        except Exception:  # the user's class may raise anything; the stored value stands
            return stored
    return stored


def _as_text(action: argparse.Action, stored: object) -> object:
    """Return what the command line would have given for a number or truth value where the argument is a text."""
    if not isinstance(action, _STANDARD_ACTIONS) or type(stored) not in (int, float, bool):
        return stored
    defaults = action.default if isinstance(action.default, (list, tuple)) else [action.default]
    has_values = action.type is None and any(item is not None and not isinstance(item, str) for item in defaults)
    return stored if has_values else str(stored)


def _convert_text(action: argparse.Action, convert: Callable[[Any], object], text: str) -> object:
    try:
        converted = convert(text)
    except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
        if text == "" and action.default is None:
            return None  # a field that somebody emptied
        if isinstance(action.default, enum.Enum) and text in type(action.default).__members__:
            return type(action.default)[text]  # as a default is stored, whatever its function reads
        # A function may make texts out of texts and not know its own result: then the text stands. Where the
        # result ought to be something else, running with a value that nobody asked for would be a lie.
        is_class = isinstance(convert, type) and not issubclass(convert, str)
        has_other_default = action.default is not None and not isinstance(action.default, str)
        if is_class or has_other_default or isinstance(error, argparse.ArgumentTypeError):
            name = getattr(convert, "__name__", repr(convert))
            detail = str(error) if isinstance(error, argparse.ArgumentTypeError) else f"invalid {name} value: {text!r}"
            raise argparse.ArgumentError(action, detail) from None
        return text
    except Exception:  # the user's function may raise anything; as above, the text stands
        return text
    return text if type(converted) is str else converted


def _check_choices(parser: argparse.ArgumentParser, action: argparse.Action, value: object) -> None:
    if action.choices is None:
        return
    known = action.default if isinstance(action.default, (list, tuple)) else [action.default]
    flat: list[object] = []
    for item in value if isinstance(value, list) else [value]:
        flat.extend(item if isinstance(item, list) else [item])
    for item in flat:
        if item not in known:
            parser._check_value(action, item)
