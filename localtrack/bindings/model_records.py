"""Writes a model file that a framework saved or loaded into the store: what the recording thread does.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML names the model ``<task> - <file's stem>``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.bindings.model_files import Event, Recorded
from localtrack.errors import LocaltrackError
from localtrack.records.model import ModelRecord
from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.runtime.ownership import open_record
from localtrack.services import models, outputs, storage, weights
from localtrack.services.outputs import Filed, TaskAccess, Weights
from localtrack.store.blobs import inside

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

#: Stands for whoever gave a model its weights, if no file's name is known.
_SOMEBODY = "\0"


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
    names = Names(access, record, recorded)
    key = recorded.key_of(event.key or event.path)
    name = names.free(event.path, Path(file_name).stem, key)
    draft = ModelRecord(
        id="", name=f"{record.name} - {Path(file_name).stem}", project=record.project, task=record.id,
        framework=event.framework, labels=dict(record.labels),
    )  # fmt: skip
    path = event.kept or event.path
    if "://" in event.path:
        filed = _put(access, name, draft, _weights(event, key, None, file_name, ""))
    elif event.files:
        filed = _put_files(access, name, draft, event, key, file_name, record.output_uri)
    elif os.path.isdir(path):
        filed = _put_folder(access, name, draft, event, key, file_name, record.output_uri)
    else:
        source = Path(path) if record.output_uri else Path(event.path)
        filed = _put(access, name, draft, _weights(event, key, source, file_name, record.output_uri))
    recorded.ids[event.path] = filed.id
    return filed.id


def _weights(
    event: Event, key: str, source: Path | None, file_name: str, uri: str, is_package: bool = False
) -> Weights:
    url = "" if source else event.path
    return Weights(
        source, url, file_name, uri, event.iteration, False, is_package, False, origin=event.path if source else "", key=key
    )  # fmt: skip


def _put(access: TaskAccess, name: str, draft: ModelRecord, wanted: Weights) -> Filed:
    return outputs.put_weights(access, name, outputs.file_model(access, name, draft), wanted)[1]


def _put_folder(
    access: TaskAccess, name: str, draft: ModelRecord, event: Event, key: str, file_name: str, uri: str
) -> Filed:
    """Record a folder: by reference, or as a zip where it is copied."""
    base = Path(event.kept or event.path)
    if uri:
        with weights.temporary_folder() as place:
            packed = Path(place) / "package.zip"
            weights.pack([base], base, packed)  # before there is a model: what can't be packed leaves none
            return _put(access, name, draft, _weights(event, key, packed, f"{file_name}.zip", uri, True))
    filed = _put(access, name, draft, _weights(event, key, Path(event.path), file_name, ""))
    return _with_size(access, name, filed, [base])


def _put_files(
    access: TaskAccess, name: str, draft: ModelRecord, event: Event, key: str, file_name: str, uri: str
) -> Filed:
    """Record a file with others that belong to it: by reference to it, or as a zip of all where they are copied."""
    base = os.path.dirname(event.path)
    paths = [Path(path) for path in (event.path, *event.files)]
    if not uri:
        filed = _put(access, name, draft, _weights(event, key, paths[0], file_name, ""))
        return _with_size(access, name, filed, paths)
    if event.kept:
        paths = [Path(event.kept, os.path.relpath(path, base)) for path in paths]
    with weights.temporary_folder() as place:
        packed = Path(place) / "package.zip"
        weights.pack(paths, Path(event.kept or base), packed)
        return _put(access, name, draft, _weights(event, key, packed, f"{Path(file_name).stem}.zip", uri, True))


def _with_size(access: TaskAccess, name: str, filed: Filed, paths: list[Path]) -> Filed:
    """Record how large files are together that lie where they are."""
    size = sum(path.stat().st_size for path in weights.files_below(paths))
    record = models.edit(
        access.ctx, filed.id, lambda old: replace(old, weights={**old.weights, "size_bytes": size}), "size",
        folder=filed.folder,
    )  # fmt: skip
    outputs.name_in_task(access, name, filed.folder, record)
    return filed


class Names:
    """What a task calls the models of saved files: one name for each file, also in the runs that go on with the task.

    A name whose model somebody else gave its weights, or that is published, is not taken.

    Args:
        access: the task.
        record: as it is now.
        recorded: which names this run has given.
    """

    def __init__(self, access: TaskAccess, record: TaskRecord, recorded: Recorded) -> None:
        self._access = access
        self._entries = {str(entry.get("name")): entry for entry in record.output_models}
        self._recorded = recorded

    def free(self, path: str, stem: str, key: str) -> str:
        """Return a name for a file's model, and keep it for that file: the stem, with its folder or suffix where that is taken.

        Args:
            path: the file.
            stem: the name that is wanted.
            key: what tells this file from others.
        """
        folder, file_name = os.path.split(path)
        beside = self._recorded.key_of(os.path.join(folder, "any"))
        has_sibling = os.path.dirname(self._owner(stem)) == os.path.dirname(beside)
        second = file_name if has_sibling else f"{os.path.basename(folder)}/{stem}"
        names = (stem, second, path, *(f"{path} - {number}" for number in range(1, len(self._entries) + 2)))
        name = next(one for one in names if self._owner(one) in ("", key))
        self._recorded.files[name] = key
        return name

    def _owner(self, name: str) -> str:
        """Return the key of the file whose model has a name: empty where nobody has it."""
        entry = self._entries.get(name)
        mine = self._recorded.files.get(name, "")
        if entry is None:
            return mine
        folder = inside(self._access.where(), str(entry["folder"])) if entry.get("folder") else None
        try:
            _, model = models.read(self._access.ctx, str(entry["id"]), folder)
        except LocaltrackError:
            return _SOMEBODY
        if model.published:
            return _SOMEBODY
        return str(model.weights.get("origin") or (_SOMEBODY if model.weights or not mine else mine))


def record_input(session: Session, event: Event, recorded: Recorded) -> str:
    """Record a loaded file as an input model, by reference; return the model's id.

    Raises:
        LocaltrackError: it can't be recorded.
    """
    access = _access(session)
    record = access.read()
    path = event.path.rstrip("/")
    url = event.path if "://" in event.path else storage.normal_url(event.path)
    own = recorded.ids.get(event.path)
    if own is not None:
        _, model = models.read(session.ctx, own)
    else:
        draft = ModelRecord(id="", name=Path(path).stem, project=record.project, framework=event.framework)
        model, _ = models.import_model(session.ctx, url, draft)
    taken = {entry.get("name"): entry.get("id") for entry in record.input_models}
    if model.id in taken.values():
        return model.id
    name = next(one for one in _longer_names(path) if taken.get(one, model.id) == model.id)
    entry = models.entry_of(name, model)
    access.edit(lambda old: models.with_input(old, entry), f"input model: {name}")
    return model.id


def _longer_names(path: str) -> Iterator[str]:
    """Yield names for a file, each with more of its path, and at last with its suffix and a number."""
    folders = path.split("/")[:-1]
    stem = Path(path).stem
    yield stem
    for count in range(1, len(folders) + 1):
        if folders[-count]:
            yield "/".join((*folders[-count:], stem))
    yield path
    yield from (f"{path} - {number}" for number in itertools.count(1))


def name_for(session: Session, path: str, recorded: Recorded) -> str:
    """Return what the task calls the model of a file that an integration records itself; no other file gets that name."""
    access = _access(session)
    return Names(access, access.read(), recorded).free(path, Path(path).stem, recorded.key_of(path))


def _access(session: Session) -> TaskAccess:
    return TaskAccess(
        session.ctx, session.task_id, lambda: session.writer.folder,
        lambda: open_record(session.ctx, session.task_id)[1],
        lambda change, label: session.update(change, label, checked=False),
    )  # fmt: skip
