"""Changes of a task's code record by hand: repository, script, diff, packages, container.

Source: ClearML's Task.set_script, set_repo, set_packages, set_base_docker; docs/format/v1.md, "script".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from localtrack.errors import InvalidValueError
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_content

Change = Callable[[TaskRecord], TaskRecord]


def with_script(ctx: StoreContext, folder: Path, fields: Json, texts: dict[str, str | None]) -> Change:
    """Return the change that sets fields of the script, and files of it by their text; an empty text takes one away.

    Args:
        ctx: the store.
        folder: the task's folder.
        fields: plain fields; one that is None stays as it is.
        texts: ``diff``, ``source``, ``requirements`` or ``freeze`` to its text; None leaves it.
    """

    def change(record: TaskRecord) -> TaskRecord:
        script = {**record.script, **{key: value for key, value in fields.items() if value is not None}}
        for key, text in texts.items():
            if text is not None:
                script[key] = _stored(ctx, folder, key, text)
        return replace(record, script=script)

    return change


_FILES = {
    "diff": ("diff", ".patch"), "source": ("script", ".py"), "requirements": ("requirements", ".txt"),
    "freeze": ("freeze", ".txt"),
}  # fmt: skip


def _stored(ctx: StoreContext, folder: Path, key: str, text: str) -> Json | None:
    if not text:
        return None
    stem, suffix = _FILES[key]
    data = text.encode("utf-8", "surrogateescape")
    return put_content(ctx.store.disk, folder, "code", stem, suffix, data).to_json()


def repository_fields(repo: str | None, branch: str | None, commit: str | None) -> Json:
    """Return the script's fields for a repository: a URL as it is, a local one by its remote, branch and commit.

    Raises:
        InvalidValueError: a folder without a commit.
    """
    local = Path(repo).expanduser() if repo and "://" not in repo else None
    if local is None or not local.is_dir():
        return {"repository": repo, "branch": branch, "commit": commit, "root": None if repo is None else ""}
    from localtrack.capture.git import capture_git

    state = capture_git(local.absolute(), entry_script=None)
    if not state.root or not state.commit:
        raise InvalidValueError(f"{repo} is no git repository with a commit: give a URL, or commit first", repo=repo)
    return {"repository": state.repository, "branch": state.branch, "commit": state.commit, "root": str(state.root)}


def requirements_text(packages: str | Path | Sequence[str]) -> str:
    """Return requirement lines of a list, of a file, or of one line; an empty text for none.

    Raises:
        InvalidValueError: a file that can't be read.
    """
    if not isinstance(packages, (str, Path)):
        return "".join(f"{line.strip()}\n" for line in packages if line.strip())
    if packages and Path(packages).is_file():
        try:
            return Path(packages).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValueError(
                f"requirements file {packages} can't be read: {error}", path=str(packages)
            ) from None
    return f"{packages}\n" if packages and str(packages).strip() else ""


def container_fields(
    command: str | None, arguments: Sequence[str] | str | None, setup: Sequence[str] | str | None
) -> Json:
    """Return the container record of an image with arguments behind it, and a shell script to run in it first."""
    image, _, rest = (command or "").strip().partition(" ")
    given = arguments if arguments is None or isinstance(arguments, str) else " ".join(arguments)
    script = setup if setup is None or isinstance(setup, str) else "\n".join(setup)
    fields = {"image": image, "arguments": given if given is not None else rest.strip(), "setup_script": script}
    return {key: value for key, value in fields.items() if value}
