"""What a run watches is watched whenever its module comes, and a script without it never loads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task

PARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args(["--lr", "0.5"])
"""
INIT = """
import sys
from localtrack import Task
task = Task.init("p", "n", auto_resource_monitoring=False, auto_connect_frameworks=False)
"""


@pytest.mark.parametrize("body", [INIT + PARSE, PARSE + INIT], ids=["after", "before"])
def test_a_parse_is_recorded_though_argparse_is_imported_late(tmp_path: Path, body: str) -> None:
    """The parser is imported after Task.init, or was before."""
    assert run(tmp_path, body + "print(task.id)").get_parameters(cast=True) == {"Args/lr": 0.5}


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_a_parser_beside_another_ones_binding_is_recorded(tmp_path: Path, early: bool) -> None:
    """What the other parsers' bindings load does not load argparse, so that its feed never starts in the midst of that."""
    (tmp_path / "click").mkdir()
    (tmp_path / "click" / "__init__.py").write_text("from click import core")
    (tmp_path / "click" / "core.py").write_text("class Context: pass\nclass Command: pass\nclass Group: pass")
    (tmp_path / "click" / "exceptions.py").write_text("class Exit(Exception): pass")
    other = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import click; assert 'argparse' not in sys.modules\n"
    init = INIT.replace(", auto_connect_frameworks=False", "")
    body = other + init if early else init + other
    seen = run(tmp_path, f"{body}{PARSE}print(task.id)\nassert 'localtrack.bindings.click' in sys.modules")
    assert seen.get_parameters(cast=True) == {"Args/lr": 0.5}


def test_argparse_imported_in_a_thread_is_fed(tmp_path: Path) -> None:
    """The hook is on the module's class, whichever thread imports it."""
    body = f"""{INIT}
import threading
thread = threading.Thread(target=lambda: __import__("argparse"))
thread.start()
thread.join()
{PARSE}
print(task.id)
"""
    assert run(tmp_path, body).get_parameters(cast=True) == {"Args/lr": 0.5}


def test_after_close_argparse_is_imported_as_ever(tmp_path: Path) -> None:
    """Nothing waits for it any more."""
    body = f"""{INIT}
print(task.id)
task.close()
{PARSE}
assert type(parser).parse_known_args.__module__ == "argparse", type(parser).parse_known_args
assert argparse.__spec__.loader is argparse.__loader__
"""
    assert run(tmp_path, body).get_parameters() == {}


def test_a_script_without_a_parser_does_not_load_one(tmp_path: Path) -> None:
    """Task.init is quick for it."""
    run(tmp_path, f"{INIT}print(task.id)\nassert 'argparse' not in sys.modules")


def test_logging_that_is_imported_late_is_captured(tmp_path: Path) -> None:
    """The handlers of a logging that nobody had loaded before Task.init write into the task, as its prints do."""
    body = f"""{INIT}
assert "logging" not in sys.modules
import logging
logging.warning("said late")
print(task.id)
"""
    console = "".join(run(tmp_path, body).get_reported_console_output(100))
    assert console.count("said late") == 1


def run(folder: Path, body: str) -> Task:
    """Run a script and return its task."""
    script = folder / "script.py"
    script.write_text(body)
    done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Task.get_task(done.stdout.split()[0])
