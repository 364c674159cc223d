"""What an integration that the script names itself records of a training, so that the automatic captures leave it alone.

A callback or a logger of ``localtrack.integrations`` says by its attribute ``localtrack_takes`` what it records. While
the training runs that it was given to, in that thread, the captures pass over what would come a second time.

Source: docs/how-to/integrations.md, "Beside the automatic captures".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

SCALARS = "scalars"
PARAMETERS = "parameters"
MODELS = "models"

#: All that a writer of TensorBoard is given.
EVENTS = "events"

TAKES = "localtrack_takes"
NOTHING: frozenset[str] = frozenset()


class _Scope(threading.local):
    training = NOTHING
    left = NOTHING


_scope = _Scope()
_is_told = False

is_used = False
"""Whether anything was ever left alone in this process: what costs nothing to ask on the way of every point."""

when_used: list[Callable[[], object]] = []
"""Called when that becomes true, before anything is left alone."""


def left() -> frozenset[str]:
    """Return what this thread's captures leave alone just now; nearly always nothing."""
    return _scope.left


def in_training() -> bool:
    """Tell whether a training that has an explicit integration runs in this thread."""
    return bool(_scope.training)


def is_taken(kind: str) -> bool:
    """Tell whether the integration of this thread's training records things of a kind."""
    return kind in _scope.training


def taken_by(parties: Iterable[Any] | None) -> frozenset[str]:
    """Return what the integrations among a training's callbacks or loggers record."""
    return NOTHING.union(*(getattr(party, TAKES, NOTHING) for party in parties or ()))


class training:  # noqa: N801  (used as a word: with training(kinds):)
    """While a thread is in here, a training runs whose integration records these kinds of things."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        self._before = _scope.training
        _scope.training = self._before | self._kinds

    def __exit__(self, *exc: object) -> None:
        _scope.training = self._before


class leaving:  # noqa: N801
    """While a thread is in here, the captures leave these kinds of things alone."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        global is_used, _is_told
        if not _is_told:  # by each thread that comes here meanwhile
            is_used = True
            for tell in when_used:
                tell()
            _is_told = True
        self._before = _scope.left
        _scope.left = self._before | self._kinds

    def __exit__(self, *exc: object) -> None:
        _scope.left = self._before


def repeating(kinds: frozenset[str]) -> leaving:
    """Return a context in which what the training's integration records is left alone, as far as it is of these kinds."""
    return leaving(_scope.training & kinds)
