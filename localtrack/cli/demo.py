"""``localtrack demo``: the whole main job on a real training script, checked at the end.

A small git repository is made in a fresh folder, its script runs as any script does, and its task is cloned, changed,
queued and run by an agent. Before the agent starts, the project moves on, so that only a checkout of the recorded
commit with the recorded diff can give what the demo then looks for.

Source: docs/tutorial/first-run.md; docs/reference/cli.md, "demo".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from localtrack.cli.output import coloured, heading, print_json, printable
from localtrack.cli.shell import Shell, json_option, pass_shell, root_option
from localtrack.errors import CodeUnavailableError, LocaltrackError, UsageError
from localtrack.records.plain import dataclass

QUEUE = "demo"
FIRST_LR, SECOND_LR = 0.1, 0.01
LINE = "HIDDEN_UNITS = {}\n"
COMMITTED_UNITS, UNCOMMITTED_UNITS, LATER_UNITS = 16, 32, 64
TIMEOUT_S = 600
PROJECT_FILES = Path(__file__).parent / "demo_project"
PRIVATE_VARIABLES = ("LOCALTRACK_TASK_ID", "LOCALTRACK_PARENT", "LOCALTRACK_CLAIM", "LOCALTRACK_ROOT")
GIT_SETTINGS = {
    "user.name": "localtrack demo",
    "user.email": "demo@localhost",
    "commit.gpgsign": "false",
    "core.hooksPath": os.devnull,
    "core.autocrlf": "false",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
}
GIT_ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TEMPLATE_DIR": ""}


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays: its folder, the repository in it, the store, and the environment of its processes."""

    folder: Path
    project: Path
    store: Path
    environment: dict[str, str]


@click.command("demo")
@click.option("--keep/--no-keep", default=True, show_default=True, help="Keep the folder when all went well.")
@json_option
@root_option
@pass_shell
def demo(shell: Shell, keep: bool, as_json: bool) -> None:
    """Show the whole main job: run a script, look at its task, clone it with another argument, queue it, run it.

    Everything happens in a fresh folder with a store of its own; your store is used only when --root names it. The
    demo checks itself: exit code 1 when the clone did not run as it should.
    """
    _check_tools()
    folder = Path(tempfile.mkdtemp(prefix="localtrack-demo-"))
    root = Path(shell.root).expanduser().absolute() if shell.root else folder / "store"
    environment = {key: value for key, value in os.environ.items() if key not in PRIVATE_VARIABLES}
    environment = {key: value for key, value in environment.items() if not key.startswith("GIT_")}
    stage = Stage(folder, folder / "project", root, {**environment, "LOCALTRACK_ROOT": str(root)})
    try:
        with _story(as_json):
            first, second = _play(stage)
            checks = _verify(stage, first, second)
            if all(is_right for _, is_right, _ in checks):
                _say_next(stage, first, second)
    except (LocaltrackError, OSError):
        print(f"the demo's files stay in {folder}", file=sys.stderr)
        raise
    failures = sum(not is_right for _, is_right, _ in checks)
    if as_json:
        print_json(
            {
                "is_good": not failures, "folder": str(folder), "root": str(root), "tasks": [first, second],
                "checks": [{"name": name, "is_good": is_right, "found": found} for name, is_right, found in checks],
            }
        )  # fmt: skip
    if failures:
        raise UsageError(
            f"{failures} of the demo's checks failed: the clone did not run as it should; its files stay in {folder}"
        )
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"\n{folder} was removed (--no-keep)", file=sys.stderr if as_json else sys.stdout)


@contextlib.contextmanager
def _story(as_json: bool) -> Iterator[None]:
    """Let all that the demo and its processes print go to stderr where stdout is for JSON."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def _check_tools() -> None:
    import importlib.util

    if importlib.util.find_spec("sklearn") is None:
        raise UsageError(
            f"the demo trains with scikit-learn: `{_short(sys.executable)} -m pip install scikit-learn`, then again"
        )
    if shutil.which("git") is None:
        raise CodeUnavailableError(
            "the demo makes a git repository, and there is no git on PATH: install git, then again"
        )


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _program_text() -> str:
    """Return what the user types to call the command line again: its path where it is not on PATH."""
    if shutil.which("localtrack") is not None:
        return "localtrack"
    beside = Path(sys.executable).with_name("localtrack")
    return _short(str(beside)) if beside.exists() else f"{_short(sys.executable)} -m localtrack.cli"


def _play(stage: Stage) -> tuple[str, str]:
    print("A script becomes a task in a folder, is found, cloned, queued and run again.")
    _step("1", f"A project: train.py in a git repository, with one uncommitted change ({stage.project})")
    _make_project(stage)
    print(_git(stage, "diff", "--unified=0").rstrip())
    _step("2", "Run it as ever")
    _say_command(f"python train.py --lr {FIRST_LR}")
    _run(stage, [sys.executable, "train.py", "--lr", str(FIRST_LR)], "the training script")
    first = _first_task(stage)
    _step("3", "It is a task now")
    _localtrack(stage, "show", first[:8])
    _step("4", "Clone it with another learning rate, and put the clone into a queue")
    name = f"digits network, lr {SECOND_LR}"
    second = _localtrack(stage, "clone", first[:8], "--name", name, "--set", f"lr={SECOND_LR}", capture=True).strip()
    _localtrack(stage, "queue", "create", QUEUE)
    _localtrack(stage, "enqueue", second[:8], "--queue", QUEUE)
    _step("5", f"Meanwhile the project moves on: {LINE.format(LATER_UNITS).strip()} is committed")
    _set_units(stage, UNCOMMITTED_UNITS, LATER_UNITS)
    print(_git(stage, "commit", "--all", "--message", "A larger network").rstrip())
    _step("6", "An agent runs what waits: the recorded commit and diff, in a checkout of its own")
    _localtrack(stage, "agent", "start", "--queue", QUEUE, "--drain", "--workdir", str(stage.folder / "workspaces"))
    _localtrack(stage, "log", second[:8], "-n", "3")
    _step("7", "Both, side by side")
    _localtrack(stage, "ls", "--project", "demo/digits", "--columns", "id,status,name,Args/lr,accuracy/test,loss/test")
    _localtrack(stage, "diff", first[:8], second[:8])
    return first, second


def _step(number: str, text: str) -> None:
    heading(f"{number}. {text}")


def _say_command(text: str) -> None:
    print(coloured(f"$ {text}", "36"), flush=True)


def _make_project(stage: Stage) -> None:
    stage.project.mkdir()
    script = (PROJECT_FILES / "train.py").read_text(encoding="utf-8")
    (stage.project / "train.py").write_text(script, encoding="utf-8")
    (stage.project / ".gitignore").write_text("model.joblib\nreport.txt\n", encoding="utf-8")
    _git(stage, "init", "--quiet")
    _git(stage, "add", ".")
    _git(stage, "commit", "--quiet", "--message", "Train on the digits")
    _set_units(stage, COMMITTED_UNITS, UNCOMMITTED_UNITS)


def _set_units(stage: Stage, old: int, new: int) -> None:
    path = stage.project / "train.py"
    text = path.read_text(encoding="utf-8")
    if text.count(LINE.format(old)) != 1:
        raise UsageError(f"{path} has no line {LINE.format(old)!r}: this localtrack is damaged, install it again")
    path.write_text(text.replace(LINE.format(old), LINE.format(new)), encoding="utf-8")


def _git(stage: Stage, *arguments: str) -> str:
    settings = [part for key, value in GIT_SETTINGS.items() for part in ("-c", f"{key}={value}")]
    done = subprocess.run(
        ["git", *settings, *arguments],
        cwd=stage.project,
        env={**stage.environment, **GIT_ENVIRONMENT},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise UsageError(
            f"`git {arguments[0]}` in {stage.project} failed: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def _run(stage: Stage, command: list[str], what: str, *, capture: bool = False) -> str:
    sys.stdout.flush()
    try:
        done = subprocess.run(
            command,
            cwd=stage.project,
            env=stage.environment,
            stdout=subprocess.PIPE if capture else sys.stdout.fileno(),
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{what} did not end within {TIMEOUT_S} s; look into {stage.folder}") from None
    if done.returncode:
        raise UsageError(f"{what} ended with exit code {done.returncode}; its output above says why")
    return done.stdout or ""


def _localtrack(stage: Stage, *arguments: str, capture: bool = False) -> str:
    shown = " ".join(f'"{part}"' if " " in part or "," in part else part for part in arguments)
    _say_command(f"localtrack {shown}")
    text = _run(
        stage, [sys.executable, "-m", "localtrack.cli", *arguments], f"`localtrack {arguments[0]}`", capture=capture
    )
    if text:
        print(text.rstrip())
    return text


def _first_task(stage: Stage) -> str:
    """Return the id of the task that the script just made; others may be at work in the same store."""
    from localtrack.records.filters import Query
    from localtrack.services import tasks
    from localtrack.services.context import open_context

    ctx = open_context(stage.store, create=False)
    for row in ctx.index.search(Query(project="demo/digits", order_by="-created")):
        script = tasks.read(ctx, row.id).script
        if Path(str(script.get("root") or "/")).resolve() == stage.project.resolve():
            return row.id
    raise UsageError(f"the script left no task of {stage.project} in {stage.store}: `localtrack doctor` may say why")


def _verify(stage: Stage, first: str, second: str) -> list[tuple[str, bool, str]]:
    """Compare what the clone's own process saw with what it should have seen; print and return what was found."""
    _step("8", "Did the clone run as it should?")
    checks = _checks(stage, first, second)
    for what, is_right, seen in checks:
        print(f"{coloured('ok    ', '32') if is_right else coloured('WRONG ', '31')}{what}: {printable(seen)}")
    return checks


def _checks(stage: Stage, first: str, second: str) -> list[tuple[str, bool, str]]:
    from localtrack.services import artifacts, tasks
    from localtrack.services.context import open_context
    from localtrack.services.parameters import as_values

    ctx = open_context(stage.store, create=False)
    records = [tasks.read(ctx, task_id) for task_id in (first, second)]
    facts: list[dict[str, Any]] = []
    for record in records:
        folder = tasks.folder_of(ctx, record.id)
        facts.append(dict(artifacts.load(ctx, folder, artifacts.find(record, "facts"))))
    original, clone = facts
    recorded, head = str(records[0].script.get("commit", "")), _git(stage, "rev-parse", "HEAD").strip()
    lrs = [as_values(record).get("Args/lr") for record in records]
    apart = not Path(str(clone["folder"])).resolve().is_relative_to(stage.project.resolve())
    return [
        ("both completed", all(r.status == "completed" for r in records), " and ".join(r.status for r in records)),
        ("the tasks' lr", lrs == [FIRST_LR, SECOND_LR], f"{lrs[0]} and {lrs[1]}"),
        ("the lr that the scripts saw", [f["lr"] for f in facts] == lrs, f"{original['lr']} and {clone['lr']}"),
        ("the recorded commit, not the new one", clone["commit"] == original["commit"] == recorded != head,
         f"{clone['commit'][:12]}, while the project is at {head[:12]}"),
        ("the uncommitted change", clone["hidden_units"] == original["hidden_units"] == UNCOMMITTED_UNITS,
         f"{clone['hidden_units']} hidden units, not {COMMITTED_UNITS} or {LATER_UNITS}"),
        ("a checkout of its own", apart, str(clone["folder"])),
        ("results of its own", bool(records[1].last_metrics) and records[1].last_metrics != records[0].last_metrics,
         f"{len(records[1].artifacts)} artifacts, {len(records[1].output_models)} models"),
    ]  # fmt: skip


def _say_next(stage: Stage, first: str, second: str) -> None:
    from localtrack.services import tasks
    from localtrack.services.context import open_context

    ctx = open_context(stage.store, create=False)
    heading("Where the files are")
    print(f"the store    {stage.store}")
    print(f"the clone    {tasks.folder_of(ctx, second)}")
    print(f"the project  {stage.project}")
    heading("What to try next")
    program = _program_text()
    for text in (
        f"export LOCALTRACK_ROOT={stage.store}",
        program,
        f"{program} log {second[:8]}",
        f"{program} scalars {second[:8]} --title accuracy --csv",
        f"{program} ls --filter 'params.lr < 0.05'",
        f"{program} clone {first[:8]} --set lr=0.3 --set epochs=20",
        f"{program} enqueue @last --queue {QUEUE} && {program} agent start --queue {QUEUE} --drain",
    ):
        _say_command(text)
    print(
        "\nIn a script of your own: `from localtrack import Task`, then `Task.init(project_name=..., task_name=...)`."
    )
