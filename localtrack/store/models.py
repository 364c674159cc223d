"""Models on disk: one folder each, in its task's folder or, without one, in the store's own ``models/``.

Source: docs/format/v1.md, "models/<name>--<id8>/" and "model/<generation>.json".
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, ModelNotFoundError, StoreError
from localtrack.fs.disk import Disk, is_listed, list_names, read_bytes, remove_files
from localtrack.records.ids import task_folder_name
from localtrack.records.model import ModelRecord
from localtrack.store import generations as log
from localtrack.store.documents import canonical, now
from localtrack.store.generations import Author, LogKind
from localtrack.store.layout import ModelLayout, StoreLayout, TaskLayout

MODEL: LogKind[ModelRecord] = LogKind("model", ModelRecord.from_json, ModelNotFoundError)
KEEP_GENERATIONS = 64
KEEP_AGE_S = 3600.0
ID_DIGITS = (8, 12, 16, 32)
TRASHED = "model-folder"

Intent = Callable[[ModelRecord], ModelRecord]


def read_model(folder: Path) -> ModelRecord:
    """Return the newest whole record of a model.

    Raises:
        ModelNotFoundError: no model there.
        CorruptFileError: there is metadata, and none of it is whole.
        StoreError: it can't be read now.
    """
    return log.read_newest(MODEL, ModelLayout(folder))[0]


def create_model(
    disk: Disk, parent: Path, record: ModelRecord, author: Author, announce: Callable[[int, Path], None]
) -> tuple[Path, ModelRecord]:
    """Make a model's folder below ``parent`` exclusively and commit its first generation.

    Args:
        disk: writes there.
        parent: ``models/`` of a task, whose folder must be there, or of the store.
        record: what the model is.
        author: who makes it.
        announce: told generation and folder before the commit.

    Raises:
        OSError: the disk takes no more, or the task's folder is gone.
    """
    disk.make_dir(parent)
    for digits in ID_DIGITS:
        folder = parent / task_folder_name(record.name, record.id, digits)
        if disk.make_dir_exclusive(folder) or not log.generations(ModelLayout(folder)):
            break
    disk.make_dir(ModelLayout(folder).metadata)
    announce(1, folder)
    committed = log.commit_first(MODEL, disk, ModelLayout(folder), record, author, 1, now())
    disk.sync_dir(parent)
    return folder, committed


def update_model(
    disk: Disk,
    folder: Path,
    intent: Intent,
    author: Author,
    change: str,
    announce: Callable[[int, Path], None],
) -> ModelRecord:
    """Commit a change to a model; see :func:`localtrack.store.generations.commit`.

    Raises:
        ModelNotFoundError: no model there.
        StoreError: the store can't be written.
    """
    layout = ModelLayout(folder)
    record = log.commit(
        MODEL, disk, layout, intent, author, change, lambda number: announce(number, folder), lambda: now()
    )
    if record.generation and record.generation % KEEP_GENERATIONS == 0:
        try:
            remove_files(log.stale_generations(layout, KEEP_GENERATIONS, KEEP_AGE_S))
        except OSError:
            pass  # the commit has succeeded all the same
    return record


def newest_generation(folder: Path) -> int:
    """Return the number of a model's newest generation; 0 when there is no model."""
    return max(log.generations(ModelLayout(folder)), default=0)


def model_folders(parent: Path) -> list[Path]:
    """Return the folders of models in a ``models/`` folder, sorted; links are not followed."""
    return [
        path
        for name in sorted(list_names(parent))
        if "--" in name and not (path := parent / name).is_symlink() and "model" in list_names(path)
    ]


def find_folder(parent: Path, model_id: str) -> Path | None:
    """Return the folder of a model in a ``models/`` folder; None when it is not there."""
    for folder in model_folders(parent):
        if not model_id.startswith(folder.name.rpartition("--")[2]):
            continue
        try:
            if read_model(folder).id == model_id:
                return folder
        except (ModelNotFoundError, CorruptFileError, OSError):
            continue
    return None


def rescue_published(disk: Disk, store: StoreLayout, task_folder: Path) -> list[Path]:
    """Move a task's published models out of its folder, which is about to go to the trash; return where they are now."""
    moved = []
    for folder in model_folders(TaskLayout(task_folder).models):
        try:
            record = read_model(folder)
        except (ModelNotFoundError, CorruptFileError, OSError):
            continue
        if not record.published:
            continue
        disk.make_dirs(store.models)
        for digits in ID_DIGITS:
            target = store.models / task_folder_name(record.name, record.id, digits)
            if disk.move(folder, target):
                moved.append(target)
                break
        else:
            raise StoreError(f"the published model {record.id} could not be moved to {store.models}", path=str(folder))
    return moved


def trash_model(disk: Disk, store: StoreLayout, folder: Path, record: ModelRecord, by: str, called: str = "") -> str:
    """Move a model's folder to the trash, whole; return the name of the entry.

    Args:
        disk: writes there.
        store: the store's paths.
        folder: where the model lies.
        record: what it is.
        by: who removes it.
        called: what its task called it.

    Raises:
        StoreError: the folder can't be moved; nothing has changed then.
    """
    entry = store.trash / f"{folder.name}.{os.urandom(4).hex()}"
    note = {
        "schema": "localtrack/trash/1", "kind": "model", "id": record.id, "name": record.name,
        "project": record.project, "task": record.task, "reason": "model removed", "by": by, "at": now(),
        "folder": folder.relative_to(store.root).as_posix(), "generation": record.generation, "called": called,
    }  # fmt: skip
    disk.make_dirs(entry)
    disk.publish(canonical(note), entry / "trash.json")
    if not disk.move(folder, entry / TRASHED):
        remove_files([entry / "trash.json"])
        entry.rmdir()
        raise StoreError(f"model {record.id} could not be moved to the trash: {folder} is gone", path=str(folder))
    return entry.name


def trashed_models(store: StoreLayout) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield name, model folder and note of each model in the trash, in no order."""
    for name in list_names(store.trash):
        try:
            note = json.loads(read_bytes(store.trash / name / "trash.json", 1 << 20))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(note, dict) and is_listed(store.trash / name / TRASHED):
            yield name, store.trash / name / TRASHED, note


def restore_model(disk: Disk, store: StoreLayout, entry: str, record: ModelRecord, parent: Path) -> Path:
    """Bring a model back from the trash into a ``models/`` folder; return where it is.

    Raises:
        StoreError: its place is taken.
    """
    source = store.trash / entry / TRASHED
    disk.make_dirs(parent)
    for digits in ID_DIGITS:
        folder = parent / task_folder_name(record.name, record.id, digits)
        if disk.move(source, folder):
            remove_files([store.trash / entry / "trash.json"])
            try:
                source.parent.rmdir()
            except OSError:
                pass
            return folder
    raise StoreError(f"restoring model {record.id} to {folder} failed: that place is taken", path=str(folder))
