"""The test of the tests: the reaper really kills at every call."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.reaper import Say, deaths


def test_every_call_is_a_place_to_die(tmp_path: Path) -> None:
    """An operation of known calls dies after each of them, and what it said before survives it."""

    def prepare(number: int) -> Path:
        folder = tmp_path / str(number)
        folder.mkdir()
        return folder

    def operation(folder: Path, say: Say) -> None:
        fd = os.open(folder / "a", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x")
        say("written")
        os.close(fd)
        os.rename(folder / "a", folder / "b")

    found = [(d.finished, d.said, sorted(p.name for p in folder.iterdir())) for folder, d in deaths(prepare, operation)]

    assert found == [
        (False, [], ["a"]),
        (False, [], ["a"]),
        (False, ["written"], ["a"]),
        (False, ["written"], ["b"]),
        (True, ["written"], ["b"]),
    ]
