"""What a run records of its surroundings: code, packages, machine, environment, load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack.records.parameters import value_of
from localtrack.records.task import TaskRecord
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.blobs import read_content

SCRIPT = """
import json, sys, time
import helper
from localtrack import Task
task = Task.init(project_name="c", task_name="n", reuse_last_task_id=False)
print("ID", task.id, flush=True)
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
import numpy
"""


def git(cwd: Path, *arguments: str) -> str:
    """Run git and return what it prints."""
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a commit, a changed file, and a script that git does not know yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "helper.py").write_text("X = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    git(folder, "remote", "add", "origin", "https://user:secret@example.org/team/project.git")
    (folder / "helper.py").write_text("X = 2\n")
    (folder / "train.py").write_text(SCRIPT)
    return folder


def run(ctx: StoreContext, project: Path, *arguments: str, **environment: str) -> TaskRecord:
    """Run the project's script and return its task."""
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), **environment}
    command = [sys.executable, "train.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=project, timeout=60)
    assert done.returncode == 0, done.stderr
    return tasks.read(ctx, done.stdout.split()[1])


def test_code_and_packages(ctx: StoreContext, project: Path, tmp_path: Path) -> None:
    """Commit, branch, remote without its password, both changes, late imports; the diff makes the tree again."""
    record = run(ctx, project)
    script = record.script
    assert script["commit"] == git(project, "rev-parse", "HEAD")
    assert (script["branch"], script["entry_point"], script["working_dir"]) == ("trunk", "train.py", ".")
    assert script["repository"] == "https://example.org/team/project.git"
    folder = tasks.folder_of(ctx, record.id)
    diff = read_content(folder, script["diff"])
    git(tmp_path, "clone", "-q", str(project), "again")
    (tmp_path / "d.patch").write_bytes(diff)
    git(tmp_path / "again", "apply", str(tmp_path / "d.patch"))
    for name in ("helper.py", "train.py"):
        assert (tmp_path / "again" / name).read_bytes() == (project / name).read_bytes()
    names = {
        line.partition("==")[0].partition(" @")[0]
        for line in read_content(folder, script["requirements"]).decode().split("\n")
    }
    assert {"numpy", "localtrack"} <= names
    assert len(read_content(folder, script["freeze"]).decode().split("\n")) > len(names)
    assert record.errors == ()
    assert record.runtime["hostname"]
    assert "secret" not in "".join(p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file())


def test_no_git_keeps_the_script(ctx: StoreContext, tmp_path: Path) -> None:
    """Without a repository the whole script is stored."""
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "train.py").write_text(SCRIPT)
    record = run(ctx, tmp_path)
    assert record.script["commit"] == ""
    assert read_content(tasks.folder_of(ctx, record.id), record.script["source"]).decode() == SCRIPT


def test_no_git_binary(ctx: StoreContext, project: Path, tmp_path: Path) -> None:
    """Without git the run goes on; the commit is known all the same, and the record says what is missing."""
    (tmp_path / "bin").mkdir()
    record = run(ctx, project, PATH=str(tmp_path / "bin"))
    assert record.status == "completed"
    assert record.script["commit"] == git(project, "rev-parse", "HEAD")
    assert any("git" in error for error in record.errors)


def test_repository_without_commit(ctx: StoreContext, tmp_path: Path) -> None:
    """A repository with no commit is recorded with everything in the diff."""
    git(tmp_path, "init", "-q")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "train.py").write_text(SCRIPT)
    record = run(ctx, tmp_path)
    assert record.script["commit"] == ""
    diff = read_content(tasks.folder_of(ctx, record.id), record.script["diff"])
    assert b"import helper" in diff


def test_large_diff_is_an_artifact_too(ctx: StoreContext, project: Path) -> None:
    """A diff above the limit stays whole and is listed as ClearML lists it."""
    (project / "helper.py").write_text("".join(f"x{n} = {n}\n" for n in range(2000)))
    record = run(ctx, project, LOCALTRACK_DIFF_LIMIT_BYTES="1000")
    assert record.artifacts["auxiliary_git_diff"]["file"] == record.script["diff"]["file"]
    assert b"x1999" in read_content(tasks.folder_of(ctx, record.id), record.script["diff"])


def test_bundle_when_asked(ctx: StoreContext, project: Path) -> None:
    """LOCALTRACK_BUNDLE=1 stores the commit with the task."""
    record = run(ctx, project, LOCALTRACK_BUNDLE="1")
    assert read_content(tasks.folder_of(ctx, record.id), record.script["bundle"]).startswith(b"# v2 git bundle")


def test_chosen_environment(ctx: StoreContext, project: Path) -> None:
    """Only the variables on the list are recorded, and a pattern never brings in a secret."""
    environment = {
        "LOCALTRACK_LOG_ENVIRONMENT": "MY_*, OTHER",
        "MY_FLAG": "1",
        "MY_TOKEN": "t",
        "OTHER": "o",
        "NOT": "x",
    }
    record = run(ctx, project, **environment)
    found = {key: value_of(item) for key, item in record.parameters.items() if key.startswith("Environment/")}
    assert found == {"Environment/MY_FLAG": "1", "Environment/OTHER": "o"}


def test_resource_monitor(ctx: StoreContext, project: Path) -> None:
    """The machine's load is there as scalars of its own, and turning it off leaves none."""
    record = run(ctx, project, "6", LOCALTRACK_MONITOR_INTERVAL_S="1")
    found = reports.scalars(tasks.folder_of(ctx, record.id), ":monitor:machine")
    series = {name for _, name in found.series}
    assert {"cpu_usage", "memory_used_gb", "memory_free_gb", "disk_free_percent"} <= series
    assert all(value >= 0 for points in found.series.values() for value in points.values)
    assert record.last_iteration == 0
