"""What an executor promises: it launches a plan and gives back a handle that survives its maker as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from localtrack.records.plain import dataclass, field


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What to start.

    Attributes:
        command: program and arguments; no shell.
        cwd: working directory.
        env: the whole environment.
        log: file that gets stdout and stderr, appended to.
        name: for people.
    """

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path = Path("/dev/null")
    name: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    Attributes:
        code: its exit code; None when a signal ended it, or when nobody can know any more.
        signal: name of the signal, such as ``SIGKILL``; ``""`` for none.
    """

    code: int | None
    signal: str = ""


class Handle(Protocol):
    """A launched process, with all that it started."""

    def poll(self) -> Exit | None:
        """Return how it ended; None while it runs."""

    def stop(self, grace_s: float) -> Exit:
        """Ask it and its children to end, end them after ``grace_s`` seconds, and return how it ended."""

    def kill(self) -> None:
        """End it and its children at once, without waiting; safe in a signal handler."""

    def describe(self) -> str:
        """Return one line for people."""

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`Executor.restore` needs, in another process too."""


class Executor(Protocol):
    """Starts processes in one way."""

    name: str

    def launch(self, plan: LaunchPlan) -> Handle:
        """Start a plan.

        Raises:
            OSError: it can't be started.
        """

    def restore(self, body: Mapping[str, Any]) -> Handle:
        """Return the handle that :meth:`Handle.to_json` described.

        Raises:
            InvalidValueError: it describes no process of this executor.
        """
