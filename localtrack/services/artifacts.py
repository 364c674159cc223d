"""Artifacts: objects, files and folders stored with a task, and read back as what they were.

Source: ClearML's Task.upload_artifact and Artifact.get; docs/format/v1.md, "artifacts/<name>.<n>/".
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from localtrack.errors import ArtifactNotFoundError, CorruptFileError, StorageError, UntrustedPickleError
from localtrack.fs.disk import remove_tree
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.services import tasks
from localtrack.services.artifact_upload import Options, described, upload
from localtrack.services.context import StoreContext
from localtrack.store import metadata as metadata_log
from localtrack.store.blobs import inside
from localtrack.store.layout import TaskLayout

CLEARML_BLOCK_VARIABLE = "CLEARML_BLOCK_PICKLED_ARTIFACTS"


def load(ctx: StoreContext, folder: Path, entry: Json, *, allow_pickle: bool | None = None, force: bool = False) -> Any:
    """Return the object that was stored; files, and what an address names, come as a path.

    Args:
        ctx: the store.
        folder: the task's folder.
        entry: the artifact's metadata.
        allow_pickle: True loads a pickle of anybody, False none at all.
        force: fetch a file from elsewhere again although there is a copy.

    Raises:
        CorruptFileError: the file is gone or altered.
        UntrustedPickleError: a pickle of another user, and ``allow_pickle`` is not True.
        StorageError: an address can't be reached.
    """
    from localtrack.services.artifact_codecs import codec_of

    kind = str(entry.get("type", ""))
    if kind == "archive":
        return local_copy(ctx, folder, entry, force=force)
    path = stored_file(folder, entry, force=force)
    if kind == "pickle" and entry.get("sha256"):
        return _load_pickle(ctx, folder, entry, path, allow_pickle)
    codec = codec_of(kind)
    form = codec.form(path.name) if codec is not None and entry.get("sha256") else None
    beside = entry.get("form")
    return path if form is None else form.read(path, beside if isinstance(beside, dict) else {})


def _load_pickle(ctx: StoreContext, folder: Path, entry: Json, path: Path, allow_pickle: bool | None) -> Any:
    """Load a pickle from the very bytes whose owner and hash were looked at."""
    _check_not_blocked(ctx, entry, allow_pickle)
    with open(path, "rb") as stream:
        owner = os.fstat(stream.fileno()).st_uid
        data = stream.read()
    if hex_sha256(data) != entry.get("sha256"):
        raise CorruptFileError(f"artifact file {path} changes while it is read; restore it from a copy", path=str(path))
    if entry.get("url"):  # which bytes are right, the newest metadata says: whoever wrote that decides what is loaded
        layout = TaskLayout(folder)
        owner = os.stat(layout.generation(metadata_log.generations(layout)[-1])).st_uid
    if owner not in (os.getuid(), 0) and not allow_pickle and not ctx.settings.trust_pickles:
        raise UntrustedPickleError(
            f"{path} is a pickle of user {owner}: loading it runs their code; pass allow_pickle=True, or set "
            "LOCALTRACK_TRUST_PICKLES=1, if you trust them",
            path=str(path),
        )
    from pickle import loads

    return loads(data)


def _check_not_blocked(ctx: StoreContext, entry: Json, allow_pickle: bool | None) -> None:
    asked = os.environ.get(CLEARML_BLOCK_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")
    if not (asked or ctx.settings.block_pickled_artifacts or allow_pickle is False):
        return
    cause = CLEARML_BLOCK_VARIABLE if asked else "LOCALTRACK_BLOCK_PICKLED_ARTIFACTS"
    raise UntrustedPickleError(
        f"artifact {entry.get('name')!r} is a pickle, and {'this call' if allow_pickle is False else cause} says that "
        "none is loaded",
        name=entry.get("name"),
    )


def stored_file(folder: Path, entry: Json, *, force: bool = False) -> Path:
    """Return the path of the file itself, checked; one that lies elsewhere is fetched into the user's cache.

    Raises:
        CorruptFileError: it is gone or altered.
        StorageError: its address can't be reached.
    """
    url = entry.get("url")
    if not url:
        path = inside(folder, str(entry["file"]))
        check_file(path, entry)
        return path
    from localtrack.services import storage_cache

    path = storage_cache.local_copy(str(url), force=force)
    if entry.get("sha256"):
        try:
            check_file(path, entry)
        except CorruptFileError:
            if force:
                raise
            path = storage_cache.local_copy(str(url), force=True)
            check_file(path, entry)
    return path


def check_file(path: Path, entry: Json) -> None:
    """Compare a stored file with the hash that the metadata has of it.

    Raises:
        CorruptFileError: it is gone or altered.
    """
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise CorruptFileError(f"artifact file {path} is no regular file; restore it from a copy", path=str(path))
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise CorruptFileError(
            f"artifact file {path} can't be read: {error.strerror}; restore it from a copy", path=str(path)
        ) from error
    if digest.hexdigest() != entry.get("sha256"):
        raise CorruptFileError(
            f"artifact file {path} does not match its SHA-256; restore it from a copy", path=str(path)
        )


def local_copy(ctx: StoreContext, folder: Path, entry: Json, *, extract: bool = True, force: bool = False) -> Path:
    """Return a path to the stored file itself; an archive is extracted into a private folder of the user's.

    Raises:
        CorruptFileError: the file is gone or altered.
        StorageError: its address can't be reached.
    """
    path = stored_file(folder, entry, force=force)
    if entry.get("type") != "archive" or not extract or path.is_dir():
        return path
    import platformdirs

    from localtrack.services.archives import TRUSTING, extract_archive

    digest = str(entry["sha256"])[:32]
    target = Path(platformdirs.user_cache_dir("localtrack", appauthor=False)) / "unpacked" / digest
    if force and target.is_dir():
        remove_tree(target)
    if not target.is_dir():
        try:
            own = not entry.get("url") and path.stat().st_uid == os.getuid()
            extract_archive(path, target, TRUSTING if own else None)
        except StorageError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def find(record: TaskRecord, name: str) -> dict[str, Any]:
    """Return an artifact's entry.

    Raises:
        ArtifactNotFoundError: the message lists what there is.
    """
    try:
        return record.artifacts[name]
    except KeyError:
        there = ", ".join(sorted(record.artifacts)) or "none"
        raise ArtifactNotFoundError(
            f"task {record.id} has no artifact {name!r}; there are: {there}", task_id=record.id
        ) from None


def with_entry(record: TaskRecord, entry: dict[str, Any]) -> TaskRecord:
    """Return the record with a stored artifact in it; the same name again replaces the entry."""
    return replace(record, artifacts={**record.artifacts, entry["name"]: entry})


def with_entries(record: TaskRecord, entries: Iterable[Json]) -> TaskRecord:
    """Return the record with several artifacts in it."""
    return replace(record, artifacts={**record.artifacts, **{str(entry["name"]): entry for entry in entries}})


def commit(ctx: StoreContext, task_id: str, folder: Path, entry: Json) -> TaskRecord:
    """Make a stored artifact part of its task."""
    change = partial(with_entry, entry=entry)
    return tasks.edit(ctx, task_id, change, f"artifact: {entry['name']}", folder=folder, checked=False)


def without_entries(record: TaskRecord, names: Iterable[str]) -> TaskRecord:
    """Return the record without some artifacts; their files are another matter."""
    gone = set(names)
    return replace(record, artifacts={key: item for key, item in record.artifacts.items() if key not in gone})


def remove_stored(ctx: StoreContext, folder: Path, entry: Json) -> None:
    """Remove the file of an entry that no metadata names any more; what was only registered stays where it is.

    Raises:
        StorageError: an uploaded file can't be removed.
        OSError: the disk takes no writes.
    """
    if entry.get("url"):
        if entry.get("uploaded"):
            from localtrack.services import storage

            storage.remove(str(entry["url"]))
        return
    path = inside(folder, str(entry["file"]))
    if path.parent.parent == TaskLayout(folder).artifacts:
        remove_tree(path.parent)


def referring(entry: Json, folder: Path) -> Json:
    """Return an entry for another task that refers to the file of this one."""
    if entry.get("url"):
        return {**entry, "uploaded": False}
    body = {key: item for key, item in entry.items() if key != "file"}
    return {**body, "url": f"file://{inside(folder, str(entry['file']))}"}


__all__ = [
    "Options", "check_file", "commit", "described", "find", "load", "local_copy", "referring", "remove_stored",
    "stored_file", "upload", "with_entries", "with_entry", "without_entries",
]  # fmt: skip
