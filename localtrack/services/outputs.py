"""A task's output models: filed under their name in the task, given weights, named by the task's record.

Order on disk: the model's folder and metadata, the weights' file, the model's metadata that names it, and last the
task's entry. A process that dies in between leaves a folder that no metadata names: garbage, never a broken model.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML's OutputModel.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, LocaltrackError, NotEditableError, StorageError
from localtrack.fs.disk import remove_tree
from localtrack.records.ids import new_task_id
from localtrack.records.late import late_logger
from localtrack.records.model import Json, ModelRecord
from localtrack.records.plain import dataclass, replace
from localtrack.records.task import STORE_URI, TaskRecord
from localtrack.services import models, storage, uploads, weights
from localtrack.services.context import StoreContext
from localtrack.services.handed_over import NOTHING, HandedOver
from localtrack.store.blobs import file_size, inside, safe_file_name
from localtrack.store.layout import TaskLayout

SNAPSHOT = "snapshot "
LOG = late_logger("localtrack.models")
_said: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class TaskAccess:
    """A task as its models need it, whether this process runs it or not.

    Attributes:
        where: returns the task's folder.
        read: returns its record.
        edit: commits a change of its outputs: ``(change, label)``.
    """

    ctx: StoreContext
    id: str
    where: Callable[[], Path]
    read: Callable[[], TaskRecord]
    edit: Callable[[Callable[[TaskRecord], TaskRecord], str], Any]


class Otherwise(Enum):
    """What becomes of weights that can't be copied where they should go: an error, a copy in the store, or, where that
    takes none either, the file's name.
    """

    FAIL = "fail"
    STORE = "store"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Weights:
    """What ``update_weights`` was asked.

    Attributes:
        source: a local file, or None when only ``url`` is registered.
        url: an address to register instead of a file.
        file_name: name of the stored copy.
        uri: where the copy goes: ``.`` for the store, a URL, or empty to register the local file where it is.
        iteration: when in the run it was saved.
        update_comment: whether the comment's first line names the file.
        is_package: whether the file is a zip of several.
        background: whether an upload to another host may go on after the call.
        handed_over: files that go once a copy is stored; never those that are only registered.
        origin: the user's own file or folder, where ``source`` is a snapshot or a package of it.
        otherwise: what becomes of them where they can't be copied there.
        key: what tells the file from others, where a capture of saves recorded it; empty for what a script gave.
    """

    source: Path | None
    url: str
    file_name: str
    uri: str
    iteration: int | None
    update_comment: bool
    is_package: bool
    background: bool
    handed_over: HandedOver = NOTHING
    origin: str = ""
    otherwise: Otherwise = Otherwise.REFERENCE
    key: str = ""


@dataclass(frozen=True, slots=True)
class Filed:
    """A model that is filed.

    Attributes:
        folder: where it lies.
        id: its id.
        is_new: whether it was made now.
    """

    folder: Path
    id: str
    is_new: bool


def entry_named(record: TaskRecord, name: str) -> Json | None:
    """Return the entry of the output model that a task calls ``name``."""
    return next((entry for entry in record.output_models if entry.get("name") == name), None)


def file_model(access: TaskAccess, name: str, draft: ModelRecord) -> Filed:
    """Return the model that the task calls ``name``, made from ``draft`` where there is none.

    What the draft says (tags, comment, configuration, labels, framework) goes into a model that is there already.

    Raises:
        NotEditableError: it is there and published.
        StoreError: the store can't be written.
    """
    entry = entry_named(access.read(), name)
    if entry is not None:
        model_id = str(entry["id"])
        folder, record = models.read(access.ctx, model_id, _folder_of(access, entry))
        if record.published:
            raise NotEditableError(
                f"the task's model {name!r} ({model_id}) is published and can't change any more; use another name",
                model_id=model_id,
            )
        given = {
            field: getattr(draft, field)
            for field in ("tags", "comment", "design", "labels", "framework")
            if getattr(draft, field)
        }
        models.edit(access.ctx, model_id, lambda old: replace(old, **given), "taken up again", folder=folder)
        folder = folder if folder is not None else models.locate(access.ctx, model_id)
        assert folder is not None  # the edit above made one where there was none
        return Filed(folder, model_id, False)
    folder, record = models.create(
        access.ctx, TaskLayout(access.where()).models, replace(draft, id=new_task_id(), task=access.id)
    )
    return Filed(folder, record.id, True)


def _folder_of(access: TaskAccess, entry: Json) -> Path | None:
    return inside(access.where(), str(entry["folder"])) if entry.get("folder") else None


class _NameTakenError(LocaltrackError):
    """Another process named a model so in this task since we looked."""


def name_in_task(access: TaskAccess, name: str, folder: Path, record: ModelRecord, *, is_new: bool = False) -> None:
    """Make a model one of the task's output models, or bring the task's entry up to date.

    Args:
        access: the task.
        name: what the task calls it.
        folder: the model's folder.
        record: the model.
        is_new: whether no entry names it yet: then it takes nobody's place.
    """
    top = access.where()
    relative = folder.relative_to(top).as_posix() if folder.is_relative_to(top) else ""
    entry = models.entry_of(name, record, relative)

    def change(task: TaskRecord) -> TaskRecord:
        other = entry_named(task, name)
        if is_new and other is not None and other.get("id") != record.id:
            raise _NameTakenError(f"task {access.id} has a model {name!r} already")
        return models.with_output(task, entry)

    access.edit(change, f"output model: {name}")


def put_weights(access: TaskAccess, name: str, filed: Filed, wanted: Weights) -> tuple[str, Filed]:
    """Store, upload or register weights and make them the model's.

    Returns:
        Their address, and the model: another one, when two processes filed a model of that name at once.

    Raises:
        StorageError: they can't be read, or not be written where they should go and ``otherwise`` allows nothing else.
        OSError: the store's disk takes no more.
    """
    try:
        return _put(access, name, filed, wanted), replace(filed, is_new=False)
    except _NameTakenError:
        _, draft = models.read(access.ctx, filed.id, filed.folder)
        _forget(filed.folder)
        return put_weights(access, name, file_model(access, name, replace(draft, weights={}, versions=())), wanted)
    except Exception:  # a client's own as well
        if filed.is_new and all(entry.get("id") != filed.id for entry in access.read().output_models):
            _forget(filed.folder)
        raise


def _put(access: TaskAccess, name: str, filed: Filed, wanted: Weights) -> str:
    if wanted.source is None:
        return _finish(access, name, filed, wanted, models.referenced(wanted.url))
    if not wanted.uri:
        return _finish(access, name, filed, wanted, models.referenced(storage.normal_url(wanted.source)))
    if wanted.background and wanted.uri != STORE_URI and storage.local_path(wanted.uri) is None:
        return _upload_later(access, name, filed, wanted, wanted.source)
    body = _copied(access, name, filed, wanted, wanted.source)
    if not body.get("file") and not body.get("uploaded"):
        wanted = replace(wanted, is_package=False)  # it names what was packed
    try:
        url = _finish(access, name, filed, wanted, body)
    except BaseException:
        if filed.is_new and body.get("uploaded"):  # there will be no such model
            weights.give_place_back(access.ctx, str(body["url"]), filed.id)
        raise
    if body.get("file" if wanted.uri == STORE_URI else "uploaded"):
        wanted.handed_over.remove()
    return url


def _copied(access: TaskAccess, name: str, filed: Filed, wanted: Weights, source: Path) -> Json:
    """Copy weights where they should go, else into the store, else not at all: what that leaves is said once.

    Raises:
        Exception: of whichever client: they can't be written there, and what is wanted allows nothing else.
    """
    trouble = ""
    if wanted.uri != STORE_URI:
        url = _place_of(access, filed, wanted)
        try:
            return weights.upload(source, url, retries=3 if storage.local_path(url) is None else 0)
        except Exception as error:  # of whichever client
            if filed.is_new:
                weights.give_place_back(access.ctx, url, filed.id)
            if wanted.otherwise is Otherwise.FAIL or not source.is_file():
                raise
            trouble = str(error)
    try:
        stored = weights.store_copy(access.ctx, filed.folder, source, wanted.file_name)
    except OSError as error:
        origin = _origin(access, wanted, source)
        if wanted.otherwise is not Otherwise.REFERENCE or origin is None:
            raise
        trouble = f"{trouble}; the store does not take them either ({error})" if trouble else str(error)
        _say_once(
            access, "not copied", f"the weights of model {name!r} were not copied, as later ones that can't be: {trouble}. "
            f"The model names the file where it lies, {origin}",
        )  # fmt: skip
        body = models.referenced(storage.normal_url(origin))
        return {**body, "size_bytes": file_size(origin)} if origin.is_dir() else body
    if trouble:
        _say_once(
            access, wanted.uri, f"the weights of model {name!r} are kept in the store, as later ones that can't be copied "
            f"where they should go: {trouble}",
        )  # fmt: skip
    return stored


def _origin(access: TaskAccess, wanted: Weights, source: Path) -> Path | None:
    """Return the user's own file; None where it is gone, or where only a snapshot of it is known."""
    if not wanted.origin and (wanted.is_package or source.is_relative_to(access.ctx.store.root)):
        return None
    origin = Path(wanted.origin or source)
    return origin if origin.exists() else None


def _say_once(access: TaskAccess, about: str, text: str) -> None:
    """Say what a place does not take: a training that saves each epoch to a full disk is told so once."""
    if (access.id, about) not in _said:
        _said.add((access.id, about))
        LOG.warning("%s", text)


def _upload_later(access: TaskAccess, name: str, filed: Filed, wanted: Weights, source: Path) -> str:
    """Copy weights to another host in the background."""
    if filed.is_new:
        record = models.read(access.ctx, filed.id, filed.folder)[1]
        name_in_task(access, name, filed.folder, record, is_new=True)
    url = _place_of(access, filed, wanted)
    # the script may write over its file, or remove it, meanwhile
    staged = weights.new_staging_folder() / safe_file_name(wanted.file_name)
    try:
        storage.put_file(source, str(staged))
        later = partial(_upload_staged, access, name, replace(filed, is_new=False), wanted, staged, url)
        uploads.submit(later, f"uploading {source} to {url}", after=filed.id)
    except BaseException:
        shutil.rmtree(staged.parent, ignore_errors=True)
        raise
    return url


def _place_of(access: TaskAccess, filed: Filed, wanted: Weights) -> str:
    record = models.read(access.ctx, filed.id, filed.folder)[1]
    return weights.place_for(access.ctx, wanted.uri, access.read(), record, wanted.file_name)


def _upload_staged(access: TaskAccess, name: str, filed: Filed, wanted: Weights, staged: Path, url: str) -> None:
    """Upload a snapshot of weights; where that fails they become the model's from the store, and nothing is removed.

    Raises:
        StorageError: it failed; says where the weights are.
    """
    try:
        body = weights.upload(staged, url)
    except Exception as error:  # of whichever client
        raise _kept(access, name, filed, wanted, staged, error) from error
    shutil.rmtree(staged.parent, ignore_errors=True)
    try:
        _finish(access, name, filed, wanted, body)
    except (LocaltrackError, OSError) as error:
        raise StorageError(
            f"{error}; the weights are at {url} all the same: give the model that address by "
            "update_weights(register_uri=...)",
            url=url, model_id=filed.id,
        ) from error  # fmt: skip
    wanted.handed_over.remove()


def _kept(access: TaskAccess, name: str, filed: Filed, wanted: Weights, staged: Path, error: Exception) -> StorageError:
    """Keep weights whose upload failed, in the store if that takes them, and return the error that says where."""
    try:
        folder, _ = models.read(access.ctx, filed.id, filed.folder)
        stored = weights.store_copy(access.ctx, folder or filed.folder, staged, wanted.file_name)
        place = _finish(access, name, filed, wanted, stored)
    except (LocaltrackError, OSError) as second:
        return StorageError(
            f"{error}; the weights are kept in {staged}, since the store does not take them either ({second}): move them to "
            "a safe place",
            path=str(staged), model_id=filed.id,
        )  # fmt: skip
    shutil.rmtree(staged.parent, ignore_errors=True)
    return StorageError(
        f"{error}; the model's weights are kept in the store, {place}: call update_weights again to upload them",
        path=place, model_id=filed.id,
    )  # fmt: skip


def _finish(access: TaskAccess, name: str, filed: Filed, wanted: Weights, body: Json) -> str:
    origin = str(wanted.source or wanted.url)
    if wanted.key:
        body = {**body, "origin": wanted.key}
    dropped: list[Json] = []

    def change(record: ModelRecord) -> ModelRecord:
        comment = _with_snapshot(record.comment, origin) if wanted.update_comment else None
        changed = weights.with_weights(
            record,
            body,
            file_name=wanted.file_name,
            iteration=wanted.iteration,
            comment=comment,
            is_package=wanted.is_package,
        )
        changed, dropped[:] = weights.without_oldest(changed, access.ctx.settings.earlier_weights)
        return changed

    record = models.edit(access.ctx, filed.id, change, f"weights: {wanted.file_name}", folder=filed.folder)
    folder, record = models.read(access.ctx, filed.id, filed.folder)
    if folder is None:
        raise StorageError(f"model {filed.id} lost its folder while its weights were stored", model_id=filed.id)
    name_in_task(access, name, folder, record, is_new=filed.is_new)
    for one in dropped:  # after the commit: what no generation names any more is garbage, also where this fails
        _forget_weights(folder, one)
    return weights.url_of(access.ctx, folder, record)


def _with_snapshot(comment: str, origin: str) -> str:
    """Return a comment whose first line says where the weights came from; one such line, not one an epoch."""
    first, _, rest = comment.partition("\n")
    kept = rest if first.startswith(SNAPSHOT) and first.endswith(" stored") else comment
    return f"{SNAPSHOT}{origin} stored" + (f"\n{kept}" if kept else "")


def _forget_weights(folder: Path, body: Json) -> None:
    try:
        place = weights.stored_folder(folder, body)
    except CorruptFileError:
        return  # what the metadata names outside the model's folder is none of ours
    if place is not None:
        _forget(place)


def _forget(folder: Path) -> None:
    """Remove a folder of weights that nothing names; what stays is garbage that ``gc`` takes."""
    try:
        remove_tree(folder)
    except OSError:
        pass
