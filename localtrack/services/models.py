"""The models of a store: made, found, edited, published, archived, removed and brought back.

A task names the models that it made and those that it starts from, by entries in its own record. What a model is
stands in its own metadata log, in its task's folder, so that a task's folder alone is enough to read its models.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML's Model, InputModel, OutputModel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import (
    AmbiguousTaskError,
    InvalidValueError,
    LocaltrackError,
    ModelNotFoundError,
    StoreError,
)
from localtrack.records.ids import new_task_id, normal_project
from localtrack.records.list_grammar import list_test
from localtrack.records.model import ARCHIVED_TAG, Json, ModelRecord, framework_of
from localtrack.records.plain import fields, replace
from localtrack.records.task import TaskRecord
from localtrack.services import storage, tasks, uploads
from localtrack.services.context import StoreContext, current_user
from localtrack.store import models as store_models
from localtrack.store.blobs import inside
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout
from localtrack.store.model_addresses import ModelAddresses

if TYPE_CHECKING:
    from localtrack.index.models import ModelRow

_OF_WEIGHTS = frozenset({"sha256", "size_bytes", "iteration", "url", "folder", "file"})
METADATA_TYPES = frozenset({"float", "int", "bool", "str", "basestring", "list", "tuple", "dict"})
Change = Callable[[ModelRecord], ModelRecord]


def locate(ctx: StoreContext, model_id: str) -> Path | None:
    """Return the folder of a model; None for one that only its task's metadata knows.

    Raises:
        ModelNotFoundError: no such model.
    """
    return ctx.models.locate(model_id)


def read(ctx: StoreContext, model_id: str, folder: Path | None = None) -> tuple[Path | None, ModelRecord]:
    """Return a model's folder and record.

    Args:
        ctx: the store.
        model_id: the model.
        folder: where it lay when the caller last looked.

    Raises:
        ModelNotFoundError: no such model.
        CorruptFileError: none of its metadata is whole.
    """
    if folder is not None:
        try:
            record = store_models.read_model(folder)
        except ModelNotFoundError:
            pass
        else:
            if record.id == model_id:
                return folder, record
    found = locate(ctx, model_id)
    if found is not None:
        return found, store_models.read_model(found)
    row = next((row for row in ctx.models.rows() if row.id == model_id), None)
    if row is None:
        raise ModelNotFoundError(f"model {model_id} was removed while it was read", model_id=model_id)
    return None, row.record


def create(ctx: StoreContext, parent: Path, record: ModelRecord) -> tuple[Path, ModelRecord]:
    """File a new model below a ``models/`` folder.

    Raises:
        StoreError: the store can't be written, or the task's folder is gone.
    """
    record = replace(record, user=record.user or current_user(), created=record.created or now())
    try:
        return store_models.create_model(
            ctx.store.disk,
            parent,
            record,
            ctx.author,
            lambda number, folder: ctx.models.announce(record.id, number, folder),
        )
    except StoreError:
        raise
    except OSError as error:
        raise _not_filed(record, parent, error) from error


def _not_filed(record: ModelRecord, parent: Path, error: OSError) -> StoreError:
    return StoreError(
        f"filing the model {record.name!r} in {parent} failed: {error.strerror or error}; "
        "check the free space and whether the task is still there",
        path=str(parent),
    )


def edit(ctx: StoreContext, model_id: str, change: Change, label: str, *, folder: Path | None = None) -> ModelRecord:
    """Commit a change of a model, refusing what a published one does not allow.

    Args:
        ctx: the store.
        model_id: the model.
        change: from the record as it is to the record as wanted; may be called several times.
        label: a word or two for the log.
        folder: where it lies, when the caller knows.

    Raises:
        ModelNotFoundError: no such model.
        NotEditableError: it is published.
        StoreError: the store can't be written.
    """

    def intent(record: ModelRecord) -> ModelRecord:
        wanted = change(record)
        changed = frozenset(
            f.name for f in fields(ModelRecord) if getattr(record, f.name) != getattr(wanted, f.name)
        ) - {"generation", "last_update"}
        if not changed:
            return record
        record.check_editable(changed)
        return wanted

    where = folder if folder is not None else _own_folder(ctx, model_id)
    for attempt in range(2):
        try:
            return store_models.update_model(
                ctx.store.disk,
                where,
                intent,
                ctx.author,
                label,
                lambda number, place: ctx.models.announce(model_id, number, place),
            )
        except (ModelNotFoundError, FileNotFoundError):
            if attempt:
                raise
            where = _own_folder(ctx, model_id)  # it was moved: published, and its task deleted
    raise AssertionError("unreachable")


def _own_folder(ctx: StoreContext, model_id: str) -> Path:
    """Return a model's folder, made now for one that only its task's metadata knows."""
    folder = locate(ctx, model_id)
    if folder is not None:
        return folder
    _, record = read(ctx, model_id)
    parent = TaskLayout(tasks.folder_of(ctx, record.task)).models
    weights = dict(record.weights)
    if weights.get("file"):
        weights["task_file"] = weights.pop("file")
    return create(ctx, parent, replace(record, weights=weights))[0]


def query(
    ctx: StoreContext,
    *,
    project: str | None = None,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    only_published: bool = False,
    include_archived: bool = False,
    metadata: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> list[ModelRow]:
    """Return the models that fit, the newest first.

    Args:
        ctx: the store.
        project: exactly this project.
        name: exactly this name.
        tags: ClearML's list grammar, see :mod:`localtrack.records.list_grammar`.
        only_published: leave drafts out.
        include_archived: archived ones too.
        metadata: key to text; all must fit.
        limit: at most so many.

    Raises:
        InvalidValueError: the tags break the grammar.
    """
    fits_tags = list_test("tags", list(tags)) if tags else None
    wanted_project = normal_project(project) if project else None
    wanted = {str(key): str(value) for key, value in (metadata or {}).items()}

    def fits(row: ModelRow) -> bool:
        return (
            (wanted_project is None or row.value("project") == wanted_project)
            and (name is None or row.value("name") == name)
            and (not only_published or row.value("published"))
            and (include_archived or not row.archived)
            and (fits_tags is None or fits_tags(row.value("tags")))
            and all(row.value("metadata").get(key, {}).get("value") == value for key, value in wanted.items())
        )

    hits = [row for row in ctx.models.rows() if fits(row)]
    if len(hits) <= 200:  # few enough to look whether each is still what the index says
        seen = (ctx.models.refreshed(row) for row in hits)
        hits = [row for row in seen if row is not None and fits(row)]
    hits.sort(key=lambda row: (row.value("created"), row.id), reverse=True)
    return hits[:limit]


def resolve(ctx: StoreContext, reference: str) -> str:
    """Return the id that a person means: an id or its unique beginning, a name, or ``project/name``, the newest first.

    Raises:
        ModelNotFoundError: nothing answers to it.
        AmbiguousTaskError: several ids begin so.
    """
    matches = ctx.models.resolve(reference) if reference and set(reference) <= set("0123456789abcdef") else []
    if len(matches) > 1:
        shown = ", ".join(match[:12] for match in matches[:5])
        raise AmbiguousTaskError(f"{len(matches)} models begin with {reference!r}: {shown}; give more digits")
    if matches:
        return matches[0]
    named = [
        row
        for row in query(ctx, include_archived=True)
        if reference in (row.value("name"), f"{row.value('project')}/{row.value('name')}")
    ]
    live = [row for row in named if not row.archived] or named
    if not live:
        raise ModelNotFoundError(
            f"no model {reference!r} in the store {ctx.store.root}: give an id, its beginning, a name or project/name "
            "(`localtrack models` lists them)",
            model_id=reference,
        )
    return live[0].id


def by_url(ctx: StoreContext, url: str, *, include_archived: bool = False) -> ModelRow | None:
    """Return the newest model whose weights are at an address; None when there is none."""
    address = storage.normal_url(url)
    hits = [
        row
        for row in ctx.models.rows()
        if storage.is_at(row.value("weights"), address) and (include_archived or not row.archived)
    ]
    return max(hits, key=lambda row: (row.value("created"), row.id), default=None)


def import_model(ctx: StoreContext, url: str, record: ModelRecord) -> tuple[ModelRecord, bool]:
    """Return the model of an address, filed now where there is none: by reference, with nothing read or copied.

    Args:
        ctx: the store.
        url: a path or URL.
        record: what a new one is; its id and weights are set here.

    Returns:
        The model, and whether it is new.

    Raises:
        InvalidValueError: no address.
        StoreError: the store can't be written.
    """
    address = storage.normal_url(url)
    known = by_url(ctx, address)
    if known is not None:
        try:
            return read(ctx, known.id)[1], False
        except ModelNotFoundError:
            pass  # it was removed meanwhile
    record = replace(
        record,
        id=new_task_id(),
        project=normal_project(record.project),
        framework=record.framework or framework_of(storage.base_name(address)),
        weights=referenced(address),
        user=record.user or current_user(),
        created=record.created or now(),
    )
    addresses = ModelAddresses(ctx.store.disk, ctx.store.layout, ctx.author, ctx.models.announce)
    try:
        placed = addresses.model_of(
            address, record, lambda one: storage.is_at(one.weights, address) and not one.archived
        )[1]
    except StoreError:
        raise
    except OSError as error:
        raise _not_filed(record, ctx.store.layout.models, error) from error
    return placed, placed.id == record.id


def referenced(url: str) -> Json:
    """Return the ``weights`` of a file that stays where it is: only its size is looked at, and only when it is local."""
    weights: Json = {"url": url, "at": now()}
    path = storage.local_path(url)
    if path is not None:
        try:
            weights["size_bytes"] = path.stat().st_size
        except OSError:
            pass  # not there yet, or on another host
    return weights


def publish(ctx: StoreContext, model_id: str, *, folder: Path | None = None) -> ModelRecord:
    """Publish a model: weights, configuration, labels, framework and name stay what they are, and it outlives its task.

    Weights that this process still uploads are the model's first.
    """
    uploads.wait_for(model_id)
    return edit(ctx, model_id, lambda record: replace(record, published=True), "published", folder=folder)


def publish_last_of(ctx: StoreContext, record: TaskRecord) -> str | None:
    """Publish the last output model of a task, as publishing the task does; return its id."""
    for entry in reversed(record.output_models):
        model_id = str(entry.get("id", ""))
        try:
            publish(ctx, model_id)
        except ModelNotFoundError:
            continue
        return model_id
    return None


def set_archived(ctx: StoreContext, model_id: str, archived: bool, *, folder: Path | None = None) -> ModelRecord:
    """Put a model into the archive or take it out."""

    def change(record: ModelRecord) -> ModelRecord:
        kept = tuple(tag for tag in record.system_tags if tag != ARCHIVED_TAG)
        return replace(record, system_tags=(*kept, ARCHIVED_TAG) if archived else kept)

    return edit(ctx, model_id, change, "archived" if archived else "unarchived", folder=folder)


def metadata_entries(metadata: Mapping[str, Any]) -> dict[str, Json]:
    """Return metadata as it is stored, from ``{key: {"value", "type"}}``.

    Raises:
        InvalidValueError: a value of another shape.
    """
    entries: dict[str, Json] = {}
    for key, item in metadata.items():
        if not isinstance(item, Mapping) or "value" not in item:
            raise InvalidValueError(f"metadata {key!r} must be {{'value': ..., 'type': ...}}, not {item!r}")
        kind = str(item.get("type"))
        entries[str(key)] = {"value": str(item["value"]), "type": kind if kind in METADATA_TYPES else "None"}
    return entries


def with_metadata(record: ModelRecord, entries: Mapping[str, Json], *, replace_all: bool = False) -> ModelRecord:
    """Return the record with metadata added, or with nothing but that."""
    return replace(record, metadata=dict(entries) if replace_all else {**record.metadata, **entries})


# -- a task's entries ------------------------------------------------------------------------------------------------


def entry_of(name: str, record: ModelRecord, folder: str = "") -> Json:
    """Return what a task's record says of a model.

    Args:
        name: what the task calls it.
        record: the model.
        folder: its folder relative to the task's; empty for one that lies elsewhere.
    """
    entry: Json = {
        "id": record.id, "name": name, "model_name": record.name, "framework": record.framework,
        "comment": record.comment, "tags": list(record.tags), "created": record.created,
    }  # fmt: skip
    weights = record.weights
    for key in ("sha256", "size_bytes", "iteration", "url"):
        if weights.get(key) is not None:
            entry[key] = weights[key]
    if folder:
        entry["folder"] = folder
        if weights.get("file"):
            entry["file"] = f"{folder}/{weights['file']}"
    return entry


def with_models_now(ctx: StoreContext, record: TaskRecord, folder: Path) -> TaskRecord:
    """Return a task's record whose entries of models say what these are now: a model may be renamed without its task.

    What a model is called by the task stays; the entry of a model that is gone, or can't be read, stays as it is.
    """
    return replace(
        record,
        input_models=tuple(_entry_now(ctx, entry, folder) for entry in record.input_models),
        output_models=tuple(_entry_now(ctx, entry, folder) for entry in record.output_models),
    )


def _entry_now(ctx: StoreContext, entry: Json, task_folder: Path) -> Json:
    try:
        hint = inside(task_folder, str(entry["folder"])) if entry.get("folder") else None
        folder, model = read(ctx, str(entry.get("id", "")), hint)
    except (LocaltrackError, OSError):
        return entry
    if folder is None:  # the entry is all that there is of it
        return entry
    relative = folder.relative_to(task_folder).as_posix() if folder.is_relative_to(task_folder) else ""
    kept = {key: value for key, value in entry.items() if key not in _OF_WEIGHTS}
    return {**kept, **entry_of(str(entry.get("name", "")), model, relative)}


def with_output(record: TaskRecord, entry: Json) -> TaskRecord:
    """Return a task's record with an output model in it; the same id or name again replaces the entry and is last."""
    others = tuple(
        one for one in record.output_models if one.get("id") != entry["id"] and one.get("name") != entry["name"]
    )
    return replace(record, output_models=(*others, entry))


def with_input(record: TaskRecord, entry: Json) -> TaskRecord:
    """Return a task's record with an input model in it; the same name again replaces the entry in its place."""
    entries = list(record.input_models)
    for place, one in enumerate(entries):
        if one.get("name") == entry["name"]:
            entries[place] = entry
            return replace(record, input_models=tuple(entries))
    return replace(record, input_models=(*entries, entry))


def without_models(record: TaskRecord, ids: Sequence[str]) -> TaskRecord:
    """Return a task's record without some of its input models."""
    return replace(record, input_models=tuple(one for one in record.input_models if one.get("id") not in ids))


def users_of(ctx: StoreContext, model_id: str) -> list[str]:
    """Return the ids of the tasks that start from a model."""
    return sorted(row.id for row in ctx.index.rows() if model_id in row.input_models)
