"""A git repository to capture, apart from the configuration of whoever runs the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Git = Callable[..., bytes]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty home folder whose .gitconfig is the user's configuration."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return folder


@pytest.fixture
def git(home: Path, tmp_path: Path) -> Git:
    """Return a function that runs git in ``repo`` (or ``cwd``) as a user of no configuration would."""

    def run(*args: str, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", *identity, *args], cwd=cwd or tmp_path / "repo", input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def repo(git: Git, tmp_path: Path) -> Path:
    """Return a repository with one commit of files of every awkward kind."""
    root = tmp_path / "repo"
    root.mkdir()
    git("init", "-q")
    (root / "train.py").write_text("import sys\n\n\nprint(sys.argv)\n")
    (root / "crlf.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (root / "data.bin").write_bytes(bytes(range(256)) * 8)
    (root / "tail.txt").write_bytes(b"no newline")
    (root / "tool.sh").write_text("echo hi\n")
    (root / "old name.txt").write_text("".join(f"line {i}\n" for i in range(50)))
    (root / "gone.txt").write_text("gone\n")
    (root / "package").mkdir()
    (root / "package" / "__init__.py").write_text("")
    (root / "package" / "model.py").write_text("SIZE = 3\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    return root
