"""Child processes in a session of their own."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.capture.host import start_token
from localtrack.errors import InvalidValueError
from localtrack.executors.base import Exit, LaunchPlan
from localtrack.executors.subprocess import SubprocessExecutor, SubprocessHandle

STUBBORN = (
    "import signal, time, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep({seconds})
"""


@pytest.fixture
def launch(tmp_path: Path) -> Callable[[str], SubprocessHandle]:
    """Return a function that launches Python code."""

    def start(code: str) -> SubprocessHandle:
        plan = LaunchPlan((sys.executable, "-c", code), tmp_path, os.environ, tmp_path / "log", "a test")
        return SubprocessExecutor().launch(plan)

    return start


def _wait(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_an_exit_code_is_told(launch: Callable[[str], SubprocessHandle], tmp_path: Path) -> None:
    """The code comes back, and stdout and stderr are in the log in their order."""
    handle = launch("import os; os.write(1, b'out\\n'); os.write(2, b'err\\n'); raise SystemExit(3)")
    _wait(handle.poll)
    assert handle.poll() == Exit(3)
    assert (tmp_path / "log").read_text() == "out\nerr\n"
    assert str(handle.pid) in handle.describe()


def test_a_signal_is_told(launch: Callable[[str], SubprocessHandle]) -> None:
    """A child that a signal ended says which one."""
    handle = launch("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    _wait(handle.poll)
    assert handle.poll() == Exit(None, "SIGKILL")


def test_a_program_that_is_missing_is_an_oserror(tmp_path: Path) -> None:
    """What can't be started raises."""
    with pytest.raises(OSError, match="no-such-program"):
        SubprocessExecutor().launch(LaunchPlan(("/no-such-program",), tmp_path, {}, tmp_path / "log"))


def test_stop_asks_first(launch: Callable[[str], SubprocessHandle]) -> None:
    """SIGTERM comes first, and a child that heeds it is not killed."""
    handle = launch(
        "import signal, time, sys; signal.signal(15, lambda *a: sys.exit(7)); print(1, flush=True); time.sleep(60)"
    )
    _wait(lambda: handle.poll() or _log(handle))
    assert handle.stop(30) == Exit(7)


def _log(handle: SubprocessHandle) -> bool:
    return os.stat(f"/proc/{handle.pid}/fd/1").st_size > 0


def test_a_stubborn_child_is_killed(launch: Callable[[str], SubprocessHandle]) -> None:
    """After the grace SIGKILL follows."""
    handle = launch(STUBBORN)
    _wait(lambda: _log(handle))
    start = time.monotonic()
    assert handle.stop(0.3) == Exit(None, "SIGKILL")
    assert time.monotonic() - start < 20


def test_grandchildren_are_stopped_too(launch: Callable[[str], SubprocessHandle], tmp_path: Path) -> None:
    """What the child started goes with it, and also what it left behind when it ended."""
    for seconds in (60, 0):
        (tmp_path / "log").unlink(missing_ok=True)
        handle = launch(PARENT.format(seconds=seconds))
        _wait(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().endswith("\n"))
        grandchild = int((tmp_path / "log").read_text())
        if seconds == 0:
            _wait(handle.poll)
            assert not _is_gone(grandchild)
        handle.stop(5)
        _wait(lambda pid=grandchild: _is_gone(pid))  # type: ignore[misc]


def test_a_handle_survives_as_json(launch: Callable[[str], SubprocessHandle]) -> None:
    """Another process can watch and stop a child by what was written down of it."""
    handle = launch(STUBBORN)
    _wait(lambda: _log(handle))
    other = SubprocessExecutor().restore(json.loads(json.dumps(handle.to_json())))
    assert other.poll() is None
    other.stop(0.1)
    _wait(handle.poll)
    assert other.poll() == Exit(None)
    assert handle.poll() == Exit(None, "SIGKILL")


def test_a_number_that_was_given_again_is_left_alone(launch: Callable[[str], SubprocessHandle]) -> None:
    """A restored handle never signals another process that got the same number."""
    handle = launch("import time; time.sleep(60)")
    body = handle.to_json()
    for wrong in ({"start": "1"}, {"boot": "another boot"}):
        SubprocessExecutor().restore({**body, **wrong}).stop(0)
    assert handle.poll() is None
    assert start_token(handle.pid) == body["start"]
    handle.kill()
    _wait(handle.poll)
    assert handle.poll() == Exit(None, signal.Signals.SIGKILL.name)


@pytest.mark.parametrize(
    "body", [{}, {"executor": "subprocess", "pid": 1, "start": ""}, {"executor": "slurm", "pid": 9}]
)
def test_foreign_descriptions_are_refused(body: dict[str, object]) -> None:
    """What describes no child process of this executor is refused."""
    with pytest.raises(InvalidValueError):
        SubprocessExecutor().restore(body)
