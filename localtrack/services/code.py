"""The code of a task: what was captured of it, stored with the task so that it can be run again anywhere.

Source: docs/format/v1.md, "script".
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.capture import secrets
from localtrack.capture.redaction import storable_text
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_content
from localtrack.store.documents import now

if TYPE_CHECKING:
    from localtrack.capture.git import GitState
    from localtrack.capture.packages import PackageState
    from localtrack.capture.script import ScriptState

MASKED = "the {} had what looks like secrets: stored as ******** (LOCALTRACK_MASK_SECRETS=0 keeps them)"
DIFF_ARTIFACT = "auxiliary_git_diff"


def store_script(
    ctx: StoreContext, folder: Path, git: GitState | None, script: ScriptState, errors: list[str] | None = None
) -> Json:
    """Store the diff, or the whole script where there is no git, and return the ``script`` record.

    Args:
        ctx: the store.
        folder: the task's folder.
        git: the repository; None where there is none.
        script: the script.
        errors: gets what a reader must know: that secrets were masked.
    """
    notes = [] if errors is None else errors
    record: Json = {
        "repository": git.repository if git else "",
        "root": str(git.root) if git and git.root else "",
        "branch": git.branch if git else "",
        "commit": git.commit if git else "",
        "entry_point": script.entry_point,
        "working_dir": script.working_dir,
        "argv": secrets.masked_argv(script.argv) if ctx.settings.mask_secrets else list(script.argv),
        "python": script.python_version,
        "binary": script.python_binary,
        "as_clearml": script.as_clearml,
        "launcher": _launcher(script),
        "diff": None,
        "source": None,
        "bundle": None,
    }
    if git and git.diff:
        diff = secrets.masked_diff(git.diff) if ctx.settings.mask_secrets else git.diff
        notes += [MASKED.format("uncommitted changes")] if diff != git.diff else []
        record["diff"] = put_content(ctx.store.disk, folder, "code", "diff", ".patch", diff).to_json()
    if script.script is not None:
        record.update(store_source(ctx, folder, script.script, notes))
    return record


def store_source(ctx: StoreContext, folder: Path, script: bytes, notes: list[str] | None = None) -> Json:
    """Store a whole script; returns the field of the ``script`` record that names it. Notes get that secrets were masked."""
    masked = secrets.masked_script(script) if ctx.settings.mask_secrets else script
    if masked != script and notes is not None:
        notes.append(MASKED.format("script"))
    return {"source": put_content(ctx.store.disk, folder, "code", "script", ".py", masked).to_json()}


def _launcher(script: ScriptState) -> Json | None:
    command = script.launcher
    return None if command is None else {"module": command.module, "options": [*map(storable_text, command.options)]}


def diff_artifact(script: Json) -> Json:
    """Return the artifact entry of a large diff, so that people find it where ClearML puts it; the file is the same."""
    size = int(script["diff"]["size_bytes"])
    return {
        **script["diff"], "name": DIFF_ARTIFACT, "type": "custom", "content_type": "text/x-diff", "timestamp": now(),
        "preview": f"the uncommitted changes, {size} bytes", "metadata": {}, "uid": os.getuid(),
    }  # fmt: skip


def store_bundle(ctx: StoreContext, folder: Path, git: GitState, errors: list[str]) -> Json | None:
    """Store a git bundle of the commit, so that another host needs no access to the repository.

    Args:
        ctx: the store.
        folder: the task's folder.
        git: the repository.
        errors: gets what went wrong.
    """
    from localtrack.capture.bundle import bundle_commit

    if not git.root or not git.commit:
        return None
    temporary = ctx.store.disk.new_tmp_name()
    errors += bundle_commit(Path(git.root), git.commit, temporary).errors
    try:
        if not temporary.exists():
            return None
        return put_content(ctx.store.disk, folder, "code", "commit", ".bundle", temporary.read_bytes()).to_json()
    finally:
        temporary.unlink(missing_ok=True)


def store_packages(ctx: StoreContext, folder: Path, packages: PackageState) -> Json:
    """Store the imported packages and the full freeze; returns the fields to add to the ``script`` record."""
    fields: Json = {}
    for key, lines in (("requirements", packages.imported), ("freeze", packages.freeze)):
        data = "".join(f"{line}\n" for line in lines).encode()
        fields[key] = put_content(ctx.store.disk, folder, "code", key, ".txt", data).to_json()
    return fields


def without_hidden(record: TaskRecord, options: Collection[str]) -> TaskRecord:
    """Return the record with the values of some options masked in its command line."""
    argv = record.script.get("argv")
    if not options or not isinstance(argv, list):
        return record
    hidden = secrets.hidden_argv(argv, options)
    return record if hidden == argv else replace(record, script={**record.script, "argv": hidden})


def with_script(record: TaskRecord, fields: Json, errors: Iterable[str] = ()) -> TaskRecord:
    """Return the record with fields of its script, and what could not be captured, added."""
    known = tuple(error for error in errors if error not in record.errors)
    return replace(record, script={**record.script, **fields}, errors=(*record.errors, *known))
