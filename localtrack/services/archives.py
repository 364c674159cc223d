"""Archives unpacked with care: zip and tar files that anybody may have made.

Only regular files and folders come out, all of them below the target, or nothing does. The members are judged before
a byte of theirs is written where the archive lists them first (zip), else as they come (tar).

Source: docs/format/v1.md, "artifacts/<name>.<n>/"; Python's ``zipfile`` and ``tarfile``.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from localtrack.errors import CorruptFileError, StorageError
from localtrack.records.plain import dataclass

__all__ = ["TRUSTING", "Limits", "extract_archive", "is_archive_name"]

CHUNK_BYTES = 1 << 20
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, RuntimeError,
    ValueError, OverflowError, AttributeError, IndexError, KeyError,
)  # fmt: skip
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        total_bytes: size of all files together.
        members: number of files and folders.
        ratio: content bytes for each byte of the archive; infinite for no limit.
        ratio_from_bytes: content up to which the ratio is not looked at.
        name_bytes: length of one member's path.
        portable: whether names are refused that mean something else on other systems: two that differ in case or
            Unicode form alone, backslashes, drive letters.
    """

    total_bytes: int = 64 << 30
    members: int = 1_000_000
    ratio: float = 200.0
    ratio_from_bytes: int = 256 << 20
    name_bytes: int = 4000
    portable: bool = True


TRUSTING = Limits(ratio=math.inf, portable=False)
"""For an archive that this user packed: a gigabyte of zeros and ``Makefile`` beside ``makefile`` are no attack."""


def is_archive_name(name: str) -> bool:
    """Tell whether a file name says that :func:`extract_archive` takes it."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def extract_archive(path: Path, target: Path, limits: Limits | None = None) -> Path:
    """Unpack a zip or tar file, compressed or not, into ``target``: all of it or nothing.

    The kind is told by the content, not by the name. The bit that makes a file executable is kept, other
    permissions, owners and times are not.

    Args:
        path: the archive.
        target: a folder that is empty or does not exist; its parents are made.
        limits: what it may unpack to.

    Returns:
        ``target``.

    Raises:
        CorruptFileError: it is damaged, too large, or holds a member that must not be unpacked; names both.
        StorageError: it can't be read, the target is taken, or the disk takes no more.
    """
    limits = limits or Limits()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        temporary.mkdir(mode=0o700)
        _Unpacking(path, temporary, limits).run()
        os.rename(temporary, target)
    except _DAMAGE as error:
        if isinstance(error, CorruptFileError):
            raise
        raise CorruptFileError(
            f"{path} is a damaged archive: {error}; restore it from a copy", path=str(path)
        ) from error
    except OSError as error:
        raise StorageError(
            f"unpacking {path} into {target} failed: {error.strerror or error}; check the path, that the folder is empty, "
            "and the free space",
            path=str(path),
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


class _Unpacking:
    """One archive on its way into one empty folder."""

    def __init__(self, path: Path, folder: Path, limits: Limits) -> None:
        self.path = path
        self.folder = folder
        self.limits = limits
        self.archive_bytes = path.stat().st_size
        self.total = 0
        self.seen: dict[str, bool] = {}
        self.count = 0

    def run(self) -> None:
        if zipfile.is_zipfile(self.path):
            with zipfile.ZipFile(self.path) as archive:
                self._zip(archive)
            return
        with _decompressed(self.path) as stream:
            try:
                opened = tarfile.open(fileobj=_ShortReads(stream), mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
            except tarfile.ReadError:
                raise self._refuse("it is neither a zip nor a tar file, or damaged") from None
            with opened:
                self._tar(opened)

    def _zip(self, archive: zipfile.ZipFile) -> None:
        members = archive.infolist()
        if len(members) > self.limits.members:
            raise self._refuse(f"it holds more than {self.limits.members} members, too large to unpack")
        self._check_total(sum(member.file_size for member in members))
        free = shutil.disk_usage(self.folder).free
        if sum(member.file_size for member in members) > free:
            raise OSError(28, f"its content needs more than the {free} bytes that are free")
        for member in members:
            self._check_kind_of_zip(member)
        places = [(member, self._place(member.orig_filename, member.is_dir())) for member in members]
        for member, place in places:
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            with archive.open(member) as reader:
                self._write(reader, place, member.file_size, bool(member.external_attr >> 16 & 0o100))

    def _check_kind_of_zip(self, member: zipfile.ZipInfo) -> None:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > member.is_dir():
            raise self._refuse(f"member {member.filename!r} is no regular file")

    def _tar(self, archive: tarfile.TarFile) -> None:
        for member in self._members_of(archive):
            if not (member.isreg() or member.isdir()):
                raise self._refuse(f"member {member.name!r} is no regular file")
            if member.isdir() and not _parts(member.name):
                continue  # "./", the folder itself
            place = self._place(member.name, member.isdir())
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            self._check_total(self.total + member.size)
            reader = archive.extractfile(member)
            assert reader is not None
            with reader:
                self._write(reader, place, member.size, bool(member.mode & 0o100))

    def _members_of(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        while (member := archive.next()) is not None:
            setattr(archive, "members", [])  # noqa: B010 - else it keeps them all
            self.count += 1
            if self.count > self.limits.members:
                raise self._refuse(f"it holds more than {self.limits.members} members, too large to unpack")
            yield member

    def _place(self, name: str, is_folder: bool) -> Path:
        """Return where a member goes, refusing names that lead out, come twice, or are a file and a folder at once."""
        parts = _parts(name)
        foreign = self.limits.portable and ("\\" in name or _DRIVE.match(name))
        if name.startswith("/") or ".." in parts or "\0" in name or foreign or not parts:
            raise self._refuse(f"member {name!r} leads out of its folder")
        if len(os.fsencode(name)) > self.limits.name_bytes:
            raise self._refuse(f"member {name[:80]!r}... has too long a name")
        for end in range(1, len(parts)):
            self._claim("/".join(parts[:end]), name, True)
        self._claim("/".join(parts), name, is_folder)
        return self.folder.joinpath(*parts)

    def _claim(self, inner: str, name: str, is_folder: bool) -> None:
        known = self.seen.get(inner)
        if known is None and self.limits.portable:
            key = "\0" + unicodedata.normalize("NFC", unicodedata.normalize("NFC", inner).casefold())
            if key in self.seen:
                raise self._refuse(f"member {name!r} differs from another one in case alone")
            self.seen[key] = is_folder
        if known is not None and not (known and is_folder):
            raise self._refuse(f"member {name!r} comes twice, or is a file and a folder at once")
        self.seen[inner] = is_folder

    def _write(self, reader: IO[bytes], place: Path, size: int, executable: bool) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        left = size
        with open(os.open(place, flags, 0o777 if executable else 0o666), "wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                left -= len(chunk)
                self._check_total(self.total + len(chunk))
                self.total += len(chunk)
                if left < 0:
                    break
                writer.write(chunk)
        if left:
            raise self._refuse(f"member {place.name!r} is not as long as it says")

    def _check_total(self, total: int) -> None:
        limits = self.limits
        if total > limits.total_bytes:
            raise self._refuse(f"its content is more than {limits.total_bytes} bytes, too large to unpack")
        if total > limits.ratio_from_bytes and total > limits.ratio * max(1, self.archive_bytes):
            raise self._refuse(f"its content is more than {limits.ratio:g} times its size, as that of a bomb")

    def _refuse(self, what: str) -> CorruptFileError:
        return CorruptFileError(f"{self.path}: {what}; nothing was unpacked", path=str(self.path))


class _ShortReads:
    """A stream that gives no more than a name or a chunk at once: a tar header may ask for gigabytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        """Read like any stream, but refuse to read much."""
        if not 0 <= size <= 8 * CHUNK_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._stream.read(size)


def _decompressed(path: Path) -> Any:
    with open(path, "rb") as stream:
        head = stream.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    if head.startswith(b"BZh"):
        return bz2.open(path, "rb")
    if head.startswith(b"\xfd7zXZ"):
        return lzma.open(path, "rb")
    return open(path, "rb")


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]
