"""Artifacts: objects, files and folders stored with a task, and read back as what they were.

Each kind of object is one :class:`Codec`; the first that matches takes the object. The libraries of foreign kinds
(numpy, pandas, PIL) are never imported to find out: an object of theirs can only be there when they are.

Source: ClearML's Task.upload_artifact and Artifact.get; docs/format/v1.md, "artifacts/<name>.<n>/".
"""

from __future__ import annotations

import glob
import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.errors import (
    ArtifactNotFoundError,
    CorruptFileError,
    InvalidValueError,
    StorageError,
    StoreError,
    UntrustedPickleError,
)
from localtrack.records.task import TaskRecord
from localtrack.records.values import UnstorableValueError, decode, encode
from localtrack.services import tasks
from localtrack.services.archives import TRUSTING, extract_archive
from localtrack.services.context import StoreContext
from localtrack.store.blobs import StoredFile, inside, new_upload_folder, put_copy, put_stream, safe_file_name
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

PREVIEW_LIMIT = 65_000
PATH_LIMIT = 2048
URL_SCHEMES = ("http://", "https://", "s3://", "gs://", "azure://", "file://")


@dataclass(frozen=True, slots=True)
class Codec:
    """One kind of artifact: its name, file suffix, media type, and how it is matched, written, read and previewed."""

    kind: str
    suffix: str
    content_type: str
    matches: Callable[[Any], bool]
    write: Callable[[Any, BinaryIO], None]
    read: Callable[[Path], Any]
    preview: Callable[[Any], str]


def upload(
    ctx: StoreContext,
    folder: Path,
    name: str,
    value: Any,
    *,
    metadata: dict[str, Any] | None = None,
    preview: str | bool | None = None,
    auto_pickle: bool = True,
    extension: str | None = None,
    serialize: Callable[[Any], bytes] | None = None,
) -> dict[str, Any]:
    """Store an object under the task's folder and return its metadata entry; nothing is committed yet.

    Args:
        ctx: the store.
        folder: the task's folder.
        name: the artifact's name.
        value: the object; a path or pattern stores the files.
        metadata: free text pairs kept with it.
        preview: a text of one's own; False for none.
        auto_pickle: whether an object of no known kind is pickled.
        extension: file suffix to use.
        serialize: turns the object into bytes, instead of any codec.

    Raises:
        InvalidValueError: an object of no known kind, and it may not or can't be pickled.
        OSError: the disk takes no more.
    """
    if not isinstance(name, str) or not name:
        raise InvalidValueError(f"an artifact's name must be a non-empty text, not {name!r}", name=str(name))
    entry = _upload_any(ctx, folder, name, value, auto_pickle, extension, serialize)
    if preview is False:
        entry["preview"] = ""
    elif preview not in (None, True):
        entry["preview"] = str(preview)[:PREVIEW_LIMIT]
    return {
        **entry,
        "name": name,
        "timestamp": now(),
        "metadata": {str(key): str(text) for key, text in (metadata or {}).items()},
        "uid": os.getuid(),
    }


def _upload_any(
    ctx: StoreContext,
    folder: Path,
    name: str,
    value: Any,
    auto_pickle: bool,
    extension: str | None,
    serialize: Callable[[Any], bytes] | None,
) -> dict[str, Any]:
    if serialize is not None:
        data = serialize(value)
        stored = _store(ctx, folder, name, extension or "", lambda stream: _write(stream, bytes(data)))
        return _entry("custom", stored, "application/octet-stream", f"{stored.size_bytes} bytes")
    if extension != ".pkl":
        files = _as_files(value)
        if isinstance(files, str):
            return {"type": "custom", "url": files, "sha256": "", "size_bytes": 0, "content_type": "", "preview": files}
        if isinstance(files, Path):
            target = new_upload_folder(ctx.store.disk, TaskLayout(folder).artifacts, name) / safe_file_name(files.name)
            return _entry(
                "custom", put_copy(ctx.store.disk, folder, target, files), _guess(files), _file_preview(files)
            )
        if files:
            return _upload_archive(ctx, folder, name, files)
        for codec in codecs():
            if codec.matches(value):
                try:
                    stored = _store(ctx, folder, name, extension or codec.suffix, partial(codec.write, value))
                except UnstorableValueError:
                    continue
                return _entry(codec.kind, stored, codec.content_type, codec.preview(value)[:PREVIEW_LIMIT])
    if not auto_pickle and extension != ".pkl":
        raise InvalidValueError(
            f"artifact {name!r}: a {type(value).__qualname__} is of no known kind; pass auto_pickle=True or a "
            "serialization_function",
            name=name,
        )
    return _upload_pickle(ctx, folder, name, value)


def _upload_pickle(ctx: StoreContext, folder: Path, name: str, value: Any) -> dict[str, Any]:
    try:
        data = pickle.dumps(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidValueError(
            f"artifact {name!r}: a {type(value).__qualname__} can't be pickled ({error}); pass a serialization_function",
            name=name,
        ) from None
    stored = _store(ctx, folder, name, ".pkl", lambda stream: _write(stream, data))
    return _entry("pickle", stored, "application/pickle", repr(value)[:PREVIEW_LIMIT])


def _store(ctx: StoreContext, folder: Path, name: str, suffix: str, fill: Callable[[BinaryIO], None]) -> StoredFile:
    place = new_upload_folder(ctx.store.disk, TaskLayout(folder).artifacts, name)
    try:
        return put_stream(ctx.store.disk, folder, place / safe_file_name(f"{name.replace('/', '_')}{suffix}"), fill)
    except BaseException:
        _rmdir_quietly(place)
        raise


def _entry(kind: str, stored: StoredFile, content_type: str, preview: str) -> dict[str, Any]:
    return {"type": kind, **stored.to_json(), "content_type": content_type, "preview": preview[:PREVIEW_LIMIT]}


def _as_files(value: Any) -> Path | list[Path] | str | None:
    """Return what a path-like value names: one file, several, a registered URL, or None for no path at all."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, os.PathLike) for item in value):
        return [Path(item) for item in value]
    if not isinstance(value, (str, os.PathLike)) or not str(value) or len(str(value)) >= PATH_LIMIT:
        return None
    text = os.fspath(value)
    if text.startswith(URL_SCHEMES):
        return text
    if "\0" in text or "\n" in text:
        return None
    try:
        path = Path(text).expanduser()
        if path.is_file():
            return path
        if path.is_dir():
            return [path]
    except (OSError, RuntimeError, ValueError):  # too long for a name, or a home of nobody: a text, no path
        if isinstance(value, os.PathLike):
            raise
        return None
    if any(char in text for char in "*?["):
        found = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if Path(name).is_file()]
        return found or None
    if isinstance(value, os.PathLike):
        raise InvalidValueError(f"no file or folder {path}: nothing to store", path=str(path))
    return None


def _upload_archive(ctx: StoreContext, folder: Path, name: str, files: list[Path]) -> dict[str, Any]:
    members = _members(files)

    def pack(stream: BinaryIO) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for path, inner in members:
                archive.write(path, inner)

    stored = _store(ctx, folder, name, ".zip", pack)
    listing = "\n".join(f"{inner} - {path.stat().st_size} bytes" for path, inner in members)
    return _entry("archive", stored, "application/zip", listing)


def _members(files: list[Path]) -> list[tuple[Path, str]]:
    """Return each file with its name in the archive; a folder's files keep their place in it."""
    members: list[tuple[Path, str]] = []
    single = [path for path in files if not path.is_dir()]
    base = Path(os.path.commonpath([str(path.absolute().parent) for path in single])) if single else Path()
    for path in files:
        if path.is_dir():
            members += [(item, item.relative_to(path).as_posix()) for item in sorted(path.rglob("*")) if item.is_file()]
        elif path.is_file():
            members.append((path, path.absolute().relative_to(base).as_posix()))
        else:
            raise InvalidValueError(f"no file {path}: nothing to store", path=str(path))
    return members


def load(ctx: StoreContext, folder: Path, entry: dict[str, Any], *, allow_pickle: bool | None = None) -> Any:
    """Return the object that was stored; files come as a path.

    Raises:
        CorruptFileError: the file is gone or altered.
        UntrustedPickleError: a pickle of another user, and ``allow_pickle`` is not True.
    """
    if entry.get("url"):
        return entry["url"]
    kind = str(entry.get("type", ""))
    if kind == "archive":
        return local_copy(ctx, folder, entry)
    path = inside(folder, str(entry["file"]))
    check_file(path, entry)
    if kind == "pickle":
        return _load_pickle(ctx, path, allow_pickle)
    for codec in codecs():
        if codec.kind == kind:
            return codec.read(path)
    return path


def _load_pickle(ctx: StoreContext, path: Path, allow_pickle: bool | None) -> Any:
    owner = path.stat().st_uid
    trusted = owner in (os.getuid(), 0) or ctx.settings.trust_pickles
    if allow_pickle is False or (allow_pickle is None and not trusted):
        raise UntrustedPickleError(
            f"{path} is a pickle of user {owner}: loading it runs their code; pass allow_pickle=True if you trust them",
            path=str(path),
        )
    with open(path, "rb") as stream:
        return pickle.load(stream)


def check_file(path: Path, entry: dict[str, Any]) -> None:
    """Compare a stored file with the hash that the metadata has of it.

    Raises:
        CorruptFileError: it is gone or altered.
    """
    import hashlib

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


def local_copy(ctx: StoreContext, folder: Path, entry: dict[str, Any], *, extract: bool = True) -> Path:
    """Return a path to the stored file itself; an archive is extracted into a private folder of the user's.

    Raises:
        CorruptFileError: the file is gone or altered.
    """
    if entry.get("url"):
        raise InvalidValueError(f"the artifact is only a reference to {entry['url']}: fetch it from there")
    path = inside(folder, str(entry["file"]))
    check_file(path, entry)
    if entry.get("type") != "archive" or not extract:
        return path
    import platformdirs

    target = Path(platformdirs.user_cache_dir("localtrack", appauthor=False)) / "unpacked" / str(entry["sha256"])[:32]
    if not target.is_dir():
        try:
            own = path.stat().st_uid == os.getuid()
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


def commit(ctx: StoreContext, task_id: str, folder: Path, entry: dict[str, Any]) -> TaskRecord:
    """Make a stored artifact part of its task."""
    change = partial(with_entry, entry=entry)
    return tasks.edit(ctx, task_id, change, f"artifact: {entry['name']}", folder=folder, checked=False)


def remove(ctx: StoreContext, task_id: str, names: list[str]) -> TaskRecord:
    """Take artifacts out of a task's list; their files stay until ``gc``."""

    def change(record: TaskRecord) -> TaskRecord:
        return replace(record, artifacts={key: item for key, item in record.artifacts.items() if key not in names})

    return tasks.edit(ctx, task_id, change, "artifacts removed", checked=False)


def codecs() -> list[Codec]:
    """Return the kinds of artifacts, in the order in which they are tried."""
    from localtrack.services import artifact_codecs

    return artifact_codecs.CODECS


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def _rmdir_quietly(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        pass


def _guess(path: Path) -> str:
    import mimetypes

    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _file_preview(path: Path) -> str:
    return f"{path.name} - {path.stat().st_size} bytes"


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON with every type kept.

    Raises:
        UnstorableValueError: an object that JSON has no place for.
    """
    return json.dumps(encode(value), indent=4, ensure_ascii=False).encode("utf-8", "surrogatepass")


def from_json_bytes(data: bytes, path: Path) -> Any:
    """Return the value that :func:`json_bytes` wrote.

    Raises:
        CorruptFileError: it is no JSON.
    """
    try:
        return decode(json.loads(data.decode("utf-8", "surrogatepass")))
    except ValueError as error:
        raise CorruptFileError(f"{path} is no JSON: {error}", path=str(path)) from None


__all__ = [
    "Codec", "StoreError", "check_file", "codecs", "commit", "find", "from_json_bytes", "json_bytes",
    "load", "local_copy", "remove", "upload",
]  # fmt: skip
