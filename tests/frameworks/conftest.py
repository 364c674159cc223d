"""Scripts that use a framework, run for real in processes of their own, and the tasks that they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localtrack.records.task import TaskRecord
from localtrack.runtime import current
from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext
from tests.api.conftest import root, start

__all__ = ["root", "start"]

Run = Callable[..., "Ran"]


class Ran:
    """What a script left.

    Attributes:
        record: its task.
        lines: what it printed, line by line, where it begins with ``GOT``.
    """

    def __init__(self, record: TaskRecord, output: str) -> None:
        self.record = record
        self.lines = [line for line in output.splitlines() if line.startswith("GOT")]

    @property
    def values(self) -> dict[str, object]:
        """Its parameters, in their types."""
        return parameters.as_values(self.record)


@pytest.fixture
def run(ctx: StoreContext, tmp_path: Path) -> Run:
    """Return a function that runs a script, alone or for a task as an agent does, and returns what it left."""

    def execute(source: str, *argv: str, task_id: str = "", package: str = "", status: str = "completed") -> Ran:
        if package:
            pytest.importorskip(package)
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        command = [sys.executable, *(["-m", "localtrack.runtime.bootstrap"] if task_id else []), str(script), *argv]
        env = {
            **os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **({"LOCALTRACK_TASK_ID": task_id} if task_id else {}),
        }  # fmt: skip
        known = {row.id for row in ctx.index.rows()}
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        new = task_id or next(row.id for row in ctx.index.rows() if row.id not in known)
        record = tasks.read(ctx, new)
        assert record.status == status
        assert [text for text in record.errors if text.startswith("binding ")] == []
        return Ran(record, done.stdout)

    return execute


@pytest.fixture
def clone(ctx: StoreContext) -> Callable[[str, dict[str, str]], str]:
    """Return a function that clones a task, changes parameters as the command line does, and returns the clone's id."""

    def make(task_id: str, changes: dict[str, str]) -> str:
        made = tasks.clone(ctx, task_id)
        tasks.edit(ctx, made.id, lambda record: parameters.override(record, list(changes.items())), "set")
        return made.id

    return make


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    """End a run that a test left in this process."""
    yield
    session = current.get()
    if session is not None:
        session.close()
    current.put(None)
