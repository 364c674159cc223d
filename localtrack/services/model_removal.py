"""Models taken away and brought back: what leaves the store goes to the trash, what the user owns stays.

Source: docs/format/v1.md, "The trash"; ClearML's Model.remove.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from localtrack.errors import ModelNotFoundError, TaskNotFoundError, UsageError
from localtrack.records.model import Json, ModelRecord
from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.services import models, storage, tasks, uploads
from localtrack.services.context import StoreContext
from localtrack.services.weights import give_place_back, stored_folder
from localtrack.store import models as store_models
from localtrack.store.blobs import new_upload_folder
from localtrack.store.layout import TaskLayout

EditTask = Callable[[Callable[[TaskRecord], TaskRecord], str], object]


def remove(
    ctx: StoreContext,
    model_id: str,
    *,
    delete_weights: bool = True,
    delete_registered: bool = False,
    force: bool = False,
    edit_task: EditTask | None = None,
) -> str:
    """Take a model away: its folder goes to the trash, what localtrack uploaded elsewhere is deleted there.

    Args:
        ctx: the store.
        model_id: the model.
        delete_weights: whether uploaded weights go, too; False also leaves stored ones in place, in an upload folder
            beside the model's.
        delete_registered: whether files that the user only registered are deleted as well.
        force: also a published model, and one that other tasks start from.
        edit_task: how the model's own task is edited, when this process runs it.

    Returns:
        The name of the trash entry; empty for a model without a folder.

    Raises:
        ModelNotFoundError: no such model.
        UsageError: it is published or in use, and ``force`` is not given.
        StorageError: it was removed, but not its weights elsewhere.
    """
    uploads.wait_for(model_id)
    folder, record = models.read(ctx, model_id)
    _check_removable(ctx, record, force)

    called = ""

    def change(task: TaskRecord) -> TaskRecord:
        nonlocal called
        called = next((str(one.get("name", "")) for one in task.output_models if one.get("id") == model_id), called)
        kept = tuple(one for one in task.output_models if one.get("id") != model_id)
        return task if len(kept) == len(task.output_models) else replace(task, output_models=kept)

    if record.task:
        try:
            if edit_task is not None:
                edit_task(change, f"model removed: {record.name}")
            else:
                tasks.edit(ctx, record.task, change, f"model removed: {record.name}", checked=False)
        except TaskNotFoundError:
            pass  # its task is gone already
    entry = ""
    if folder is not None:
        if not delete_weights:
            _keep_weights(ctx, folder, record)
        entry = store_models.trash_model(ctx.store.disk, ctx.store.layout, folder, record, ctx.author.user, called)
    if delete_weights:
        for weights in (record.weights, *record.versions):
            url = str(weights.get("url", ""))
            if url and (weights.get("uploaded") or delete_registered):
                storage.remove(url)
                give_place_back(ctx, url, model_id)
    return entry


def _check_removable(ctx: StoreContext, record: ModelRecord, force: bool) -> None:
    if force:
        return
    if record.published:
        raise UsageError(f"model {record.id} ({record.name}) is published; force its removal if it really must go")
    users = models.users_of(ctx, record.id)
    if users:
        raise UsageError(
            f"{len(users)} task{'s' * (len(users) > 1)} start{'s' * (len(users) == 1)} from model {record.id} "
            f"({record.name}): {', '.join(one[:8] for one in users[:5])}; force its removal if it really must go"
        )


def _keep_weights(ctx: StoreContext, folder: Path, record: ModelRecord) -> None:
    for weights in (record.weights, *record.versions):
        place = stored_folder(folder, weights)
        if place is not None and place.is_dir():
            target = new_upload_folder(ctx.store.disk, folder.parent, record.name)
            ctx.store.disk.move(place, target / place.name)


def restore(ctx: StoreContext, reference: str) -> ModelRecord:
    """Bring a model back from the trash, by entry or by the beginning of its id: the newest that fits.

    It goes back to its task where that is still there, else to the store's own models. Where the task has made another
    model of that name meanwhile, both stay, and the task calls this one by its name and id.

    Raises:
        ModelNotFoundError: the trash holds none.
    """
    entries = sorted(
        store_models.trashed_models(ctx.store.layout), key=lambda one: str(one[2].get("at", "")), reverse=True
    )
    for entry, folder, note in entries:
        if entry != reference and not str(note.get("id", "")).startswith(reference):
            continue
        record = store_models.read_model(folder)
        task_folder = _folder_or_none(ctx, record.task)
        parent = TaskLayout(task_folder).models if task_folder is not None else ctx.store.layout.models
        place = store_models.restore_model(ctx.store.disk, ctx.store.layout, entry, record, parent)
        ctx.models.announce(record.id, record.generation, place)
        if task_folder is not None:
            called = str(note.get("called") or record.name)
            body = models.entry_of(called, record, place.relative_to(task_folder).as_posix())
            tasks.edit(ctx, record.task, partial(_with_restored, entry=body), "model restored", checked=False)
        return record
    raise ModelNotFoundError(
        f"no model in the trash answers to {reference!r}; `localtrack model restore` lists what is there",
        model_id=reference,
    )


def _with_restored(task: TaskRecord, entry: Json) -> TaskRecord:
    taken = any(one.get("name") == entry["name"] and one.get("id") != entry["id"] for one in task.output_models)
    return models.with_output(task, {**entry, "name": f"{entry['name']} ({entry['id'][:8]})"} if taken else entry)


def _folder_or_none(ctx: StoreContext, task_id: str) -> Path | None:
    try:
        return tasks.folder_of(ctx, task_id) if task_id else None
    except TaskNotFoundError:
        return None
