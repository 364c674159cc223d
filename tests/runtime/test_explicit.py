"""What an explicit integration takes over, while its training runs, in its thread."""

from __future__ import annotations

import threading

from localtrack.runtime import explicit
from localtrack.runtime.explicit import MODELS, PARAMETERS, SCALARS


class Party:
    """A callback that records scalars."""

    localtrack_takes = frozenset({SCALARS})


def test_what_is_taken_is_said_by_the_callbacks() -> None:
    """Callbacks of others take nothing; no callbacks at all neither."""
    assert explicit.taken_by([Party(), object()]) == {SCALARS}
    assert explicit.taken_by([object()]) == explicit.taken_by(None) == frozenset()


def test_only_what_is_repeated_is_left() -> None:
    """Within a training, what comes a second time is left alone where it comes, and nowhere else."""
    with explicit.training(frozenset({SCALARS, MODELS})):
        assert explicit.in_training()
        assert not explicit.left()
        with explicit.repeating(frozenset({SCALARS, PARAMETERS})):
            assert explicit.left() == {SCALARS}
        assert not explicit.left()
    assert not explicit.in_training()
    with explicit.repeating(frozenset({SCALARS})):
        assert not explicit.left()


def test_scopes_end_with_an_exception_and_nest() -> None:
    """However a scope is left, what was before is again."""
    try:
        with explicit.leaving(frozenset({SCALARS})), explicit.leaving(frozenset({MODELS})):
            assert explicit.left() == {SCALARS, MODELS}
            raise KeyError
    except KeyError:
        assert not explicit.left()


def test_other_threads_are_not_meant() -> None:
    """Another thread's captures go on."""
    seen = []
    with explicit.leaving(frozenset({SCALARS})):
        thread = threading.Thread(target=lambda: seen.append(explicit.left()))
        thread.start()
        thread.join()
    assert seen == [frozenset()]
