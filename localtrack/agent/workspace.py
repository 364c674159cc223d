"""Brings a task's code back: a checkout of its own at the recorded commit, with the recorded diff applied.

The commit's id is the hash of its content, so it does not matter where it comes from. Tried in turn: the local
repository of the run (fast, and it has commits that were never pushed), the bundle stored with the task, the remote.

Source: docs/how-to/agent.md, "Where the code comes from"; git-clone(1), git-apply(1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from localtrack.capture.bundle import checkout_bundle
from localtrack.capture.git_command import GitCommand, GitOutput
from localtrack.capture.launch import LAUNCHER_MODULES
from localtrack.capture.secrets import without_masked
from localtrack.errors import CodeUnavailableError, CorruptFileError
from localtrack.fs.disk import remove_tree
from localtrack.records.plain import dataclass, field
from localtrack.runtime.bootstrap import AS_CLEARML
from localtrack.store.blobs import inside, read_content

GIT_TIMEOUT_S = 1800.0
BOOTSTRAP = "localtrack.runtime.bootstrap"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_EXACT = ("core.autocrlf=false",)
_ANY_COMMIT = "git -c uploadpack.allowAnySHA1InWant=true -c uploadpack.allowReachableSHA1InWant=true upload-pack"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A task's code, ready to run.

    Attributes:
        folder: holds everything of this attempt.
        source: root of the checkout.
        cwd: working directory of the run.
        origin: where the code came from, for people.
        notes: what did not go as wanted and may matter.
    """

    folder: Path
    source: Path
    cwd: Path
    origin: str
    notes: tuple[str, ...] = field(default=())

    @property
    def log(self) -> Path:
        """The raw output of the run."""
        return self.folder / "output.log"

    def remove(self) -> None:
        """Remove the workspace; what can't be removed stays."""
        try:
            remove_tree(self.folder)
        except OSError:
            pass


def prepare_workspace(folder: Path, task_folder: Path, task_id: str, script: Mapping[str, Any]) -> Workspace:
    """Bring a task's code back.

    Args:
        folder: a new folder for this attempt.
        task_folder: where the task lies, with its ``code/``.
        task_id: for messages.
        script: the task's ``script`` record.

    Raises:
        CodeUnavailableError: says what was tried, in git's own words, and what to do.
        OSError: the workspace can't be written.
    """
    source = folder / "source"
    source.mkdir(parents=True)
    notes: list[str] = []
    commit = str(script.get("commit") or "")
    if commit:
        origin = _check_out(source, task_folder, task_id, script, commit)
        _update_submodules(source, notes)
    elif _text(script, "root"):
        origin = _new_repository(source, task_id)
    elif script.get("source"):
        origin = "the stored script"
    else:
        raise CodeUnavailableError(
            f"task {task_id} has no code recorded: neither a commit nor a script; run its script once with Task.init, "
            "or make it with Task.create and a repo",
            task_id=task_id,
        )
    _apply_diff(folder, source, task_folder, task_id, script)
    _write_script(source, task_folder, task_id, script)
    cwd = _subfolder(source, _text(script, "working_dir") or ".", task_id)
    return Workspace(folder, source, cwd, origin, tuple(notes))


def build_command(python: str, source: Path, task_id: str, script: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command line that runs a task's entry point in a workspace.

    Raises:
        CodeUnavailableError: there is no entry point, or it is not in the code.
    """
    entry = _text(script, "entry_point").strip()
    head: tuple[str, ...] = (python, "-u", *_launcher(script, task_id), "-m", BOOTSTRAP)
    if script.get("as_clearml") is True:
        head = (*head, AS_CLEARML)
    recorded = script.get("argv")
    # what no parser knows reaches the script again as it was typed; what one knows is replaced by the stored values
    argv = without_masked([str(word) for word in recorded]) if isinstance(recorded, list) else ()
    if entry.startswith("-m"):
        module = entry[2:].strip()
        if not _MODULE.fullmatch(module):
            raise CodeUnavailableError(f"task {task_id}: {entry!r} names no module to run", task_id=task_id)
        return (*head, "-m", module, *argv)
    if not entry:
        raise CodeUnavailableError(
            f"task {task_id} has no entry point recorded: it ran in an interactive shell; run it once as a script",
            task_id=task_id,
        )
    path = _inside(source, entry, task_id)
    if not path.is_file():
        raise CodeUnavailableError(
            f"task {task_id}: its entry point {entry} is neither in the commit nor in the recorded diff; "
            "add it to git, run it once more, and enqueue that task",
            task_id=task_id,
        )
    return (*head, str(path), *argv)


def _launcher(script: Mapping[str, Any], task_id: str) -> tuple[str, ...]:
    """Return what starts a task's ranks in front of the script, for a task that was a distributed launch."""
    recorded = script.get("launcher")
    if not isinstance(recorded, Mapping):
        return ()
    module, options = recorded.get("module"), recorded.get("options")
    if module not in LAUNCHER_MODULES or not isinstance(options, list):
        raise CodeUnavailableError(
            f"task {task_id} was started by {module!r}, which this agent does not know: run its script once without",
            task_id=task_id,
        )
    return ("-m", str(module), *(str(word) for word in options))


def _check_out(source: Path, task_folder: Path, task_id: str, script: Mapping[str, Any], commit: str) -> str:
    if not _COMMIT.fullmatch(commit):
        raise CodeUnavailableError(f"task {task_id}: {commit[:60]!r} is no commit id", task_id=task_id)
    tried: list[str] = []
    root, repository, bundle = _text(script, "root"), _text(script, "repository"), script.get("bundle")
    if root and Path(root).is_dir():
        problem = _clone(source, root, commit)
        if not problem:
            if repository:
                _git(["remote", "set-url", "origin", repository], source)
            return f"the local repository {root}"
        tried.append(f"the local repository {root}: {problem}")
    elif root:
        tried.append(f"the local repository {root}: not on this host")
    if isinstance(bundle, Mapping):
        problem = _unpack_bundle(source, task_folder, bundle, commit)
        if not problem:
            return "the bundle stored with the task"
        tried.append(f"the bundle stored with the task: {problem}")
    else:
        tried.append("a bundle stored with the task: there is none (LOCALTRACK_BUNDLE=1 stores one)")
    if repository:
        problem = _clone(source, repository, commit)
        if not problem:
            return f"the remote {repository}"
        tried.append(f"the remote {repository}: {problem}")
    raise CodeUnavailableError(
        f"commit {commit[:12]} of task {task_id} can't be had on this host. Tried: {'; '.join(tried)}. "
        "Push the commit, give this host access to the repository, or run with LOCALTRACK_BUNDLE=1 to store the code "
        "with the task",
        task_id=task_id,
    )


def _clone(source: Path, origin: str, commit: str) -> str:
    """Clone into ``source`` and check the commit out; return the problem, ``""`` for none."""
    _empty(source)
    cloned = _git(["clone", "-q", "--no-checkout", "--", origin, str(source)], source.parent)
    if cloned.returncode:
        return _said(cloned)
    if _git(["cat-file", "-e", f"{commit}^{{commit}}"], source).returncode:
        # on no branch any more (amended, rebased), or the remote only gives what is asked for by its id
        local = [f"--upload-pack={_ANY_COMMIT}"] if Path(origin).is_dir() else []
        fetched = _git(["fetch", "-q", *local, "origin", commit], source)
        if fetched.returncode:
            return f"it has no commit {commit[:12]}: {_said(fetched)}"
    checked = _git(["checkout", "-q", "--detach", commit], source)
    if checked.returncode:
        return _said(checked)
    _git(["config", "core.autocrlf", "false"], source)
    return ""


def _unpack_bundle(source: Path, task_folder: Path, record: Mapping[str, Any], commit: str) -> str:
    _empty(source)
    try:
        read_content(task_folder, dict(record))
        problems = checkout_bundle(inside(task_folder, str(record.get("file"))), commit, source)
    except CorruptFileError as error:
        return error.message
    return "; ".join(problems)


def _new_repository(source: Path, task_id: str) -> str:
    answer = _git(["init", "-q", "--template="], source)
    if answer.returncode:
        raise CodeUnavailableError(f"task {task_id}: git init in {source} failed: {_said(answer)}", task_id=task_id)
    return "the recorded diff alone: the repository had no commit"


def _update_submodules(source: Path, notes: list[str]) -> None:
    if not (source / ".gitmodules").is_file():
        return
    answer = _git(["submodule", "update", "-q", "--init", "--recursive"], source)
    if answer.returncode:
        notes.append(f"the submodules could not be fetched: {_said(answer)}")


def _apply_diff(folder: Path, source: Path, task_folder: Path, task_id: str, script: Mapping[str, Any]) -> None:
    record = script.get("diff")
    if not isinstance(record, Mapping) or not record.get("file"):
        return
    try:
        data = read_content(task_folder, dict(record))
    except CorruptFileError as error:
        raise CodeUnavailableError(
            f"the recorded diff of task {task_id} can't be read: {error.message}", task_id=task_id
        ) from error
    if not data.strip():
        return
    patch = folder / "task.patch"
    patch.write_bytes(data)
    answer = _git(["apply", "--binary", "--whitespace=nowarn", str(patch)], source)
    if answer.returncode:
        raise CodeUnavailableError(
            f"the recorded diff of task {task_id} does not apply to commit {_text(script, 'commit')[:12]}: git apply says: "
            f"{_said(answer)}. The diff is {inside(task_folder, str(record['file']))}: mend it, or run the script again "
            "from a clean commit",
            task_id=task_id,
        )


def _write_script(source: Path, task_folder: Path, task_id: str, script: Mapping[str, Any]) -> None:
    """Write the stored script where git does not bring it."""
    record = script.get("source")
    if not isinstance(record, Mapping):
        return
    path = _inside(source, _text(script, "entry_point") or "script.py", task_id)
    if path.exists():
        return
    try:
        data = read_content(task_folder, dict(record))
    except CorruptFileError as error:
        raise CodeUnavailableError(
            f"the stored script of task {task_id} can't be read: {error.message}", task_id=task_id
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _subfolder(source: Path, relative: str, task_id: str) -> Path:
    path = _inside(source, relative, task_id)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _inside(source: Path, relative: str, task_id: str) -> Path:
    """Return a recorded path in the checkout, refusing one that leads outside, by links too."""
    parts = PurePosixPath(relative).parts
    path = source.joinpath(*parts)
    outside = PurePosixPath(relative).is_absolute() or ".." in parts or "\0" in relative
    if outside or not path.resolve().is_relative_to(source.resolve()):
        raise CodeUnavailableError(
            f"task {task_id} records the path {relative!r}, which is not in its code", task_id=task_id
        )
    return path


def _text(script: Mapping[str, Any], key: str) -> str:
    value = script.get(key)
    return value if isinstance(value, str) and value != "None" else ""


def _empty(source: Path) -> None:
    remove_tree(source)
    source.mkdir(parents=True)


def _said(answer: GitOutput) -> str:
    """Return git's own words in one line."""
    return "; ".join(line.strip() for line in answer.message.splitlines() if line.strip()) or "git failed"


def _git(args: Sequence[str], cwd: Path) -> GitOutput:
    return GitCommand(args, cwd, config=_EXACT).finish(timeout_s=GIT_TIMEOUT_S)
