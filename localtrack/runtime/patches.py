"""Attributes of foreign modules and classes, replaced for a while and put back as they were.

Source: docs/contributing.md, "A binding".
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

_ABSENT: Any = object()
_ORIGINAL = "__localtrack_original__"
Failed = Callable[[str, Exception], None]
Before = Callable[[tuple[Any, ...], dict[str, Any]], object]
After = Callable[[Any, tuple[Any, ...], dict[str, Any]], object]
Tap = Callable[[tuple[Any, ...], dict[str, Any]], object]
Around = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class ThreadState(threading.local):
    """What a thread is in the midst of.

    Attributes:
        depth: of observers, whose calls nobody observes.
        nested: of calls that save or load a file, whose own calls do so with parts of it; observers count among them, so
            that who records files needs to look at this only.
    """

    depth = 0
    nested = 0


thread_state = ThreadState()


class observing:  # noqa: N801  (used as a word: with observing():)
    """While a thread is in here, what it calls is localtrack's doing, not the user's, and is observed by nobody."""

    def __enter__(self) -> None:
        thread_state.depth += 1
        thread_state.nested += 1

    def __exit__(self, *exc: object) -> None:
        thread_state.depth -= 1
        thread_state.nested -= 1


class Patches:
    """The replaced attributes of one binding.

    A replacement calls the original with exactly what it was given, gives back exactly what that returned, and lets
    through exactly what that raised. What an observer raises goes to ``failed`` and no further.

    Args:
        failed: told where an observer failed and how.

    Attributes:
        is_live: whether they are on.
    """

    def __init__(self, failed: Failed) -> None:
        self._failed = failed
        self._done: list[_Patch] = []
        self.is_live = True

    def before(self, owner: Any, name: str, observer: Before) -> None:
        """Call ``observer(args, kwargs)`` before the function of that name."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*args: Any, **kwargs: Any) -> Any:
                if self.is_live and not thread_state.depth:
                    self._observe(name, observer, args, kwargs)
                return original(*args, **kwargs)

            return replacement

        self.place(owner, name, make)

    def after(self, owner: Any, name: str, observer: After) -> None:
        """Call ``observer(result, args, kwargs)`` after the function of that name has returned."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                if self.is_live and not thread_state.depth:
                    self._observe(name, observer, result, args, kwargs)
                return result

            return replacement

        self.place(owner, name, make)

    def tap(self, owner: Any, name: str, observer: Tap) -> None:
        """Call ``observer(args, kwargs)`` after the function of that name has returned, at a third of ``after``'s cost.

        It is for what is called very often: the observer only puts by what was given. What it calls is observed itself.
        """

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*args: Any, **kwargs: Any) -> Any:
                result = original(*args, **kwargs)
                if self.is_live:
                    try:
                        observer(args, kwargs)
                    except Exception as error:  # the binding border
                        self._failed(name, error)
                return result

            return replacement

        self.place(owner, name, make)

    def around(self, owner: Any, name: str, wrapper: Around) -> None:
        """Let ``wrapper(call, args, kwargs)`` stand for the function; it calls ``call(*args, **kwargs)`` once.

        What it returns is what the caller gets, and what ``call`` raises reaches the caller unless it catches that. If it
        raises by itself, the caller gets what ``call`` did; it is called then if it was not.
        """

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            def replacement(*args: Any, **kwargs: Any) -> Any:
                if not self.is_live or thread_state.depth:
                    return original(*args, **kwargs)
                call = _Call(original)
                try:
                    return wrapper(call, args, kwargs)
                except Exception as error:  # the binding border
                    if error is call.error:
                        raise
                    self._failed(name, error)
                if call.error is not None:
                    raise call.error
                return call.result if call.was_made else original(*args, **kwargs)

            return replacement

        self.place(owner, name, make)

    def replace(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put ``make(original)`` in the place of a function of a module, a class or an object.

        ``make`` must see to its own failures; the other methods do that for it. Nothing happens when there is no such
        attribute: another version of the framework has other names.
        """

        def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
            replacement = make(original)

            def switched(*args: Any, **kwargs: Any) -> Any:
                return (replacement if self.is_live else original)(*args, **kwargs)

            return switched

        self.place(owner, name, guarded)

    def place(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put ``make(original)`` in the place of a function as :meth:`replace` does, without a call in between.

        It stays where somebody else patched over it, and must then do nothing of its own once ``is_live`` is false.
        """
        own = vars(owner).get(name, _ABSENT)
        found = own if own is not _ABSENT else _inherited(owner, name)
        if found is _ABSENT:
            return
        kind = type(found) if isinstance(found, (staticmethod, classmethod)) else None
        original = found.__func__ if kind is not None else found
        mine = functools.wraps(original)(make(original))
        mine.__dict__[_ORIGINAL] = original
        placed = kind(mine) if kind is not None else mine
        setattr(owner, name, placed)
        self._done.append(_Patch(owner, name, own, placed))

    def same_as_elsewhere(self, owner: Any, name: str) -> bool:
        """Tell whether a module has by name what is replaced already where it comes from; it gets the original back then.

        That is so for what it imported by ``from ... import`` after the replacement.
        """
        held = vars(owner).get(name)
        original = getattr(held, _ORIGINAL, None)
        if original is None:
            return False
        self._done.append(_Patch(owner, name, original, held))
        return True

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute, to be put back like the others."""
        own = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        self._done.append(_Patch(owner, name, own, value))

    def undo(self) -> None:
        """Put everything back, last first. Where somebody else patched over ours, ours stays and only passes through."""
        self.is_live = False
        for patch in reversed(self._done):
            patch.undo()
        self._done.clear()

    def _observe(self, name: str, observer: Callable[..., object], *args: Any) -> None:
        thread_state.depth = 1
        thread_state.nested += 1
        try:
            observer(*args)
        except Exception as error:  # the binding border: tracking never breaks the framework's call
            self._failed(name, error)
        finally:
            thread_state.depth = 0
            thread_state.nested -= 1


def _inherited(owner: Any, name: str) -> Any:
    if not isinstance(owner, type):
        return getattr(owner, name, _ABSENT)
    return next((vars(base)[name] for base in owner.__mro__ if name in vars(base)), _ABSENT)


class _Patch:
    def __init__(self, owner: Any, name: str, previous: Any, placed: Any) -> None:
        self._owner = owner
        self._name = name
        self._previous = previous
        self._placed = placed

    def undo(self) -> None:
        if vars(self._owner).get(self._name, _ABSENT) is not self._placed:
            return
        if self._previous is _ABSENT:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._previous)


class _Call:
    """The original function, with a memory of what came of calling it."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self._original = original
        self.was_made = False
        self.result: Any = None
        self.error: BaseException | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.was_made = True
        try:
            self.result = self._original(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        return self.result


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], position: int, name: str, default: Any = None) -> Any:
    """Return an argument of a call, given by position or by name."""
    return args[position] if len(args) > position else kwargs.get(name, default)
