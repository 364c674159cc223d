"""An agent for one task on this machine, in a process of its own that ends with the one that started it.

The task goes through a queue of its own and so runs as any queued task does: its recorded code in a checkout, its end
told truthfully, its stop by the same request. No other agent looks at that queue, which goes when the task has ended.

Source: docs/how-to/optimize.md, "On this machine".
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from localtrack.automation.job import QUEUE_PREFIX
from localtrack.errors import LocaltrackError
from localtrack.services import lifecycle
from localtrack.services.context import StoreContext, open_context

WATCH_S = 0.5
READ_S = 5.0


class LocalAgent:
    """The process of an agent.

    Args:
        command: what starts it.
        env: its whole environment.
    """

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._last = "nothing"
        self._reader = threading.Thread(target=self._read, name="localtrack-agent", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Keep the last line that the agent prints, and take note of its end."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._last = line.decode("utf-8", "replace").strip() or self._last
        self._process.wait()

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: it still runs.
        """
        return self._process.wait(timeout)

    def said(self) -> str:
        """Return the last line that it printed, once it has ended."""
        self._reader.join(READ_S)
        return self._last


def launch(ctx: StoreContext, task_id: str, more: Mapping[str, str] | None = None) -> LocalAgent:
    """Queue a draft for this machine alone, and start what runs it.

    Args:
        ctx: the store.
        task_id: the draft.
        more: further environment variables of the run.

    Raises:
        OSError: no process can be started.
        StoreError: the store can't be written.
    """
    queue = f"{QUEUE_PREFIX}{task_id}"
    ctx.queues.create(queue)
    lifecycle.enqueue(ctx, task_id, queue)
    command = [sys.executable, "-m", __name__, str(ctx.store.root.absolute()), queue, str(os.getpid())]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOCALTRACK_PARENT")}
    for name in ("LOCALTRACK_TASK_ID", "LOCALTRACK_CLAIM", "LOCALTRACK_AGENT"):
        env.pop(name, None)  # the agent is no part of the run of the task that starts it
    env.update(more or {})
    return LocalAgent(command, env)


def main(root: str, queue: str, parent: int) -> None:
    """Run the one task of a queue, then remove the queue; stop when the parent process ends."""
    from localtrack.agent.loop import Agent, AgentOptions

    ctx = open_context(Path(root), create=False)
    agent = Agent(ctx, AgentOptions(queues=(queue,), once=True, name="local"))
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_S):
            if os.getppid() != parent:
                agent.stop("the program that started it has ended")
                return

    threading.Thread(target=watch, name="localtrack-parent", daemon=True).start()
    try:
        agent.run()
    finally:
        ended.set()
        try:
            ctx.queues.remove(queue)
        except (LocaltrackError, OSError):
            pass  # its entry is still there: for the agent that takes over


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
