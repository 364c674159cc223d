"""Files beside the metadata: code, configuration, artifacts, models, plots, media.

Content files are named by what they hold, so that the same bytes are stored once and a name never changes its
meaning. Uploads get a numbered folder of their own.

Source: docs/format/v1.md, "code/", "configuration/", "artifacts/<name>.<n>/", "plots/", "media/".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from localtrack.errors import CorruptFileError, StoreError
from localtrack.fs.disk import COPY_CHUNK_BYTES, Disk, list_names, read_bytes
from localtrack.records.digests import hex_sha256
from localtrack.records.ids import RESERVED_NAMES, new_sortable_id, slug
from localtrack.records.plain import dataclass
from localtrack.records.values import decode, encode
from localtrack.store.documents import canonical
from localtrack.store.layout import content_name, numbered_folder

_UNSAFE = r"[^A-Za-z0-9._ +=@,()-]+"
_MARK = b'"$'
FILE_NAME_LIMIT = 100


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a task's folder: path relative to it, SHA-256 in hex, size in bytes."""

    file: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the record that metadata holds of the file."""
        return {"file": self.file, "sha256": self.sha256, "size_bytes": self.size_bytes}


def safe_file_name(name: str) -> str:
    """Return ``name`` as a file name that stays in its folder on any system; its suffix is kept."""
    text = re.sub(_UNSAFE, "_", PurePosixPath(name.replace("\\", "/")).name).strip(" .")
    stem, dot, suffix = text.rpartition(".")
    stem, suffix = (stem, dot + suffix) if dot and len(suffix) <= 20 else (text, "")
    stem = stem[: FILE_NAME_LIMIT - len(suffix)].strip(" .")
    if stem.partition(".")[0].lower() in RESERVED_NAMES:
        stem = f"_{stem}"
    return (stem or "file") + suffix


def put_content(disk: Disk, task_folder: Path, folder: str, stem: str, suffix: str, data: bytes) -> StoredFile:
    """Store bytes under a name that says their content.

    Raises:
        OSError: the disk takes no more.
    """
    digest = hex_sha256(data)
    relative = f"{folder}/{content_name(stem, digest, suffix)}"
    disk.make_dir(task_folder / folder)
    if not disk.publish(data, task_folder / relative):
        raise StoreError(
            f"{task_folder / relative} holds other bytes than its name says; move it away", path=str(task_folder)
        )
    return StoredFile(relative, digest, len(data))


def read_content(task_folder: Path, record: dict[str, Any]) -> bytes:
    """Return a stored file's bytes, checked.

    Raises:
        CorruptFileError: they are gone, or not what the metadata says.
    """
    path = inside(task_folder, str(record.get("file", "")))
    try:
        data = read_bytes(path)
    except OSError as error:
        raise CorruptFileError(
            f"{path}, which the task's metadata names, can't be read: {error.strerror}; restore it from a copy",
            path=str(path),
        ) from error
    if hex_sha256(data) != record.get("sha256"):
        raise CorruptFileError(f"{path} does not match its checksum; restore it from a copy", path=str(path))
    return data


def inside(task_folder: Path, relative: str) -> Path:
    """Return a path that the metadata names, refusing one that leads out of the task's folder, also by a link.

    Raises:
        CorruptFileError: it leads outside.
    """
    parts = PurePosixPath(relative).parts
    if not parts or PurePosixPath(relative).is_absolute() or ".." in parts or "\\" in relative or "\0" in relative:
        raise CorruptFileError(
            f"the metadata of {task_folder} names the file {relative!r}, which is not in the task's folder",
            path=str(task_folder),
        )
    path = task_folder.joinpath(*parts)
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(task_folder)):
        raise CorruptFileError(f"{path} leads out of the task's folder by a link; remove the link", path=str(path))
    return path


def new_upload_folder(disk: Disk, parent: Path, name: str) -> Path:
    """Make and return ``<slug>.<n>`` with the lowest free number; the exclusive creation decides."""
    disk.make_dir(parent)
    prefix = f"{slug(name)}."
    endings = [name[len(prefix) :] for name in list_names(parent) if name.startswith(prefix)]
    taken = [int(ending) for ending in endings if re.fullmatch(r"[0-9]{1,9}", ending)]
    number = max(taken, default=0) + 1
    while not disk.make_dir_exclusive(numbered_folder(parent, name, number)):
        number += 1
    return numbered_folder(parent, name, number)


@dataclass(slots=True)
class Hashing:
    """Hashes and counts what ``write`` puts into a stream.

    Attributes:
        write: fills a stream.
        sha256: of what it wrote, in hex; known after :meth:`fill`.
        size_bytes: likewise.
    """

    write: Callable[[BinaryIO], None]
    sha256: str = ""
    size_bytes: int = 0

    def fill(self, stream: BinaryIO) -> None:
        """Write to a stream."""
        import hashlib

        digest = hashlib.sha256()
        writer = _HashingWriter(stream, digest)
        self.write(writer)  # type: ignore[arg-type]
        self.sha256, self.size_bytes = digest.hexdigest(), writer.size_bytes


def put_stream(disk: Disk, task_folder: Path, target: Path, fill: Callable[[BinaryIO], None]) -> StoredFile:
    """Store what ``fill`` writes under ``target``, whole or not at all, hashed on the way.

    Raises:
        OSError: the disk takes no more; nothing has the name then.
    """
    hashed = Hashing(fill)
    temporary = disk.write_tmp(hashed.fill)
    if not disk.publish_file(temporary, target):
        raise StoreError(f"{target} exists already; use another name", path=str(target))
    return StoredFile(target.relative_to(task_folder).as_posix(), hashed.sha256, hashed.size_bytes)


def put_copy(disk: Disk, task_folder: Path, target: Path, source: Path) -> StoredFile:
    """Store a copy of a file.

    Raises:
        OSError: it can't be read, or the disk takes no more.
    """

    def copy(stream: BinaryIO) -> None:
        with open(source, "rb") as reader:
            while chunk := reader.read(COPY_CHUNK_BYTES):
                stream.write(chunk)

    return put_stream(disk, task_folder, target, copy)


class _HashingWriter:
    """Just enough of a file for the writers of arrays, images and archives: it only goes forward."""

    def __init__(self, stream: BinaryIO, digest: Any) -> None:
        self._stream = stream
        self._digest = digest
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self._digest.update(data)
        self.size_bytes += memoryview(data).nbytes
        return self._stream.write(data)

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._stream.flush()


def put_report(disk: Disk, folder: Path, body: dict[str, Any]) -> str:
    """Store a plot's or a media item's JSON record under a fresh sortable name; returns the name.

    Raises:
        OSError: the disk takes no more.
    """
    disk.make_dir(folder)
    name = f"{new_sortable_id()}.json"
    disk.publish(_report_bytes(body), folder / name)
    return name


def _report_bytes(body: dict[str, Any]) -> bytes:
    """Return a record in strict JSON; the marks for NaN and the like only where they are needed."""
    try:
        data = canonical(body)
    except (TypeError, ValueError):
        return canonical(encode(body))
    return canonical(encode(body)) if _MARK in data else data


def read_reports(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the JSON records in ``plots`` or ``media`` in the order of their making, and what could not be read."""
    bodies: list[dict[str, Any]] = []
    problems: list[str] = []
    for name in _sorted_json(list_names(folder)):
        try:
            data = read_bytes(folder / name)
            body = json.loads(data.decode("utf-8", "surrogatepass"))
            body = decode(body) if _MARK in data else body
            if not isinstance(body, dict):
                raise ValueError("no object")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{folder / name} can't be read ({error}); the others are shown, move it away")
            continue
        bodies.append({**body, "_name": name})
    return bodies, problems


def _sorted_json(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(".json"))


def file_size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files in a folder, links not followed."""
    if not path.is_dir():
        return path.lstat().st_size if os.path.lexists(path) else 0
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
