"""What a script asks about its packages before Task.init is what the task records."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.capture.packages import PackageState
from localtrack.errors import InvalidValueError
from localtrack.runtime.code_choices import CodeChoices

FOUND = PackageState(imported=("numpy==1.26.4", "Pillow==10.0"), freeze=("click==8.1", "numpy==1.26.4", "Pillow==10.0"))


def apply(choices: CodeChoices) -> list[str]:
    """Return what is recorded of what was found."""
    return list(choices.apply(FOUND).imported)


@pytest.mark.parametrize(
    ("package", "version", "line"),
    [
        ("torch", "2.4.0", "torch==2.4.0"),
        ("torch", ">=2.4", "torch>=2.4"),
        ("torch", "", "torch"),
        ("torch", None, "torch"),
        ("Click", None, "click==8.1"),
        ("torch", "@ https://e.org/t.whl", "torch @ https://e.org/t.whl"),
        ("NumPy", "==2", "NumPy==2"),
    ],
)
def test_version_forms(package: str, version: str | None, line: str) -> None:
    """ClearML's forms of a version: exact, a range, any, the one that is installed; the wish wins over what is found."""
    choices = CodeChoices()
    choices.add(package, version)
    assert line in apply(choices)
    assert len(apply(choices)) == (2 if package == "NumPy" else 3)


def test_ignored_freeze_and_file(tmp_path: Path) -> None:
    """A package can be left out; everything installed, or a file, can stand for what is imported."""
    choices = CodeChoices()
    choices.ignore("pillow")
    assert apply(choices) == ["numpy==1.26.4"]
    choices.freeze = True
    assert apply(choices) == ["click==8.1", "numpy==1.26.4"]
    listed = tmp_path / "r.txt"
    listed.write_text(
        "# words\nscipy>=1 # why\nwinonly; sys_platform == 'win32'\n--index-url https://e.org\nzlib-ng; bad marker\n"
    )
    choices.requirements_file = listed
    assert apply(choices) == ["--index-url https://e.org", "scipy>=1", "zlib-ng; bad marker"]
    more = CodeChoices()
    more.add(str(listed), None)
    assert "scipy>=1" in apply(more)
    assert not any("winonly" in line for line in apply(more))


def test_the_task_records_the_wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wishes before Task.init are honoured; one that comes later is said and counts for the next task."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    code = tmp_path / "code"
    code.mkdir()
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    script = code / "s.py"
    script.write_text(
        "import click, numpy\nfrom localtrack import Task\n"
        "Task.add_requirements('torch', '2.4.0')\nTask.ignore_requirements('click')\n"
        "Task.force_store_standalone_script()\n"
        "task = Task.init('p', 'n', auto_resource_monitoring=False)\nTask.add_requirements('late')\n"
    )
    answer = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env={**os.environ}, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    assert "Task.add_requirements comes after Task.init" in answer.stderr
    (task,) = Task.get_tasks(project_name="p")
    names = [line.partition("==")[0] for line in task.get_requirements()["pip"].splitlines()]
    assert "torch" in names
    assert "numpy" in names
    assert not {"click", "late"} & set(names)
    recorded = task.get_script()
    assert (recorded["repository"], recorded["version_num"], recorded["diff"]) == ("", "", script.read_text())
    with pytest.raises(InvalidValueError):
        Task.force_requirements_env_freeze(requirements_file=tmp_path / "none.txt")
