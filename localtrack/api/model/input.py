"""``Model`` and ``InputModel``: models that are there already.

Source: ClearML's Model and InputModel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.api.model.base import LOG, BaseModel, context, design_dict, design_text, label_numbers
from localtrack.errors import InvalidValueError, LocaltrackError, ModelNotFoundError
from localtrack.records.model import PACKAGE_TAG, ModelRecord
from localtrack.services import model_removal, models, storage

if TYPE_CHECKING:
    from localtrack.api.task import Task

IGNORE_FLAG = "_ignore_remote_overrides_input_model_"
DEFAULT_NAME = "Input Model"


class Model(BaseModel):
    """A model of the store, by its id.

    Args:
        model_id: the id; it is looked up at once, its weights are not touched.

    Raises:
        ModelNotFoundError: no such model; a ValueError.
    """

    def __init__(self, model_id: str) -> None:
        self._ctx = context()
        self._model_id = str(model_id)
        self._record()

    def get_local_copy(
        self, extract_archive: bool | None = None, raise_on_error: bool = False, force_download: bool = False
    ) -> str:
        """Return a local path of the weights: of a package the folder with its files.

        What lies in the store or on this host is that file itself: read it, never change it.

        Args:
            extract_archive: unpack an archive; None unpacks packages only.
            raise_on_error: raise where the weights can't be read; else that is logged.
            force_download: download again although there is a copy.

        Returns:
            The path; empty where there is none and ``raise_on_error`` is not given.

        Raises:
            ValueError: no weights, or they can't be read.

        Source: ClearML's Model.get_local_copy.
        """
        extract = self._record().is_package if extract_archive is None else extract_archive
        return self.get_weights(raise_on_error, force_download, extract)

    @classmethod
    def query_models(
        cls,
        project_name: str | None = None,
        model_name: str | None = None,
        tags: Sequence[str] | None = None,
        only_published: bool = False,
        include_archived: bool = False,
        max_results: int | None = None,
        metadata: dict[str, str] | None = None,
    ) -> list[Model]:
        """Return the models that fit, the newest first; all of them unless told otherwise.

        Args:
            project_name: exactly this project.
            model_name: exactly this name.
            tags: any of them; ``-tag`` excludes, ``["__$all", ...]`` wants all, ``"__$not"`` negates the next.
            only_published: leave drafts out.
            include_archived: archived ones too.
            max_results: at most so many.
            metadata: key to text; all must fit.

        Raises:
            InvalidValueError: the tags break the grammar.

        Source: ClearML's Model.query_models.
        """
        rows = models.query(
            context(),
            project=project_name,
            name=model_name,
            tags=tags,
            only_published=only_published,
            include_archived=include_archived,
            metadata=metadata,
            limit=max_results,
        )
        return [Model._of(row.id) for row in rows]

    @staticmethod
    def _of(model_id: str) -> Model:
        """Return a model that was just seen, without looking again."""
        model = Model.__new__(Model)
        model._ctx = context()
        model._model_id = model_id
        return model

    @classmethod
    def remove(
        cls,
        model: str | Model,
        delete_weights_file: bool = True,
        force: bool = False,
        raise_on_errors: bool = False,
    ) -> bool:
        """Take a model away. What lies in the store goes to the trash, from where ``localtrack model restore`` brings it back.

        Deleted for good is only what localtrack itself uploaded to another place. A file that was registered where it
        lay is the user's and stays.

        Args:
            model: the model or its id.
            delete_weights_file: False leaves the weights where they are.
            force: also when it is published, or other tasks start from it.
            raise_on_errors: raise instead of returning False.

        Returns:
            Whether it is gone, and its uploaded weights with it.

        Raises:
            ValueError: what went wrong, with ``raise_on_errors``.

        Source: ClearML's Model.remove.
        """
        from localtrack.runtime import current

        model_id = model if isinstance(model, str) else model.id
        ctx = model._ctx if isinstance(model, BaseModel) else context()
        session = current.get()
        try:
            task_id = models.read(ctx, model_id)[1].task
            own = session is not None and not session.closed and session.task_id == task_id
            model_removal.remove(
                ctx,
                model_id,
                delete_weights=delete_weights_file,
                force=force,
                edit_task=(lambda change, label: session.update(change, label, checked=False))
                if own and session is not None
                else None,
            )
        except (LocaltrackError, OSError) as error:
            if raise_on_errors:
                raise InvalidValueError(f"model {model_id} was not wholly removed: {error}") from error
            LOG.warning("model %s was not wholly removed: %s", model_id, error)
            return False
        return True


class InputModel(Model):
    """A model to start from: found by its id, or as the newest that fits.

    Args:
        model_id: the id; the other arguments are passed over then.
        name: exactly this name.
        project: exactly this project.
        tags: as in :meth:`Model.query_models`.
        only_published: leave drafts out.

    Raises:
        ModelNotFoundError: nothing fits; a ValueError.
    """

    _empty: ModelRecord | None = None

    def __init__(
        self,
        model_id: str | None = None,
        name: str | None = None,
        project: str | None = None,
        tags: Sequence[str] | None = None,
        only_published: bool = False,
    ) -> None:
        if not model_id:
            found = models.query(
                context(), name=name, project=project, tags=tags, only_published=only_published, limit=1
            )
            if not found:
                raise ModelNotFoundError(
                    f"no model with project={project!r} name={name!r} tags={tags!r} published={only_published!r} in the "
                    f"store {context().store.root}; `localtrack models` lists them"
                )
            model_id = found[0].id
        super().__init__(model_id)

    def _record(self) -> ModelRecord:
        return self._empty if self._empty is not None else super()._record()

    @classmethod
    def import_model(
        cls,
        weights_url: str,
        config_text: str | None = None,
        config_dict: dict[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
        name: str | None = None,
        project: str | None = None,
        tags: list[str] | None = None,
        comment: str | None = None,
        is_package: bool = False,
        create_as_published: bool = False,
        framework: str | None = None,
    ) -> InputModel:
        """Register weights where they are, at a path or URL; the same address again gives the same model.

        Nothing is read or copied. With a model that is there already, the other arguments are passed over.

        Args:
            weights_url: the address.
            config_text: the configuration's text.
            config_dict: the configuration as a dict.
            label_enumeration: label to integer.
            name: the model's name; ``Imported by <task>`` or the file's stem without one.
            project: its project; that of the running task without one.
            tags: its tags.
            comment: free text.
            is_package: whether the file is a zip of several.
            create_as_published: publish it at once.
            framework: such as ``PyTorch``; guessed from the file's name without one.

        Raises:
            InvalidValueError: no address, or two configurations.

        Source: ClearML's InputModel.import_model.
        """
        from localtrack.runtime import current

        ctx, session = context(), current.get()
        if not weights_url:
            raise InvalidValueError("import_model needs the weights' path or URL")
        running = session.record_at_start if session is not None else None
        origin = f"Imported by task id: {running.id}" if running is not None else ""
        stem = storage.base_name(str(weights_url)).rpartition(".")[0] or storage.base_name(str(weights_url))
        record, is_new = models.import_model(
            ctx,
            str(weights_url),
            ModelRecord(
                id="",
                name=name or (f"Imported by {running.name}" if running is not None else stem),
                project=project or (running.project if running is not None else ""),
                framework=framework or "",
                tags=tuple(tags or ()),
                system_tags=(PACKAGE_TAG,) if is_package else (),
                comment="\n".join(part for part in (origin, comment) if part),
                design=design_text(config_text, config_dict) or "",
                labels=label_numbers(label_enumeration),
            ),
        )
        model = cls._known(record.id)
        if is_new and create_as_published:
            model.publish()
        return model

    @classmethod
    def load_model(cls, weights_url: str, load_archived: bool = False) -> InputModel | None:
        """Return the model that was registered with an address; None when there is none.

        Args:
            weights_url: the path or URL.
            load_archived: archived ones too.

        Raises:
            InvalidValueError: no address.

        Source: ClearML's InputModel.load_model.
        """
        if not weights_url:
            raise InvalidValueError("load_model needs the weights' path or URL")
        row = models.by_url(context(), str(weights_url), include_archived=load_archived)
        return None if row is None else cls._known(row.id)

    @classmethod
    def empty(
        cls,
        config_text: str | None = None,
        config_dict: dict[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
    ) -> InputModel:
        """Return a model without weights that is in no store: configuration and labels to connect to a task.

        Source: ClearML's InputModel.empty.
        """
        model = cls.__new__(cls)
        model._ctx = context()
        model._empty = ModelRecord(
            id="", name="", design=design_text(config_text, config_dict) or "", labels=label_numbers(label_enumeration)
        )
        return model

    @classmethod
    def _known(cls, model_id: str) -> InputModel:
        model = cls.__new__(cls)
        model._ctx = context()
        model._model_id = model_id
        return model

    @property
    def config_dict(self) -> dict[str, Any]:
        """The configuration as a dict; empty without one."""
        return design_dict(self.config_text)

    def connect(self, task: Task, name: str | None = None, ignore_remote_overrides: bool = False) -> None:
        """Make this the model that a task starts from.

        In a run that an agent started, this object becomes the input model that the task has stored under that name,
        else its first one: so a clone runs with another model without a change of its code.

        Args:
            task: the task.
            name: what the task calls it; the weights' file name without its suffix when not given.
            ignore_remote_overrides: keep the code's model under an agent as well.

        Source: ClearML's InputModel.connect.
        """
        from localtrack.api.task.models import connect_input_model

        connect_input_model(task, self, name, ignore_remote_overrides)


def connect_name(url: str) -> str:
    """Return what a task calls an input model when nobody says."""
    base = storage.base_name(url) if url else ""
    return base.rpartition(".")[0] or base or DEFAULT_NAME
