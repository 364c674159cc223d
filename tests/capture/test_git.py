"""What is recorded of a repository is enough to make its files again."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.capture.git import FIXED_CONFIG, GitState, bundle_commit, capture_git, checkout_bundle

Git = Callable[..., bytes]

HOSTILE_CONFIG = """
[diff]
    noprefix = true
    mnemonicPrefix = true
    external = false
    renames = copies
    context = 0
    interHunkContext = 9
    algorithm = patience
    wsErrorHighlight = all
    suppressBlankEmpty = true
    relative = true
    orderFile = /nonexistent/order
    submodule = log
[color]
    ui = always
[core]
    quotePath = false
    autocrlf = input
    pager = false
    fsmonitor = /nonexistent/hook
[diff "shout"]
    textconv = tr a-z A-Z <
    command = false
[core]
    attributesFile = ~/attributes
[apply]
    whitespace = error
"""


def tree_of(root: Path) -> dict[bytes, tuple[int, bytes]]:
    """Map each file below ``root`` to whether it is executable, or a link, and its bytes."""
    found: dict[bytes, tuple[int, bytes]] = {}
    top = os.fsencode(root)
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name != b".git"]
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, top)] = (stat.S_IFMT(mode) | (mode & 0o100), content)
    return found


def rebuild(git: Git, state: GitState, tmp_path: Path) -> Path:
    """Check the recorded commit out into a new folder and apply the recorded diff there."""
    clean = tmp_path / "clean"
    clean.mkdir()
    git("init", "-q", cwd=clean)
    if state.commit:
        git("fetch", "-q", str(state.root), state.commit, cwd=clean)
        git("-c", "core.autocrlf=false", "checkout", "-q", "--detach", state.commit, cwd=clean)
    if state.diff:
        options = [part for item in (*FIXED_CONFIG, "core.autocrlf=false") for part in ("-c", item)]
        git(*options, "apply", "--binary", "-", cwd=clean, stdin=state.diff)
    return clean


def change_everything(root: Path, git: Git) -> None:
    """Make one uncommitted change of every kind, some of them staged."""
    (root / "train.py").write_text("import sys\n\n\n\n\nprint(sys.argv)\n \n")
    (root / "crlf.txt").write_bytes(b"one\r\n2\r\nthree\r\nfour\n\r\n")
    (root / "data.bin").write_bytes(bytes(reversed(range(256))) * 9)
    (root / "tail.txt").write_bytes(b"still no newline")
    (root / "tool.sh").chmod(0o755)
    git("mv", "old name.txt", "new\tname.txt")
    (root / "gone.txt").unlink()
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.py")).write_bytes(b"x = '\xe9'\n")
    (root / "link").symlink_to("train.py")
    (root / "empty.txt").write_text("")
    git("add", os.fsdecode(b"caf\xe9.py"), "link", "empty.txt")
    (root / "package" / "model.py").write_text("SIZE = 4\n\x00")


def test_the_diff_applied_to_the_commit_gives_the_tree(repo: Path, git: Git, tmp_path: Path) -> None:
    """Binary files, blank lines, CRLF, renames, modes, odd names and missing newlines all survive."""
    change_everything(repo, git)
    state = capture_git(repo, entry_script=repo / "train.py")
    assert state.errors == ()
    assert state.is_dirty
    assert tree_of(rebuild(git, state, tmp_path)) == tree_of(repo)


def test_the_users_configuration_does_not_change_the_diff(
    repo: Path, git: Git, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same changes give the same bytes under a configuration that breaks patches."""
    change_everything(repo, git)
    (repo / "fresh.py").write_bytes(b"a\r\nb\r\n")
    plain = capture_git(repo, entry_script=repo / "fresh.py")
    (home / ".gitconfig").write_text(HOSTILE_CONFIG)
    (home / "attributes").write_text("*.txt diff=shout\n*.py diff=shout\n")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    monkeypatch.setenv("GIT_DIFF_OPTS", "-u0")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    hostile = capture_git(repo, entry_script=repo / "fresh.py")
    assert hostile.errors == ()
    assert hostile.diff == plain.diff
    assert b"\x1b[" not in hostile.diff


def test_autocrlf_true_gives_a_diff_of_the_real_changes_only(repo: Path, git: Git, home: Path, tmp_path: Path) -> None:
    """Line endings that git itself changed at checkout are not reported as changes of every line."""
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n")
    work = tmp_path / "work"
    git("clone", "-q", str(repo), str(work), cwd=tmp_path)
    old = (work / "old name.txt").read_bytes()
    assert b"\r\n" in old
    (work / "old name.txt").write_bytes(old.replace(b"line 7\r\n", b"line seven\r\n"))
    state = capture_git(work, entry_script=None)
    assert state.diff.count(b"\n-line") == 1
    rebuilt = (rebuild(git, state, tmp_path) / "old name.txt").read_bytes()
    assert rebuilt == (work / "old name.txt").read_bytes().replace(b"\r\n", b"\n")


def test_an_untracked_entry_script_is_in_the_diff_and_the_index_is_untouched(
    repo: Path, git: Git, tmp_path: Path
) -> None:
    """A new script is recorded though nobody added it, even when it is ignored."""
    (repo / ".gitignore").write_text("scratch/\n")
    git("add", ".gitignore")
    (repo / "scratch").mkdir()
    script = repo / "scratch" / "it's new.py"
    script.write_bytes(b"print(1)\r\nprint(2)")
    index = (repo / ".git" / "index").read_bytes()
    state = capture_git(script, entry_script=script)
    assert state.root == repo
    assert state.untracked == ("scratch/it's new.py",)
    assert (repo / ".git" / "index").read_bytes() == index
    assert tree_of(rebuild(git, state, tmp_path)) == tree_of(repo)


def test_a_script_taken_out_of_the_index_is_still_recorded(repo: Path, git: Git, tmp_path: Path) -> None:
    """`git rm --cached` of the running script deletes and creates it in one patch that applies."""
    git("rm", "-q", "--cached", "train.py")
    (repo / "train.py").write_text("print('now')\n")
    state = capture_git(repo, entry_script=repo / "train.py")
    assert tree_of(rebuild(git, state, tmp_path)) == tree_of(repo)


def test_imported_files_that_are_untracked_are_added(repo: Path) -> None:
    """Further local files are added when git does not track them; tracked ones and strangers are not."""
    (repo / "package" / "extra.py").write_text("A = 1\n")
    files = [repo / "package" / "extra.py", repo / "package" / "model.py", Path("/etc/hostname"), repo / "none.py"]
    state = capture_git(repo, entry_script=repo / "train.py", local_files=files)
    assert state.untracked == ("package/extra.py",)
    assert b"A = 1" in state.diff


def test_a_clean_repository_is_clean(repo: Path, git: Git) -> None:
    """No change means an empty diff, the branch, the full commit id and no error."""
    state = capture_git(repo / "package", entry_script=repo / "train.py")
    assert state == GitState(root=repo, branch="main", commit=git("rev-parse", "HEAD").decode().strip())


def test_a_file_that_was_only_touched_is_clean_and_the_index_is_not_refreshed(repo: Path) -> None:
    """A newer time stamp is no change, and finding that out writes nothing."""
    os.utime(repo / "train.py", (1, 1))
    index = (repo / ".git" / "index").read_bytes()
    assert not capture_git(repo, entry_script=None).is_dirty
    assert (repo / ".git" / "index").read_bytes() == index


def test_a_repository_with_no_commit_is_diffed_against_nothing(git: Git, tmp_path: Path) -> None:
    """Before the first commit everything added is in the diff, and so is the script."""
    root = tmp_path / "repo"
    root.mkdir()
    git("init", "-q")
    (root / "a.py").write_text("import b\n")
    (root / "b.py").write_text("B = 1\n")
    git("add", "b.py")
    state = capture_git(root, entry_script=root / "a.py")
    assert (state.commit, state.branch, state.errors) == ("", "main", ())
    assert tree_of(rebuild(git, state, tmp_path)) == tree_of(root)


def test_outside_of_a_repository_there_is_no_root(tmp_path: Path) -> None:
    """No repository is no error; an empty folder named .git is no repository."""
    (tmp_path / ".git").mkdir()
    assert capture_git(tmp_path, entry_script=tmp_path / "x.py") == GitState(None)
    assert capture_git(tmp_path / "missing" / "x.py", entry_script=None) == GitState(None)


def test_a_damaged_repository_is_told_in_errors(repo: Path) -> None:
    """A .git that leads nowhere, or a HEAD of garbage, gives an error that names the repository."""
    (repo / ".git" / "HEAD").write_bytes(b"\xff\xfe\x00")
    state = capture_git(repo, entry_script=None)
    assert state.root is None
    assert str(repo) in state.errors[0]
    (repo / "package" / ".git").write_text("gitdir: /nonexistent\n")
    state = capture_git(repo / "package", entry_script=None)
    assert state.root is None
    assert str(repo / "package") in state.errors[0]


def test_a_lost_object_is_told_in_errors(repo: Path, git: Git) -> None:
    """Where git cannot make the diff, the commit stands and the dirty flag says unknown."""
    commit = git("rev-parse", "HEAD").decode().strip()
    (repo / ".git" / "objects" / commit[:2] / commit[2:]).unlink()
    state = capture_git(repo, entry_script=None)
    assert state.commit == commit
    assert state.is_dirty is None
    assert "uncommitted changes in" in state.errors[0]


def test_no_git_binary_leaves_commit_and_branch(repo: Path, tmp_path: Path) -> None:
    """Without git on PATH the commit is still read, and one error says what to install."""
    code = (
        "import sys; from pathlib import Path; from localtrack.capture.git import capture_git, bundle_commit\n"
        "s = capture_git(Path(sys.argv[1]), entry_script=Path(sys.argv[1]) / 'train.py')\n"
        "assert len(s.commit) == 40 and s.branch == 'main' and s.is_dirty is None, s\n"
        "assert any('install git' in e for e in s.errors), s\n"
        "b = bundle_commit(s.root, s.commit, Path(sys.argv[2]))\n"
        "assert 'install git' in b.errors[0] and not Path(sys.argv[2]).exists(), b\n"
        "import os; assert 'GIT_PYTHON_REFRESH' not in os.environ\n"
    )
    env = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "error", "-c", code, str(repo), str(tmp_path / "b.bundle")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("remotes", "tracking", "expected"),
    [
        ([], None, ""),
        ([("up", "https://ada:secret@example.org/a/b.git?token=x")], None, "https://example.org/a/b.git"),
        ([("up", "git@example.org:a/b.git")], None, "git@example.org:a/b.git"),
        ([("up", "ssh://git:pw@example.org:22/a.git")], None, "ssh://git@example.org:22/a.git"),
        ([("one", "/srv/one.git"), ("two", "/srv/two.git")], None, ""),
        ([("one", "/srv/one.git"), ("origin", "/srv/o.git")], None, "/srv/o.git"),
        ([("one", "/srv/one.git"), ("origin", "/srv/o.git")], "one", "/srv/one.git"),
    ],
)
def test_the_remote_is_the_tracked_one_then_origin_then_the_only_one(
    repo: Path, git: Git, remotes: list[tuple[str, str]], tracking: str | None, expected: str
) -> None:
    """The recorded URL is the one a colleague would fetch from, and holds no credentials."""
    for name, url in remotes:
        git("remote", "add", name, url)
    if tracking:
        git("config", "branch.main.remote", tracking)
    assert capture_git(repo, entry_script=None).repository == expected


def test_detached_heads_worktrees_and_packed_refs(repo: Path, git: Git, tmp_path: Path) -> None:
    """Each way of naming the commit is read; a detached head has no branch."""
    commit = git("rev-parse", "HEAD").decode().strip()
    git("pack-refs", "--all")
    assert capture_git(repo, entry_script=None).commit == commit
    git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = capture_git(tmp_path / "side", entry_script=None)
    assert (side.root, side.branch, side.commit, side.errors) == (tmp_path / "side", "side", commit, ())
    git("checkout", "-q", "--detach")
    assert capture_git(repo, entry_script=None).branch == ""


def test_large_diffs_are_marked_and_whole(repo: Path) -> None:
    """Past the limit the diff is flagged and still complete."""
    (repo / "train.py").write_text("x\n" * 1000)
    state = capture_git(repo, entry_script=None, diff_limit_bytes=100)
    assert state.is_diff_large
    assert state.diff.count(b"\n+x") == 1000


def test_a_diff_past_the_hard_limit_is_refused(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed data set does not fill the memory: it is refused by name, not truncated."""
    monkeypatch.setattr("localtrack.capture.git.HARD_DIFF_LIMIT_BYTES", 1000)
    (repo / "train.py").write_text("x\n" * 1000)
    state = capture_git(repo, entry_script=None)
    assert state.diff == b""
    assert state.is_dirty is None
    assert "commit the large files" in state.errors[0]


def test_a_huge_untracked_script_is_not_recorded(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file past the cap is named in the errors."""
    monkeypatch.setattr("localtrack.capture.git.UNTRACKED_LIMIT_BYTES", 10)
    (repo / "big.py").write_text("#" * 11)
    state = capture_git(repo, entry_script=repo / "big.py")
    assert state.untracked == ()
    assert "big.py" in state.errors[0]


def test_changes_in_a_submodule_are_told_not_diffed(repo: Path, git: Git, tmp_path: Path) -> None:
    """A moved submodule is named, and the rest of the diff still applies without it."""
    inner = tmp_path / "inner"
    git("clone", "-q", str(repo), str(inner), cwd=tmp_path)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git("commit", "-q", "-m", "sub")
    assert capture_git(repo, entry_script=None).errors == ()
    git("commit", "-q", "--allow-empty", "-m", "moved", cwd=repo / "sub")
    (repo / "train.py").write_text("print(2)\n")
    state = capture_git(repo, entry_script=None)
    assert "submodule sub" in state.errors[0]
    assert (rebuild(git, state, tmp_path) / "train.py").read_text() == "print(2)\n"


def test_a_script_reached_through_links_is_found(repo: Path, tmp_path: Path) -> None:
    """A linked folder, and a link in a bin folder, lead to the repository of the real script."""
    (tmp_path / "alias").symlink_to(repo / "package")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "run").symlink_to(repo / "new.py")
    (repo / "new.py").write_text("1\n")
    assert capture_git(tmp_path / "alias", entry_script=None).root == repo
    state = capture_git(tmp_path / "bin", entry_script=tmp_path / "bin" / "run")
    assert (state.root, state.untracked) == (repo, ("new.py",))


def test_a_sha256_repository_is_read(git: Git, tmp_path: Path) -> None:
    """Repositories of the newer object format give their longer commit id."""
    root = tmp_path / "repo"
    root.mkdir()
    git("init", "-q", "--object-format=sha256")
    (root / "a.py").write_text("1\n")
    git("add", "-A")
    assert b"+1" in capture_git(root, entry_script=None).diff
    git("commit", "-q", "-m", "a")
    state = capture_git(root, entry_script=None)
    assert (len(state.commit), state.errors, state.diff) == (64, (), b"")
    assert bundle_commit(root, state.commit, tmp_path / "b").errors == ()
    assert checkout_bundle(tmp_path / "b", state.commit, tmp_path / "out") == ()
    assert tree_of(tmp_path / "out") == tree_of(root)


def test_a_bundle_carries_the_commit_without_its_history(repo: Path, git: Git, tmp_path: Path) -> None:
    """The bundle alone gives the tree at the very commit, though the repository is gone."""
    (repo / "secret.bin").write_bytes(os.urandom(200_000))
    git("add", "-A")
    git("commit", "-q", "-m", "big")
    git("rm", "-q", "secret.bin")
    git("commit", "-q", "-m", "small")
    commit = git("rev-parse", "HEAD").decode().strip()
    dest = tmp_path / "code.bundle"
    state = bundle_commit(repo, commit, dest)
    assert state.errors == ()
    assert state.size_bytes == dest.stat().st_size < 50_000
    expected = tree_of(repo)
    repo.rename(tmp_path / "away")
    out = tmp_path / "out"
    assert checkout_bundle(dest, commit, out) == ()
    assert tree_of(out) == expected
    assert git("rev-parse", "HEAD", cwd=out).decode().strip() == commit
    assert git("status", "--porcelain", cwd=out) == b""


def test_bundles_tell_their_problems(repo: Path, tmp_path: Path) -> None:
    """No commit, an unknown one, an existing file, a broken bundle, a full folder: one message each."""
    dest = tmp_path / "b"
    assert "no commit" in bundle_commit(repo, "", dest).errors[0]
    assert bundle_commit(repo, "0" * 40, dest).errors
    assert not dest.exists()
    dest.write_text("mine")
    assert str(dest) in bundle_commit(repo, "0" * 40, dest).errors[0]
    assert dest.read_text() == "mine"
    assert str(dest) in checkout_bundle(dest, "0" * 40, tmp_path / "out")[0]
    assert "not empty" in checkout_bundle(dest, "0" * 40, repo)[0]
