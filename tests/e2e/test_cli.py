"""The README's own script and commands: a script becomes a task, is searched, cloned, queued, run again, compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
TUTORIAL = README.parent / "docs" / "tutorial" / "first-run.md"


def blocks(page: Path = README) -> list[tuple[str, str]]:
    """Return a page's code blocks: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs a line in a shell in which `localtrack` and `python` are this environment's."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "localtrack").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localtrack.cli "$@"\n')
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    project = tmp_path / "project"
    project.mkdir()

    def run(line: str) -> str:
        done = subprocess.run(["sh", "-c", line], cwd=project, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


@pytest.mark.timeout(300)
def test_the_readme_works_as_it_stands(shell, tmp_path):
    """The README's script runs, and each of its commands does what it says, in a folder that is no git repository."""
    (script,) = [text for language, text in blocks() if language == "python"]
    (commands,) = [text for language, text in blocks() if text.startswith("localtrack ls")]
    (tmp_path / "project" / "train.py").write_text(script)
    shell("python train.py --lr 0.2")
    listing, clone, again, diff = commands.splitlines()
    assert re.search(r"completed +baseline +0\.2 +0\.\d+", shell(listing))
    shell(clone)
    shell(again)
    compared = [line.split() for line in shell(diff).splitlines()]
    assert ["Args/lr", "0.2", "0.01"] in compared
    assert any(line[:1] == ["loss/train"] for line in compared)
    assert re.search(r"completed +Clone Of baseline +0\.01 +0\.9", shell(listing))


@pytest.mark.timeout(300)
def test_the_tutorial_s_commands_work_in_their_order(shell, tmp_path):
    """Each `localtrack` line of the tutorial runs, one after another, on a script's task."""
    (script,) = [text for language, text in blocks() if language == "python"]
    (tmp_path / "project" / "train.py").write_text(script)
    shell("python train.py --lr 0.1")
    lines = [line for _, text in blocks(TUTORIAL) for line in text.splitlines() if line.startswith("localtrack")]
    assert len(lines) >= 9
    outputs = {line: shell(line) for line in lines}
    assert "0.01" in outputs["localtrack diff @-2 @last"]


def test_the_readme_has_the_two_commands_in_one_line_each():
    """The commands that install and show, and install and test, stand in the README as the issue has them."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/localtrack demo" in lines
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest" in lines


def test_the_readme_s_links_lead_somewhere():
    """Every relative link of the README names a file that is there."""
    for target in re.findall(r"\]\((?!http)([^)#]+)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).is_file(), target
