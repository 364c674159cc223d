"""Click: options and commands are recorded, and an agent's run gets the stored ones instead."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localtrack import Task
from localtrack.bindings.click import ClickHook
from localtrack.bindings.parameter_feed import ParameterFeed, Parsed
from localtrack.capture.native_values import is_same
from localtrack.records.parameters import entry, value_of
from localtrack.runtime.binding_context import BindingContext
from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext
from localtrack.testing.bindings import BindingContract


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@click.command()
@click.option("--lr", type=float, default=0.1, help="the step")
def _toy(lr: float) -> None:
    pass


class TestContract(BindingContract):
    """The click binding keeps to what every binding keeps to."""

    binding = "localtrack.bindings.click"
    reports_fail_visibly = False

    def use(self, folder: Path) -> None:
        """Run a command."""
        _toy(["--lr", "0.5"], standalone_mode=False)

    def count(self, task: Task) -> int:
        """Return how many arguments are recorded."""
        return len(task.get_parameters())


SCRIPT = """
import click
from localtrack import Task

def start():
    Task.init(project_name="c", task_name="n", reuse_last_task_id=False, auto_connect_arg_parser=CONNECT)

@click.group()
@click.option("--verbose/--quiet", default=False)
def cli(verbose):
    if WHERE == "group":
        start()

@cli.command("train", help="to train")
@click.option("--lr", type=float, default=0.1, help="the step")
@click.option("--name", prompt="Your name")
@click.option("--size", type=int, multiple=True, default=[1])
@click.option("--password", prompt=True, hide_input=True, default="geheim")
@click.argument("data")
def train(lr, name, size, password, data):
    if WHERE == "command":
        start()
    print("GOT", lr, name, size, data)

@cli.command()
@click.option("--port", default=8000)
def serve(port):
    if WHERE == "command":
        start()
    print("GOT serve", port)

if WHERE == "before":
    start()
cli()
"""


def run(ctx: StoreContext, script: Path, *argv: str, code: int = 0, **environment: str) -> str:
    """Run a script and return what it says that it got."""
    command = [sys.executable, str(script), *argv]
    if "LOCALTRACK_TASK_ID" in environment:
        command[1:1] = ["-m", "localtrack.runtime.bootstrap"]
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=script.parent, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, done.stderr
    return next((line for line in done.stdout.splitlines() if line.startswith("GOT")), "")


def write(folder: Path, where: str, connect: object = True) -> Path:
    """Write the script that calls ``Task.init`` at a certain place."""
    script = folder / f"{where}.py"
    script.write_text(SCRIPT.replace("WHERE", repr(where)).replace("CONNECT", repr(connect)))
    return script


@pytest.mark.parametrize("where", ["before", "group", "command"])
def test_wherever_the_task_starts_commands_are_recorded_and_fed(ctx: StoreContext, tmp_path: Path, where: str) -> None:
    """Before the parse, in the group or in the command: all options are in the task, and a clone's changed ones count."""
    script = write(tmp_path, where)
    argv = ["train", "--name", "ada", "--size", "2", "--size", "3", "--password", "x", "d"]
    assert run(ctx, script, *argv) == "GOT 0.1 ada (2, 3) d"
    (row,) = ctx.index.rows()
    record = tasks.read(ctx, row.id)
    expected = {
        "Args/cli/verbose": False, "Args/train": True, "Args/train/lr": 0.1, "Args/train/name": "ada",
        "Args/train/size": [2, 3], "Args/train/data": "d", "Args/serve": False, "Args/serve/port": 8000,
    }  # fmt: skip
    assert parameters.as_values(record) == expected
    assert record.parameters["Args/train"]["type"] == "click.Command"
    assert record.parameters["Args/train/lr"]["description"] == "the step"
    clone = tasks.clone(ctx, row.id)
    changed = [("train/lr", "0.25"), ("train/name", "bob"), ("train/size", "[5]"), ("cli/verbose", "true")]
    tasks.edit(ctx, clone.id, lambda r: parameters.override(r, changed), "set")
    assert run(ctx, script, *argv, LOCALTRACK_TASK_ID=clone.id) == "GOT 0.25 bob (5,) d"
    ran = parameters.as_values(tasks.read(ctx, clone.id))
    assert ran == {
        **expected,
        "Args/train/lr": 0.25,
        "Args/train/name": "bob",
        "Args/train/size": [5],
        "Args/cli/verbose": True,
    }


def test_a_clone_may_choose_another_command(ctx: StoreContext, tmp_path: Path) -> None:
    """Which command runs is a parameter like others; the command line of the original does not stand in its way."""
    script = write(tmp_path, "group")
    argv = ["train", "--name", "ada", "--password", "x", "d"]
    run(ctx, script, *argv)
    (row,) = ctx.index.rows()
    clone = tasks.clone(ctx, row.id)
    changed = [("Args/train", "false"), ("Args/serve", "true"), ("serve/port", "9")]
    tasks.edit(ctx, clone.id, lambda r: parameters.override(r, changed), "set")
    assert run(ctx, script, *argv, LOCALTRACK_TASK_ID=clone.id) == "GOT serve 9"


def test_a_task_without_a_command_line_asks_nothing(ctx: StoreContext, tmp_path: Path) -> None:
    """What is required or prompted for and stored is neither missing nor asked for: a worker has no keyboard."""
    script = write(tmp_path, "command")
    run(ctx, script, "train", "--name", "ada", "--password", "x", "d")
    (row,) = ctx.index.rows()
    clone = tasks.clone(ctx, row.id)
    assert run(ctx, script, "train", "--password", "x", LOCALTRACK_TASK_ID=clone.id) == "GOT 0.1 ada (1,) d"


CHAIN = """
import click
from localtrack import Task

def start():
    Task.init(project_name="c", task_name="n", reuse_last_task_id=False)

got = []

@click.group(chain=True)
@click.option("--seed", default=1)
def cli(seed):
    got.append(seed)

@cli.command()
@click.option("--lr", default=0.1)
def train(lr):
    if WHERE == "command" and Task.current_task() is None:
        start()
    got.append(lr)

@cli.command()
@click.option("--k", default=3)
def ev(k):
    got.append(k)

@cli.command()
def idle():
    pass

if WHERE == "before":
    start()
cli(standalone_mode=False)
print("GOT", got)
"""


@pytest.mark.parametrize("where", ["before", "command"])
def test_all_commands_of_a_chain_are_recorded_and_fed(ctx: StoreContext, tmp_path: Path, where: str) -> None:
    """Each command of a chain, also one that comes twice, keeps what it was given; its clone may change one of them."""
    script = tmp_path / "chain.py"
    script.write_text(CHAIN.replace("WHERE", repr(where)))
    argv = ["--seed", "2", "train", "--lr", "0.3", "ev", "--k", "5", "train", "--lr", "0.4"]
    assert run(ctx, script, *argv) == "GOT [2, 0.3, 5, 0.4]"
    (row,) = ctx.index.rows()
    expected = {
        "Args/cli/seed": 2, "Args/train": True, "Args/train/lr": 0.3, "Args/ev": True, "Args/ev/k": 5,
        "Args/train#2": True, "Args/train#2/lr": 0.4, "Args/idle": False,
    }  # fmt: skip
    assert parameters.as_values(tasks.read(ctx, row.id)) == expected
    clone = tasks.clone(ctx, row.id)
    assert run(ctx, script, *argv, LOCALTRACK_TASK_ID=clone.id) == "GOT [2, 0.3, 5, 0.4]"
    changed = tasks.clone(ctx, row.id)
    tasks.edit(
        ctx,
        changed.id,
        lambda r: parameters.override(r, [("train/lr", "0.7"), ("train#2/lr", "0.8"), ("ev/k", "6")]),
        "set",
    )
    assert run(ctx, script, *argv, LOCALTRACK_TASK_ID=changed.id) == "GOT [2, 0.7, 6, 0.8]"
    ran = parameters.as_values(tasks.read(ctx, changed.id))
    assert ran == {**expected, "Args/train/lr": 0.7, "Args/train#2/lr": 0.8, "Args/ev/k": 6}


@pytest.mark.parametrize("where", ["before", "command"])
def test_hidden_input_is_in_no_record(ctx: StoreContext, tmp_path: Path, where: str) -> None:
    """What an option with hidden input is given on the command line is masked there; a clone asks for its own."""
    script = write(tmp_path, where)
    run(ctx, script, "train", "--name", "ada", "--password", "g3h", "d")
    (row,) = ctx.index.rows()
    record = tasks.read(ctx, row.id)
    assert record.script["argv"] == ["train", "--name", "ada", "--password", "********", "d"]
    files = [path for path in tasks.folder_of(ctx, row.id).rglob("*") if path.is_file()]
    assert [path for path in files if b"g3h" in path.read_bytes()] == []


def test_hidden_input_of_a_parse_that_fails_is_masked(ctx: StoreContext, tmp_path: Path) -> None:
    """What is wrong with another option does not show it."""
    run(ctx, write(tmp_path, "before"), "train", "--password", "g3h", "--lr", "x", "d", code=2)
    (row,) = ctx.index.rows()
    assert tasks.read(ctx, row.id).script["argv"] == ["train", "--password", "********", "--lr", "x", "d"]


def test_excluded_arguments_stay_out(ctx: StoreContext, tmp_path: Path) -> None:
    """``auto_connect_arg_parser`` names arguments alone or with their command, and ``*`` stands for the rest."""
    run(
        ctx,
        write(tmp_path, "before", {"*": False, "lr": True, "serve/port": True}),
        "train",
        "--name",
        "a",
        "--password",
        "x",
        "d",
    )
    (row,) = ctx.index.rows()
    assert set(tasks.read(ctx, row.id).parameters) == {"Args/train/lr", "Args/serve/port"}


def test_a_command_that_fails_is_the_users_own(ctx: StoreContext, tmp_path: Path) -> None:
    """A wrong option ends the script as click ends it, with its exit code."""
    run(ctx, write(tmp_path, "before"), "train", "--lr", "x", "--name", "a", "d", code=2)


TYPES: dict[str, tuple[Any, dict[str, Any], st.SearchStrategy[Any]]] = {
    "int": (int, {}, st.integers(-(10**9), 10**9)),
    "float": (float, {}, st.floats(allow_nan=False)),
    "str": (str, {}, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)),
    "bool": (bool, {}, st.booleans()),
    "flag": (bool, {"is_flag": True}, st.booleans()),
    "choice": (click.Choice(["a", "b", "c"]), {}, st.sampled_from("abc")),
    "range": (click.IntRange(0, 10), {}, st.integers(0, 10)),
    "pair": ((int, str), {}, st.tuples(st.integers(), st.sampled_from(["x", "y"])).map(list)),
    "many": (float, {"multiple": True}, st.lists(st.floats(-1e6, 1e6), max_size=4)),
    "count": (int, {"count": True}, st.integers(0, 5)),
}


def parse(argv: list[str], kind: str, required: bool, stored: dict[str, Any]) -> tuple[dict[str, Parsed], Any]:
    """Parse with one option and some stored values; return what was recorded and what the script got."""
    type_, more, _ = TYPES[kind]
    recorded: dict[str, Parsed] = {}
    feed = ParameterFeed("Args", stored, remote=bool(stored))
    feed_record = recorded.update
    object.__setattr__(feed, "_said", {"value"})
    context = BindingContext("click", click.core, failed=lambda name, place, error: pytest.fail(f"{place}: {error!r}"))
    hook = ClickHook(feed, context, click.core)
    hook._feed = _Recording(feed, feed_record)  # type: ignore[assignment]
    got: list[Any] = []
    option = click.Option(["--value"], type=type_, required=required and "count" not in more, **more)
    command = click.Command("c", params=[option], callback=lambda value: got.append(value))
    hook.install()
    try:
        command(argv, standalone_mode=False)
    finally:
        context.patch.undo()
    return recorded, got[0]


class _Recording:
    """A feed that keeps what it is given."""

    def __init__(self, feed: ParameterFeed, record: Any) -> None:
        self._feed = feed
        self.record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_stored_is_what_the_script_gets(data: st.DataObject) -> None:
    """For every type: parse, store, override, parse again gives the override, whatever the command line says."""
    kind = data.draw(st.sampled_from(sorted(TYPES)))
    wanted = data.draw(TYPES[kind][2])
    required = data.draw(st.booleans())
    assume(not (required and wanted == []))  # a value that no command line can give
    stored = value_of(entry(wanted))
    recorded, got = parse([], kind, required, {"value": stored})
    again = value_of(entry(recorded["value"].value))
    assert is_same(again, stored), (got, stored)
    assert list(got) == wanted if isinstance(wanted, list) else got == wanted
    _, repeated = parse([], kind, required, {"value": again})
    assert repeated == got
