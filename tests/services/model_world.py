"""Tasks with models, made by the services alone."""

from __future__ import annotations

from pathlib import Path

from localtrack.records.model import ModelRecord
from localtrack.services import outputs, tasks
from localtrack.services.context import StoreContext
from localtrack.services.outputs import TaskAccess, Weights


def access_of(ctx: StoreContext, task_id: str) -> TaskAccess:
    """Return a task that no process runs, as its models need it."""
    return TaskAccess(
        ctx,
        task_id,
        lambda: tasks.folder_of(ctx, task_id),
        lambda: tasks.read(ctx, task_id),
        lambda change, label: tasks.edit(ctx, task_id, change, label, checked=False),
    )


def save(ctx: StoreContext, task_id: str, name: str, data: bytes = b"weights", **fields: object) -> str:
    """Store a model of a task and return its id."""
    source = Path.cwd() / "net.pt"
    source.write_bytes(data)
    draft = ModelRecord(id="", name=name, **fields)  # type: ignore[arg-type]
    access = access_of(ctx, task_id)
    filed = outputs.file_model(access, name, draft)
    return outputs.put_weights(access, name, filed, Weights(source, "", "net.pt", ".", 1, False, False, False))[1].id
