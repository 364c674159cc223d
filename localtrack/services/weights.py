"""Weights of models: stored with the model, uploaded elsewhere, or only registered; and brought back as local paths.

A user's file is never deleted here. What is stored or uploaded is a copy; what is registered stays where it is.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML's OutputModel.update_weights, Model.get_local_copy.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.errors import CorruptFileError, InvalidValueError, StorageError, TaskNotFoundError
from localtrack.records.ids import task_folder_name
from localtrack.records.model import PACKAGE_TAG, Json, ModelRecord, framework_of
from localtrack.records.plain import replace
from localtrack.records.task import STORE_URI, TaskRecord
from localtrack.services import storage, storage_cache, tasks
from localtrack.services.context import StoreContext
from localtrack.store.blobs import inside, new_upload_folder, put_copy, safe_file_name
from localtrack.store.documents import now
from localtrack.store.models import ID_DIGITS
from localtrack.store.upload_places import release_place, reserve_place

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

UPLOAD_FOLDER = "weights"


def destination(ctx: StoreContext, value: str | bool | os.PathLike[str] | None) -> str:
    """Return where weights go, as a record keeps it: ``""`` for nowhere, ``.`` for the store itself, or a URL.

    Args:
        ctx: the store.
        value: what a user gave: False and None for nowhere, True for the store, a path or URL.

    Raises:
        InvalidValueError: something else.
        StorageError: a folder that can't be written.
        MissingExtraError: a place that needs an optional package.
    """
    storage.check_destination(value)
    if value is None or value is False or value == "":
        return ""
    if value is True or value == "True":
        return STORE_URI
    path = storage.local_path(value)
    if path is not None and path.resolve().is_relative_to(ctx.store.root.resolve()):
        return STORE_URI
    return storage.check_writable(os.fspath(value))


def shown_destination(ctx: StoreContext, kept: str) -> str | None:
    """Return a kept destination as users see it: the store as a ``file://`` URL, nowhere as None."""
    if not kept:
        return None
    return storage.normal_url(ctx.store.root if kept == STORE_URI else kept)


def store_copy(ctx: StoreContext, folder: Path, source: Path, name: str) -> Json:
    """Copy a file into a model's folder and return its ``weights``.

    Raises:
        OSError: the file can't be read, or the disk takes no more.
    """
    place = new_upload_folder(ctx.store.disk, folder, UPLOAD_FOLDER)
    try:
        stored = put_copy(ctx.store.disk, folder, place / safe_file_name(name), source)
    except BaseException:
        try:
            place.rmdir()
        except OSError:
            pass
        raise
    return {**stored.to_json(), "at": now()}


def target_url(uri: str, project: str, task_name: str, task_id: str, file_name: str, *, folder: str = "") -> str:
    """Return where a file goes below a destination: ``<uri>/<project>/<task name>.<task id>/models/<file>``.

    Args:
        uri: the destination.
        project: the task's project.
        task_name: its name.
        task_id: its id.
        file_name: the file's own name.
        folder: a folder around the file, for a model that does not have that place itself.
    """
    parts = [safe_file_name(part) for part in project.split("/") if part.strip()]
    name = safe_file_name(task_name.replace("/", "_"))
    return storage.join_url(
        storage.normal_url(uri), *parts, f"{name}.{task_id}", "models", folder, safe_file_name(file_name)
    )


def place_for(ctx: StoreContext, uri: str, task: TaskRecord, record: ModelRecord, file_name: str) -> str:
    """Return where a model's file goes below a destination: where no other model's does, whatever their names are.

    The first has ClearML's place; another one that comes there gets a folder of its own name and id beside it.

    Raises:
        OSError: the store, which keeps whose place it is, takes no more.
    """
    others = {storage.address_of(one) for one in task.output_models if one.get("id") != record.id}
    own_folders = (task_folder_name(record.name, record.id, digits) for digits in ID_DIGITS)
    for folder in ("", *own_folders):
        url = target_url(uri, task.project, task.name, task.id, file_name, folder=folder)
        if url not in others and reserve_place(ctx.store.disk, ctx.store.layout, url, record.id):
            return url
    return url


def give_place_back(ctx: StoreContext, url: str, model_id: str) -> None:
    """Give a place free at which nothing of the model is any more."""
    release_place(ctx.store.layout, url, model_id)


def upload(source: Path, url: str, *, retries: int = 3) -> Json:
    """Copy a file to an address and return its ``weights``.

    Raises:
        StorageError: it can't be read or written.
    """
    size = source.stat().st_size
    digest = storage.sha256_of(source)
    storage.put_file(source, url, retries=retries)
    return {"url": url, "sha256": digest, "size_bytes": size, "uploaded": True, "at": now()}


def with_weights(
    record: ModelRecord, weights: Json, *, file_name: str, iteration: int | None, comment: str | None, is_package: bool
) -> ModelRecord:
    """Return the record with new weights; those before become a version, unless their place was written over."""
    body = dict(weights)
    if iteration is not None:
        body["iteration"] = iteration
    earlier = [one for one in (*record.versions, record.weights) if one and not _same_place(one, body)]
    tags = tuple(tag for tag in record.system_tags if tag != PACKAGE_TAG)
    return replace(
        record,
        weights=body,
        versions=tuple(earlier),
        framework=record.framework or framework_of(file_name),
        comment=record.comment if comment is None else comment,
        system_tags=(*tags, PACKAGE_TAG) if is_package else tags,
    )


def stored_folder(folder: Path, weights: Json) -> Path | None:
    """Return the folder that weights have for themselves in their model's; None for weights that lie elsewhere.

    Raises:
        CorruptFileError: the metadata names a path outside the model's folder.
    """
    if not weights.get("file"):
        return None
    place = inside(folder, str(weights["file"])).parent
    return place if place.parent == folder and place.name.startswith(f"{UPLOAD_FOLDER}.") else None


def without_oldest(record: ModelRecord, keep: int) -> tuple[ModelRecord, list[Json]]:
    """Return the record with at most so many earlier weights that lie in its folder, and those left out; -1 keeps all."""
    stored = [one for one in record.versions if one.get("file")]
    gone = stored[: max(0, len(stored) - keep)] if keep >= 0 else []
    return replace(record, versions=tuple(one for one in record.versions if one not in gone)), gone


def _same_place(one: Json, other: Json) -> bool:
    return bool(one.get("url")) and storage.address_of(one) == storage.address_of(other)


def pack(files: Sequence[str | os.PathLike[str]], base: Path | None, target: Path) -> None:
    """Write files into a zip, uncompressed, under their names below ``base``; the files stay.

    Args:
        files: what to pack; of a folder all files below it.
        base: the folder that the names are relative to; the files' common one without it.
        target: the zip.

    Raises:
        InvalidValueError: nothing to pack, a file that is not there, or one outside ``base``.
    """
    import zipfile

    plain = files_below(files)
    if not plain:
        shown = ", ".join(str(file) for file in files) or base or "an empty list"
        raise InvalidValueError(
            f"no files to pack in {shown}: give files, or a folder that has some", path=str(base or "")
        )
    root = _common_folder(plain) if base is None else Path(os.path.abspath(base))
    for path in plain:
        if not path.is_relative_to(root):
            raise InvalidValueError(
                f"the file {path} is not below {root}, the folder of the package: leave it out, or pack a folder above both",
                path=str(path),
            )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True, strict_timestamps=False) as archive:
        for path in plain:
            archive.write(path, path.relative_to(root).as_posix())


def files_below(files: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Return absolute paths of files and, of folders, of all files below them, each once.

    Raises:
        InvalidValueError: one that is not there.
    """
    found: dict[Path, None] = {}
    for path in (Path(os.path.abspath(Path(file).expanduser())) for file in files):
        if not path.exists():
            raise InvalidValueError(f"no file {path}: nothing to store; check the path", path=str(path))
        inner = sorted(path.rglob("*")) if path.is_dir() else [path]
        found.update(dict.fromkeys(one for one in inner if one.is_file()))
    return list(found)


def _common_folder(files: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([str(path.parent) for path in files]))
    except ValueError as error:  # two drives
        raise InvalidValueError(
            f"{files[0]} and {files[-1]} have no folder in common: pack files of one drive", path=str(files[-1])
        ) from error


def temporary_folder() -> TemporaryDirectory[str]:
    """Return a folder for a package in the making."""
    import tempfile

    return tempfile.TemporaryDirectory(prefix="localtrack-model-")


def new_staging_folder() -> Path:
    """Return a new folder for a snapshot of weights on their way; whoever uploads them removes it."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="localtrack-upload-"))


def url_of(ctx: StoreContext, folder: Path | None, record: ModelRecord) -> str:
    """Return the address of a model's weights: ``file://`` for what lies in the store; empty for none."""
    weights = record.weights
    if weights.get("url"):
        return storage.address_of(weights)
    path = _stored_path(ctx, folder, record)
    return "" if path is None else storage.normal_url(path)


def local_path(ctx: StoreContext, folder: Path | None, record: ModelRecord, *, force_download: bool = False) -> Path:
    """Return a local path of a model's weights; of stored ones the file itself, which must not be changed.

    Nothing is hashed and nothing local is copied.

    Raises:
        StorageError: there are no weights, or they can't be read.
    """
    path = _stored_path(ctx, folder, record)
    if path is None:
        url = str(record.weights.get("url", ""))
        if not url:
            raise StorageError(f"model {record.id} ({record.name}) has no weights yet", model_id=record.id)
        known = record.weights.get("sha256") or record.weights.get("at") or ""
        return storage_cache.local_copy(url, context="models", force=force_download, version=str(known))
    if not path.is_file():
        raise StorageError(f"the weights of model {record.id} are gone: no file {path}", path=str(path))
    return path


def extracted(path: Path, record: ModelRecord) -> Path:
    """Return the folder with the content of a package.

    Raises:
        CorruptFileError: it is damaged or hostile.
    """
    return storage_cache.extracted(path, context="models", origin=str(record.weights.get("sha256", "")))


def check(path: Path, record: ModelRecord) -> None:
    """Compare weights with the hash that the metadata has of them, where it has one.

    Raises:
        CorruptFileError: they were altered.
    """
    known = record.weights.get("sha256")
    if known and storage.sha256_of(path) != known:
        raise CorruptFileError(f"{path} does not match its SHA-256; restore it from a copy", path=str(path))


def _stored_path(ctx: StoreContext, folder: Path | None, record: ModelRecord) -> Path | None:
    """Return the path of weights in the store; ``task_file`` and models without a folder name it from their task's."""
    weights = record.weights
    if weights.get("file") and folder is not None:
        return inside(folder, str(weights["file"]))
    relative = weights.get("task_file") or weights.get("file")
    if not relative:
        return None
    try:
        return inside(tasks.folder_of(ctx, record.task), str(relative))
    except TaskNotFoundError:
        return None
