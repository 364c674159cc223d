"""A store: opened, made, gated by its format number; its tasks created, found, moved and trashed.

Source: docs/format/v1.md, "store.json", "Creating a task", "The trash".
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, StoreError, StoreFormatError, TaskNotFoundError
from localtrack.fs.disk import Disk, Modes, is_listed, list_names, read_bytes, remove_files
from localtrack.records.ids import new_task_id
from localtrack.records.plain import dataclass, replace
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.documents import canonical, now
from localtrack.store.layout import StoreLayout, TaskLayout
from localtrack.store.metadata import Author, Intent
from localtrack.store.models import rescue_published

FORMAT_MAJOR = 1
FORMAT_MINOR = 0
KNOWN_FEATURES: frozenset[str] = frozenset()
ID_DIGITS = (8, 12, 16, 32)
SHARED = {"dir_mode": "2770", "file_mode": "660"}
README_TEXT = (
    "This folder is a localtrack store (format 1): plain JSON, Parquet and files, readable without any program.\n"
    "projects/ holds the tasks, one folder each, models/ models that belong to no task; index/ may be deleted at any\n"
    "time; trash/ keeps what was replaced.\n"
)

Announce = Callable[[str, int, Path], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``store.json`` says."""

    store_id: str
    format_major: int
    format_minor: int
    required_features: tuple[str, ...]
    sharing: dict[str, str]

    def modes(self) -> Modes:
        """Return the permission bits that the store asks for."""
        file_mode, dir_mode = self.sharing.get("file_mode"), self.sharing.get("dir_mode")
        return Modes(int(file_mode, 8) if file_mode else None, int(dir_mode, 8) if dir_mode else None)


class Store:
    """One store's files. Holds no cache: every call looks at the disk.

    Args:
        root: the store's folder.
        manifest: what its ``store.json`` says.
        announce: told ``(task id, generation, folder)`` before each metadata commit; the index listens here.
    """

    def __init__(self, root: Path, manifest: Manifest, announce: Announce | None = None) -> None:
        self.root = root
        self.layout = StoreLayout(root)
        self.manifest = manifest
        self.disk = Disk(self.layout.tmp, manifest.modes(), sync=True)
        self.announce: Announce = announce or (lambda task_id, generation, folder: None)

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open the store at ``root``.

        Raises:
            StoreError: there is none, or it can't be read.
            StoreFormatError: it was written by a newer major version, or needs an unknown feature.
        """
        return cls(root, read_manifest(root))

    @classmethod
    def open_or_create(cls, root: Path, *, shared: bool = False) -> Store:
        """Open the store at ``root``, making it first where there is none."""
        try:
            return cls.open(root)
        except StoreFormatError:
            raise
        except StoreError:
            if is_listed(root / "store.json"):
                return cls.open(root)  # another process has just made it, or what is there is damaged
        return cls.create(root, shared=shared)

    @classmethod
    def create(cls, root: Path, *, shared: bool = False) -> Store:
        """Make a store at ``root``; one that is there already is opened as it is.

        Raises:
            StoreError: the folder can't be made or written, or lies inside another store.
        """
        manifest = Manifest(new_task_id(), FORMAT_MAJOR, FORMAT_MINOR, (), SHARED if shared else {})
        store = cls(root, manifest)
        outer = _store_around(root)
        if outer is not None:
            raise StoreError(
                f"{root} lies inside the store {outer}: tasks of one would look like tasks of the other; choose a folder "
                f"outside, or use {outer} itself",
                path=str(root),
            )
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            for folder in (root, *(root / name for name in ("projects", "index", "queues", "agents", "trash", "tmp"))):
                store.disk.make_dirs(folder)
            store.disk.publish(_encode_manifest(manifest), store.layout.manifest)
            store.disk.publish(README_TEXT.encode(), root / "README.txt")
        except OSError as error:
            raise _unwritable(root, error) from error
        return cls.open(root)

    def task_folders(self) -> Iterator[Path]:
        """Yield every task's folder in the project tree, in no order."""
        pending = [self.layout.projects]
        while pending:
            folder = pending.pop()
            try:
                names = list_names(folder)
            except OSError:
                continue  # a folder that this user may not read hides its own tasks and no others
            if "store.json" in names:
                continue  # another store, put inside this one
            for name in names:
                path = folder / name
                if os.path.islink(path):
                    continue
                if "--" in name:
                    if "task" in list_names(path):  # another host may miss a folder that it does not list
                        yield path
                elif os.path.isdir(path):
                    pending.append(path)

    def find_folder(self, task_id: str) -> Path:
        """Return the folder of a task by looking through the tree.

        Raises:
            TaskNotFoundError: no such task; the message says where it may be.
        """
        ending = f"--{task_id[:8]}"
        found = [
            (generation, path)
            for path in self.task_folders()
            if ending in path.name and (generation := self._generation_of(path, task_id))
        ]
        if found:
            return max(found)[1]  # two, while a reset puts the new draft beside the old run
        raise TaskNotFoundError(
            f"no task {task_id} in the store {self.root}; `localtrack ls` lists the tasks, "
            "`localtrack restore` what is in the trash",
            task_id=task_id,
        )

    def _generation_of(self, folder: Path, task_id: str) -> int:
        """Return the newest generation of the task in a folder; 0 when it is another task, or can't be read."""
        try:
            record = metadata.read_latest(TaskLayout(folder))
        except (TaskNotFoundError, CorruptFileError, OSError):
            return 0
        return record.generation if record.id == task_id else 0

    def create_task(
        self,
        record: TaskRecord,
        author: Author,
        number: int = 1,
        prepare: Callable[[Path], None] = lambda folder: None,
    ) -> tuple[Path, TaskRecord]:
        """File a new task: its folder by exclusive creation, then its files, its first metadata generation last.

        Args:
            record: what the task is.
            author: who creates it.
            number: the first generation's number; a reset goes on counting.
            prepare: puts files into the folder before the metadata makes it a task.

        Returns:
            The folder and the committed record.

        Raises:
            StoreError: the store can't be written.
        """
        try:
            return self._create_task(record, author, number, prepare)
        except FileNotFoundError as error:
            raise StoreError(
                f"creating task {record.id} in {self.root} failed: {error.strerror}: {error.filename}; "
                "was the store deleted? `localtrack init` makes it anew",
                path=str(self.root),
            ) from error
        except OSError as error:
            raise _unwritable(self.root, error) from error

    def _create_task(
        self, record: TaskRecord, author: Author, number: int, prepare: Callable[[Path], None]
    ) -> tuple[Path, TaskRecord]:
        if not self.layout.manifest.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.layout.manifest))
        for digits in ID_DIGITS:
            folder = self.layout.task(record.project, record.name, record.id, digits)
            self.disk.make_dirs(folder.parent)
            if self.disk.make_dir_exclusive(folder) or not metadata.generations(TaskLayout(folder)):
                break
        layout = TaskLayout(folder)
        prepare(folder)
        self.announce(record.id, number, folder)
        self.disk.make_dirs(layout.metadata)
        committed = metadata.commit_first(self.disk, layout, record, author, number)
        self.disk.sync_dir(folder.parent)
        return folder, committed

    def update(self, folder: Path, intent: Intent, author: Author, change: str) -> TaskRecord:
        """Commit a change to the task in ``folder``; see :func:`localtrack.store.metadata.commit`.

        Raises:
            StoreError: the store can't be written.
        """
        layout = TaskLayout(folder)

        task_id = ""

        def noted(record: TaskRecord) -> TaskRecord:
            nonlocal task_id
            task_id = record.id
            return intent(record)

        def announce(number: int) -> None:
            self.announce(task_id, number, folder)

        try:
            return metadata.commit(self.disk, layout, noted, author, change, announce)
        except StoreError:
            raise
        except OSError as error:
            raise _unwritable(folder, error) from error

    def move_task(self, folder: Path, record: TaskRecord) -> Path:
        """Bring a task's folder to where its project and name say; returns where it is now.

        The metadata is the truth: a folder that can't be moved stays, and is found there.
        """
        target = self.layout.task(record.project, record.name, record.id, len(folder.name.rpartition("--")[2]))
        if target == folder:
            return folder
        self.disk.make_dirs(target.parent)
        self.announce(record.id, record.generation, target)
        return target if self.disk.move(folder, target) else folder

    def trash_task(self, folder: Path, record: TaskRecord, reason: str, by: str, *, announce: bool = True) -> str:
        """Move a task's folder to the trash, whole; its published models stay, in the store's own ``models/``.

        Args:
            folder: where it lies.
            record: what it is.
            reason: why, for people.
            by: who asked.
            announce: whether the index is told; not when a newer folder of the same task is there already.

        Returns:
            The name of the trash entry, for :meth:`restore_entry`.

        Raises:
            StoreError: the folder can't be moved; nothing has changed then.
        """
        entry = self.layout.trash / f"{folder.name}.{os.urandom(4).hex()}"
        note = {
            "schema": "localtrack/trash/1", "id": record.id, "name": record.name, "project": record.project,
            "reason": reason, "by": by, "at": now(), "folder": str(folder.relative_to(self.root)),
            "generation": record.generation,
        }  # fmt: skip
        try:
            rescue_published(self.disk, self.layout, folder)
            self.disk.make_dirs(entry)
            self.disk.publish(canonical(note), entry / "trash.json")
            if announce:
                self.announce(record.id, record.generation + 1, folder)
            moved = self.disk.move(folder, entry / "task-folder")
        except OSError as error:
            self._drop_entry(entry)
            raise _unwritable(folder, error) from error
        if not moved:
            self._drop_entry(entry)
            raise StoreError(f"task {record.id} could not be moved to the trash: {folder} is gone", path=str(folder))
        return entry.name

    def _drop_entry(self, entry: Path) -> None:
        """Remove a trash entry that holds no task (any more); what can't be removed is left to ``gc``."""
        if not (entry / "task-folder").exists():
            remove_files([entry / "trash.json"])
            try:
                entry.rmdir()
            except OSError:
                pass

    def trash_entries(self) -> list[dict[str, Any]]:
        """Return the notes of all trash entries, newest first; each with ``entry``, its name."""
        notes = []
        for name in list_names(self.layout.trash):
            try:
                note = json.loads(read_bytes(self.layout.trash / name / "trash.json", 1 << 20))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(note, dict) and "task-folder" in list_names(self.layout.trash / name):
                notes.append({**note, "entry": name})
        return sorted(notes, key=lambda note: str(note.get("at", "")), reverse=True)

    def restore_entry(self, entry: str, author: Author) -> Path:
        """Bring a trash entry back to the tree; under a new id where the old one is in use again.

        Returns:
            The folder of the restored task.

        Raises:
            StoreError: no such entry.
        """
        source = self.layout.trash / entry / "task-folder"
        if not is_listed(source):
            raise StoreError(f"no trash entry {entry}; `localtrack restore` lists them", path=str(source))
        record = metadata.read_latest(TaskLayout(source))
        try:
            self.find_folder(record.id)
        except TaskNotFoundError:
            pass
        else:
            record = self._rename_entry(source, record, author)
        try:
            for digits in ID_DIGITS:
                folder = self.layout.task(record.project, record.name, record.id, digits)
                self.disk.make_dirs(folder.parent)
                self.announce(record.id, record.generation, folder)
                if self.disk.move(source, folder):
                    self._drop_entry(self.layout.trash / entry)
                    return folder
        except OSError as error:
            raise _unwritable(folder, error) from error
        raise StoreError(f"restoring {entry} to {folder} failed: that place is taken", path=str(folder))

    def _rename_entry(self, source: Path, record: TaskRecord, author: Author) -> TaskRecord:
        fresh = replace(record, id=new_task_id(), name=f"{record.name} (restored)")
        return metadata.commit(
            self.disk, TaskLayout(source), lambda _: fresh, author, "restored under a new id", lambda number: None
        )


def _store_around(root: Path) -> Path | None:
    """Return the store in whose folders ``root`` would lie."""
    for folder in root.absolute().parents:
        if os.path.isfile(folder / "store.json") and os.path.isdir(folder / "projects"):
            return folder
    return None


def read_manifest(root: Path) -> Manifest:
    """Read and gate ``store.json``.

    Raises:
        StoreError: there is none, or it can't be read.
        StoreFormatError: a newer major format or an unknown required feature.
    """
    path = root / "store.json"
    try:
        body = json.loads(read_bytes(path, 1 << 20))
        major, minor = int(body["format"]["major"]), int(body["format"]["minor"])
        store_id, sharing = str(body["id"]), dict(body.get("sharing", {}))
        features = tuple(str(name) for name in body.get("required_features", ()))
        manifest = Manifest(store_id, major, minor, features, sharing)
        manifest.modes()
    except FileNotFoundError:
        raise StoreError(f"no store at {root}: `localtrack init {root}` makes one", path=str(root)) from None
    except OSError as error:
        raise StoreError(f"reading {path} failed: {error.strerror}; check its permissions", path=str(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreError(
            f"{path} is damaged; put a store.json of format {FORMAT_MAJOR} back (`localtrack init` elsewhere shows one)",
            path=str(path),
        ) from None
    unknown = sorted(set(features) - KNOWN_FEATURES)
    if major > FORMAT_MAJOR or unknown:
        what = f"format {major}.{minor}" if major > FORMAT_MAJOR else f"the feature {unknown[0]!r}"
        raise StoreFormatError(
            f"the store {root} needs {what}; this localtrack knows format {FORMAT_MAJOR}: install a newer localtrack",
            path=str(root),
        )
    return manifest


def _encode_manifest(manifest: Manifest) -> bytes:
    body = {
        "schema": "localtrack/store/1",
        "format": {"major": manifest.format_major, "minor": manifest.format_minor},
        "id": manifest.store_id,
        "required_features": list(manifest.required_features),
        "sharing": manifest.sharing,
        "created": now(),
    }
    return json.dumps(body, indent=1).encode() + b"\n"


def _unwritable(path: Path, error: OSError) -> StoreError:
    hints = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "your quota is used up: free some space",
        errno.EROFS: "the file system is read-only: set LOCALTRACK_ROOT to a folder that you can write",
        errno.EACCES: f"no permission (you are uid {os.getuid()}): ask its owner, or set LOCALTRACK_ROOT elsewhere",
        errno.EPERM: f"no permission (you are uid {os.getuid()}): ask its owner, or set LOCALTRACK_ROOT elsewhere",
    }
    hint = hints.get(error.errno or 0, "check the folder, or set LOCALTRACK_ROOT elsewhere")
    return StoreError(f"writing to {error.filename or path} failed: {error.strerror}; {hint}", path=str(path))
