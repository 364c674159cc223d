"""Describe the git repository a script runs from: where, which commit, what is not committed.

``git apply --binary`` of the recorded diff in a clean checkout of the recorded commit gives the
files of the run. Git is asked for all of it; without a git binary GitPython reads commit, branch and remote;
git itself is asked only for the diff and for whether the entry script is tracked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.capture.bundle import BundleState, bundle_commit, checkout_bundle
from localtrack.capture.git_command import FIXED_CONFIG, MISSING_CODE, GitCommand, GitOutput, run_git
from localtrack.capture.redaction import storable_text, strip_userinfo
from localtrack.records.plain import dataclass

if TYPE_CHECKING:
    from git import Repo

__all__ = [
    "FIXED_CONFIG",
    "BundleState",
    "GitState",
    "bundle_commit",
    "capture_git",
    "checkout_bundle",
    "find_root",
]

#: A diff past this size is not kept at all: somebody changed a data set that is under version control.
HARD_DIFF_LIMIT_BYTES = 256 << 20
#: A new file that git does not track is included up to this size.
UNTRACKED_LIMIT_BYTES = 1 << 20

_PATCH_OPTIONS = (
    "--binary",
    "--full-index",
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-relative",
    "--no-indent-heuristic",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=default",
    "--submodule=short",
    "--ignore-submodules=all",
    "-O/dev/null",
)
_EMPTY_TREES = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}
_OBJECT_ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
#: A header with nothing below it: the file has another time stamp and the same content. Lines of a patch body
#: never start like this, so the match cannot lie in a file's content.
_EMPTY_HEADER = re.compile(rb"^diff --git [^\n]*\n(?=diff --git |\Z)", re.MULTILINE)
_LISTED_FILES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class GitState:
    """What git knows about the code of a run.

    Attributes:
        root: Absolute local path of the working tree; None where there is no usable repository.
        repository: URL of the tracking remote, else of origin, else of the only remote, without
            credentials; '' when there is none.
        branch: Short name of the branch; '' when HEAD is detached.
        commit: Full id of the commit checked out; '' in a repository with no commit yet.
        diff: Everything that differs from the commit, staged or not, as a binary patch; against
            the empty tree where there is no commit.
        is_dirty: Whether the diff says anything; None when it could not be taken.
        is_diff_large: The diff is longer than the caller's limit and belongs in an artifact.
        untracked: Paths relative to the root of files git does not track that the diff adds.
        errors: What could not be captured, and what to do about it.
    """

    root: Path | None
    repository: str = ""
    branch: str = ""
    commit: str = ""
    diff: bytes = b""
    is_dirty: bool | None = False
    is_diff_large: bool = False
    untracked: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Head:
    commit: str
    branch: str
    repository: str
    empty_tree: str
    settings: tuple[str, ...]


def find_root(start: Path) -> Path | None:
    """Return the root of the working tree around ``start`` (a file or folder), None outside of one."""
    folder = os.path.realpath(start)
    while True:
        marker = os.path.join(folder, ".git")
        if os.path.isfile(marker) or os.path.isfile(os.path.join(marker, "HEAD")):
            return Path(folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def capture_git(
    start: Path,
    *,
    diff_limit_bytes: int = 500_000,
    entry_script: Path | None,
    local_files: Sequence[Path] = (),
) -> GitState:
    """Describe the repository around ``start``, with its uncommitted changes.

    Args:
        start: The file or folder whose repository is wanted.
        diff_limit_bytes: Above this the diff is marked large; it is complete all the same.
        entry_script: The script that runs. Where git does not track it, the diff adds it.
        local_files: Further files the run needs, such as modules it imported, treated the same way.

    Returns:
        A state whose ``root`` is None where there is no usable repository.
    """
    try:
        root = find_root(start)
        if root is None and entry_script is not None:
            root = find_root(entry_script)
        if root is None:
            return GitState(None)
    except (OSError, ValueError) as error:
        return GitState(None, errors=(f"looking for a git repository at {start}: {error}",))
    return _capture_root(root, (entry_script, *local_files), diff_limit_bytes)


def _capture_root(root: Path, files: Sequence[Path | None], diff_limit_bytes: int) -> GitState:
    errors: list[str] = []
    # A commit made while the diff is taken would leave a diff that fits neither commit: look again then.
    attempts_left = 3
    while True:
        errors.clear()
        attempts_left -= 1
        head = _read_head(root, errors)
        if head is None:
            return GitState(None, is_dirty=None, errors=tuple(errors))
        patch, untracked = _take_diff(root, head, _relative_names(root, files), errors)
        if patch is None or not attempts_left or _is_still(root, head):
            break
    return GitState(
        root=root,
        repository=head.repository,
        branch=head.branch,
        commit=head.commit,
        diff=patch or b"",
        is_dirty=None if patch is None else bool(patch),
        is_diff_large=patch is not None and len(patch) > diff_limit_bytes,
        untracked=tuple(storable_text(name) for name in untracked),
        errors=tuple(errors),
    )


def _import_git() -> Any:
    """Import GitPython so that a missing git binary is no error; its check of the binary honours this variable."""
    previous = os.environ.get("GIT_PYTHON_REFRESH")
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    try:
        import git
    finally:
        if previous is None:
            os.environ.pop("GIT_PYTHON_REFRESH", None)
        else:
            os.environ["GIT_PYTHON_REFRESH"] = previous
    return git


def _read_head(root: Path, errors: list[str]) -> _Head | None:
    """Read commit, branch and remote; None, with the reason in ``errors``, from an unusable repository.

    Git itself is asked, three questions at once: importing GitPython costs 0.15 s in which the script's own thread
    waits for the interpreter. Where there is no git binary, GitPython reads the files of the repository instead.
    """
    questions = (
        ["rev-parse", "--verify", "-q", "HEAD"],
        ["symbolic-ref", "-q", "--short", "HEAD"],
        ["config", "--list", "-z"],
    )
    running = [GitCommand(question, root) for question in questions]
    commit, branch, settings = (command.finish() for command in running)
    if settings.returncode == MISSING_CODE:
        return _read_head_from_files(root, errors)
    if settings.returncode != 0 or b"core.repositoryformatversion" not in settings.stdout:
        errors.append(f"reading the git repository {root}: {settings.message or 'damaged'}; run `git status` there")
        return None
    values = _parse_settings(settings.stdout)
    name = branch.stdout.decode("utf-8", "surrogateescape").strip()
    match = _OBJECT_ID.fullmatch(commit.stdout.strip())
    return _make_head(
        match[0].decode("ascii") if match else "",
        name,
        _choose_remote(values, name),
        values.get("core.autocrlf", "false"),
        values.get("extensions.objectformat", "sha1"),
    )


def _parse_settings(output: bytes) -> dict[str, str]:
    """Return git's settings by name, the last of each, which is the one in force."""
    values: dict[str, str] = {}
    for item in output.decode("utf-8", "surrogateescape").split("\0"):
        name, _, value = item.partition("\n")
        if name:
            values[name] = value
    return values


def _make_head(commit: str, branch: str, repository: str, autocrlf: str, object_format: str) -> _Head:
    # With autocrlf=true every line ending in the tree differs from the commit by the user's own wish. Otherwise
    # the setting is switched off, so that the bytes of the files survive as they are.
    settings = () if autocrlf.lower() == "true" else ("core.autocrlf=false",)
    empty_tree = _EMPTY_TREES.get(object_format.lower(), _EMPTY_TREES["sha1"])
    return _Head(commit, storable_text(branch), storable_text(repository), empty_tree, settings)


def _read_head_from_files(root: Path, errors: list[str]) -> _Head | None:
    try:
        git = _import_git()
        with git.Repo(root, expand_vars=False) as repo:
            branch = _read_branch(repo)
            commit = _read_commit(repo)
            config = repo.config_reader()
            values = {
                f"{kind}.{name[1:-1]}.{option}" if name else f"{kind}.{option}".lower(): str(value)
                for section in config.sections()
                for kind, _, name in [section.partition(" ")]
                for option, value in config.items(section)
            }
    except Exception as error:  # GitPython raises a wide family on damaged repositories
        errors.append(f"reading the git repository {root}: {type(error).__name__}: {error}; run `git status` there")
        return None
    autocrlf, kind = values.get("core.autocrlf", "false"), values.get("extensions.objectformat", "sha1")
    return _make_head(commit, branch, _choose_remote(values, branch), autocrlf, kind)


def _read_branch(repo: Repo) -> str:
    try:
        return str(repo.head.reference.path).removeprefix("refs/heads/")
    except TypeError:  # a detached HEAD
        return ""


def _read_commit(repo: Repo) -> str:
    """Return the commit id, '' where the branch has no commit yet."""
    try:
        return str(type(repo.head).dereference_recursive(repo, "HEAD"))
    except ValueError:
        return ""


def _choose_remote(settings: Mapping[str, str], branch: str) -> str:
    """Return the URL of the remote that the branch tracks, else of origin, else of the only one."""
    urls = {
        name.removeprefix("remote.").removesuffix(".url"): value
        for name, value in settings.items()
        if name.startswith("remote.") and name.endswith(".url")
    }
    tracking = settings.get(f"branch.{branch}.remote", "") if branch else ""
    only = next(iter(urls.values())) if len(urls) == 1 else ""
    return strip_userinfo(urls.get(tracking) or urls.get("origin") or only)


def _is_still(root: Path, head: _Head) -> bool:
    """Tell whether HEAD still names the commit the diff was taken against."""
    answer = run_git(["rev-parse", "--verify", "-q", "HEAD"], root)
    if answer.returncode == MISSING_CODE:
        return True
    return answer.stdout.strip().decode("ascii", "replace") == head.commit


def _relative_names(root: Path, files: Sequence[Path | None]) -> list[str]:
    """Return the posix paths relative to ``root`` of those files that lie in it, each once."""
    names: dict[str, None] = {}
    for file in files:
        if file is None:
            continue
        folder, name = os.path.split(os.path.abspath(file))
        for candidate in (os.path.join(os.path.realpath(folder), name), os.path.realpath(file)):
            if candidate.startswith(os.path.join(root, "")) and os.path.isfile(candidate):
                names[os.path.relpath(candidate, root).replace(os.sep, "/")] = None
                break
    return list(names)[:_LISTED_FILES_LIMIT]


def _take_diff(root: Path, head: _Head, names: list[str], errors: list[str]) -> tuple[bytes | None, list[str]]:
    """Return the patch, None when git could not make it, and the untracked files that it adds."""
    diff = GitCommand(["diff", *_PATCH_OPTIONS, head.commit or head.empty_tree, "--"], root, config=head.settings)
    listing = GitCommand(["ls-files", "-z", "--", *names], root) if names else None
    links = _start_submodule_check(root, head)
    answer = diff.finish(limit_bytes=HARD_DIFF_LIMIT_BYTES)
    listed = listing.finish() if listing else None
    if links is not None:
        _report_submodules(links.finish(), root, errors)
    if answer.is_truncated:
        size_mb = HARD_DIFF_LIMIT_BYTES >> 20
        errors.append(f"uncommitted changes in {root}: more than {size_mb} MiB, not kept; commit the large files")
        return None, []
    if answer.returncode:
        errors.append(f"uncommitted changes in {root}: {answer.message or 'git diff failed'}")
        return None, []
    patch = _EMPTY_HEADER.sub(b"", answer.stdout)
    if listed is None or listed.returncode:
        if listed is not None:
            errors.append(f"looking for untracked files in {root}: {listed.message}")
        return patch, []
    tracked = set(os.fsdecode(listed.stdout).split("\0"))
    patches, untracked = _add_untracked(root, [name for name in names if name not in tracked], errors)
    return patch + b"".join(patches), untracked


def _add_untracked(root: Path, names: list[str], errors: list[str]) -> tuple[list[bytes], list[str]]:
    """Return patches that create files git does not track; the index of the user stays as it is."""
    patches: list[bytes] = []
    added: list[str] = []
    for name in names:
        path = root / name
        try:
            size_bytes = path.lstat().st_size
        except OSError as error:
            errors.append(f"reading the untracked file {path}: {error}")
            continue
        if size_bytes > UNTRACKED_LIMIT_BYTES:
            errors.append(f"untracked file {path}: {size_bytes} bytes are too many to record; add it to git")
            continue
        args = ["diff", "--no-index", *_PATCH_OPTIONS, "--", "/dev/null", name]
        answer = run_git(args, root, config=("core.autocrlf=false",))
        if answer.returncode not in (0, 1) or not answer.stdout:
            errors.append(f"recording the untracked file {path}: {answer.message or 'git diff --no-index failed'}")
            continue
        patches.append(answer.stdout)
        added.append(name)
    return patches, added


def _start_submodule_check(root: Path, head: _Head) -> GitCommand | None:
    if not head.commit or not (root / ".gitmodules").exists():
        return None
    return GitCommand(["diff", "--raw", "-z", "--no-renames", "--ignore-submodules=none", head.commit, "--"], root)


def _report_submodules(answer: GitOutput, root: Path, errors: list[str]) -> None:
    """Name the submodules whose state differs from the commit: no patch can carry that."""
    fields = answer.stdout.split(b"\0")
    for entry, name in zip(fields[::2], fields[1::2], strict=False):
        if b"160000" in entry.split(b" ")[:2] or entry.startswith(b":160000"):
            path = storable_text(os.fsdecode(name))
            errors.append(f"submodule {path} of {root} differs from the commit; the diff has none of it: commit it")
