"""Files as artifacts: what a path, a pattern, a list of paths or a URL names, and folders packed into one file.

Source: ClearML's Task.upload_artifact; docs/format/v1.md, "artifacts/<name>.<n>/".
"""

from __future__ import annotations

import glob
import mimetypes
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.errors import InvalidValueError
from localtrack.records.plain import dataclass

PATH_LIMIT = 2048
URL_LIMIT = 4096
URL_SCHEMES = (
    "http://", "https://", "ftp://", "sftp://", "s3://", "gs://", "gcs://", "azure://", "az://", "abfs://", "hdfs://",
    "hf://", "file://",
)  # fmt: skip
_WILDCARDS = ("*", "?")


def named_url(value: Any) -> str | None:
    """Return the URL that a value is, or None."""
    if isinstance(value, str) and len(value) < URL_LIMIT and value.lower().startswith(URL_SCHEMES):
        return None if set(value) & set("\0\n\r") else value
    return None


@dataclass(frozen=True, slots=True)
class Several:
    """Files and folders that become one archive.

    Attributes:
        paths: what goes in, sorted.
        base: the folder that names in the archive start from; the one that all paths share without it.
    """

    paths: tuple[Path, ...]
    base: Path | None = None


def named_files(value: Any) -> Path | Several | None:
    """Return the file that a value names, the several ones, or None when it is no path at all.

    A text is a path only where something lies there, a pattern only with a folder in front; a ``pathlib`` path always
    is one.

    Raises:
        InvalidValueError: a ``pathlib`` path at which nothing lies.
    """
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, os.PathLike) for item in value):
        return Several(tuple(Path(item).expanduser() for item in value))
    if isinstance(value, os.PathLike):
        return _named_by_path(Path(value))
    if not isinstance(value, str) or not value or len(value) >= PATH_LIMIT or set(value) & set("\0\n"):
        return None
    try:
        return _there(Path(value).expanduser(), os.sep in value)
    except (OSError, RuntimeError, ValueError):  # too long for a name, or a home of nobody: a text, no path
        return None


def _named_by_path(path: Path) -> Path | Several:
    try:
        found = _there(path.expanduser(), True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidValueError(f"{path} can't be read: {error}", path=str(path)) from error
    if found is None:
        raise InvalidValueError(f"no file or folder {path}: nothing to store", path=str(path))
    return found


def _there(path: Path, may_match: bool) -> Path | Several | None:
    if path.is_file():
        return path
    if path.is_dir():
        return Several((path,), path)
    return _matching(path) if may_match else None


def _matching(path: Path) -> Several | None:
    """Return the files that a pattern names; a pattern in the last part holds in all folders below, as in ClearML."""
    wild = [any(char in part for char in _WILDCARDS) for part in path.parts]
    if not any(wild):
        return None
    base = Path(*path.parts[: wild.index(True)])
    if not base.is_dir():
        return None
    if wild.index(True) == len(path.parts) - 1 and path.name != "**":
        found = base.rglob(path.name)
    else:
        found = (Path(name) for name in glob.iglob(str(path), recursive=True))
    files = tuple(sorted({one for one in found if one.is_file()}))
    return Several(files, base) if files else None


def pack(stream: BinaryIO, members: list[tuple[Path, str]]) -> None:
    """Write a zip of files and empty folders.

    Raises:
        InvalidValueError: a name that a zip has no place for.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path, inner in members:
            try:
                archive.write(path, inner)
            except UnicodeEncodeError:
                raise InvalidValueError(
                    f"{path!s:.500} has a name that is no UTF-8, which a zip has no place for; rename it", path=inner
                ) from None


def members_of(several: Several) -> list[tuple[Path, str]]:
    """Return each file and empty folder with its name in the archive.

    Raises:
        InvalidValueError: one of them is not there.
    """
    paths = list(dict.fromkeys(path.absolute() for path in several.paths))
    for path in paths:
        if not path.exists():
            raise InvalidValueError(f"no file {path}: nothing to store", path=str(path))
    base = several.base.absolute() if several.base else Path(os.path.commonpath([path.parent for path in paths]))
    members: dict[str, Path] = {}
    for path in paths:
        for item in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if item.is_file() or (item.is_dir() and not any(item.iterdir())):
                members[item.relative_to(base).as_posix()] = item
    return [(path, inner) for inner, path in members.items()]


def listing(members: list[tuple[Path, str]], limit: int) -> str:
    """Return what an archive holds, one line a file."""
    lines = ["Archive content:"]
    left = limit
    for path, inner in members:
        lines.append(f"{inner} - {size_text(path.stat().st_size)}" if path.is_file() else f"{inner}/")
        left -= len(lines[-1]) + 1
        if left < 0:
            break
    return "\n".join(lines)


def size_text(size_bytes: int) -> str:
    """Return a size for people."""
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "KB")):
        if size_bytes >= 10**power:
            return f"{size_bytes / 10**power:.4g} {unit}"
    return f"{size_bytes} bytes"


def media_type(name: str) -> str:
    """Return the media type that a file name says."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
