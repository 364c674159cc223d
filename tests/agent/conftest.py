"""Tasks with real repositories, and agents in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack.agent.loop import Agent, AgentOptions
from localtrack.capture.git import capture_git
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, tasks
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_content
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import read_latest

AGENT_CODE = """
import sys
from pathlib import Path
from localtrack.agent.loop import Agent, AgentOptions
from localtrack.services.context import open_context
root, workdir, how = sys.argv[1:4]
options = AgentOptions(workdir=Path(workdir), drain=how == "drain", grace_s=5.0)
print(dict(Agent(open_context(root, create=False), options, say=lambda text: print(text, flush=True)).run()))
"""


def git(folder: Path, *args: str) -> str:
    """Run git and return what it says."""
    answer = subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


class World:
    """A store, a repository, tasks of it, and agents."""

    def __init__(self, ctx: StoreContext, tmp_path: Path) -> None:
        self.ctx = ctx
        self.tmp_path = tmp_path
        self.repo = tmp_path / "repo"
        self.workdir = tmp_path / "workspaces"
        self.said: list[str] = []
        self.processes: list[subprocess.Popen[str]] = []

    def commit(self, files: dict[str, str], message: str = "work") -> str:
        """Commit files to the repository and return the commit's id."""
        if not (self.repo / ".git").exists():
            self.repo.mkdir(exist_ok=True)
            git(self.repo, "init", "-q", "-b", "main")
        for name, text in files.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "-m", message)
        return git(self.repo, "rev-parse", "HEAD")

    def task(self, entry: str = "main.py", *, enqueue: bool = True, **script: Any) -> str:
        """Make a task of the repository as it is now, with its diff, and enqueue it."""
        folder, record = tasks.create(self.ctx, name="a task", project="agents")
        body: dict[str, Any] = {"entry_point": entry, "working_dir": ".", "argv": [], "diff": None, "source": None}
        if self.repo.exists():
            state = capture_git(self.repo, entry_script=None)
            body |= {"root": str(self.repo), "repository": state.repository, "commit": state.commit}
            if state.diff:
                body["diff"] = put_content(self.ctx.store.disk, folder, "code", "diff", ".patch", state.diff).to_json()
        body |= script
        tasks.edit(self.ctx, record.id, lambda r: _with_script(r, body), "script")
        if enqueue:
            lifecycle.enqueue(self.ctx, record.id, "default")
        return record.id

    def script(self, code: str, *, enqueue: bool = True) -> str:
        """Make a task without git, from a script stored whole."""
        folder, record = tasks.create(self.ctx, name="a script", project="agents")
        stored = put_content(self.ctx.store.disk, folder, "code", "script", ".py", code.encode()).to_json()
        body = {
            "entry_point": "main.py",
            "working_dir": ".",
            "repository": "",
            "root": "",
            "commit": "",
            "source": stored,
        }
        tasks.edit(self.ctx, record.id, lambda r: _with_script(r, body), "script")
        if enqueue:
            lifecycle.enqueue(self.ctx, record.id, "default")
        return record.id

    def agent(self, **options: Any) -> Agent:
        """Return an agent of this process that drains the default queue."""
        values: dict[str, Any] = {"drain": True, "workdir": self.workdir, "grace_s": 5.0, **options}
        return Agent(self.ctx, AgentOptions(**values), self.said.append)

    def start_agent(self, how: str = "stay") -> subprocess.Popen[str]:
        """Start an agent in a process of its own."""
        command = [sys.executable, "-c", AGENT_CODE, str(self.ctx.store.root), str(self.workdir), how]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
        )
        self.processes.append(process)
        return process

    def record(self, task_id: str) -> TaskRecord:
        """Return a task as it is on disk."""
        return read_latest(TaskLayout(tasks.folder_of(self.ctx, task_id)))

    def console(self, task_id: str) -> list[str]:
        """Return the lines of a task's console."""
        from localtrack.store.console_reader import read_console

        folder = tasks.folder_of(self.ctx, task_id)
        return [line.text for line in read_console(TaskLayout(folder).console)]

    def is_running(self, task_id: str) -> bool:
        """Tell whether a task is in progress."""
        return self.record(task_id).state is Status.IN_PROGRESS


def _with_script(record: TaskRecord, body: dict[str, Any]) -> TaskRecord:
    from dataclasses import replace

    return replace(record, script=body)


@pytest.fixture
def world(ctx: StoreContext, tmp_path: Path):  # type: ignore[no-untyped-def]
    """A world whose agent processes end with the test."""
    made = World(ctx, tmp_path)
    yield made
    for process in made.processes:
        process.kill()
        process.wait(30)
        if process.stdout:
            process.stdout.close()
