"""Knows which training a callback was given to, from its first line to its last, also when it fails.

The functions that train are wrapped when the first callback is made, and stay so; without one of ours among their
callbacks they do what they did.

Source: docs/how-to/integrations.md, "Beside the automatic captures".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from localtrack.runtime import explicit
from localtrack.runtime.own_words import say
from localtrack.runtime.patches import Patches

#: Returns the callbacks or loggers of a call of a function that trains.
Find = Callable[[tuple[Any, ...], dict[str, Any]], Iterable[Any] | None]

#: The owners are kept, since another one could get the identity of one that is gone, and would be passed over.
_watched: dict[tuple[int, str], Any] = {}


def watch(owner: Any, names: Iterable[str], find: Find) -> None:
    """Open a scope around functions that train, for the integrations among their callbacks.

    When the outermost of these functions ends, ``training_ended(result, error)`` of each integration that has it is
    called.

    Args:
        owner: the module or class that has the functions.
        names: theirs; those that are not there are passed over.
        find: returns the callbacks of a call.
    """

    def train(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parties = list(find(args, kwargs) or ())
        kinds = explicit.taken_by(parties)
        if not kinds or explicit.in_training():
            return call(*args, **kwargs)
        _note_seconds(parties)
        error: BaseException | None = None
        result: Any = None
        try:
            with explicit.training(kinds):
                result = call(*args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            for party in parties:
                ended = getattr(party, "training_ended", None)
                if ended is not None and hasattr(party, explicit.TAKES):
                    ended(result, error)
        return result

    wrap(owner, names, train)


def _note_seconds(parties: list[Any]) -> None:
    """Tell all but the last callback of each class of ours that another one reports this training."""
    seen: set[type[Any]] = set()
    for party in reversed(parties):
        if hasattr(party, explicit.TAKES):
            party.localtrack_is_second = type(party) in seen
            seen.add(type(party))


def watch_repetition(owner: Any, names: Iterable[str], kinds: Iterable[str], only_with: str = "") -> None:
    """Within these functions, let the automatic captures leave alone what the training's integration records itself.

    Args:
        owner: the class that has the functions.
        names: theirs.
        kinds: what comes a second time there.
        only_with: a kind without which the integration does not record these.
    """
    left = frozenset(kinds)

    def repeat(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not explicit.in_training() or (only_with and not explicit.is_taken(only_with)):
            return call(*args, **kwargs)
        with explicit.repeating(left):
            return call(*args, **kwargs)

    wrap(owner, names, repeat)


def wrap(owner: Any, names: Iterable[str], wrapper: Callable[..., Any]) -> None:
    """Let ``wrapper(call, args, kwargs)`` stand for functions, each once, for the life of the process."""
    patches = Patches(say_failed)
    for name in names:
        if (id(owner), name) not in _watched:
            _watched[id(owner), name] = owner
            patches.around(owner, name, wrapper)


def say_failed(place: str, error: Exception) -> None:
    """Say that something of an integration failed; the framework's call goes on."""
    say(f"integration, {place}: {type(error).__name__}: {error}. The training goes on.")
