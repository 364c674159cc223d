"""Locks spare work and never decide."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from localtrack.fs.locks import NO_LOCKS_VARIABLE, advisory_lock


def test_one_holder_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one learns that it does not hold the lock, and gets it afterwards."""
    monkeypatch.delenv(NO_LOCKS_VARIABLE, raising=False)
    answers: list[bool] = []

    def look() -> None:
        with advisory_lock(tmp_path / "lock") as held:
            answers.append(held)

    with advisory_lock(tmp_path / "lock") as mine:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    look()

    assert (mine, answers) == (True, [False, True])


def test_locks_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting, everybody holds the lock and no file is made."""
    monkeypatch.setenv(NO_LOCKS_VARIABLE, "1")

    with advisory_lock(tmp_path / "lock") as first, advisory_lock(tmp_path / "lock") as second:
        assert first
        assert second
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_made_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder or a file system without locks costs the lock, never the caller."""
    monkeypatch.delenv(NO_LOCKS_VARIABLE, raising=False)
    (tmp_path / "file").touch()

    with advisory_lock(tmp_path / "file" / "lock") as held:
        assert not held


def test_an_error_in_the_block_passes_and_frees_the_lock(tmp_path: Path) -> None:
    """What is raised under the lock comes out, and the lock is free."""
    with pytest.raises(ValueError, match="mine"), advisory_lock(tmp_path / "lock"):
        raise ValueError("mine")

    with advisory_lock(tmp_path / "lock") as held:
        assert held
