"""Runs a task as a child process in a session of its own, so that it can be stopped with all that it started.

Source: setsid(2), kill(2).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from localtrack.capture.host import capture_host, is_alive, start_token
from localtrack.errors import InvalidValueError
from localtrack.executors.base import Exit, LaunchPlan

POLL_S = 0.05
REAP_S = 10.0


class SubprocessExecutor:
    """Starts child processes of this one."""

    name = "subprocess"

    def launch(self, plan: LaunchPlan) -> SubprocessHandle:
        """Start a plan; see :meth:`localtrack.executors.base.Executor.launch`.

        Raises:
            OSError: the program or the working directory is missing.
        """
        with open(plan.log, "ab", buffering=0) as log:
            process = subprocess.Popen(
                plan.command,
                cwd=plan.cwd,
                env=dict(plan.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return SubprocessHandle(process.pid, start_token(process.pid) or "", capture_host().boot_id, plan.name, process)

    def restore(self, body: Mapping[str, Any]) -> SubprocessHandle:
        """Return the handle of a process that another process started on this host.

        Raises:
            InvalidValueError: it describes no such process.
        """
        pid, start, boot = body.get("pid"), body.get("start"), body.get("boot")
        if body.get("executor") != self.name or not isinstance(pid, int) or pid <= 1 or not isinstance(start, str):
            raise InvalidValueError(f"{dict(body)!r} describes no process of executor {self.name!r}")
        return SubprocessHandle(pid, start, str(boot), str(body.get("name", "")))


class SubprocessHandle:
    """One process and its group. Without ``process`` it is one that another process started."""

    def __init__(
        self, pid: int, start: str, boot: str, name: str, process: subprocess.Popen[bytes] | None = None
    ) -> None:
        self.pid = pid
        self._start = start
        self._boot = boot
        self._name = name
        self._process = process
        self._exit: Exit | None = None
        self._is_empty = False

    def poll(self) -> Exit | None:
        """Return how it ended; the code of a process that another one started can't be known."""
        if self._exit is None:
            if self._process is None:
                self._exit = None if self._is_there() else Exit(None)
            else:
                code = self._process.poll()
                if code is not None:
                    self._exit = _to_exit(code)
        return self._exit

    def stop(self, grace_s: float) -> Exit:
        """Send SIGTERM to the group, SIGKILL after ``grace_s`` seconds to what is left of it; return how it ended."""
        if self._owns_group():
            self._signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while self._group_lives() and time.monotonic() < deadline:
                time.sleep(POLL_S)
            if self._group_lives():
                self.kill()
        deadline = time.monotonic() + REAP_S
        while (ended := self.poll()) is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return ended or Exit(None, "SIGKILL")

    def kill(self) -> None:
        """Send SIGKILL to the group."""
        if self._owns_group():
            self._signal(signal.SIGKILL)

    def describe(self) -> str:
        """Return name and pid."""
        return f"{self._name or 'process'} (pid {self.pid})"

    def to_json(self) -> dict[str, Any]:
        """Return what names the process on this host until it reboots."""
        return {
            "executor": SubprocessExecutor.name, "pid": self.pid, "start": self._start, "boot": self._boot,
            "name": self._name,
        }  # fmt: skip

    def _is_there(self) -> bool:
        return bool(self._start) and capture_host().boot_id == self._boot and is_alive(self.pid, self._start)

    def _owns_group(self) -> bool:
        """Tell whether the group's number still means our group: a number is free again only when the group is empty.

        A leader of ours that was reaped leaves its group to its children, and nobody else can get the number before
        they end. For a process of another agent only the living leader proves that.
        """
        return not self._is_empty and (self._process is not None or self._is_there())

    def _group_lives(self) -> bool:
        self.poll()
        if not self._owns_group():
            return False
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            self._is_empty = True
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def _to_exit(code: int) -> Exit:
    if code >= 0:
        return Exit(code)
    try:
        return Exit(None, signal.Signals(-code).name)
    except ValueError:
        return Exit(None, f"signal {-code}")
