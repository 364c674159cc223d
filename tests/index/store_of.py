"""Small stores for the tests of the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from localtrack.index.search import Index
from localtrack.records.ids import new_task_id
from localtrack.records.task import TaskRecord
from localtrack.store.metadata import Author
from localtrack.store.root import Store

AUTHOR = Author("ada", "host", 1)


def open_indexed(root: Path) -> tuple[Store, Index]:
    """Return a store whose commits its index hears of."""
    store = Store.open_or_create(root)
    store.disk.sync = False
    index = Index(store)
    store.announce = index.announce
    return store, index


def add(store: Store, name: str = "run", project: str = "p", **values: Any) -> tuple[Path, TaskRecord]:
    """File a task."""
    return store.create_task(TaskRecord(id=new_task_id(), name=name, project=project, **values), AUTHOR)


def change(store: Store, folder: Path, **values: Any) -> TaskRecord:
    """Commit a change to a task."""
    return store.update(folder, lambda record: replace(record, **values), AUTHOR, "changed")


def number(value: float) -> dict[str, Any]:
    """Return a stored parameter."""
    return {"value": value, "type": "float"}
