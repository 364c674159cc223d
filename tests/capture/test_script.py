"""The script record says how to start the same code again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from localtrack.capture.git import GitState
from localtrack.capture.script import capture_script

PROBE = """
import dataclasses, json, os, sys
from pathlib import Path
from localtrack.capture.git import capture_git
from localtrack.capture.script import capture_script, find_entry_script
main, cwd = sys.modules["__main__"], Path.cwd()
entry = find_entry_script(main, sys.argv, cwd)
git = capture_git(entry or cwd, entry_script=entry)
state = dataclasses.asdict(capture_script(main, sys.argv, cwd, git))
state["script"] = state["script"] and state["script"].decode("latin-1")
print(json.dumps(state))
"""


def run(*command: str, cwd: Path) -> dict[str, Any]:
    """Run Python as a user would and return what the script recorded of itself."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), os.getcwd()])}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_script_in_a_repository_is_relative_to_its_root(repo: Path) -> None:
    """Entry point and working directory are posix paths below the root, and the text stays in git."""
    (repo / "package" / "run.py").write_text(PROBE)
    state = run("run.py", "--lr", "0.1", cwd=repo / "package")
    assert (state["entry_point"], state["working_dir"]) == ("package/run.py", "package")
    assert state["argv"] == ["--lr", "0.1"]
    assert state["script"] is None
    assert state["errors"] == []
    assert state["script_path"] == str(repo / "package" / "run.py")
    assert state["python_binary"] == Path(sys.executable).name
    assert state["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert run("package/run.py", cwd=repo)["working_dir"] == "."


@pytest.mark.parametrize(("file", "module"), [("run.py", "package.run"), ("__main__.py", "package")])
def test_a_module_run_is_recorded_as_one(repo: Path, file: str, module: str) -> None:
    """`python -m` is kept, for modules and for packages."""
    (repo / "package" / file).write_text(PROBE)
    state = run("-m", module, "x", cwd=repo)
    assert (state["entry_point"], state["working_dir"], state["argv"]) == (f"-m {module}", ".", ["x"])
    assert state["script"] is None


def test_without_git_the_whole_script_is_kept(tmp_path: Path) -> None:
    """Outside of a repository the bytes of the script are recorded, whatever their encoding."""
    source = b"# coding: latin-1\n# caf\xe9\r\n" + PROBE.encode()
    (tmp_path / "train.py").write_bytes(source)
    state = run(str(tmp_path / "train.py"), cwd=tmp_path)
    assert (state["entry_point"], state["working_dir"], state["errors"]) == ("train.py", ".", [])
    assert state["script"].encode("latin-1") == source


def test_a_command_line_program_is_kept(tmp_path: Path) -> None:
    """`python -c` has no file; its code is the script."""
    state = run("-c", PROBE, "a", cwd=tmp_path)
    assert (state["entry_point"], state["script"], state["argv"]) == ("", PROBE, ["a"])


def test_folders_and_archives_are_entry_points(repo: Path, tmp_path: Path) -> None:
    """`python FOLDER` names its __main__.py, `python app.pyz` the archive."""
    (repo / "package" / "__main__.py").write_text(PROBE)
    state = run("package", cwd=repo)
    assert state["entry_point"] == "package/__main__.py"
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", PROBE)
    assert run("app.pyz", cwd=tmp_path)["entry_point"] == "app.pyz"


def test_places_outside_of_the_repository_are_told(repo: Path, tmp_path: Path) -> None:
    """A working directory or a script elsewhere is named in the errors, and the script's text kept."""
    (repo / "run.py").write_text(PROBE)
    state = run(str(repo / "run.py"), cwd=tmp_path)
    assert (state["entry_point"], state["working_dir"]) == ("run.py", ".")
    assert str(tmp_path) in state["errors"][0]
    other = tmp_path / "other.py"
    other.write_text("1\n")
    main = type(sys)("__main__")
    main.__file__ = str(other)
    found = capture_script(main, ["other.py"], repo, GitState(root=repo))
    assert (found.entry_point, found.script) == ("other.py", b"1\n")
    assert str(other) in found.errors[0]


def test_when_the_diff_is_unknown_the_text_is_kept(repo: Path) -> None:
    """Where git could not say what changed, the script itself is recorded beside the commit."""
    main = type(sys)("__main__")
    main.__file__ = str(repo / "train.py")
    state = capture_script(main, ["train.py"], repo, GitState(root=repo, is_dirty=None))
    assert state.entry_point == "train.py"
    assert state.script == (repo / "train.py").read_bytes()


def test_an_oversized_script_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the cap the script is not stored, and the error says so."""
    monkeypatch.setattr("localtrack.capture.script.SCRIPT_LIMIT_BYTES", 3)
    (tmp_path / "a.py").write_text("1234")
    main = type(sys)("__main__")
    main.__file__ = str(tmp_path / "a.py")
    state = capture_script(main, ["a.py"], tmp_path, None)
    assert state.script is None
    assert "a.py" in state.errors[0]


@pytest.mark.parametrize("file", [None, 7, "", "missing.py", "nul\0byte.py"])
def test_a_main_module_of_any_shape_is_survived(tmp_path: Path, file: object) -> None:
    """Interactive sessions and odd embedders give an empty entry point, not an exception."""
    main = type(sys)("__main__")
    vars(main).update(__file__=file, __spec__=7)
    state = capture_script(main, ["", "caf\udce9"], tmp_path, None)
    assert (state.entry_point, state.script) == ("", None)
    assert state.argv == ("caf\\xe9",)
    assert capture_script(None, [], tmp_path, None).entry_point == ""
