"""Section: models that a task starts from and makes, its labels and model configuration, and where weights go.

Source: ClearML's Task.models, update_output_model, set_input_model, output_uri.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, KeysView, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError, ModelNotFoundError
from localtrack.records.parameters import entry, value_of
from localtrack.records.plain import replace
from localtrack.records.task import STORE_URI, TaskRecord
from localtrack.services import parameters

if TYPE_CHECKING:
    from localtrack.api.model import BaseModel, InputModel, Model
    from localtrack.api.task import Task

DESIGN = "design"


class ModelsList(list["Model"]):
    """Models in their order, also found by what the task calls them."""

    def __init__(self, named: Iterable[tuple[str, Model]]) -> None:
        self._named = dict(named)
        super().__init__(self._named.values())

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            if item in self._named:
                return self._named[item]
            found = next((model for model in reversed(self) if model.name == item), None)
            if found is None:
                raise KeyError(item)
            return found
        return super().__getitem__(item)

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the model of a name or place; ``default`` where there is none."""
        try:
            return self[key]
        except (KeyError, IndexError):
            return default

    def keys(self) -> KeysView[str]:
        """Return what the task calls them."""
        return self._named.keys()


class TaskModels(dict[str, ModelsList]):
    """``{"input": [...], "output": [...]}``, also by attribute."""

    @property
    def input(self) -> ModelsList:
        """Models that the task starts from."""
        return self["input"]

    @property
    def output(self) -> ModelsList:
        """Models that the task made, the last changed last."""
        return self["output"]


class ModelsSection(Section):
    """Models that a task made or starts from."""

    @property
    def models(self) -> TaskModels:
        """``{"input": [...], "output": [...]}``: lists of models, each also keyed by what the task calls it."""
        record = self._read_models()
        return TaskModels(
            input=ModelsList(self._models_of(record.input_models)),
            output=ModelsList(self._models_of(record.output_models)),
        )

    def _read_models(self) -> TaskRecord:
        """Return the task's record with what this process has saved and loaded so far."""
        if self._session is not None and self._owned:
            for action in self._session.on_read_models:
                action()
        return self._read()

    def _models_of(self, entries: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, Model]]:
        from localtrack.api.model import Model

        for one in entries:
            model = Model.__new__(Model)
            model._ctx, model._model_id = self._ctx, str(one.get("id", ""))
            yield str(one.get("name", "")), model

    def get_models(self) -> TaskModels:
        """Return the task's models; the same as :attr:`models`.

        Source: ClearML's Task.get_models.
        """
        return self.models

    @property
    def input_models_id(self) -> dict[str, str]:
        """What the task calls each model that it starts from, to the model's id."""
        return {str(one.get("name", "")): str(one.get("id", "")) for one in self._read_models().input_models}

    @property
    def output_models_id(self) -> dict[str, str]:
        """What the task calls each model that it made, to the model's id."""
        return {str(one.get("name", "")): str(one.get("id", "")) for one in self._read_models().output_models}

    def update_output_model(
        self,
        model_path: str,
        name: str | None = None,
        comment: str | None = None,
        tags: Sequence[str] | None = None,
        model_name: str | None = None,
        iteration: int | None = None,
        auto_delete_file: bool = False,
    ) -> str:
        """Store a copy of a model file as one of the task's output models; the same name again updates that model.

        Args:
            model_path: the file; of a folder a package is made.
            name: what the task calls the model; ``model_name``, else the file's stem without one.
            comment: free text.
            tags: the model's tags.
            model_name: the model's own name; ``<task's name> - <name>``, or the task's name without one.
            iteration: when in the run it was saved.
            auto_delete_file: remove the given file once it is stored; never by default.

        Returns:
            Where the copy is, as a URL: below the task's ``output_uri``, else in the store; the given path when this
            process runs the task and the disk takes no more, which is said once.

        Raises:
            ValueError: no such file, or the model is published.
            OSError: the disk takes no more, for a task that another process ran.

        Source: ClearML's Task.update_output_model, whose ``auto_delete_file`` is True by default.
        """
        from localtrack.api.model import OutputModel

        source = Path(model_path).expanduser()
        if not source.exists():
            raise InvalidValueError(f"no model file {source}: nothing to store", path=str(source))
        own = model_name or (f"{self._read().name} - {name}" if name else None)
        model = OutputModel(task=self._as_task(), name=own, comment=comment, tags=list(tags or ()))
        model._entry_name = name or model_name or source.stem
        return model.update_weights(
            str(source),
            upload_uri=None if self._read().output_uri else str(self._ctx.store.root),
            iteration=iteration,
            update_comment=False,
            auto_delete_file=auto_delete_file,
        )

    def _as_task(self) -> Task:
        from localtrack.api.task import Task

        assert isinstance(self, Task)
        return self

    def set_input_model(
        self,
        model_id: str | None = None,
        model_name: str | None = None,
        update_task_design: bool = True,
        update_task_labels: bool = True,
        name: str | None = None,
    ) -> None:
        """Make a model one that the task starts from.

        Args:
            model_id: its id; an empty one takes the entry of that name away.
            model_name: or its name: the newest, a published one if there is any.
            update_task_design: take over its configuration where the task has none.
            update_task_labels: take over its labels where the task has none.
            name: what the task calls it; the weights' file name without its suffix when not given.

        Raises:
            ValueError: neither id nor name, or no such model.
            NotEditableError: the task is no draft, and not run by this process.

        Source: ClearML's Task.set_input_model.
        """
        from localtrack.services import models, weights

        if model_id is None and not model_name:
            raise InvalidValueError("set_input_model takes model_id or model_name")
        if model_id == "" and not model_name:
            self._edit(
                lambda record: replace(
                    record,
                    input_models=tuple(one for one in record.input_models if name and one.get("name") != name),
                ),
                "input model removed",
            )
            return
        folder, model = models.read(self._ctx, model_id or self._model_of_name(str(model_name)))
        url = weights.url_of(self._ctx, folder, model)
        called = name or _connect_name(url)
        body = models.entry_of(called, model)
        self._edit(lambda record: models.with_input(record, body), f"input model: {called}")
        record = self._read()
        if update_task_labels and model.labels and not record.labels:
            self._edit(lambda old: replace(old, labels=dict(model.labels)), "labels")
        if update_task_design and model.design and not self.get_model_config_text():
            self.set_model_config(config_text=model.design)

    def _model_of_name(self, name: str) -> str:
        from localtrack.services import models

        rows = models.query(self._ctx, name=name)
        best = next((row for row in rows if row.value("published")), rows[0] if rows else None)
        if best is None:
            raise ModelNotFoundError(f"no model is called {name!r}; `localtrack models` lists them")
        return best.id

    def remove_input_models(self, models_to_remove: Sequence[str | BaseModel]) -> None:
        """Take models out of those that the task starts from; the models themselves stay.

        Args:
            models_to_remove: models or their ids.

        Source: ClearML's Task.remove_input_models.
        """
        from localtrack.services import models

        ids = [one if isinstance(one, str) else str(one.id) for one in models_to_remove]
        self._edit(lambda record: models.without_models(record, ids), "input models removed")

    # -- configuration and labels --------------------------------------------------------------------------------

    def set_model_config(self, config_text: str | None = None, config_dict: Mapping[str, Any] | None = None) -> None:
        """Set the configuration that models of this task inherit: the configuration object ``design``.

        Raises:
            ValueError: two configurations.

        Source: ClearML's Task.set_model_config.
        """
        from localtrack.api.model.base import design_text

        text = design_text(config_text, config_dict)
        if text is None:
            return
        kind = "dictionary" if config_dict is not None else "text"
        self._edit(parameters.with_configuration(self._ctx, self._where(), DESIGN, text, kind, ""), "model config")

    def get_model_config_text(self) -> str:
        """Return the configuration that models of this task inherit; the first configuration object without ``design``.

        Source: ClearML's Task.get_model_config_text.
        """
        record = self._read()
        names = [DESIGN] if DESIGN in record.configuration else sorted(record.configuration)[:1]
        return (parameters.configuration_text(self._where(), record, names[0]) or "") if names else ""

    def get_model_design(self) -> str:
        """Return the same as :meth:`get_model_config_text`.

        Source: ClearML's Task.get_model_design.
        """
        return self.get_model_config_text()

    def get_model_config_dict(self) -> dict[str, Any]:
        """Return the configuration that models of this task inherit, as a dict; empty without one.

        Raises:
            InvalidValueError: its text is no JSON object.

        Source: ClearML's Task.get_model_config_dict.
        """
        from localtrack.api.model.base import design_dict

        return design_dict(self.get_model_config_text())

    def update_model_desc(self, new_model_desc_file: str | None = None) -> None:
        """Set the models' configuration to the text of a file.

        Raises:
            InvalidValueError: no such file.

        Source: ClearML's Task.update_model_desc.
        """
        path = Path(new_model_desc_file or "")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValueError(f"the file {path} can't be read as text: {error}", path=str(path)) from None
        self.set_model_config(config_text=text)

    def save_exec_model_design_file(self, filename: str = "model_design.txt", use_cache: bool = False) -> str:
        """Write the models' configuration to a file in the user's cache and return its path.

        Args:
            filename: the file's name.
            use_cache: keep the file when it is there.

        Raises:
            InvalidValueError: there is no configuration.

        Source: ClearML's Task.save_exec_model_design_file.
        """
        from localtrack.services.storage_cache import cache_folder
        from localtrack.store.blobs import safe_file_name

        path = cache_folder("designs") / self._id / safe_file_name(filename)
        if use_cache and path.is_file():
            return str(path)
        text = self.get_model_config_text()
        if not text:
            raise InvalidValueError(f"task {self._id} has no model configuration", task_id=self._id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return str(path)

    def set_model_label_enumeration(self, enumeration: Mapping[str, int] | None = None) -> None:
        """Set which number stands for which label in models of this task.

        Raises:
            InvalidValueError: not text to integer.

        Source: ClearML's Task.set_model_label_enumeration.
        """
        from localtrack.api.model.base import label_numbers

        labels = label_numbers(enumeration)
        self._edit(lambda record: replace(record, labels=labels), "labels")

    def get_label_num_description(self) -> dict[int, str]:
        """Return which label each number stands for.

        Raises:
            InvalidValueError: two labels have one number.

        Source: ClearML's Task.get_label_num_description.
        """
        result: dict[int, str] = {}
        for label, number in sorted(self._read().labels.items(), key=lambda pair: pair[1]):
            if number in result:
                raise InvalidValueError(f"labels {result[number]!r} and {label!r} both have the number {number}")
            result[number] = label
        return result

    def get_num_of_classes(self) -> int:
        """Return how many classes the labels speak of, background (0) included: the highest number and one.

        Source: ClearML's Task.get_num_of_classes.
        """
        return max(self._read().labels.values(), default=-1) + 1

    @property
    def labels_stats(self) -> dict[str, Any]:
        """Empty: ClearML's statistics of labels come from its hyper-datasets."""
        return {}

    # -- destinations --------------------------------------------------------------------------------------------

    @property
    def output_uri(self) -> str | None:
        """Where models and uploads go; the store as a ``file://`` URL, None for nowhere. True sets the store, False nowhere."""
        from localtrack.services import weights

        return weights.shown_destination(self._ctx, self._read().output_uri)

    @output_uri.setter
    def output_uri(self, value: str | bool | os.PathLike[str] | None) -> None:
        from localtrack.services import weights

        kept = weights.destination(self._ctx, value)

        def change(record: TaskRecord) -> TaskRecord:
            return replace(record, output_uri=kept)

        self._edit(change, "output_uri", checked=False)

    @property
    def storage_uri(self) -> str | None:
        """The same as :attr:`output_uri`."""
        return self.output_uri

    @storage_uri.setter
    def storage_uri(self, value: str | bool | os.PathLike[str] | None) -> None:
        self.output_uri = value

    def get_output_destination(self, extra_path: str | None = None, **kwargs: Any) -> str:
        """Return where models and uploads go: ``output_uri``, the store without one.

        Args:
            extra_path: appended to it.
            **kwargs: passed over.

        Source: ClearML's Task.get_output_destination.
        """
        from localtrack.services.storage import join_url

        base = self.output_uri or self._get_default_report_storage_uri()
        return join_url(base, extra_path) if extra_path else base

    def _get_default_report_storage_uri(self) -> str:
        """Return the store as a ``file://`` URL: what ClearML's clients pass on as a destination."""
        from localtrack.services import weights

        return str(weights.shown_destination(self._ctx, STORE_URI))


def _connect_name(url: str) -> str:
    from localtrack.api.model.input import connect_name

    return connect_name(url)


def connect_input_model(task: Task, model: InputModel, name: str | None, ignore: bool) -> None:
    """Make a model one that a task starts from, or under an agent put the stored one in its place.

    Args:
        task: the task.
        model: the model; takes on the stored one's id.
        name: what the task calls it.
        ignore: keep the code's model under an agent.
    """
    from localtrack.api.model.input import IGNORE_FLAG

    called = name or _connect_name("" if model._empty is not None else model.url)
    session, record = task._session, task._read()
    remote = session is not None and session.options.remote
    flag = record.parameters.get(f"{called}/{IGNORE_FLAG}")
    ignored = value_of(flag) if remote and flag is not None else ignore
    if ignore and not remote:
        task._edit(
            lambda old: parameters.merged(old, {f"{called}/{IGNORE_FLAG}": entry(True)}), "input model overrides"
        )
    if remote and ignored not in (True, "True", "true") and record.input_models:
        stored = next((one for one in record.input_models if one.get("name") == called), record.input_models[0])
        model._empty, model._folder, model._model_id = None, None, str(stored.get("id", ""))
        model._record()
        return
    if model._empty is None:
        task.set_input_model(model.id, name=called)
        return
    if model._empty.design and not task.get_model_config_text():
        task.set_model_config(config_text=model._empty.design)
    if model._empty.labels and not task.get_labels_enumeration():
        task.set_model_label_enumeration(model._empty.labels)
