"""Writes a model file that a framework saved or loaded into the store: what the recording thread does.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML names the model ``<task> - <file's stem>``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.bindings.model_files import Event, Recorded
from localtrack.records.model import ModelRecord
from localtrack.records.plain import replace
from localtrack.runtime.ownership import open_record
from localtrack.services import models, outputs, storage, weights
from localtrack.services.outputs import Filed, TaskAccess, Weights

if TYPE_CHECKING:
    from localtrack.runtime.session import Session


def record_output(session: Session, event: Event, recorded: Recorded) -> str:
    """Record a saved file as an output model and copy it where the task's ``output_uri`` says; return the model's id.

    Args:
        session: the run.
        event: the file.
        recorded: what this run recorded before; kept up to date here.

    Raises:
        LocaltrackError: it can't be recorded.
        OSError: it can't be copied.
    """
    access = _access(session)
    record = access.read()
    file_name = event.upload_name or os.path.basename(event.path.rstrip("/"))
    name = free_name(event.path, Path(file_name).stem, recorded.files, event.key)
    draft = ModelRecord(
        id="", name=f"{record.name} - {Path(file_name).stem}", project=record.project, task=record.id,
        framework=event.framework, labels=dict(record.labels),
    )  # fmt: skip
    if "://" in event.path:
        filed = _put(access, name, draft, _weights(event, None, file_name, ""))
    elif os.path.isdir(event.path):
        filed = _put_folder(access, name, draft, event, file_name, record.output_uri)
    else:
        source = Path(event.kept or event.path) if record.output_uri else Path(event.path)
        filed = _put(access, name, draft, _weights(event, source, file_name, record.output_uri))
    recorded.ids[event.path] = filed.id
    return filed.id


def _weights(event: Event, source: Path | None, file_name: str, uri: str, is_package: bool = False) -> Weights:
    return Weights(source, "" if source else event.path, file_name, uri, event.iteration, False, is_package, False)


def _put(access: TaskAccess, name: str, draft: ModelRecord, wanted: Weights) -> Filed:
    return outputs.put_weights(access, name, outputs.file_model(access, name, draft), wanted)[1]


def _put_folder(access: TaskAccess, name: str, draft: ModelRecord, event: Event, file_name: str, uri: str) -> Filed:
    """Record a folder: by reference, or as a zip where it is copied."""
    base = Path(event.path)
    if uri:
        with weights.temporary_folder() as place:
            packed = Path(place) / "package.zip"
            weights.pack([base], base, packed)  # before there is a model: what can't be packed leaves none
            return _put(access, name, draft, _weights(event, packed, f"{file_name}.zip", uri, True))
    filed = _put(access, name, draft, _weights(event, base, file_name, ""))
    size = sum(path.stat().st_size for path in weights.files_below([base]))
    record = models.edit(
        access.ctx, filed.id, lambda old: replace(old, weights={**old.weights, "size_bytes": size}), "size",
        folder=filed.folder,
    )  # fmt: skip
    outputs.name_in_task(access, name, filed.folder, record)
    return filed


def free_name(path: str, stem: str, files: dict[str, str], key: str = "") -> str:
    """Return what the task calls a model: its file's stem, with its folder or suffix where another file has that.

    Args:
        path: the file.
        stem: the name that is wanted.
        files: which file has which name; kept up to date.
        key: what tells the model from others, where it is not the path.
    """
    key = key or path
    folder, file_name = os.path.split(path)
    has_sibling = os.path.dirname(files.get(stem, "")) == folder
    second = file_name if has_sibling else f"{os.path.basename(folder)}/{stem}"
    name = next((one for one in (stem, second) if files.get(one, key) == key), path)
    files[name] = key
    return name


def record_input(session: Session, event: Event, recorded: Recorded) -> str:
    """Record a loaded file as an input model, by reference; return the model's id.

    Raises:
        LocaltrackError: it can't be recorded.
    """
    access = _access(session)
    record = access.read()
    url = event.path if "://" in event.path else storage.normal_url(event.path)
    own = recorded.ids.get(event.path)
    if own is not None:
        _, model = models.read(session.ctx, own)
    else:
        stem = Path(event.path.rstrip("/")).stem
        draft = ModelRecord(id="", name=stem, project=record.project, framework=event.framework)
        model, _ = models.import_model(session.ctx, url, draft)
    names = {entry.get("name"): entry.get("id") for entry in record.input_models}
    name = Path(event.path.rstrip("/")).stem
    if names.get(name, model.id) != model.id:
        name = f"{os.path.basename(os.path.dirname(event.path))}/{name}"
    entry = models.entry_of(name, model)
    access.edit(lambda old: models.with_input(old, entry), f"input model: {name}")
    return model.id


def _access(session: Session) -> TaskAccess:
    return TaskAccess(
        session.ctx, session.task_id, lambda: session.writer.folder,
        lambda: open_record(session.ctx, session.task_id)[1],
        lambda change, label: session.update(change, label, checked=False),
    )  # fmt: skip
