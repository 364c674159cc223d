"""`localtrack demo`, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")


def run_demo(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with its temporary folders below ``folder``."""
    environment = {**os.environ, "TMPDIR": str(folder), **changes}
    command = [sys.executable, "-m", "localtrack.cli", "demo", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("git") is None, reason="the demo makes a git repository, and git is not installed")
def test_the_main_job_is_done_and_checked(tmp_path, isolated_world):
    """The demo runs a script, clones its task with another lr and runs the clone; all its checks hold.

    It needs no git identity, touches neither the user's own store nor the cache, and leaves what it made for a look.
    """
    own = tmp_path / "own"
    changes = {name: "" for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))}
    done = run_demo(tmp_path, LOCALTRACK_ROOT=str(own), **changes)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "WRONG "))]
    assert len(checks) == 7
    assert all(line.startswith("ok ") for line in checks)
    row = re.search(r"^\w{8}  completed +digits network, lr 0.01 +0.01 +0\.\d+ +\d", done.stdout, re.MULTILINE)
    assert row is not None, done.stdout
    assert not own.exists()
    assert list(isolated_world.glob("**/store.json")) == []
    (folder,) = tmp_path.glob("localtrack-demo-*")
    assert (folder / "store" / "store.json").is_file()
    assert str(folder) in done.stdout
    bar = [path for path in folder.glob("store/projects/**/console/*.txt") if "12/12" in path.read_text()]
    assert len(bar) == 2
    assert all("11/12" not in path.read_text() for path in bar)


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("git") is None, reason="the demo makes a git repository, and git is not installed")
def test_a_store_that_is_named_is_used_and_no_keep_tidies_up(tmp_path, ctx):
    """With --root the two tasks are filed in that store beside others; --no-keep removes the rest.

    With --json, stdout has one object with the checks, and the story is on stderr.
    """
    from localtrack.services import tasks

    tasks.create(ctx, name="mine", project="demo/digits")
    done = run_demo(tmp_path, "--root", str(ctx.store.root), "--no-keep", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    body = json.loads(done.stdout)
    assert body["is_good"]
    assert [check["is_good"] for check in body["checks"]] == [True] * 7
    assert "digits network" in done.stderr
    assert {row.id for row in ctx.index.rows() if row.name != "mine"} == set(body["tasks"])
    names = sorted(row.name for row in ctx.index.rows())
    assert names == ["digits network", "digits network, lr 0.01", "mine"]
    assert not list(tmp_path.glob("localtrack-demo-*"))


def test_without_git_it_says_so(tmp_path):
    """Without git, one line says what is missing, exit code 1, and nothing is made."""
    empty = tmp_path / "bin"
    empty.mkdir()
    done = run_demo(tmp_path, PATH=str(empty))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "git" in done.stderr
    assert not list(tmp_path.glob("localtrack-demo-*"))


def test_without_scikit_learn_it_says_how_to_install_it(tmp_path):
    """Without scikit-learn, one line has the pip command."""
    code = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'sklearn' else real(name, *rest)\n"
        "from localtrack.cli import main\nmain(['demo'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "-m pip install scikit-learn" in done.stderr
