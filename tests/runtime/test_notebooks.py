"""What a kernel's shell tells of its cells becomes the task's code, notebook, errors and end; without IPython.

A real kernel is in tests/frameworks/test_notebooks.py; the shell here is a stand-in with the names that are used of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from localtrack import Task
from localtrack.capture.notebook_code import Cell, build_notebook, parse_cells
from localtrack.records.task import TaskRecord
from localtrack.runtime import current
from localtrack.runtime.exits import Outcome
from localtrack.runtime.notebooks import NotebookWatch
from localtrack.store.blobs import inside, read_content
from tests.api.conftest import root, start

__all__ = ["root", "start"]

DONE = Outcome("completed", 0)


class Shell:
    """The part of ipykernel's shell that is used."""

    def __init__(self) -> None:
        self.kernel = object()
        self.user_ns: dict[str, Any] = {}
        self.history_manager = SimpleNamespace(input_hist_raw=["", "from localtrack import Task; Task.init()"])
        self.config = SimpleNamespace()
        self.listeners: dict[str, list[Callable[..., None]]] = {}
        self.events = SimpleNamespace(
            register=lambda event, told: self.listeners.setdefault(event, []).append(told),
            unregister=lambda event, told: self.listeners[event].remove(told),
        )

    def get_parent(self) -> dict[str, Any]:
        """Return the message that is being answered."""
        return {"metadata": {}}

    def run(
        self, source: str, error: BaseException | None = None, cell_id: str = "", *, is_silent: bool = False
    ) -> None:
        """Do what the shell does around a cell."""
        info = SimpleNamespace(raw_cell=source, store_history=not is_silent, cell_id=cell_id)
        if not is_silent:
            self.history_manager.input_hist_raw.append(source)
        number = len(self.history_manager.input_hist_raw) - 1
        for told in list(self.listeners["pre_run_cell"]):
            told(info)
        result = SimpleNamespace(info=info, error_before_exec=None, error_in_exec=error, execution_count=number)
        for told in list(self.listeners["post_run_cell"]):
            told(result)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The shell of the kernel that this process seems to be."""
    made: Any = Shell()
    module: Any = ModuleType("IPython.core.getipython")
    module.get_ipython = lambda: made
    monkeypatch.setitem(sys.modules, "IPython.core.getipython", module)
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    return made  # type: ignore[no-any-return]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook's file, named by the front end; saved a while ago."""
    file = tmp_path / "train.ipynb"
    save(file, Cell("old = 1", "a"), Cell("kept = 2", "b"))
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    return file


def save(path: Path, *cells: Cell, ago_s: float = 60.0) -> None:
    """Write the notebook as if some time ago."""
    path.write_bytes(build_notebook(cells))
    os.utime(path, (time.time() - ago_s,) * 2)


def watch_of(task: Task) -> NotebookWatch:
    """Return what watches the task's notebook."""
    session = task._session
    assert session is not None
    assert session.notebook is not None
    return session.notebook


def source(task: Task) -> str:
    """Return the stored script."""
    return read_content(task._where(), task._read().script["source"]).decode()


def test_a_kernel_is_recorded_by_its_notebook(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """Names, script and artifact are the notebook's; without a name the task has its name."""
    task = start(project="p", name=None)
    assert task.name == "train"
    shell.run("kept = 2", cell_id="b")
    task.close()
    record = task._read()
    assert (record.script["entry_point"], record.script["argv"]) == ("train.py", [])
    assert "old = 1" in source(task)
    entry = record.artifacts["notebook"]
    assert [cell.source for cell in parse_cells(inside(task._where(), entry["file"]).read_bytes(), "n")] == [
        "old = 1", "kept = 2",
    ]  # fmt: skip
    assert shell.listeners == {"pre_run_cell": [], "post_run_cell": []}


def test_what_ran_and_is_not_saved_is_in_the_script(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """A cell of the file is as it ran last, a new one comes last; what was saved since counts as the file has it."""
    task = start()
    shell.run("new = 2", cell_id="a")
    shell.run("new = 3", cell_id="a")
    shell.run("more = 4", cell_id="z")
    shell.run("kept = 2\n")
    reading = watch_of(task).read()
    assert reading.sources == ("new = 3", "kept = 2", shell.history_manager.input_hist_raw[1], "more = 4")
    save(path, Cell("saved = 5", "a"), ago_s=-60)
    assert watch_of(task).read().sources == ("saved = 5",)


@pytest.mark.parametrize("data", [b"{", b"\0\xff", json.dumps({"nbformat": 3, "worksheets": []}).encode()])
def test_a_broken_notebook_leaves_what_ran(shell: Shell, path: Path, start: Callable[..., Task], data: bytes) -> None:
    """The history is the code then, and the task's errors say what is wrong with the file."""
    path.write_bytes(data)
    task = start()
    shell.run("x = 1")
    task.close()
    assert source(task).endswith("# %%\nx = 1\n")
    assert [str(path) in error and "recorded instead" in error for error in task._read().errors] == [True]


def test_the_last_cell_says_how_the_run_ended(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """Failed by an exception, stopped by an interrupt, completed otherwise; a front end's own code does not count."""
    watch = watch_of(start())
    shell.run("1", ValueError("bad"))
    failed = watch.outcome(DONE)
    assert (failed.status, failed.message, failed.failure_class) == (
        "failed",
        "cell [2]: ValueError: bad",
        "user_error",
    )
    shell.run("variables()", is_silent=True)
    assert watch.outcome(DONE) == failed
    shell.run("2", KeyboardInterrupt())
    assert watch.outcome(DONE).status == "stopped"
    for code in (0, None):
        shell.run("3", SystemExit(code))
        assert watch.outcome(DONE).status == "completed"
    shell.run("4", SystemExit(2))
    assert watch.outcome(DONE).status == "failed"
    shell.run("5")
    assert watch.outcome(DONE).message == "cell [6]: SystemExit: 2; later cells ran"
    killed = Outcome("stopped", 143)
    assert watch.outcome(killed) is killed


def test_exceptions_are_recorded_whatever_they_say(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """Each is in the errors and the console, one that has no text of its own as well."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    task = start()
    shell.run("1", ValueError("first"))
    shell.run("2", MuteError())
    session = task._session
    task.close()
    record: TaskRecord = task._read()
    assert record.errors == ("cell [2]: ValueError: first", "cell [3]: MuteError: no text, RuntimeError")
    assert record.status == "completed"
    assert session is not None
    console = "".join(file.read_text() for file in (task._where() / "console").iterdir())
    assert "ValueError: first" in console
    assert "MuteError" in console


def test_the_same_kernel_runs_one_task_after_another(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """Again without close is the same task, after it a new one; the first is left as it was."""
    first = start()
    assert start() is first
    first.close()
    before = first._read()
    second = start()
    assert second.id != first.id
    shell.run("1", ValueError("second's"))
    second.close()
    assert first._read() == before
    assert second._read().errors == ("cell [2]: ValueError: second's",)
    current.put(None)


def test_secrets_in_cells_are_masked(shell: Shell, path: Path, start: Callable[..., Task]) -> None:
    """In the script and in the kept notebook, which still parses, and the errors say so; the user's file is left alone."""
    save(path, Cell('api_key = "q8Zr4tW1yX6vB3nM"\nx = 1', "a"))
    before = path.read_bytes()
    task = start()
    task.close()
    record = task._read()
    kept = inside(task._where(), record.artifacts["notebook"]["file"]).read_bytes()
    assert "q8Zr4tW1yX6vB3nM" not in source(task)
    assert b"q8Zr4tW1yX6vB3nM" not in kept
    assert parse_cells(kept, "n")[0].source.endswith("x = 1")
    assert any("notebook had what looks like secrets" in error for error in record.errors)
    assert path.read_bytes() == before


def test_a_script_loads_nothing_of_this(tmp_path: Path) -> None:
    """Where there is no kernel, no module for notebooks is imported, and IPython even less."""
    script = (
        "import sys; from localtrack import Task; Task.init('p', 'n')\n"
        "print([name for name in sys.modules if 'notebook' in name or name.startswith('IPython')])"
    )
    env = {**os.environ, "LOCALTRACK_ROOT": str(tmp_path / "store")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
