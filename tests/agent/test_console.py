"""The raw output of a child comes into its task, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.agent.console import HOLD_S, ConsoleRelay
from localtrack.store.console import ConsoleLog
from localtrack.store.console_reader import read_console
from localtrack.store.root import Store


class Run:
    """A raw log, a relay, and a clock that goes forward only when told."""

    def __init__(self, store: Store, tmp_path: Path) -> None:
        self.now = 0.0
        self.log = tmp_path / "log"
        self.folder = tmp_path / "console"
        self.child = ConsoleLog(store.disk, self.folder, "child", lambda error: None)
        agent = ConsoleLog(store.disk, self.folder, "agent", lambda error: None)
        self.relay = ConsoleRelay(self.log, agent, self.folder, clock=lambda: self.now)

    def print(self, data: bytes) -> None:
        """Let the child print."""
        with open(self.log, "ab") as stream:
            stream.write(data)

    def texts(self) -> list[str]:
        """Return what the agent committed."""
        return [line.text for line in read_console(self.folder) if line.writer == "agent"]


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Run:
    """A run that has printed nothing yet."""
    return Run(store, tmp_path)


def test_an_untracked_script_streams(run: Run) -> None:
    """Output of a child that never attaches comes while it runs, after a short while, and whole at the end."""
    run.print(b"one\ntwo\nthr")
    run.relay.tick(False)
    assert run.texts() == []
    run.now += HOLD_S
    run.relay.tick(False)
    assert run.texts() == ["one", "two"]
    run.print(b"ee\nlast")
    run.relay.finish(False, has_failed=False)
    assert run.texts() == ["one", "two", "three", "last"]


def test_an_attached_child_is_not_written_twice(run: Run) -> None:
    """What the child records itself is left alone; what it printed before it attached is kept."""
    run.print(b"before\n")
    run.relay.tick(False)
    run.child.write("o", ["inside", "inside"])
    run.print(b"inside\ninside\n")
    run.relay.tick(True)
    run.child.close()
    run.relay.finish(True, has_failed=False)
    assert run.texts() == ["before"]


def test_the_last_words_of_a_crash_are_kept(run: Run) -> None:
    """After a failure lines that the child could not record any more are added."""
    run.relay.tick(True)
    run.child.write("o", ["working"])
    run.child.close()
    run.print(b"working\nFatal Python error: Segmentation fault\n")
    run.relay.finish(True, has_failed=True)
    assert run.texts() == ["Fatal Python error: Segmentation fault"]


def test_progress_bars_leave_their_last_state(run: Run) -> None:
    """Carriage returns are collapsed, broken bytes are shown, a huge line is cut."""
    run.print(b"\r10%\r50%\r100%\r\n\xff\n" + b"x" * 200_000)
    run.relay.finish(False, has_failed=False)
    assert run.texts()[:2] == ["100%", "\ufffd"]
    assert "".join(run.texts()[2:]) == "x" * 200_000


def test_a_missing_log_is_no_error(run: Run) -> None:
    """A child that never printed has no log."""
    run.relay.finish(False, has_failed=True)
    assert run.texts() == []
