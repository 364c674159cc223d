"""Files outside the store: local paths, ``file://``, ``http(s)://``, and whatever fsspec knows.

What is written locally appears whole under its name. A path without a scheme is a local one.

Source: ClearML's StorageManager.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from localtrack.errors import InvalidValueError, StorageError
from localtrack.records.late import late_logger
from localtrack.records.plain import dataclass

CHUNK_BYTES = 1 << 20
LOG = late_logger("localtrack.storage")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file as a storage lists it.

    Attributes:
        name: its path relative to what was listed, with ``/``; the file's own name when it was asked for alone.
        url: its whole address.
        size_bytes: None where the storage does not say.
    """

    name: str
    url: str
    size_bytes: int | None


class Driver(Protocol):
    """What one kind of storage can do; every method raises ``StorageError`` with the URL and the next step."""

    def put(self, source: Path, url: str) -> None:
        """Store a copy of a local file under ``url``, replacing what is there."""

    def fetch(self, url: str, target: Path) -> None:
        """Write the file at ``url`` into the new local file ``target``."""

    def info(self, url: str) -> FileInfo | None:
        """Return what is known of one file; None when there is none."""

    def list(self, url: str) -> list[FileInfo]:
        """Return all files below ``url``, sorted by name."""

    def chunks(self, url: str, chunk_bytes: int) -> Iterator[bytes]:
        """Yield a file's content."""

    def remove(self, url: str) -> None:
        """Remove one file; one that is gone already is fine."""


def scheme_of(url: str | os.PathLike[str]) -> str:
    """Return the scheme of a URL in lower case; ``""`` for a path."""
    match = _SCHEME.match(os.fspath(url))
    return match[1].lower() if match else ""


def local_path(url: str | os.PathLike[str]) -> Path | None:
    """Return the absolute local path that a path or ``file://`` URL means; None for any other URL."""
    text = os.fspath(url)
    scheme = scheme_of(text)
    if scheme not in ("", "file"):
        return None
    if not scheme:
        return Path(text).expanduser().absolute()
    rest = text[len("file://") :]
    rest = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
    plain = Path(rest).absolute()
    if "%" not in rest or plain.exists():
        return plain
    return Path(unquote(rest)).absolute()


def normal_url(url: str | os.PathLike[str]) -> str:
    """Return the one spelling of an address: ``file://`` and an absolute path for what is local.

    Raises:
        InvalidValueError: an empty address, or one with a NUL.
    """
    text = os.fspath(url)
    if not text or "\0" in text:
        raise InvalidValueError(f"{text!r} is no path or URL", url=text)
    path = local_path(text)
    if path is None:
        return text
    return f"file://{os.path.normpath(path)}"


def address_of(entry: Mapping[str, Any]) -> str:
    """Return the one spelling of an entry's ``url``, which was not always written so; empty where it has none."""
    url = str(entry.get("url") or "")
    try:
        return normal_url(url) if url else ""
    except InvalidValueError:
        return url


def is_at(entry: Mapping[str, Any], address: str) -> bool:
    """Tell whether an entry's ``url`` means an address that is in its normal spelling."""
    url = entry.get("url")
    return url == address or (bool(url) and "://" not in str(url) and address_of(entry) == address)


def join_url(base: str, *parts: str) -> str:
    """Return an address below another one."""
    return "/".join([base.rstrip("/") or "", *(part.strip("/") for part in parts if part.strip("/"))])


def base_name(url: str) -> str:
    """Return the last component of an address, without query and fragment."""
    path = local_path(url)
    if path is not None:
        return path.name
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]) or urlsplit(url).netloc


def below_bucket(url: str) -> str:
    """Return the path of a remote file without the bucket or host, safe to append to a local folder.

    Raises:
        InvalidValueError: it holds ``..``.
    """
    parts = [part for part in unquote(urlsplit(url).path).split("/") if part not in ("", ".")]
    if ".." in parts or any("\0" in part for part in parts):
        raise InvalidValueError(f"{url!r} leads out of its folder", url=url)
    return "/".join(parts)


def driver_for(url: str | os.PathLike[str]) -> Driver:
    """Return what reads and writes an address.

    Raises:
        MissingExtraError: that kind of storage needs an optional package.
        StorageError: nobody knows that kind of storage.
    """
    if local_path(url) is not None:
        return LocalFiles()
    from localtrack.services import remote

    if scheme_of(url) in ("http", "https"):
        return remote.HttpFiles()
    remote.require(os.fspath(url))
    return remote.RemoteFiles()


def put_file(source: str | os.PathLike[str], url: str, *, retries: int = 0) -> str:
    """Store a copy of a local file under an address, replacing what is there; return the address.

    Args:
        source: the file.
        url: where to, with the file's name.
        retries: how often a failed upload is tried again.

    Raises:
        StorageError: it can't be read or written; names the address.
        MissingExtraError: that kind of storage needs an optional package.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise StorageError(f"no file {path}: nothing to upload to {url}", path=str(path))
    driver = driver_for(url)
    for attempt in range(retries + 1):
        try:
            driver.put(path, url)
            break
        except OSError as error:
            if attempt == retries:
                raise
            LOG.warning("uploading %s to %s failed and is tried again: %s", path, url, error)
    return url


def fetch(url: str, target: Path) -> Path:
    """Write the file at an address to a local path, whole or not at all; return the path.

    Raises:
        StorageError: it can't be read, or the disk takes no more.
        MissingExtraError: that kind of storage needs an optional package.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target)
    try:
        driver_for(url).fetch(url, temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def info(url: str) -> FileInfo | None:
    """Return name and size of the file at an address; None when there is none."""
    return driver_for(url).info(url)


def exists(url: str) -> bool:
    """Tell whether there is a file (no folder) at an address."""
    return not url.endswith("/") and info(url) is not None


def list_files(url: str) -> list[FileInfo]:
    """Return all files below an address, sorted by name.

    Raises:
        StorageError: no such folder, or that kind of storage can't be listed.
    """
    return driver_for(url).list(url)


def chunks(url: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Return the content of a file piece by piece.

    Raises:
        StorageError: no such file.
    """
    return driver_for(url).chunks(url, max(1, chunk_bytes))


def remove(url: str) -> None:
    """Remove the file at an address; one that is gone already is fine.

    Raises:
        StorageError: it can't be removed.
    """
    driver_for(url).remove(url)


def check_destination(value: object) -> None:
    """Look whether a value can say where uploads go at all: a URL, a path, True, False or None.

    Raises:
        InvalidValueError: it can't.
    """
    if not isinstance(value, (str, bool, os.PathLike, NoneType)) or "\0" in str(value):
        raise InvalidValueError(f"output_uri must be a URL, a path, True or False, not {value!r}")


def check_writable(url: str) -> str:
    """Return an address in its normal spelling after a look whether files can be stored below it.

    A local folder is made and tried; a remote one is only checked for the packages that it needs.

    Raises:
        StorageError: the folder can't be written.
        MissingExtraError: that kind of storage needs an optional package.
    """
    path = local_path(url)
    if path is None:
        driver_for(url)
        return url.rstrip("/")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable", str(path))
    except OSError as error:
        raise StorageError(
            f"{path} can't take uploads on this machine: {error.strerror}; make it a folder that you can write, or choose "
            "another output_uri",
            path=str(path),
        ) from error
    return normal_url(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a local file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")


class LocalFiles:
    """Paths and ``file://`` URLs."""

    def put(self, source: Path, url: str) -> None:
        """Copy, flush and rename: a reader sees the old file or the new one."""
        target = _path(url)
        if target.is_dir():
            raise StorageError(f"{target} is a folder: give the file's name as well", path=str(target))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = _beside(target)
            try:
                _copy(source, temporary)
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("writing", target, error) from error

    def fetch(self, url: str, target: Path) -> None:
        """Copy the file."""
        source = _path(url)
        try:
            _copy(source, target)
        except OSError as error:
            raise _failed("reading", source, error) from error

    def info(self, url: str) -> FileInfo | None:
        """Return name and size; None for a folder and for nothing."""
        path = _path(url)
        try:
            return FileInfo(path.name, os.fspath(url), path.stat().st_size) if path.is_file() else None
        except OSError as error:
            raise _failed("reading", path, error) from error

    def list(self, url: str) -> list[FileInfo]:
        """Walk the folder."""
        folder = _path(url)
        if not folder.is_dir():
            raise StorageError(f"no folder {folder}: nothing to list", path=str(folder))
        found = []
        for place, folders, names in os.walk(folder):
            folders.sort()
            for name in names:
                path = Path(place, name)
                if path.is_file():
                    relative = path.relative_to(folder).as_posix()
                    found.append(FileInfo(relative, join_url(os.fspath(url), relative), path.stat().st_size))
        return sorted(found, key=lambda one: one.name)

    def chunks(self, url: str, chunk_bytes: int) -> Iterator[bytes]:
        """Open the file now, read it piece by piece."""
        path = _path(url)
        try:
            stream = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise _failed("reading", path, error) from error
        return read_chunks(stream, chunk_bytes)

    def remove(self, url: str) -> None:
        """Unlink the file."""
        path = _path(url)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("removing", path, error) from error


def read_chunks(stream: BinaryIO, chunk_bytes: int) -> Iterator[bytes]:
    """Yield what is in a stream and close it at the end."""
    with stream:
        while chunk := stream.read(chunk_bytes):
            yield chunk


def _path(url: str) -> Path:
    path = local_path(url)
    if path is None:
        raise StorageError(f"{url} is no local path", url=url)
    return path


def _copy(source: Path, target: Path) -> None:
    from shutil import copyfileobj  # what it loads besides, importing Logger shall not wait for

    with open(source, "rb") as reader, open(target, "xb") as writer:
        copyfileobj(reader, writer, CHUNK_BYTES)
        writer.flush()
        os.fsync(writer.fileno())


def _failed(what: str, path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{what} {path} failed: {error.strerror or error}; check the path, its permissions and the free space",
        path=str(path),
    )


def reporting(label: str, total: int | None, step_mb: int) -> Callable[[int], None]:
    """Return a function that is told of each piece moved, and logs every ``step_mb`` megabytes.

    Args:
        label: what is moved, for people.
        total: bytes in all, where known.
        step_mb: 0 logs nothing.
    """
    done = said = 0

    def moved(size: int) -> None:
        nonlocal done, said
        done += size
        if step_mb > 0 and done - said >= step_mb << 20:
            said = done
            LOG.info("%s: %.1f of %s MB", label, done / 2**20, "?" if total is None else f"{total / 2**20:.1f}")

    return moved
