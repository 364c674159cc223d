"""Which task ``Task.init`` may take up again: a hint of the last one with that project, name and type.

The hint lies in the index, apart for each host and user. It is a cache: a missing, stale or foreign one means a new
task, silently.

Source: ClearML's reuse rule, measured; what it would overwrite goes to the trash here.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from localtrack.errors import LocaltrackError
from localtrack.fs.disk import list_names
from localtrack.records.digests import hex_sha256
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import tasks
from localtrack.services.code import DIFF_ARTIFACT
from localtrack.services.context import StoreContext, current_user, host_name
from localtrack.services.liveness import owner_alive
from localtrack.store.layout import TaskLayout
from localtrack.store.writers import read_writer

WRITERS_LIMIT = 256  # of the newest: a data loader leaves hundreds, and the hint is no more than that
NO_REUSE_VARIABLE = "LOCALTRACK_TASK_NO_REUSE"


def remember(ctx: StoreContext, record: TaskRecord) -> None:
    """Note the last task of its project, name and type; a hint that can't be written is no loss."""
    path = _hint(ctx, record.project, record.name, record.type)
    try:
        if not path.parent.is_dir():
            ctx.store.disk.make_dir(path.parent)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"id": record.id, "time": time.time()}))
        os.replace(temporary, path)
    except OSError:
        pass


def last_task(ctx: StoreContext, project: str, name: str, task_type: str) -> str:
    """Return the id in the hint for that project, name and type, if it is young enough; else ``""``."""
    try:
        hint = json.loads(_hint(ctx, project, name, task_type).read_text())
        age_s = time.time() - float(hint["time"])
        return str(hint["id"]) if age_s <= ctx.settings.reuse_hours * 3600.0 else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def may_reuse(ctx: StoreContext, task_id: str, project: str, name: str, task_type: str) -> bool:
    """Tell whether a task may be reset and taken up again: same triple, alone, without artifacts or models."""
    try:
        folder, record = tasks.find(ctx, task_id)
    except (LocaltrackError, OSError):
        return False
    return (
        (record.project, record.name, record.type) == (project, name, task_type)
        and record.state not in (Status.PUBLISHED, Status.CLOSED, Status.IN_PROGRESS, Status.QUEUED)
        and "development" in record.system_tags
        and "archived" not in record.system_tags
        and not set(record.artifacts) - {DIFF_ARTIFACT}
        and not record.output_models
        and not _is_written(folder)
    )


def _is_written(folder: Path) -> bool:
    """Tell whether a process still writes into an ended task: a child, or a rank that ends after rank zero."""
    layout = TaskLayout(folder)
    for writer in sorted(list_names(layout.writers), reverse=True)[:WRITERS_LIMIT]:
        identity = read_writer(layout, writer)
        if identity.get("pid") != os.getpid() and identity and owner_alive(identity) is True:
            return True
    return False


def _hint(ctx: StoreContext, project: str, name: str, task_type: str) -> Path:
    key = json.dumps([host_name(), current_user(), project, name, task_type])
    digest = hex_sha256(key.encode("utf-8", "surrogatepass"))[:32]
    return ctx.store.layout.index / "reuse" / f"{digest}.json"
