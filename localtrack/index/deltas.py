"""Announcements: one small immutable file a change, written before the change is committed.

``<task id>.<generation>.<six random digits>`` holds the task's folder, relative to the root; an ``m`` before the
digits says that the folder was not there yet when it was announced: the task is about to be moved there. A delta only
ever means "read this task again", so a torn one loses nothing. Each announcer has its own file, so that removing one
never takes away what another has just announced.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from localtrack.fs.disk import Disk, list_names, read_bytes
from localtrack.records.plain import dataclass

PENDING_LIMIT_S = 24 * 3600.0
_NAME = r"(?P<id>.+)\.(?P<generation>\d+)\.(?P<move>m?)(?P<digits>[0-9a-f]{6})"
_CONTENT_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Delta:
    """One announcement.

    Attributes:
        path: its file.
        task_id: the task that changes.
        generation: the metadata generation that is about to be committed.
        is_move: the folder was not there yet.
        folder: the task's folder relative to the root; empty when the content is torn.
    """

    path: Path
    task_id: str
    generation: int
    is_move: bool
    folder: str

    def is_settled(self, generation: int, folder: str) -> bool:
        """Tell whether what it announces has happened, when a task of this generation lies in this folder."""
        if self.is_move:
            return generation >= self.generation and folder == self.folder
        return generation >= self.generation


def write_delta(disk: Disk, deltas: Path, root: Path, task_id: str, generation: int, folder: Path) -> None:
    """Announce a change; the folder of deltas is made anew when it is gone.

    Raises:
        OSError: the disk is full or can't be written.
    """
    mark = "" if folder.is_dir() else "m"
    content = os.path.relpath(folder, root).replace(os.sep, "/").encode("utf-8", "surrogateescape")
    for attempt in range(3):
        path = deltas / f"{task_id}.{generation}.{mark}{os.urandom(3).hex()}"
        try:
            if disk.create_small(content, path):
                return
        except (FileNotFoundError, NotADirectoryError):
            if attempt == 2:
                raise
            make_folder(disk, deltas)
    raise FileExistsError(f"no free name for a delta in {deltas}")


def make_folder(disk: Disk, folder: Path) -> None:
    """Make a folder of the index, in place of a file that has taken its name; a store that is gone stays gone."""
    for path in (folder.parent, folder):
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
        except OSError:
            continue
    for path in (folder.parent, folder):
        disk.make_dir(path)


def read_deltas(deltas: Path, known: Collection[str] = (), tops: Collection[str] = ("projects",)) -> list[Delta]:
    """Return all announcements, in no order, without those whose file names are known already.

    Args:
        deltas: their folder.
        known: file names to leave out.
        tops: first components that a folder may have.
    """
    found = []
    for name in list_names(deltas):
        match = re.fullmatch(_NAME, name)
        if match is None or name in known:
            continue
        path = deltas / name
        try:
            folder = read_bytes(path, _CONTENT_LIMIT_BYTES).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            continue  # folded meanwhile: the checkpoint that is read next has it
        except OSError:
            folder = ""
        found.append(Delta(path, match["id"], int(match["generation"]), bool(match["move"]), _inside(folder, tops)))
    return found


def _inside(folder: str, tops: Collection[str]) -> str:
    """Return a relative folder; empty for one that would lead out of the store or out of the tree."""
    parts = folder.split("/")
    sound = parts[0] in tops and "--" in parts[-1] and not {"", ".", ".."} & set(parts) and "\0" not in folder
    return folder if sound else ""


def older_than(disk: Disk, paths: list[Path], age_s: float) -> set[Path]:
    """Return those files that the file server stamped so long ago, by its own clock: that of a fresh probe file."""
    if not paths:
        return set()
    probe = disk.new_tmp_name()
    try:
        disk.create_small(b"", probe)
        moment = probe.stat().st_mtime
    except OSError:
        return set()
    finally:
        probe.unlink(missing_ok=True)
    old = set()
    for path in paths:
        try:
            if moment - path.lstat().st_mtime > age_s:
                old.add(path)
        except OSError:
            continue
    return old
