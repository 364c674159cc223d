"""What is parsed between the import of Task and Task.init is recorded as it was parsed, whatever became of it since."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.capture.arguments import describe_kept
from localtrack.runtime.early_parses import KEPT, EarlyParses

INIT = (
    'task = Task.init("p", "n", auto_resource_monitoring=False, auto_connect_frameworks=False{more})\nprint(task.id)\n'
)
HEAD = """
import argparse, enum, sys
from localtrack import Task
Mode = enum.Enum("Mode", "fast slow")
def parse(*argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--gpus", default="0,1")
    parser.add_argument("--ids", type=int, nargs="*", default=[1])
    parser.add_argument("--api-key", default="")
    commands = parser.add_subparsers(dest="command")
    train = commands.add_parser("train")
    train.add_argument("--mode", type=Mode.__getitem__, default=Mode.fast)
    train.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))))
    return parser.parse_args(argv or None)
"""
PARSED = {"lr": 0.2, "gpus": "0,1", "ids": [1, 2], "command": "train", "mode": "slow", "size": [3, 4], "api_key": ""}


def run(folder: Path, body: str, *arguments: str) -> dict[str, Any]:
    """Run a script and return the parameters of its task."""
    (folder / "script.py").write_text(body)
    done = subprocess.run([sys.executable, "script.py", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = Task.get_task(done.stdout.split()[0]).get_parameters(cast=True) or {}  # type: ignore[union-attr]
    return {name.partition("/")[2]: value for name, value in found.items()}


@pytest.mark.parametrize(
    "use",
    [
        "args = vars(parse())\n",
        "class Options:\n    opt = parse()\n",
        "lr = parse().lr\n",
        "args = parse()\nargs.lr *= 2\nargs.gpus = [0, 1]\nargs.ids.append(3)\nargs.mode = 5\ndel args.size\n",
    ],
    ids=["dict", "attribute", "value", "edited"],
)
def test_a_parse_before_task_init_is_recorded_as_it_was(tmp_path: Path, use: str) -> None:
    """However the script keeps what was parsed, and what it makes of it."""
    body = HEAD + use + INIT.format(more="")
    found = run(tmp_path, body, "--ids", "1", "2", "--lr", "0.2", "train", "--mode", "slow", "--size", "3x4")
    assert found == PARSED


def test_what_was_added_since_is_recorded_too(tmp_path: Path) -> None:
    """As it is for a namespace that is found in the script's variables; secrets are masked."""
    use = "args = parse('--api-key', 'a9F3kd02LsPq81Zx77aB')\nargs.device = 'cuda'\n"
    found = run(tmp_path, HEAD + use + INIT.format(more=""))
    assert found["device"] == "cuda"
    assert found["api_key"] == "********"


def test_what_the_script_filled_in_is_recorded(tmp_path: Path) -> None:
    """An argument that nobody gave and that has no default is what the script made of it, as with ClearML."""
    body = HEAD + "args = parse('train')\nargs.size = (8, 9)\nargs.lr = 7\n" + INIT.format(more="")
    found = run(tmp_path, body)
    assert (found["size"], found["lr"]) == ([8, 9], 0.1)


def test_the_watch_ends_with_task_init(tmp_path: Path) -> None:
    """Also where argparse is not to be recorded, or never came: the class has its own functions then, each parse is told once."""
    clean = 'assert argparse.ArgumentParser.parse_known_args.__code__.co_filename.endswith("argparse.py")\n'
    assert run(tmp_path, HEAD + "parse()\n" + INIT.format(more=", auto_connect_arg_parser=False") + clean) == {}
    more = ', auto_connect_arg_parser={"*": False, "lr": True}'
    assert run(tmp_path, HEAD + "parse()\n" + INIT.format(more=more)) == {"lr": 0.1}
    late = "import sys\nfrom localtrack import Task\n" + INIT.format(more="") + "assert 'argparse' not in sys.modules\n"
    assert run(tmp_path, late + "task.close()\nimport argparse\n" + clean) == {}


def test_a_script_without_task_init_is_left_alone(tmp_path: Path) -> None:
    """Its parses are what they were, nothing is loaded for them, and an import of argparse is watched as long as needed."""
    body = """
import sys
from localtrack import Task
assert "argparse" not in sys.modules
import argparse
before = set(sys.modules)
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
print(parser.parse_args())
try:
    parser.parse_args(["--lr", "x"])
except SystemExit as error:
    print(error.code)
assert not [name for name in set(sys.modules) - before if name.startswith("localtrack")]
"""
    (tmp_path / "script.py").write_text(body)
    done = subprocess.run([sys.executable, "script.py", "--lr", "3"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Namespace(lr=3.0)\n2\n"), done.stderr


@pytest.fixture
def early() -> Iterator[EarlyParses]:
    """A watch of the test's own, which leaves the class as it was."""
    before = dict(vars(argparse.ArgumentParser))
    watch = EarlyParses()
    watch.install()
    yield watch
    watch.take()
    assert dict(vars(argparse.ArgumentParser)) == before


def test_the_last_parses_are_kept(early: EarlyParses) -> None:
    """Each once, in their order, also what intermixed parses give; a failed one is none."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("n", type=int, nargs="*")
    for number in range(KEPT + 2):
        parser.parse_intermixed_args([str(number)])
    with pytest.raises(argparse.ArgumentError):
        parser.parse_known_args(["x"])

    kept = early.take()
    assert [parsed.values["n"] for parsed in describe_kept(kept)] == [[number] for number in range(2, KEPT + 2)]
    assert vars(parser).get("_get_value") is None
    assert early.take() == []


def test_parses_of_launchers_and_of_types_are_not_kept(early: EarlyParses) -> None:
    """What a library parses for itself is no argument of the script's, nor is what a type parses within a parse."""
    inner = argparse.ArgumentParser()
    inner.add_argument("--inner", type=int)
    outer = argparse.ArgumentParser()
    outer.add_argument("--sub", type=lambda text: inner.parse_args([f"--inner={text}"]).inner)
    for library in ("torch.distributed.run", "draccus.argparsing"):
        scope: dict[str, Any] = {"__name__": library, "parser": inner}
        exec("parser.parse_args(['--inner', '1'])", scope)
    outer.parse_args(["--sub", "2"])

    (parsed,) = describe_kept(early.take())
    assert parsed.values == {"sub": 2}


def test_an_agents_run_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the stored values are fed."""
    monkeypatch.setenv("LOCALTRACK_TASK_ID", "a" * 32)
    before = dict(vars(argparse.ArgumentParser))
    EarlyParses().install()
    assert dict(vars(argparse.ArgumentParser)) == before
