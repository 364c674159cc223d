"""A process that an agent started runs the claimed task with the stored inputs, however the script is written."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from localtrack.records.parameters import entry
from localtrack.records.task import Json
from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext

PARSER = """
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--deep", action="store_true")
parser.add_argument("--sizes", type=int, nargs="+", default=[1])
parser.add_argument("--data", required=True)
args = parser.parse_args()
"""
INIT = 'task = Task.init(project_name="r", task_name="n", reuse_last_task_id=False)\n'
SHOW = "print('GOT', json.dumps([args.lr, args.deep, args.sizes, args.data]), flush=True)\n"
ORDERS = {
    "init, then parse": "import argparse, json\nfrom localtrack import Task\n" + INIT + PARSER + SHOW,
    "parse, then init": "import argparse, json\nfrom localtrack import Task\n" + PARSER + INIT + SHOW,
    "parse, then import": "import argparse, json\n" + PARSER + "from localtrack import Task\n" + INIT + SHOW,
    "parse in a function": (
        "import argparse, json\nfrom localtrack import Task\ndef get():\n"
        + textwrap.indent(PARSER.replace("args = ", "return "), "    ") + "args = get()\n" + INIT + SHOW
    ),
    "parse in main": (
        "import argparse, json\nfrom localtrack import Task\ndef main():\n"
        + textwrap.indent(PARSER + INIT + SHOW, "    ") + "main()\n"
    ),
}  # fmt: skip


def execute(ctx: StoreContext, command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the store in its environment."""
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd, timeout=60)
    assert done.returncode == 0, done.stderr
    return done


def got(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the script says that it got."""
    return next(line for line in done.stdout.splitlines() if line.startswith("GOT"))


@pytest.mark.parametrize("order", ORDERS)
def test_arguments_are_recorded_and_fed_back(ctx: StoreContext, tmp_path: Path, order: str) -> None:
    """Whatever comes first, parse or init: the arguments are in the task, and a clone's changed ones reach the script."""
    script = tmp_path / "script.py"
    script.write_text(ORDERS[order])
    first = execute(ctx, [sys.executable, str(script), "--data", "d", "--lr", "0.5"], tmp_path)
    assert got(first) == 'GOT [0.5, false, [1], "d"]'
    (row,) = ctx.index.rows()
    record = tasks.read(ctx, row.id)
    assert parameters.as_values(record) == {
        "Args/lr": 0.5, "Args/deep": False, "Args/sizes": [1], "Args/data": "d",
    }  # fmt: skip
    clone = tasks.clone(ctx, row.id)
    changed = [("lr", "0.25"), ("deep", "true"), ("sizes", "[3, 4]"), ("data", "other")]
    tasks.edit(ctx, clone.id, lambda r: parameters.override(r, changed), "set")
    bootstrap = [sys.executable, "-m", "localtrack.runtime.bootstrap", str(script)]
    second = execute(ctx, bootstrap, tmp_path, LOCALTRACK_TASK_ID=clone.id)
    assert got(second) == 'GOT [0.25, true, [3, 4], "other"]'
    for told in ("lr is 0.25", "deep is True", "sizes is [3, 4]", "data is 'other'"):
        assert second.stderr.count(f"localtrack: parameter Args/{told}, as the task has it\n") == 1
    ran = tasks.read(ctx, clone.id)
    assert ran.status == "completed"
    assert parameters.as_values(ran)["Args/lr"] == 0.25
    assert len(ctx.index.rows()) == 2


CONNECT = """
import json
from localtrack import Task
task = Task.init(project_name="ignored", task_name="ignored")
class Settings: depth = 3; name = "x"
d = task.connect({"lr": 0.1, "flag": True, "net": {"sizes": [1, 2], "none": None}, "code only": 1})
s = task.connect(Settings(), name="obj")
k = task.connect({"fixed": 1}, name="own", ignore_remote_overrides=True)
c = task.connect_configuration({"a": 1}, name="cfg")
f = open(task.connect_configuration("conf.txt", name="file")).read()
print("GOT", json.dumps([d, s.depth, s.name, k, c, f]))
"""


def test_connected_values_are_fed_back(ctx: StoreContext, tmp_path: Path) -> None:
    """Stored values replace the code's, in the code's types; what only the code has stays; an ignored section too."""
    (tmp_path / "script.py").write_text(CONNECT)
    (tmp_path / "conf.txt").write_text("from the file")
    stored: dict[str, Any] = {
        "General/lr": "0.5", "General/flag": "false", "General/net/sizes": "[7]", "General/net/none": 4,
        "General/task only": 9, "obj/depth": 8, "own/fixed": 5, "own/_ignore_remote_overrides_": True,
    }  # fmt: skip
    folder, record = tasks.create(
        ctx, name="real", project="p", parameters={key: entry(value) for key, value in stored.items()}
    )
    config: dict[str, Json] = {
        "cfg": parameters.put_configuration(ctx, folder, "cfg", '{"a": 2, "b": [1]}', "dictionary"),
        "file": parameters.put_configuration(ctx, folder, "file", "from the task", "text"),
    }
    from dataclasses import replace

    tasks.edit(ctx, record.id, lambda r: replace(r, configuration=config), "config")
    bootstrap = [sys.executable, "-m", "localtrack.runtime.bootstrap", "script.py"]
    done = execute(ctx, bootstrap, tmp_path, LOCALTRACK_TASK_ID=record.id)
    assert got(done) == (
        'GOT [{"lr": 0.5, "flag": false, "net": {"sizes": [7], "none": 4}, "code only": 1}, 8, "x", {"fixed": 1}, '
        '{"a": 2, "b": [1]}, "from the task"]'
    )
    ran = tasks.read(ctx, record.id)
    assert (ran.name, ran.project, ran.status) == ("real", "p", "completed")
    assert parameters.as_values(ran)["General/code only"] == 1


MODULE = """
import sys
from localtrack import Task
from pkg import helper
if __name__ == "__main__":
    import multiprocessing
    task = Task.init(project_name="m", task_name="n")
    print("GOT", __name__, __package__, __spec__.name, helper.X, sys.argv[1:])
"""


def test_module_runs_as_module(ctx: StoreContext, tmp_path: Path) -> None:
    """``-m pkg.mod`` keeps package, spec and arguments, and is recorded as a module."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "helper.py").write_text("X = 5\n")
    (tmp_path / "pkg" / "mod.py").write_text(MODULE)
    plain = execute(ctx, [sys.executable, "-m", "pkg.mod", "a"], tmp_path)
    (row,) = ctx.index.rows()
    assert tasks.read(ctx, row.id).script["entry_point"] == "-m pkg.mod"
    clone = tasks.clone(ctx, row.id)
    again = execute(
        ctx, [sys.executable, "-m", "localtrack.runtime.bootstrap", "-m", "pkg.mod", "a"], tmp_path,
        LOCALTRACK_TASK_ID=clone.id,
    )  # fmt: skip
    assert got(plain) == got(again) == "GOT __main__ pkg pkg.mod 5 ['a']"


def test_bootstrap_is_transparent(ctx: StoreContext, tmp_path: Path) -> None:
    """A script sees its own __file__, argv, path and globals; spawned children find its functions."""
    (tmp_path / "near.py").write_text("Y = 6\n")
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
        import multiprocessing, sys
        import near
        def square(x): return x * x
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                squares = pool.map(square, [2, 3])
            ours = [n for n in globals() if n.startswith("_become")]
            print("GOT", __file__, sys.argv, near.Y, squares, ours, __spec__)
    """)
    )
    command = [sys.executable, "-m", "localtrack.runtime.bootstrap", "script.py", "--x", "1"]
    done = execute(ctx, command, tmp_path)
    assert got(done) == "GOT script.py ['script.py', '--x', '1'] 6 [4, 9] [] None"


LEFTOVERS = """
import argparse, json, sys
from localtrack import Task
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
commands = parser.add_subparsers(dest="command")
commands.add_parser("train").add_argument("--depth", type=int, default=1)
commands.add_parser("eval").add_argument("--top", type=int, default=5)
args, rest = parser.parse_known_args()
task = Task.init(project_name="r", task_name="n", reuse_last_task_id=False)
print("GOT", json.dumps([vars(args), rest, sys.argv[1:]], sort_keys=True))
"""


def test_agent_gives_the_command_line_back(ctx: StoreContext, tmp_path: Path) -> None:
    """What no parser knows, and sys.argv itself, are as they were; known arguments and the sub-command are the stored."""
    from localtrack.agent.loop import Agent, AgentOptions
    from localtrack.services import lifecycle, reports

    script = tmp_path / "script.py"
    script.write_text(LEFTOVERS)
    typed = ["--lr", "0.5", "--extra=7", "train", "--depth", "3"]
    first = execute(ctx, [sys.executable, str(script), *typed], tmp_path)
    assert got(first) == f'GOT [{{"command": "train", "depth": 3, "lr": 0.5}}, ["--extra=7"], {typed}]'.replace(
        "'", '"'
    )
    (row,) = ctx.index.rows()
    expected = {
        "lr=0.25": '{"command": "train", "depth": 3, "lr": 0.25}',
        "command=eval": '{"command": "eval", "lr": 0.5, "top": 5}',
        "depth=9": '{"command": "train", "depth": 9, "lr": 0.5}',
    }
    for assignment, values in expected.items():
        clone = tasks.clone(ctx, row.id)
        name, _, text = assignment.partition("=")
        tasks.edit(ctx, clone.id, lambda r, pair=(name, text): parameters.override(r, [pair]), "set")
        lifecycle.enqueue(ctx, clone.id, "default")
        Agent(ctx, AgentOptions(drain=True, workdir=tmp_path / "work"), say=lambda text: None).run()
        lines = [line.text for line in reports.console(tasks.folder_of(ctx, clone.id))]
        assert f'GOT [{values}, ["--extra=7"], {typed}]'.replace("'", '"') in lines, lines


def test_the_bootstrap_adds_no_future_to_a_script(ctx: StoreContext, tmp_path: Path) -> None:
    """Annotations of the script are what they are without us: dataclasses and parsers read them."""
    script = tmp_path / "script.py"
    script.write_text("def f(x: int) -> None: ...\nprint('GOT', f.__annotations__['x'] is int)\n")
    assert (
        got(execute(ctx, [sys.executable, "-m", "localtrack.runtime.bootstrap", str(script)], tmp_path)) == "GOT True"
    )
