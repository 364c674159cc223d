"""What click, Fire, jsonargparse, tyro and draccus parse before Task.init is recorded as it was parsed, and fed to clones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.services import tasks
from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Run
from tests.frameworks.test_parsers import CASES, INIT, Case

IMPORT, START = INIT.splitlines()
SINCE = "Task.init('f', 'n', reuse_last_task_id=False, auto_resource_monitoring=False{more})\n"
CLICK = """
import click
@click.command()
@click.option("--lr", type=float, default=0.1)
@click.option("--size", multiple=True, type=int)
@click.option("--secret", prompt=True, hide_input=True)
@click.argument("files", nargs=-1)
def parse(**values): return values
args = parse(standalone_mode=False)
"""
GROUP = """
import click
@click.group(chain=True)
@click.option("--deep", is_flag=True)
def cli(deep): pass
@cli.command()
@click.option("--lr", type=float, default=0.1)
def train(lr): print("GOT", lr)
@cli.command()
@click.option("--k", default=3)
def test(k): print("GOT", k)
cli()
"""
TYPER = """
import typer
def main(lr: float = 0.1, name: str = "a"): print("GOT", lr, name)
typer.run(main)
"""
CONFIGURED = """
import dataclasses, {0}
@dataclasses.dataclass
class Args:
    lr: float = 0.1
    size: list[int] = dataclasses.field(default_factory=lambda: [1])
args = {0}.{1}(Args)
args.lr *= 2
args.size.append(3)
"""
EDITED = {
    "click": CLICK + "args['lr'] *= 2\nargs['secret'] = ''\n",
    "fire": "import fire\nargs = fire.Fire(lambda lr=0.1, size=(1,), **more: dict(lr=lr, **more))\nargs['lr'] *= 2\n",
    "jsonargparse": """
import jsonargparse
parser = jsonargparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--size", type=list[int], default=[1])
args = parser.parse_args()
args.lr *= 2
args.size.append(3)
""",
    "tyro": CONFIGURED.format("tyro", "cli"),
    "draccus": CONFIGURED.format("draccus", "parse"),
}


def with_late_start(script: str) -> str:
    """Return a script that calls Task.init when it has parsed, also where its parser would end it then."""
    return f"{IMPORT}\ntry:\n{textwrap.indent(script, '    ')}\nexcept SystemExit:\n    pass\n{START}\n"


LATE = {name: case for name, case in CASES.items() if case.script.startswith(INIT) and case.package != "absl"}
LATE["click chain"] = Case(
    "click", INIT + GROUP, ("--deep", "train", "--lr", "0.5", "test"),
    {"Args/cli/deep": True, "Args/train": True, "Args/train/lr": 0.5, "Args/test": True, "Args/test/k": 3}, {"train/lr": "2"}, "GOT 2.0",
)  # fmt: skip
LATE["typer, one command"] = Case(
    "typer", INIT + TYPER, ("--lr", "0.5"), {"Args/lr": 0.5, "Args/name": "a"}, {"name": "b"}, "GOT 0.5 b"
)


@pytest.mark.parametrize("name", LATE)
def test_a_parse_before_task_init_is_recorded_and_fed_back(run: Run, clone: Callable[..., str], name: str) -> None:
    """The same scripts, parameters and clones as with Task.init at the top."""
    case = LATE[name]
    script = with_late_start(case.script.removeprefix(INIT))
    first = run(script, *case.argv, package=case.package)
    assert {key: value for key, value in first.values.items() if key in case.recorded} == case.recorded
    assert not set(case.absent) & set(first.values)
    assert run(script, *case.argv, task_id=clone(first.record.id, {})).lines == first.lines
    argv = case.argv if case.again is None else case.again
    assert case.got in run(script, *argv, task_id=clone(first.record.id, case.changes)).lines


@pytest.mark.parametrize("parser", EDITED)
def test_it_is_recorded_as_it_was_parsed(run: Run, clone: Callable[..., str], parser: str) -> None:
    """Whatever the script makes of it: else an unchanged clone, which is fed at the parse, would make it once more."""
    got = "print('GOT', getattr(args, 'lr', None) or args['lr'])\n"
    options = ("--secret=hush",) if parser == "click" else ()
    script = f"{IMPORT}\n{EDITED[parser]}{START}\n{got}"
    first = run(script, "--lr=0.5", *options, package=parser)
    assert first.values["Args/lr"] == 0.5
    assert first.lines == ["GOT 1.0"]
    if parser != "fire":
        assert first.values["Args/size"] == ([] if parser == "click" else [1])
    again = run(script, "--lr=0.5", *options, task_id=clone(first.record.id, {}))
    assert again.lines == first.lines


@pytest.mark.parametrize("parser", EDITED)
def test_it_is_left_out_where_arguments_are_not_wanted(run: Run, parser: str) -> None:
    """``auto_connect_arg_parser`` decides over what was parsed before as well."""
    options = ("--secret=hush",) if parser == "click" else ()
    off = SINCE.format(more=", auto_connect_arg_parser=False")
    assert run(f"{IMPORT}\n{EDITED[parser]}{off}", *options, package=parser).values == {}
    one = SINCE.format(more=", auto_connect_arg_parser={'*': False, 'lr': True}")
    assert run(f"{IMPORT}\n{EDITED[parser]}{one}", *options).values == {"Args/lr": 0.1}


def test_a_task_within_a_chain_of_calls_knows_the_earlier_ones(run: Run) -> None:
    """Fire: what was called before Task.init was called, and what comes after belongs to the same command line."""
    script = f"""{IMPORT}
import fire
class Steps:
    def train(self, lr=0.1): return self
    def test(self, k=2):
        {START}
        return self
    def export(self, to="a"): return None
    def show(self): pass
fire.Fire(Steps)
"""
    values = run(script, "train", "--lr=0.4", "-", "test", "-", "export", "--to=b", package="fire").values
    chosen = {name: values[f"Args/{name}"] for name in ("train", "test", "export", "show")}
    assert chosen == {"train": True, "test": True, "export": True, "show": False}
    assert (values["Args/train/lr"], values["Args/test/k"], values["Args/export/to"]) == (0.4, 2, "b")


def test_what_is_typed_unseen_is_masked(run: Run) -> None:
    """In the command line too, which is recorded later than it was parsed."""
    script = f"{IMPORT}\n{CLICK}{START}\nprint('GOT', args['secret'])"
    ran = run(script, "--secret", "hush-hush", "a", "b", package="click")
    assert ran.lines == ["GOT hush-hush"]
    assert ran.values == {"Args/lr": 0.1, "Args/size": [], "Args/files": ["a", "b"]}
    assert "hush-hush" not in str(ran.record)


def execute(folder: Path, source: str, *argv: str, root: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script whose failure is part of the test."""
    (folder / "script.py").write_text(source)
    store = {"LOCALTRACK_ROOT": str(root)} if root else {}
    env = {**os.environ, **store, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "script.py", *argv],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


FIRST = "click, fire, jsonargparse, tyro, draccus, typer"


@pytest.mark.parametrize("order", ["Task first", "parsers first"])
def test_a_script_without_task_init_is_left_alone(tmp_path: Path, order: str) -> None:
    """Nothing is loaded for parsers that do not parse; what parses says and returns what it did, and nobody says more."""
    for parser in FIRST.split(", "):
        pytest.importorskip(parser)
    imports = [IMPORT, f"import {FIRST}"]
    head = "\n".join(imports if order == "Task first" else reversed(imports))
    body = f"""
import sys
{head}
assert not [name for name in sys.modules if name.startswith("localtrack.bindings")]
assert "localtrack.runtime.early_bindings" not in sys.modules
"""
    done = execute(tmp_path, body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    body += """
@click.command()
@click.option("--lr", type=float)
def main(lr):
    print(lr)
    return 3
try:
    main()
finally:
    print(tyro.cli(int, args=["5"]), fire.Fire(lambda a: a * 2, ["4"]))
"""
    done = execute(tmp_path, body, "--lr", "0.5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.5\n8\n5 8\n", "")
    done = execute(tmp_path, body, "--lr", "x")
    assert (done.returncode, done.stdout) == (2, "8\n5 8\n")
    assert done.stderr.splitlines()[-1] == "Error: Invalid value for '--lr': 'x' is not a valid float."


def test_the_parsers_have_their_own_functions_in_the_end(tmp_path: Path) -> None:
    """After Task.init and its close nothing of ours is left on them."""
    for parser in FIRST.split(", "):
        pytest.importorskip(parser)
    places = (
        "[click.Command.parse_args, fire.core._Fire, fire.core.parser.CreateParser, fire.core._MakeParseFn, tyro._cli._cli_impl,"
        " jsonargparse.ArgumentParser.parse_args, draccus.argparsing.ArgumentParser.parse_known_args]"
    )
    for parse in ("", "fire.Fire(lambda a: None, ['4'])\n"):
        done = execute(
            tmp_path,
            f"import {FIRST}\nbefore = {places}\n{IMPORT}\n{parse}task = {SINCE.format(more='')}task.close()\nassert {places} == before\n",
        )
        assert done.returncode == 0, done.stderr


def test_a_failure_before_task_init_is_in_the_task(ctx: StoreContext, tmp_path: Path) -> None:
    """The parse goes on, nothing is said until there is a task, and then once."""
    pytest.importorskip("click")
    broken = """
import click
def parse(*names):
    @click.command()
    @click.option("--lr", default=1)
    def main(lr): return lr
    return main(list(names), standalone_mode=False)
print(parse("--lr", "2"))
find, click.Context.find_root = click.Context.find_root, lambda self: 1 / 0
print(parse("--lr", "3"), parse("--lr", "4"))
click.Context.find_root = find
"""
    done = execute(tmp_path, f"{IMPORT}\n{broken}")
    assert (done.stdout, done.stderr) == ("2\n3 4\n", "")
    done = execute(tmp_path, f"{IMPORT}\n{broken}task = {SINCE.format(more='')}print(task.id)", root=ctx.store.root)
    assert done.returncode == 0, done.stderr
    assert tasks.read(ctx, done.stdout.split()[-1]).errors == (
        "binding click, parse_args: ZeroDivisionError: division by zero",
    )
    assert done.stderr.count("ZeroDivisionError") == 1


COMMAND = """
import click
@click.command()
@click.option("--lr", type=float, default=0.1)
@click.option("--name", required=True)
def main(lr, name): return lr
"""


@pytest.mark.parametrize("way", ["wrapped", "mocked", "kept"])
def test_somebody_elses_wrapper_runs_once(tmp_path: Path, way: str) -> None:
    """Also one that was put over ours; what it parses is recorded, the first time too."""
    pytest.importorskip("click")
    put = {
        "wrapped": "click.Command.parse_args = theirs",
        "mocked": "mock.patch.object(click.Command, 'parse_args', autospec=True, side_effect=theirs).start()",
        "kept": "class Sub(click.Command): parse_args = original\nmain.__class__ = Sub; calls = [1, 1]",
    }[way]
    script = f"""
{IMPORT}
from unittest import mock
{COMMAND}
original, calls = click.Command.parse_args, []
def theirs(self, context, args):
    calls.append(args)
    return original(self, context, args)
{put}
put = click.Command.parse_args
main(["--lr", "2", "--name", "x"], standalone_mode=False)
MORE
task = {SINCE.format(more="")}
print(len(calls), task.get_parameters())
task.close()
assert {way == "kept"} or click.Command.parse_args is put
"""
    for more, lr in ("", 2.0), ("main(['--lr', '4', '--name', 'x'], standalone_mode=False)", 4.0):
        done = execute(tmp_path, script.replace("MORE", more))
        assert done.returncode == 0, done.stderr
        seen = f"{2 if more or way == 'kept' else 1} {{'Args/lr': '{lr}', 'Args/name': 'x'}}"
        assert done.stdout.splitlines() == [seen]


def test_a_parse_that_fails_is_none(tmp_path: Path) -> None:
    """Nothing was parsed then."""
    pytest.importorskip("click")
    script = f"""
{IMPORT}
{COMMAND}
try:
    main(["--lr", "x"], standalone_mode=False)
except click.UsageError:
    print({SINCE.format(more="").strip()}.get_parameters())
"""
    assert execute(tmp_path, script).stdout == "{}\n"


def test_first_parses_in_several_threads_are_all_recorded(tmp_path: Path) -> None:
    """Those that come while the bindings are put on wait for them; Task.init in the midst ends it cleanly."""
    for parser in ("click", "fire"):
        pytest.importorskip(parser)
    script = f"""
{IMPORT}
import click, fire, sys, threading
own = click.Command.parse_args.__wrapped__
sys.setswitchinterval(1e-5)
gate = threading.Barrier(9)
def parse(number):
    @click.command()
    @click.option(f"--c{{number}}", default=0)
    def main(**values): pass
    gate.wait()
    if number % 2:
        fire.Fire(lambda **values: None, [f"--f{{number}}={{number}}"])
    else:
        main([f"--c{{number}}", str(number)], standalone_mode=False)
threads = [threading.Thread(target=parse, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
gate.wait()
WAIT
task = {SINCE.format(more="")}
[thread.join() for thread in threads]
print(sorted(int(value) for name, value in task.get_parameters().items() if name[5:6] in "cf" and name[6:].isdigit()))
task.close()
assert click.Command.parse_args is own
"""
    for _ in range(3):
        done = execute(tmp_path, script.replace("WAIT", "[thread.join() for thread in threads]"))
        assert (done.returncode, done.stdout) == (0, f"{list(range(8))}\n"), done.stderr
        done = execute(tmp_path, script.replace("WAIT", ""))
        assert done.returncode == 0, done.stderr


WITHIN = {
    "click": """
import click
def begin(context, parameter, value):
    global task
    task = INIT
    return value
@click.command()
@click.option("--a", default=1, callback=begin, is_eager=True)
@click.option("--lr", default=0.1)
def main(a, lr): pass
main(["--lr", "0.5"], standalone_mode=False)
""",
    "tyro": """
import dataclasses, tyro
@dataclasses.dataclass
class Args:
    a: int = 1
    lr: float = 0.1
    def __post_init__(self):
        global task
        task = INIT
tyro.cli(Args, args=["--lr", "0.5"])
""",
}


@pytest.mark.parametrize("parser", WITHIN)
def test_task_init_within_the_parse_gets_what_is_parsed(tmp_path: Path, parser: str) -> None:
    """And no later task does."""
    pytest.importorskip(parser)
    start = SINCE.format(more="").strip()
    script = f"""
{IMPORT}
{WITHIN[parser].replace("INIT", start)}
print(task.get_parameters())
task.close()
print({start}.get_parameters())
"""
    done = execute(tmp_path, script)
    assert done.stdout.splitlines() == ["{'Args/a': '1', 'Args/lr': '0.5'}", "{}"], done.stderr


def test_nothing_of_the_scripts_is_held(tmp_path: Path) -> None:
    """What Fire was given, and what a failing binding has seen, lives as long as it would."""
    for parser in ("click", "fire"):
        pytest.importorskip(parser)
    script = f"""
{IMPORT}
import click, fire, weakref
class Job:
    def run(self, n=1): pass
def parse():
    job = Job()
    fire.Fire(job, ["run"])
    find, click.Context.find_root = click.Context.find_root, lambda self: 1 / 0
    @click.command()
    def main(): return job
    main([], standalone_mode=False)
    click.Context.find_root = find
    return weakref.ref(job)
first = parse()
import gc; gc.collect()
assert first() is None
task = {SINCE.format(more="")}
second = parse()
gc.collect()
print(second() is None)
"""
    done = execute(tmp_path, script)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("module", ["None", "types.ModuleType('other.core')"])
def test_a_module_that_somebody_put_in_the_place_of_a_parsers(tmp_path: Path, module: str) -> None:
    """Task is imported, and the other parsers are recorded."""
    pytest.importorskip("tyro")
    script = f"""
import sys, types
for name in ("fire.core", "click.core", "draccus.argparsing"):
    sys.modules[name] = {module}
{IMPORT}
import tyro
def main(lr: int = 1): pass
tyro.cli(main, args=["--lr", "4"])
print({SINCE.format(more="").strip()}.get_parameters()["Args/lr"])
"""
    done = execute(tmp_path, script)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_what_is_typed_unseen_is_masked_where_arguments_are_not_wanted(run: Run) -> None:
    """The command line is recorded all the same."""
    off = SINCE.format(more=", auto_connect_arg_parser=False")
    ran = run(f"{IMPORT}\n{CLICK}{off}", "--secret", "hush-hush", package="click")
    assert ran.values == {}
    assert "hush-hush" not in str(ran.record)


def test_a_simulated_agents_run_is_fed(run: Run, clone: Callable[..., str], ctx: StoreContext, tmp_path: Path) -> None:
    """``debug_simulate_remote_task`` comes after the import of ``Task``, when parses were to be kept only."""
    pytest.importorskip("absl")
    parse = """
import click
from absl import flags
@click.command()
@click.option("--lr", default=0.1)
def parse(lr): return lr
flags.DEFINE_float("step", 0.1, "")
"""
    use = f"print('GOT', parse([], standalone_mode=False), flags.FLAGS(['x']) and flags.FLAGS.step)\n{START}\n"
    made = clone(run(f"{IMPORT}{parse}{use}", package="click").record.id, {"lr": "0.7", "step": "0.8"})
    simulate = f"Task.debug_simulate_remote_task({made!r})\n"
    done = execute(tmp_path, f"{IMPORT}{parse}{simulate}{use}", root=ctx.store.root)
    assert "GOT 0.7 0.8" in done.stdout.splitlines(), done.stderr
    assert tasks.read(ctx, made).status == "completed"
