"""What every model has: names, tags, configuration, metadata, weights.

Source: ClearML's BaseModel.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localtrack.api.model.reports import ModelReports
from localtrack.errors import CorruptFileError, InvalidValueError, StorageError
from localtrack.records.ids import normal_project
from localtrack.records.late import late_logger
from localtrack.records.model import ARCHIVED_TAG, ModelRecord
from localtrack.records.plain import replace
from localtrack.services import models, parameters, weights
from localtrack.services.context import StoreContext, open_context

LOG = late_logger()


def context() -> StoreContext:
    """Return the store of this process's task; of a process without one, the store in force."""
    from localtrack.runtime import current

    session = current.get()
    return session.ctx if session is not None else open_context()


def design_text(config_text: str | None, config_dict: Mapping[str, Any] | None) -> str | None:
    """Return a configuration as text; None for none.

    Raises:
        InvalidValueError: both are given, or one of another type.
    """
    if config_text is not None and config_dict is not None:
        raise InvalidValueError("give config_text or config_dict, not both")
    if config_dict is not None:
        if not isinstance(config_dict, Mapping):
            raise InvalidValueError(f"config_dict must be a dict, not a {type(config_dict).__qualname__}")
        return parameters.dump_configuration(config_dict)
    if config_text is not None and not isinstance(config_text, str):
        raise InvalidValueError(f"config_text must be a text, not a {type(config_text).__qualname__}")
    return config_text


def design_dict(text: str) -> dict[str, Any]:
    """Return a configuration's text as a dict; an empty one for no text.

    Raises:
        InvalidValueError: it is no JSON object.
    """
    if not text.strip():
        return {}
    value = parameters.parse_configuration(text)
    if not isinstance(value, dict):
        raise InvalidValueError("the model's configuration is no JSON object: read config_text instead")
    return value


def label_numbers(labels: Mapping[str, int] | None) -> dict[str, int]:
    """Return labels checked.

    Raises:
        InvalidValueError: a name that is no text, or a number that is no integer.
    """
    for name, number in (labels or {}).items():
        if not isinstance(name, str) or isinstance(number, bool) or not isinstance(number, int):
            raise InvalidValueError(f"labels map texts to integers, not {name!r} to {number!r}")
    return dict(labels or {})


class BaseModel(ModelReports):
    """A model of the store, read afresh at every access."""

    _ctx: StoreContext
    _model_id: str | None = None
    _folder: Path | None = None

    def _record(self) -> ModelRecord:
        """Return the record as it is on disk now."""
        if self._model_id is None:
            raise InvalidValueError("this model has no id yet: call update_weights first")
        self._folder, record = models.read(self._ctx, self._model_id, self._folder)
        return record

    def _change(self, label: str, **values: Any) -> None:
        self._apply(lambda record: replace(record, **values), label)

    def _apply(self, change: models.Change, label: str) -> None:
        if self._model_id is None:
            raise InvalidValueError("this model has no id yet: call update_weights first")
        models.edit(self._ctx, self._model_id, change, label, folder=self._folder)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseModel) and self._model_id is not None and other._model_id == self._model_id

    def __hash__(self) -> int:
        return hash(self._model_id)

    @property
    def id(self) -> str:
        """The model's id: 32 hexadecimal digits."""
        return self._model_id or ""

    @property
    def name(self) -> str:
        """The model's name."""
        return self._record().name

    @name.setter
    def name(self, value: str) -> None:
        self._change("renamed", name=str(value))

    @property
    def project(self) -> str:
        """Name of the project that it belongs to; there are no project ids here."""
        return self._record().project

    @project.setter
    def project(self, value: str) -> None:
        self._change("moved", project=normal_project(str(value)))

    @property
    def comment(self) -> str:
        """Free text."""
        return self._record().comment

    @comment.setter
    def comment(self, value: str) -> None:
        self._change("comment", comment=str(value or ""))

    @property
    def tags(self) -> list[str]:
        """The user's tags."""
        return list(self._record().tags)

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        self._change("tags", tags=_tags(value))

    @property
    def system_tags(self) -> list[str]:
        """``archived``, ``package``."""
        return list(self._record().system_tags)

    @system_tags.setter
    def system_tags(self, value: Sequence[str]) -> None:
        self._change("system tags", system_tags=_tags(value))

    @property
    def config_text(self) -> str:
        """The configuration as text."""
        return self._record().design

    @property
    def config_dict(self) -> dict[str, Any]:
        """The configuration as a dict; empty without one.

        Raises:
            InvalidValueError: its text is no JSON object.
        """
        return design_dict(self.config_text)

    @property
    def labels(self) -> dict[str, int]:
        """Which number stands for which label."""
        return dict(self._record().labels)

    @property
    def task(self) -> str:
        """Id of the task that made it; empty for an imported one."""
        return self._record().task

    @property
    def original_task(self) -> str:
        """The same as :attr:`task`."""
        return self.task

    @property
    def url(self) -> str:
        """Where the weights are: ``file://`` for what lies in the store or on this host; empty before there are any."""
        record = self._record()
        return weights.url_of(self._ctx, self._folder, record)

    @property
    def published(self) -> bool:
        """Whether it may no longer change."""
        return self._record().published

    @property
    def framework(self) -> str:
        """Such as ``PyTorch``; guessed from the weights' file name when nobody said."""
        return self._record().framework

    @property
    def archived_tag(self) -> str:
        """The system tag of archived models."""
        return ARCHIVED_TAG

    def publish(self) -> None:
        """Publish the model: weights, configuration, labels, framework and name never change again, and it outlives its task.

        Source: ClearML's Model.publish.
        """
        self._record()
        models.publish(self._ctx, self.id, folder=self._folder)

    def archive(self) -> None:
        """Hide the model from listings and queries.

        Source: ClearML's Model.archive.
        """
        self._record()
        models.set_archived(self._ctx, self.id, True, folder=self._folder)

    def unarchive(self) -> None:
        """Show the model again.

        Source: ClearML's Model.unarchive.
        """
        self._record()
        models.set_archived(self._ctx, self.id, False, folder=self._folder)

    def get_offline_mode_folder(self) -> str:
        """Return the model's folder in the store.

        Source: ClearML's Model.get_offline_mode_folder.
        """
        self._record()
        return str(self._folder or self._ctx.store.root)

    # -- metadata ------------------------------------------------------------------------------------------------

    def set_metadata(self, key: str, value: str, v_type: str | None = None) -> bool:
        """Set one entry of metadata; key and value become texts.

        Args:
            key: name of the entry.
            value: its value.
            v_type: ``int``, ``float``, ``bool``, ``str``, ``list``, ``tuple`` or ``dict``, for the casted getters.

        Returns:
            True.

        Source: ClearML's Model.set_metadata.
        """
        return self.set_all_metadata({key: {"value": value, "type": str(v_type)}}, replace=False)

    def get_metadata(self, key: str) -> str | None:
        """Return an entry's value as text; None when there is none.

        Source: ClearML's Model.get_metadata.
        """
        entry = self._record().metadata.get(str(key))
        return None if entry is None else str(entry.get("value"))

    def get_metadata_casted(self, key: str) -> Any:
        """Return an entry's value in its type, as text where that does not fit; None when there is none.

        Source: ClearML's Model.get_metadata_casted.
        """
        entry = self._record().metadata.get(str(key))
        return None if entry is None else _cast(entry)

    def get_all_metadata(self) -> dict[str, dict[str, str]]:
        """Return ``{key: {"key", "value", "type"}}``, all texts.

        Source: ClearML's Model.get_all_metadata.
        """
        return {
            key: {"key": key, "type": str(entry.get("type")), "value": str(entry.get("value"))}
            for key, entry in self._record().metadata.items()
        }

    def get_all_metadata_casted(self) -> dict[str, Any]:
        """Return ``{key: value}``, values in their types.

        Source: ClearML's Model.get_all_metadata_casted.
        """
        return {key: _cast(entry) for key, entry in self._record().metadata.items()}

    def set_all_metadata(self, metadata: dict[str, dict[str, str]], replace: bool = True) -> bool:
        """Set metadata from ``{key: {"value", "type"}}``.

        Args:
            metadata: the entries.
            replace: drop all others; False adds to them.

        Returns:
            True.

        Raises:
            InvalidValueError: an entry of another shape.

        Source: ClearML's Model.set_all_metadata.
        """
        entries = models.metadata_entries(metadata)
        self._apply(lambda record: models.with_metadata(record, entries, replace_all=replace), "metadata")
        return True

    # -- weights -------------------------------------------------------------------------------------------------

    def get_weights(
        self, raise_on_error: bool = False, force_download: bool = False, extract_archive: bool = False
    ) -> str:
        """Return a local path of the weights. What lies in the store is that file itself: read it, never change it.

        Nothing local is copied or hashed; remote weights are downloaded once into the user's cache.

        Args:
            raise_on_error: raise where there are no weights or they can't be read; else that is logged.
            force_download: download again although there is a copy.
            extract_archive: return the folder with the content of a zip or tar archive.

        Returns:
            The path; empty where there is none and ``raise_on_error`` is not given.

        Raises:
            ValueError: no weights, or they can't be read.

        Source: ClearML's Model.get_weights.
        """
        record = self._record()
        try:
            path = weights.local_path(self._ctx, self._folder, record, force_download=force_download)
            if extract_archive:
                path = weights.extracted(path, record)
        except (StorageError, CorruptFileError) as error:
            if raise_on_error:
                raise InvalidValueError(str(error), model_id=record.id) from error
            LOG.warning("%s", error)
            return ""
        return str(path)

    def get_weights_package(
        self,
        return_path: bool = False,
        raise_on_error: bool = False,
        force_download: bool = False,
        extract_archive: bool = True,
    ) -> str | list[Path] | None:
        """Return the unpacked files of a package: the list of what is in its folder, or the folder.

        Args:
            return_path: return the folder.
            raise_on_error: raise where the package can't be read; else that is logged and None returned.
            force_download: download again although there is a copy.
            extract_archive: False returns the zip itself.

        Raises:
            ValueError: the model is no package, or it can't be read.

        Source: ClearML's Model.get_weights_package.
        """
        if not self._record().is_package:
            raise InvalidValueError(f"model {self.id} is no package: call get_weights", model_id=self.id)
        path = self.get_weights(raise_on_error, force_download, extract_archive)
        if not path:
            return None
        if return_path or not extract_archive:
            return path if return_path else [Path(path)]
        return sorted(Path(path).iterdir())


def _tags(value: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InvalidValueError(f"tags must be a list of texts, not {value!r}")
    return tuple(dict.fromkeys(str(tag) for tag in value or ()))


def _cast(entry: Mapping[str, Any]) -> Any:
    text, kind = str(entry.get("value")), str(entry.get("type"))
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return {"true": True, "false": False, "1": True, "0": False}[text.strip().lower()]
        if kind in ("list", "tuple", "dict"):
            value = _structure(text)
            return {"list": list, "tuple": tuple, "dict": dict}[kind](value)
    except (ValueError, KeyError, TypeError, SyntaxError):
        return text
    return text


def _structure(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)
