"""Notebooks, run by real kernels without a display: what is recorded of them, and how their runs end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack.records.task import TaskRecord
from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext
from localtrack.store.blobs import inside, read_content
from localtrack.store.console_reader import read_console

pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

INIT = """
from localtrack import Task
task = Task.init(project_name="p", task_name="n", reuse_last_task_id=False)
"""
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
path = sys.argv[1] if sys.argv[1:] else "train" + ".ipynb"
book = nbformat.read(path, 4)
client = NotebookClient(book, timeout=60, allow_errors="--allow-errors" in sys.argv, resources={"metadata": {"path": "."}})
try:
    client.execute()
finally:
    nbformat.write(book, "executed.ipynb")
"""
Execute = Callable[..., "Executed"]


class Executed:
    """What a notebook left: its tasks, the way it was run ended, the notebook with its outputs."""

    def __init__(self, ctx: StoreContext, known: set[str], code: int, folder: Path) -> None:
        self.ctx = ctx
        self.code = code
        self.folder = folder
        self.records = sorted(
            (tasks.read(ctx, row.id) for row in ctx.index.rows() if row.id not in known), key=lambda each: each.created
        )

    @property
    def record(self) -> TaskRecord:
        """Its only task."""
        (record,) = self.records
        return record

    def text(self, key: str, record: TaskRecord | None = None) -> str:
        """A file of the task's script."""
        record = record or self.record
        return read_content(tasks.folder_of(self.ctx, record.id), record.script[key]).decode()

    @property
    def console(self) -> str:
        """What the task's console holds."""
        return "\n".join(line.text for line in read_console(tasks.folder_of(self.ctx, self.record.id) / "console"))

    @property
    def notebook(self) -> Any:
        """The artifact."""
        folder = tasks.folder_of(self.ctx, self.record.id)
        return json.loads(inside(folder, self.record.artifacts["notebook"]["file"]).read_bytes())

    def outputs(self, name: str = "executed.ipynb") -> list[str]:
        """What the cells showed."""
        cells = json.loads((self.folder / name).read_text())["cells"]
        return [json.dumps(cell.get("outputs", [])) for cell in cells]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of the notebook."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def execute(ctx: StoreContext, project: Path) -> Execute:
    """Return a function that writes a notebook, runs it as its users do, and returns what it left."""

    def run(*cells: str, how: str = "nbclient", argv: tuple[str, ...] = (), **environment: str) -> Executed:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(c).strip()) for c in cells])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        if how == "papermill":
            book.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(book, project / "train.ipynb")
        command = {
            "nbclient": [sys.executable, "-c", EXECUTE, "train.ipynb", *argv],
            "api": [sys.executable, "-c", EXECUTE],
            "papermill": [sys.executable, "-m", "papermill", "train.ipynb", "out.ipynb", *argv],
        }[how]
        env = {
            **os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "MPLBACKEND": "agg",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment,
        }  # fmt: skip
        env.pop("DISPLAY", None)
        known = {row.id for row in ctx.index.rows()}
        done = subprocess.run(
            command, cwd=project, env=env, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
        )
        left = Executed(ctx, known, done.returncode, project)
        assert left.records, done.stdout + done.stderr
        return left

    return run


def test_a_notebook_is_recorded_as_a_script_and_as_itself(execute: Execute) -> None:
    """Name, script, packages, console and the notebook; the kernel's own command line is none of its arguments."""
    left = execute(
        INIT, "%matplotlib inline\nimport numpy\nprint('seen', 3)", "import sys; print('told', file=sys.stderr)\n7 * 6"
    )
    record = left.record
    assert (left.code, record.status) == (0, "completed")
    assert (record.script["entry_point"], record.script["working_dir"]) == ("train.py", ".")
    assert record.script["argv"] == []
    assert "# %matplotlib inline\nimport numpy\n" in left.text("source")
    assert "numpy==" in left.text("requirements")
    assert "ipykernel" not in left.text("requirements")
    assert "seen 3" in left.console
    assert "told" in left.console
    assert [cell["cell_type"] for cell in left.notebook["cells"]] == ["code"] * 3
    assert record.errors == ()
    assert parameters.as_values(record) == {}
    assert "42" in left.outputs()[2]


def test_papermill_names_the_notebook_that_it_writes(execute: Execute) -> None:
    """The script is the whole document with the parameters that papermill put in."""
    left = execute("x = 1", INIT, "print('x is', x)", how="papermill", argv=("-p", "x", "5"))
    assert (left.code, left.record.status) == (0, "completed")
    assert left.record.script["entry_point"] == "out.py"
    assert left.text("source").index("x = 1") < left.text("source").index("x = 5") < left.text("source").index("x is")
    assert left.record.artifacts["notebook"]["metadata"]["notebook"].endswith("out.ipynb")


def test_what_ran_is_recorded_where_the_file_is_not_known(execute: Execute) -> None:
    """The kernel's own history is the script, in the order in which the cells ran."""
    left = execute("first = 1", INIT, "third = 3\nimport numpy", how="api")
    assert (left.record.status, left.record.script["entry_point"]) == ("completed", "notebook.py")
    assert left.text("source").index("first = 1") < left.text("source").index("third = 3")
    assert "numpy==" in left.text("requirements")
    assert [cell["source"][0] for cell in left.notebook["cells"]][::2] == ["first = 1", "third = 3\n"]
    assert "made of what the kernel ran" in left.record.artifacts["notebook"]["preview"]
    assert left.record.errors == ()


@pytest.mark.parametrize("how", ["nbclient", "papermill"])
def test_a_run_that_stops_at_a_cell_has_failed(execute: Execute, how: str) -> None:
    """Status, message and console say which exception it was, with the line of the cell."""
    left = execute("x = 1", INIT, "def f():\n    raise ValueError('too large')\nf()", "after = 1", how=how)
    record = left.record
    assert left.code != 0
    assert (record.status, record.exit["failure_class"]) == ("failed", "user_error")
    assert record.status_message.startswith("cell [")
    assert record.status_message.endswith("ValueError: too large")
    assert record.status_message in record.errors
    assert "raise ValueError('too large')" in left.console
    assert "interactiveshell" not in left.console


def test_a_failed_cell_that_others_follow_fails_nothing(execute: Execute) -> None:
    """The run goes on and completes; the exception is in the task's errors, its message and its console."""
    left = execute(INIT, "1 / 0", "def f(:", "print('after')", argv=("--allow-errors",))
    assert left.record.status == "completed"
    assert [text.split(":")[1].strip() for text in left.record.errors] == ["ZeroDivisionError", "SyntaxError"]
    assert left.record.status_message.endswith("later cells ran")
    assert "after" in left.console
    assert "# def f(:" in left.text("source")


def test_task_init_again_in_a_kernel(execute: Execute) -> None:
    """It gives the same task while that runs, and a new one after close; both have their code."""
    again = "print('same', Task.init(project_name='p', task_name='n') is task)\ntask.close()\nprint(task.status)"
    left = execute(INIT, again, INIT, "last = 1", how="api")
    first, second = left.records
    assert "same True" in left.outputs()[1]
    assert "completed" in left.outputs()[1]
    assert (first.status, second.status) == ("completed", "completed")
    assert "last = 1" not in left.text("source", first)
    assert "last = 1" in left.text("source", second)


def test_a_notebook_in_git_keeps_repository_diff_and_script(execute: Execute, project: Path) -> None:
    """The commit, the changes of the modules that it imports, and the script, which an agent can run."""
    git = ["git", "-C", str(project)]
    subprocess.run([*git, "init", "-q"], check=True)
    (project / "helper.py").write_text("X = 1\n")
    (project / "train.py").write_text("no_notebook = 1\n")
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    (project / "helper.py").write_text("X = 2\n")
    (project / "fresh.py").write_text("Y = 3\n")
    more = (
        "!true\nimport argparse, fresh, helper\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float, default=0.1)\nlr = parser.parse_args([]).lr\nprint('got', lr + helper.X)"
    )
    left = execute(INIT, "%%capture quiet\nprint('quiet')", more, JPY_SESSION_NAME=str(project / "train.ipynb"))
    record = left.record
    assert record.script["entry_point"] == "train.ipynb.py"
    assert "+X = 2" in left.text("diff")
    assert "+Y = 3" in left.text("diff")
    assert "got 2.1" in left.console
    assert parameters.as_values(record) == {"Args/lr": 0.1}
    assert record.errors == ()
    ctx = left.ctx
    made = tasks.clone(ctx, record.id)
    tasks.edit(ctx, made.id, lambda old: parameters.override(old, [("Args/lr", "0.5")]), "set")
    cli = [sys.executable, "-m", "localtrack"]
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([*cli, "enqueue", made.id], check=True, env=env, cwd=project, capture_output=True)
    done = subprocess.run(
        [*cli, "agent", "start", "--drain"], env=env, cwd=project, capture_output=True, text=True, timeout=100
    )
    again = tasks.read(ctx, made.id)
    assert again.status == "completed", done.stdout + done.stderr
    assert again.script["source"] == record.script["source"]
    console = read_console(tasks.folder_of(ctx, made.id) / "console")
    assert "got 2.5" in "\n".join(line.text for line in console)


def test_saving_refreshes_what_is_kept(execute: Execute, project: Path) -> None:
    """The file as it is saved last is the artifact and the script, with what ran since and is not saved."""
    edit = """
    import json
    book = json.load(open("train.ipynb"))
    book["cells"].append({**book["cells"][0], "id": "new", "source": "added = 1"})
    json.dump(book, open("train.ipynb", "w"))
    """
    wait = """
    import time
    for _ in range(200):
        kept = task._read()
        if "notebook" in kept.artifacts and kept.artifacts["notebook"]["size_bytes"] == len(open("train.ipynb").read()):
            break
        time.sleep(0.1)
    else:
        raise TimeoutError("the artifact stays as it was")
    """
    left = execute(INIT, edit, wait, JPY_SESSION_NAME=str(project / "train.ipynb"))
    assert left.record.status == "completed", left.console
    assert left.text("source").endswith("# %%\nadded = 1\n")
    assert left.notebook["cells"][-1]["source"] == "added = 1"
    folder = tasks.folder_of(left.ctx, left.record.id)
    assert len(list((folder / "artifacts").iterdir())) <= 2


def test_input_and_rich_output_stay_as_they_are(execute: Execute) -> None:
    """A figure is shown in the notebook and is a plot of the task; reading from a terminal that is not there fails as ever."""
    pytest.importorskip("matplotlib_inline")
    left = execute(
        INIT,
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('curve')\nplt.show()",
        "from IPython.display import HTML\nHTML('<b>bold</b>')",
        "try:\n    input()\nexcept Exception as error:\n    print('input', type(error).__name__)",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )
    outputs = left.outputs()
    assert "image/png" in outputs[1]
    assert "<b>bold</b>" in outputs[2]
    assert "input StdinNotImplementedError" in outputs[3]
    assert any((tasks.folder_of(left.ctx, left.record.id) / "plots").iterdir())


def test_a_start_in_a_captured_cell_does_not_take_the_rest_from_the_log(execute: Execute) -> None:
    """Under ``%%capture`` another stream stands in the kernel's place; from the next cell on the kernel's own is recorded."""
    done = execute("%%capture\n" + INIT.strip() + "\nprint('captured')", "print('shown')", "print('shown again')")
    assert done.code == 0
    assert [line for line in done.console.split("\n") if "localtrack" not in line] == [
        "captured",
        "shown",
        "shown again",
    ]
