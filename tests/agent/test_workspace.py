"""The code comes back: from where it is to be had, with the diff, or with an error that says what was tried."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack.agent.workspace import Workspace, build_command, prepare_workspace
from localtrack.errors import CodeUnavailableError
from localtrack.services import tasks

from .conftest import World, git

Prepare = Callable[..., Workspace]


@pytest.fixture
def prepare(world: World, tmp_path: Path) -> Prepare:
    """Return a function that brings a task's code back, with changes to its script record."""
    count = iter(range(100))

    def run(task_id: str, **changes: Any) -> Workspace:
        script = {**world.record(task_id).script, **changes}
        return prepare_workspace(tmp_path / f"ws-{next(count)}", tasks.folder_of(world.ctx, task_id), task_id, script)

    return run


def test_from_the_local_repository(world: World, prepare: Prepare) -> None:
    """The recorded commit is checked out, not the newest one, with the uncommitted change on top; the original stays."""
    world.commit({"main.py": "a = 1\n", "data.txt": "one\n"})
    (world.repo / "main.py").write_text("a = 2\n")
    task = world.task(enqueue=False)
    git(world.repo, "checkout", "-q", "--", "main.py")
    world.commit({"data.txt": "two\n"})
    made = prepare(task)
    assert (made.source / "main.py").read_text() == "a = 2\n"
    assert (made.source / "data.txt").read_text() == "one\n"
    assert (world.repo / "main.py").read_text() == "a = 1\n"
    assert str(world.repo) in made.origin


def test_binary_and_new_files_and_odd_bytes(world: World, prepare: Prepare) -> None:
    """Binary changes, carriage returns, trailing blanks and a file without a last newline survive byte for byte."""
    contents = {"blob.bin": bytes(range(256)) * 3, "crlf.txt": b"a\r\nb \r\n", "open.txt": b"no newline \t"}
    world.commit({"main.py": "", **dict.fromkeys(contents, "old\n")})
    for name, data in contents.items():
        (world.repo / name).write_bytes(data)
    (world.repo / "new file.txt").write_bytes(b"staged\n")
    git(world.repo, "add", "-A")
    made = prepare(world.task(enqueue=False))
    assert {name: (made.source / name).read_bytes() for name in contents} == contents
    assert (made.source / "new file.txt").read_bytes() == b"staged\n"


def test_a_commit_on_no_branch(world: World, prepare: Prepare) -> None:
    """A commit that was amended away is still found in the local repository."""
    world.commit({"main.py": "first\n"})
    world.commit({"main.py": "second\n"})
    task = world.task(enqueue=False)
    git(world.repo, "reset", "-q", "--hard", "HEAD~1")
    assert (prepare(task).source / "main.py").read_text() == "second\n"


def test_from_the_bundle(world: World, prepare: Prepare) -> None:
    """Without the repository the bundle stored with the task is enough."""
    from localtrack.capture.git import capture_git
    from localtrack.services.code import store_bundle

    world.commit({"main.py": "bundled\n"})
    task = world.task(enqueue=False)
    bundle = store_bundle(world.ctx, tasks.folder_of(world.ctx, task), capture_git(world.repo, entry_script=None), [])
    assert bundle
    shutil.rmtree(world.repo)
    made = prepare(task, bundle=bundle)
    assert (made.source / "main.py").read_text() == "bundled\n"
    assert "bundle" in made.origin


def test_from_the_remote(world: World, prepare: Prepare, tmp_path: Path) -> None:
    """Without repository and bundle the recorded remote is cloned."""
    world.commit({"main.py": "pushed\n"})
    git(tmp_path, "clone", "-q", "--bare", str(world.repo), "remote.git")
    git(world.repo, "remote", "add", "origin", str(tmp_path / "remote.git"))
    task = world.task(enqueue=False)
    shutil.rmtree(world.repo)
    made = prepare(task, repository=str(tmp_path / "remote.git"))
    assert (made.source / "main.py").read_text() == "pushed\n"
    assert "remote.git" in made.origin


def test_the_remote_stays_the_recorded_one(world: World, prepare: Prepare) -> None:
    """A checkout from the local repository has the recorded remote as its origin."""
    world.commit({"main.py": ""})
    made = prepare(world.task(enqueue=False), repository="https://example.org/a.git")
    assert git(made.source, "remote", "get-url", "origin") == "https://example.org/a.git"


def test_nowhere_to_be_had(world: World, prepare: Prepare, tmp_path: Path) -> None:
    """The error names all that was tried, in git's own words, and what to do."""
    world.commit({"main.py": ""})
    task = world.task(enqueue=False)
    shutil.rmtree(world.repo)
    with pytest.raises(CodeUnavailableError) as caught:
        prepare(task, repository=str(tmp_path / "never.git"))
    text = caught.value.message
    for part in (task, str(world.repo), "not on this host", "bundle", "never.git", "does not exist", "Push the commit"):
        assert part in text


def test_a_commit_that_is_missing(world: World, prepare: Prepare) -> None:
    """A repository without the commit is named with the commit."""
    world.commit({"main.py": ""})
    with pytest.raises(CodeUnavailableError, match="no commit aaaaaaaaaaaa"):
        prepare(world.task(enqueue=False), commit="a" * 40)


def test_a_diff_that_no_longer_applies(world: World, prepare: Prepare) -> None:
    """The error carries git's words and names the stored diff."""
    first = world.commit({"main.py": "a\nb\nc\n"})
    world.commit({"main.py": "x\ny\nz\n"})
    (world.repo / "main.py").write_text("x\nY\nz\n")
    task = world.task(enqueue=False)
    with pytest.raises(CodeUnavailableError, match=r"patch failed: main.py:1.*diff-[0-9a-f]{12}\.patch"):
        prepare(task, commit=first)


def test_a_damaged_diff_is_told(world: World, prepare: Prepare) -> None:
    """A diff whose checksum is wrong is not applied."""
    world.commit({"main.py": "a\n"})
    (world.repo / "main.py").write_text("b\n")
    task = world.task(enqueue=False)
    stored = tasks.folder_of(world.ctx, task) / world.record(task).script["diff"]["file"]
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes() + b"x")
    with pytest.raises(CodeUnavailableError, match="checksum"):
        prepare(task)


def test_a_repository_without_a_commit(world: World, prepare: Prepare) -> None:
    """Where nothing was committed the diff alone brings the files."""
    world.repo.mkdir()
    git(world.repo, "init", "-q")
    (world.repo / "main.py").write_text("young\n")
    git(world.repo, "add", "main.py")
    task = world.task(enqueue=False)
    assert world.record(task).script["commit"] == ""
    assert (prepare(task).source / "main.py").read_text() == "young\n"


def test_without_git_the_stored_script(world: World, prepare: Prepare) -> None:
    """A script that was in no repository is written as its entry point."""
    task = world.script("print('hello')\n", enqueue=False)
    made = prepare(task, entry_point="sub/run.py")
    assert (made.source / "sub" / "run.py").read_text() == "print('hello')\n"
    assert made.cwd == made.source


def test_no_code_at_all(world: World, prepare: Prepare) -> None:
    """A task without code says so, and what to do."""
    with pytest.raises(CodeUnavailableError, match=r"no code recorded.*Task\.init"):
        prepare(world.script("", enqueue=False), source=None)


def test_a_missing_git_is_told(world: World, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on PATH the error says so."""
    world.commit({"main.py": ""})
    task = world.task(enqueue=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(CodeUnavailableError, match="git is not on PATH"):
        prepare(task)


@pytest.mark.parametrize("where", ["../../out", "/etc", "a/../../b"])
def test_no_recorded_path_leads_outside(world: World, prepare: Prepare, where: str) -> None:
    """Working directory and entry point stay in the checkout."""
    world.commit({"main.py": ""})
    task = world.task(enqueue=False)
    with pytest.raises(CodeUnavailableError, match="not in its code"):
        prepare(task, working_dir=where)
    with pytest.raises(CodeUnavailableError, match="not in its code"):
        build_command("python", prepare(task).source, task, {"entry_point": where})


def test_hostile_origins_run_nothing(world: World, prepare: Prepare, tmp_path: Path) -> None:
    """A remote or a commit that looks like an option or a command is data."""
    world.commit({"main.py": ""})
    task = world.task(enqueue=False)
    trap = tmp_path / "trapped"
    for url in (f"--upload-pack=touch {trap}", f"ext::sh -c touch% {trap}"):
        with pytest.raises(CodeUnavailableError):
            prepare(task, root="", repository=url)
    with pytest.raises(CodeUnavailableError, match="no commit id"):
        prepare(task, commit=f"--upload-pack=touch {trap}")
    assert not trap.exists()


def test_the_command(world: World, prepare: Prepare) -> None:
    """Scripts and modules run through the bootstrap, as clearml where that was recorded; a missing entry point is told."""
    world.commit({"pkg/main.py": "", "pkg/__init__.py": ""})
    source = prepare(world.task("pkg/main.py", enqueue=False)).source
    head = ("py", "-u", "-m", "localtrack.runtime.bootstrap")
    assert build_command("py", source, "t", {"entry_point": "pkg/main.py"}) == (*head, str(source / "pkg" / "main.py"))
    assert build_command("py", source, "t", {"entry_point": "-m pkg.main"}) == (*head, "-m", "pkg.main")
    answered = build_command("py", source, "t", {"entry_point": "pkg/main.py", "as_clearml": True})
    assert answered == (*head, "--as-clearml", str(source / "pkg" / "main.py"))
    launcher = {"module": "torch.distributed.run", "options": ["--nproc-per-node=2"]}
    launched = build_command("py", source, "t", {"entry_point": "pkg/main.py", "launcher": launcher, "argv": ["-v"]})
    expected = ("-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "localtrack.runtime.bootstrap")
    assert launched == ("py", "-u", *expected, str(source / "pkg" / "main.py"), "-v")
    assert build_command("py", source, "t", {"entry_point": "-m pkg.main", "launcher": None}) == (
        *head,
        "-m",
        "pkg.main",
    )
    with pytest.raises(CodeUnavailableError, match="does not know"):
        build_command("py", source, "t", {"entry_point": "pkg/main.py", "launcher": {"module": "os", "options": []}})
    for entry, text in (("", "no entry point"), ("gone.py", "neither in the commit"), ("-m os; rm", "names no module")):
        with pytest.raises(CodeUnavailableError, match=text):
            build_command("py", source, "t", {"entry_point": entry})
