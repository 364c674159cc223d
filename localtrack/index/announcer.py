"""Telling the index what changes: all that a tracked process needs of it, light to import.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

import os
from pathlib import Path

from localtrack.errors import CorruptFileError, LocaltrackError, TaskNotFoundError
from localtrack.fs.disk import list_names, read_bytes, remove_files
from localtrack.index.deltas import write_delta
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store

COMMIT_FOLD_DELTAS = 200
COMMIT_LOOK_EVERY = 16


def first_look() -> int:
    """Return after how many commits a writer looks at the index first: another number for each of many that start.

    The system gives it, as the numbers of the script's own generator must not depend on us.
    """
    return 1 + os.urandom(1)[0] % COMMIT_LOOK_EVERY


class Announcer:
    """Writes deltas and hints for one store.

    Args:
        store: the opened store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.layout.index
        self.deltas = self.folder / "deltas"
        self.where = self.folder / "where"
        self._hinted: dict[str, Path] = {}
        self._until_look = first_look()

    def announce(self, task_id: str, generation: int, folder: Path) -> None:
        """Announce that a task changes, before the change is committed.

        Raises:
            OSError: the disk is full or can't be written; the commit would fail as well.
        """
        write_delta(self.store.disk, self.deltas, self.store.root, task_id, generation, folder)
        if self._hinted.get(task_id) != folder:
            self._hint(task_id, folder)
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = COMMIT_LOOK_EVERY
            self.fold_if_many()

    def hinted(self, task_id: str) -> Path | None:
        """Return the folder where a task was last seen, if it is still there."""
        hint = self._read_hint(task_id)
        return hint if hint is not None and self._holds(hint, task_id) else None

    def held(self, task_id: str) -> tuple[Path, TaskRecord] | None:
        """Return the folder where a task was last seen and what is in it now; None where that is not the task, whole."""
        hint = self._read_hint(task_id)
        try:
            record = metadata.read_latest(TaskLayout(hint)) if hint is not None else None
        except (LocaltrackError, OSError):
            return None
        return (hint, record) if hint is not None and record is not None and record.id == task_id else None

    def fold_if_many(self) -> None:
        """Fold the deltas when there are many; the machinery for it is imported only then."""
        if len(list_names(self.deltas)) > COMMIT_FOLD_DELTAS:
            from localtrack.index.search import Index

            Index(self.store).fold_if_many()

    def _hint_path(self, task_id: str) -> Path | None:
        sound = task_id and task_id == os.path.basename(task_id) and not task_id.startswith(".") and "\0" not in task_id
        return self.where / task_id[:2] / task_id if sound and len(task_id) < 200 else None

    def _hint(self, task_id: str, folder: Path) -> None:
        """Note where a task lies. Only a hint: a failure is nobody's concern."""
        path = self._hint_path(task_id)
        if path is None:
            return
        content = os.fsencode(os.path.relpath(folder, self.store.root))
        try:
            if not path.parent.is_dir():
                for parent in (self.where, path.parent):
                    self.store.disk.make_dir(parent)
            if not self.store.disk.create_small(content, path) and self._read_hint(task_id) != folder:
                remove_files([path])
                self.store.disk.create_small(content, path)
        except OSError:
            return
        if len(self._hinted) > 10_000:
            self._hinted.clear()
        self._hinted[task_id] = folder

    def _read_hint(self, task_id: str) -> Path | None:
        path = self._hint_path(task_id)
        if path is None:
            return None
        try:
            text = os.fsdecode(read_bytes(path, 4096))
        except OSError:
            return None
        parts = text.split(os.sep)
        sound = parts[0] == "projects" and not {"", ".", ".."} & set(parts) and "\0" not in text
        return self.store.root / text if sound else None

    def _holds(self, folder: Path, task_id: str) -> bool:
        """Tell whether a folder holds a task; one that is damaged counts where its name says so."""
        try:
            return metadata.read_latest(TaskLayout(folder)).id == task_id
        except CorruptFileError:
            return task_id[:8] == folder.name.rpartition("--")[2][:8]
        except (TaskNotFoundError, OSError):
            return False
