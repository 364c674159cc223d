"""Section: models, as far as this step goes: output models by reference or stored with the task.

Source: ClearML's update_output_model, Task.models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError
from localtrack.records.ids import new_task_id
from localtrack.records.task import Json, TaskRecord
from localtrack.store.blobs import new_upload_folder, put_copy, safe_file_name
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

FRAMEWORKS = {
    ".pt": "PyTorch", ".pth": "PyTorch", ".ckpt": "PyTorch", ".h5": "Keras", ".keras": "Keras", ".pkl": "ScikitLearn",
    ".joblib": "ScikitLearn", ".onnx": "ONNX", ".cbm": "CatBoost", ".xgb": "XGBoost",
}  # fmt: skip


class ModelsSection(Section):
    """Models that a task made or used."""

    @property
    def models(self) -> dict[str, list[Json]]:
        """``{"input": [...], "output": [...]}``: the models' records."""
        record = self._read()
        return {"input": [dict(m) for m in record.input_models], "output": [dict(m) for m in record.output_models]}

    def get_models(self) -> dict[str, list[Json]]:
        """Return the models' records; the same as :attr:`models`."""
        return self.models

    def update_output_model(
        self,
        model_path: str,
        name: str | None = None,
        comment: str | None = None,
        tags: list[str] | None = None,
        model_name: str | None = None,
        iteration: int | None = None,
        auto_delete_file: bool = False,
    ) -> str:
        """Store a model file with the task as one of its output models; the same name again replaces the entry.

        Args:
            model_path: the file.
            name: the model's name; the file's stem without one.
            comment: free text.
            tags: the model's tags.
            model_name: the same as ``name``, as ClearML calls it.
            iteration: when in the run it was saved.
            auto_delete_file: remove the given file once it is stored; never by default.

        Returns:
            Path of the stored file; of the given one when this process runs the task and the disk takes no more, which
            is said once.

        Raises:
            InvalidValueError: no such file.
            OSError: the disk takes no more, for a task that another process ran.
        """
        source = Path(model_path)
        if not source.is_file():
            raise InvalidValueError(f"no model file {source}: nothing to store", path=str(source))
        title = name or model_name or source.stem
        folder = self._where()
        disk = self._ctx.store.disk
        try:
            target = new_upload_folder(disk, TaskLayout(folder).models, title) / safe_file_name(source.name)
            stored = put_copy(disk, folder, target, source)
        except OSError as error:
            if self._session is None or not self._owned:
                raise
            self._session.writer.say_once(f"model-{title}", f"model {title!r} was not kept: {error}")
            return str(source)
        model: dict[str, Any] = {
            **stored.to_json(), "id": new_task_id(), "name": title, "framework": FRAMEWORKS.get(source.suffix.lower(), ""),
            "comment": comment or "", "tags": list(tags or ()), "iteration": iteration, "created": now(),
        }  # fmt: skip

        def change(record: TaskRecord) -> TaskRecord:
            others = tuple(m for m in record.output_models if m.get("name") != title)
            return replace(record, output_models=(*others, model))

        self._edit(change, f"output model: {title}", checked=False)
        if auto_delete_file:
            source.unlink()
        return str(target)
