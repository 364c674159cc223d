"""Carry one commit to a host that cannot reach its repository.

The bundle holds the commit and its whole tree but no history, so it stays small; the receiving
repository marks the commit as shallow and keeps its real id.
"""

from __future__ import annotations

from pathlib import Path

from localtrack.capture.git_command import GitCommand, run_git
from localtrack.records.plain import dataclass

_REF = "refs/heads/localtrack"
_CHUNK_BYTES = 1 << 20
_SHA256_LENGTH = 64


@dataclass(frozen=True, slots=True)
class BundleState:
    """A written bundle: its size in bytes, 0 with the reason in ``errors`` when there is none."""

    size_bytes: int
    errors: tuple[str, ...] = ()


def bundle_commit(root: Path, commit: str, dest: Path) -> BundleState:
    """Write ``commit`` of the repository at ``root`` as a git bundle to the new file ``dest``.

    Nothing in the repository changes. Submodules and git-lfs contents are not in it. ``dest`` is
    written in place: publish it under its final name only after this returned no errors. A file
    that exists already is left alone.
    """
    if not commit:
        return BundleState(0, (f"bundling {root}: the repository has no commit; commit once first",))
    try:
        with dest.open("xb") as out:
            problem = _write_bundle(root, commit, out)
            size_bytes = out.tell()
    except OSError as error:
        return BundleState(0, (f"bundling {commit} to {dest}: {error}",))
    if problem:
        dest.unlink(missing_ok=True)
        return BundleState(0, (f"bundling {commit} of {root}: {problem}",))
    return BundleState(size_bytes)


def checkout_bundle(bundle: Path, commit: str, dest: Path) -> tuple[str, ...]:
    """Make ``dest``, a new or empty folder, a repository checked out at ``commit`` from ``bundle``.

    Returns the problems met; none means that the checkout is complete.
    """
    try:
        dest.mkdir(parents=True, exist_ok=True)
        if any(dest.iterdir()):
            return (f"unpacking {bundle}: {dest} is not empty; give a new folder",)
        init = ["init", "-q", "--template="]
        if len(commit) == _SHA256_LENGTH:
            init.append("--object-format=sha256")
        answer = run_git(init, dest)
        if answer.returncode:
            return (f"unpacking {bundle} to {dest}: {answer.message}",)
        (dest / ".git" / "shallow").write_text(commit + "\n", encoding="ascii")
    except (OSError, ValueError) as error:
        return (f"unpacking {bundle} to {dest}: {error}",)
    exact = ["core.autocrlf=false"]
    for args in (["fetch", "-q", str(bundle.absolute()), _REF], ["checkout", "-q", "--detach", commit]):
        answer = run_git(args, dest, config=exact)
        if answer.returncode:
            return (f"unpacking {bundle} to {dest}: git {args[0]}: {answer.message}",)
    run_git(["config", "core.autocrlf", "false"], dest)
    return ()


def _write_bundle(root: Path, commit: str, out: object) -> str:
    """Write header and pack to the open file ``out``; return the problem, '' when there is none."""
    write = out.write  # type: ignore[attr-defined]
    header = f"# v2 git bundle\n{commit} {_REF}\n\n"
    if len(commit) == _SHA256_LENGTH:
        header = f"# v3 git bundle\n@object-format=sha256\n{commit} {_REF}\n\n"
    listing = GitCommand(["rev-list", "--objects", "-n", "1", f"{commit}^{{commit}}"], root)
    if listing.stdout is None:
        return listing.finish().message
    pack = GitCommand(["pack-objects", "-q", "--stdout"], root, stdin=listing.stdout)
    write(header.encode("ascii"))
    if pack.stdout is not None:
        while chunk := pack.stdout.read(_CHUNK_BYTES):
            write(chunk)
    packed = pack.finish()
    listed = listing.finish()
    if listed.returncode > 0:
        return listed.message
    return packed.message or "git pack-objects failed" if packed.returncode else ""
