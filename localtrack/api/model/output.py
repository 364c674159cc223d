"""``OutputModel``: a model that a task makes.

Source: ClearML's OutputModel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.model.base import BaseModel, design_text, label_numbers
from localtrack.errors import InvalidValueError, NotEditableError, UsageError
from localtrack.records.model import ModelRecord, framework_of
from localtrack.records.plain import replace
from localtrack.services import models, outputs, storage, uploads, weights
from localtrack.services.handed_over import NOTHING, HandedOver
from localtrack.services.outputs import Filed, Otherwise, TaskAccess, Weights

if TYPE_CHECKING:
    from localtrack.api.task import Task


class OutputModel(BaseModel):
    """A model that a task makes: held in memory until its first weights, metadata or report, then filed with the task.

    A task has one model of each name: the same name again, in this object or another, updates the same model and
    keeps its earlier weights.

    Args:
        task: the task; that of this process without one.
        config_text: the configuration's text; the task's own without one.
        config_dict: the configuration as a dict.
        label_enumeration: label to integer; the task's own without one.
        name: the model's name; the task's name without one.
        tags: its tags.
        comment: free text.
        framework: such as ``PyTorch``; guessed from the weights' file name without one.
        base_model_id: id of a model of this task to go on with.

    Raises:
        ValueError: no task, two configurations, or labels that are not text to integer.
    """

    _default_output_uri: str | None = None

    def __init__(
        self,
        task: Task | None = None,
        config_text: str | None = None,
        config_dict: dict[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
        name: str | None = None,
        tags: list[str] | None = None,
        comment: str | None = None,
        framework: str | Enum | None = None,
        base_model_id: str | None = None,
    ) -> None:
        from localtrack.api.task import Task as TaskClass

        task = task or TaskClass.current_task()
        if not isinstance(task, TaskClass):
            raise InvalidValueError("OutputModel needs a task: call Task.init first, or give task=")
        self._ctx = task._ctx
        self._task = task
        self._entry_name: str | None = None
        self._given_name = name
        self._upload_uri = ""
        self._pending_url = ""
        self._file_key = ""  # an integration keeps a file
        self._draft: ModelRecord | None = ModelRecord(
            id="",
            name=name or "",
            task=task._id,
            tags=tuple(tags or ()),
            comment=comment or "",
            design=design_text(config_text, config_dict) or "",
            labels=label_numbers(label_enumeration),
            framework=str(framework.value if isinstance(framework, Enum) else framework or ""),
        )
        if base_model_id:
            self._adopt(base_model_id)

    # -- floating until it is filed --------------------------------------------------------------------------------

    def _access(self) -> TaskAccess:
        task = self._task
        return TaskAccess(
            task._ctx, task._id, task._where, task._read, lambda change, label: task._edit(change, label, checked=False)
        )

    def _adopt(self, model_id: str) -> None:
        """Go on with a model that is there: it becomes this task's, with what was given now."""
        draft = self._draft
        assert draft is not None
        folder, record = models.read(self._ctx, model_id)
        given = {
            key: value
            for key in ("name", "tags", "comment", "design", "labels", "framework")
            if (value := getattr(draft, key))
        }
        if given:
            models.edit(self._ctx, model_id, lambda old: replace(old, **given), "taken up again", folder=folder)
        self._model_id, self._folder = model_id, models.locate(self._ctx, model_id)
        self._draft = None
        entry = next((e for e in self._task._read().output_models if e.get("id") == model_id), None)
        self._entry_name = str(entry["name"]) if entry else (self._given_name or record.name)
        self._name_in_task()

    def _inherited(self) -> ModelRecord:
        """Return what will be filed: what was given, and the task's project, configuration, labels and input model."""
        assert self._draft is not None
        task = self._task._read()
        first = task.input_models[0] if task.input_models else {}
        return replace(
            self._draft,
            name=self._draft.name or task.name,
            project=self._draft.project or task.project,
            design=self._draft.design or self._task.get_model_config_text(),
            labels=self._draft.labels or dict(task.labels),
            parent=str(first.get("id", "")),
        )

    def _file(self, fallback_name: str) -> Filed:
        """File the model under its name in the task, if it is not yet."""
        if self._model_id is not None:
            record = self._record()
            if record.published:
                raise NotEditableError(f"model {record.id} ({record.name}) is published and cannot be changed")
            if self._folder is not None:
                return Filed(self._folder, self._model_id, False)
        self._entry_name = self._entry_name or self._given_name or fallback_name
        draft = self._inherited() if self._draft is not None else self._record()
        known = outputs.entry_named(self._task._read(), self._entry_name)
        if known is not None and self._draft is not None:
            draft = self._draft  # what is only inherited does not replace what the model has
        filed = outputs.file_model(self._access(), self._entry_name, draft)
        self._model_id, self._folder, self._draft = filed.id, filed.folder, None
        return filed

    def _force(self) -> None:
        """File the model and name it in the task, for what needs an id before there are weights."""
        if self._draft is not None:
            self._file("Output Model")
            self._name_in_task()

    def _name_in_task(self) -> None:
        if self._folder is not None:
            record = self._record()
            outputs.name_in_task(self._access(), self._entry_name or record.name, self._folder, record)

    def _record(self) -> ModelRecord:
        return self._inherited() if self._draft is not None else super()._record()

    def _apply(self, change: models.Change, label: str) -> None:
        if self._draft is not None:
            self._draft = change(self._draft)
            if label == "metadata":
                self._force()
            return
        super()._apply(change, label)
        self._name_in_task()

    def _pen(self) -> Any:
        self._force()
        return super()._pen()

    # -- ClearML's names -------------------------------------------------------------------------------------------

    @property
    def id(self) -> str | None:  # type: ignore[override]
        """The model's id; None until it is filed."""
        return self._model_id

    @property
    def task(self) -> str:
        """Id of the task that makes it."""
        return self._task._id

    @property
    def url(self) -> str:
        """Where the weights are; while they are uploaded, where they will be; empty before there are any."""
        return ("" if self._draft is not None else super().url) or self._pending_url

    @property
    def config_text(self) -> str:
        """The configuration as text; setting it is :meth:`update_design`."""
        return super().config_text

    @config_text.setter
    def config_text(self, value: str) -> None:
        self.update_design(config_text=value)

    @property
    def config_dict(self) -> dict[str, Any]:
        """The configuration as a dict; setting it is :meth:`update_design`."""
        return super().config_dict

    @config_dict.setter
    def config_dict(self, value: dict[str, Any]) -> None:
        self.update_design(config_dict=value)

    @property
    def labels(self) -> dict[str, int]:
        """Which number stands for which label; setting it is :meth:`update_labels`."""
        return super().labels

    @labels.setter
    def labels(self, value: Mapping[str, int]) -> None:
        self.update_labels(value)

    @property
    def upload_storage_uri(self) -> str | None:
        """Where the next weights go: what was set here, for the task, or for all models; None to register them."""
        return weights.shown_destination(self._ctx, self._destination(None))

    def publish(self) -> None:
        """Publish the model: nothing of what it is changes any more, and it outlives its task."""
        self._force()
        super().publish()

    def connect(self, task: Task, name: str | None = None, **kwargs: Any) -> None:
        """Say what the task calls the model, which may differ from its name.

        Raises:
            InvalidValueError: another task than the one it was made for.

        Source: ClearML's OutputModel.connect.
        """
        if task != self._task:
            raise InvalidValueError("an output model belongs to the task that it was made for", task_id=task.id)
        if name:
            self._entry_name = str(name)
        if self._draft is None:
            self._name_in_task()
        record = self._record()
        if record.design and not task.get_model_config_text():
            task.set_model_config(config_text=record.design)
        if record.labels and not task.get_labels_enumeration():
            task.set_model_label_enumeration(record.labels)

    def set_upload_destination(self, uri: str) -> None:
        """Say where this model's next weights go: a path, a URL, or True for the store.

        Raises:
            StorageError: a folder that can't be written.
            MissingExtraError: a place that needs an optional package.
            NotEditableError: the model is published.

        Source: ClearML's OutputModel.set_upload_destination.
        """
        if not uri:
            return
        self._check_open()
        self._upload_uri = weights.destination(self._ctx, uri)

    @classmethod
    def set_default_upload_uri(cls, output_uri: str | None) -> None:
        """Say where weights of all models of this process go whose task says nothing; None takes it back.

        Source: ClearML's OutputModel.set_default_upload_uri.
        """
        OutputModel._default_output_uri = str(output_uri) if output_uri else None

    def _destination(self, upload_uri: str | None) -> str:
        if upload_uri:
            self._upload_uri = weights.destination(self._ctx, upload_uri)
        return (
            self._upload_uri
            or self._task._read().output_uri
            or weights.destination(self._ctx, OutputModel._default_output_uri)
        )

    def _check_open(self) -> None:
        if self._draft is None and self._record().published:
            raise NotEditableError(f"model {self._model_id} is published and cannot be changed")

    def update_weights(
        self,
        weights_filename: str | None = None,
        upload_uri: str | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = False,
        register_uri: str | None = None,
        iteration: int | None = None,
        update_comment: bool = True,
        is_package: bool = False,
        async_enable: bool = True,
    ) -> str:
        """Give the model its weights. With no destination a local file is registered where it is, and not copied.

        The file stays unless ``auto_delete_file`` is given and a copy of it was stored. Weights that the model had
        before stay as well, as an earlier version.

        Args:
            weights_filename: a local file; of a folder a package is made.
            upload_uri: where the copy goes, now and from now on: a path, a URL, or True for the store; what the task's
                ``output_uri`` says without it.
            target_filename: name of the copy; the file's own without one.
            auto_delete_file: remove the local file once its copy is stored, an upload in the background included; never a
                file that is only registered, and never one that was written to since.
            register_uri: instead of a file, an address where the weights are already.
            iteration: when in the run they were saved; the task's last iteration without one.
            update_comment: say in the comment's first line where the weights came from.
            is_package: the file is a zip of several files.
            async_enable: an upload to another host may go on in the background; the process does not end before it is
                done. What goes to the store or a local folder is there when this returns.

        Returns:
            Where the weights are, as a URL.

        Raises:
            ValueError: neither or both of file and address, no such file, or the model is published.
            OSError: the copy can't be written, and ``async_enable=False`` or another process runs the task: the model
                stays as it was. Else the copy is kept in the store, and where that takes none either the model stays as
                it was and the given path is returned; each is said once.

        Source: ClearML's OutputModel.update_weights, whose ``auto_delete_file`` is True by default.
        """
        if bool(weights_filename) == bool(register_uri):
            raise InvalidValueError("update_weights takes exactly one of weights_filename and register_uri")
        self._check_open()
        source = Path(weights_filename).expanduser() if weights_filename else None
        if source is not None and source.is_dir():
            return self.update_weights_package(
                weights_path=str(source), upload_uri=upload_uri, target_filename=target_filename or source.name,
                auto_delete_file=auto_delete_file, iteration=iteration, async_enable=async_enable,
            )  # fmt: skip
        if source is not None and not source.is_file():
            raise InvalidValueError(f"no weights file {source}: nothing to store", path=str(source))
        uri = self._destination(upload_uri)
        name = target_filename or (source.name if source is not None else storage.base_name(str(register_uri)))
        return self._put(
            Weights(
                source, storage.normal_url(register_uri) if register_uri else "", name, uri, iteration,
                update_comment, is_package, async_enable,
                self._handed_over([source]) if source is not None and uri and auto_delete_file else NOTHING,
            ),
            given=str(source or register_uri),
        )  # fmt: skip

    def _handed_over(self, files: Sequence[Path], base: Path | None = None) -> HandedOver:
        return HandedOver.of(self._ctx.store.layout, files, base)

    def _put(self, wanted: Weights, *, given: str) -> str:
        """Give the model its weights; what the disk does not take is said and left out, where nobody waits for it."""
        if wanted.iteration is None:
            wanted = replace(wanted, iteration=self._task.get_last_iteration())
        if self._draft is not None and not self._draft.framework:
            self._draft = replace(self._draft, framework=framework_of(wanted.file_name))
        session = self._task._session
        may_wait = session is not None and self._task._owned and wanted.background
        otherwise = Otherwise.STORE if may_wait else Otherwise.FAIL
        wanted = replace(wanted, key=self._file_key, otherwise=otherwise)
        before = (self._model_id, self._folder, self._draft)
        filed = None
        try:
            filed = self._file(Path(wanted.file_name).stem or "Output Model")
            url, filed = outputs.put_weights(self._access(), str(self._entry_name), filed, wanted)
        except Exception as error:  # of whichever client
            if filed is None or filed.is_new:
                self._model_id, self._folder, self._draft = before
            if session is None or not may_wait or not isinstance(error, OSError):
                raise
            called = self._entry_name
            session.writer.say_once(f"model-{called}", f"the weights of model {called!r} were not kept: {error}")
            return given
        self._model_id, self._folder, self._pending_url = filed.id, filed.folder, url
        return url

    def update_weights_package(
        self,
        weights_filenames: Sequence[str] | None = None,
        weights_path: str | None = None,
        upload_uri: str | None = None,
        target_filename: str | None = None,
        auto_delete_file: bool = False,
        iteration: int | None = None,
        async_enable: bool = True,
    ) -> str:
        """Give the model several files as its weights, in one zip. The files stay unless told otherwise.

        With no destination the zip goes to the store: it is no file of the user's that could be registered.

        Args:
            weights_filenames: the files; of a folder among them all files below it.
            weights_path: or a folder, with all files below it.
            upload_uri: as in :meth:`update_weights`.
            target_filename: name of the zip.
            auto_delete_file: remove the files that were packed once the zip is stored, and the folder with them when
                nothing is left in it; as in :meth:`update_weights`.
            iteration: when in the run they were saved.
            async_enable: as in :meth:`update_weights`.

        Returns:
            Where the zip is, as a URL.

        Raises:
            ValueError: neither or both, no such file or folder, nothing in it, or the model is published.
            OSError: as in :meth:`update_weights`.

        Source: ClearML's OutputModel.update_weights_package, which deletes the files by default.
        """
        if bool(weights_filenames) == bool(weights_path):
            raise InvalidValueError("update_weights_package takes exactly one of weights_filenames and weights_path")
        self._check_open()
        base = Path(weights_path).expanduser() if weights_path else None
        if base is not None and not base.is_dir():
            raise InvalidValueError(f"no folder {base}: nothing to store", path=str(base))
        files = weights.files_below([base] if base is not None else list(weights_filenames or ()))
        name = target_filename or "model_package.zip"
        name = name if name.lower().endswith(".zip") else f"{name}.zip"
        given = str(base or (weights_filenames or [""])[0])
        with weights.temporary_folder() as place:
            packed = Path(place) / "package.zip"
            handed_over = self._handed_over(files, base) if auto_delete_file else NOTHING
            weights.pack(files, base, packed)
            uri = self._destination(upload_uri) or weights.destination(self._ctx, True)
            url = self._put(
                Weights(packed, "", name, uri, iteration, False, True, async_enable, handed_over), given=given
            )
        return url

    def update_design(self, config_text: str | None = None, config_dict: dict[str, Any] | None = None) -> bool:
        """Set the configuration, of the task as well where that has none.

        Returns:
            True.

        Raises:
            ValueError: two configurations, or the model is published.

        Source: ClearML's OutputModel.update_design.
        """
        self._check_open()
        text = design_text(config_text, config_dict) or ""
        if text and not self._task.get_model_config_text():
            self._task.set_model_config(config_text=text)
        self._change("configuration", design=text)
        return True

    def update_labels(self, labels: Mapping[str, int]) -> bool:
        """Set which number stands for which label, of the task as well.

        Returns:
            True.

        Raises:
            ValueError: not text to integer, or the model is published.

        Source: ClearML's OutputModel.update_labels.
        """
        self._check_open()
        numbers = label_numbers(labels)
        self._task.set_model_label_enumeration(numbers)
        self._change("labels", labels=numbers)
        return True

    @classmethod
    def wait_for_uploads(cls, timeout: float | None = None, max_num_uploads: int | None = None) -> None:
        """Wait for uploads in the background.

        Args:
            timeout: at most so many seconds.
            max_num_uploads: for at most so many.

        Raises:
            UsageError: a negative timeout.

        Source: ClearML's OutputModel.wait_for_uploads.
        """
        if timeout is not None and timeout < 0:
            raise UsageError("wait_for_uploads: the timeout must not be negative")
        uploads.wait_for_uploads(timeout, max_num_uploads)
