"""Saved files, held on to until they are copied: a script may delete, rename or replace them as soon as it has saved them.

Nothing is copied in the script's own time. A link to the file is kept in the task's folder; where that is another file system,
the file is kept open.

Source: docs/reference/parsers-and-models.md, "Model files".
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

FILES_LIMIT = 10_000
_OPEN_FILES = "/proc/self/fd/"
_remote: dict[int, bool] = {}


def keep(path: str, place: Path, token: str, files: Sequence[str] = ()) -> str:
    """Return a path by which a file or folder can be read as it was saved; empty where that can't be had.

    Args:
        path: what was saved, of whatever kind.
        place: the folder for links; made where it is missing.
        token: tells this link from others.
        files: further ones that belong to a file, in its folder or below it: the path is that of a folder with all then, each
            where it is below the file's own.
    """
    real = os.path.realpath(path)
    target = str(place / f".{os.getpid()}-{token}-{os.urandom(4).hex()}")
    is_folder = os.path.isdir(real) or bool(files)
    try:
        place.mkdir(exist_ok=True)
        if files:
            _link_files((path, *files), os.path.dirname(path), target)
        elif is_folder:
            _link_folder(real, target)
        else:
            os.link(real, target)
    except OSError:  # another file system
        release(target)
        return "" if is_folder else _opened(real)
    return target


def release(path: str) -> None:
    """Let go of what :func:`keep` returned."""
    if path.startswith(_OPEN_FILES):
        with contextlib.suppress(OSError, ValueError):
            os.close(int(path.removeprefix(_OPEN_FILES)))
    elif path:
        try:
            os.unlink(path)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)


def _link_folder(folder: str, target: str) -> None:
    count = 0
    for parent, _, names in os.walk(folder):
        beside = os.path.join(target, os.path.relpath(parent, folder))
        os.makedirs(beside)
        for name in names:
            file = os.path.realpath(os.path.join(parent, name))
            count += 1
            if count > FILES_LIMIT:
                raise OSError(f"more than {FILES_LIMIT} files in {folder}")
            if os.path.isfile(file):
                os.link(file, os.path.join(beside, name))


def _link_files(files: Iterable[str], base: str, target: str) -> None:
    for file in files:
        link = os.path.join(target, os.path.relpath(file, base))
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.link(os.path.realpath(file), link)


def _opened(path: str) -> str:
    """Open a file of a local disk; on a network file system, one that is open can't be deleted for good."""
    if not os.path.isdir(_OPEN_FILES) or _is_remote(os.path.dirname(path)):
        return ""
    try:
        return f"{_OPEN_FILES}{os.open(path, os.O_RDONLY | os.O_CLOEXEC)}"
    except OSError:
        return ""


def _is_remote(folder: str) -> bool:
    device = os.stat(folder).st_dev
    if device not in _remote:
        from localtrack.fs.probe import find_mount

        _remote[device] = find_mount(Path(folder)).is_network is not False
    return _remote[device]
