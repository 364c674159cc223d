"""The record of a model: what its metadata log says at one generation.

Source: docs/format/v1.md, "model/<generation>.json".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localtrack.errors import CorruptFileError, NotEditableError
from localtrack.records.plain import dataclass, field, fields

Json = dict[str, Any]
PACKAGE_TAG = "package"
ARCHIVED_TAG = "archived"
LOCKED_BY_PUBLISHING = frozenset({"weights", "design", "labels", "framework", "iteration", "name"})
FRAMEWORKS = (
    (".pt", "PyTorch"), (".pth", "PyTorch"), (".ckpt", "PyTorch"), (".safetensors", "PyTorch"), (".h5", "Keras"),
    (".hdf5", "Keras"), (".keras", "Keras"), (".pkl", "ScikitLearn"), (".joblib", "ScikitLearn"), (".onnx", "ONNX"),
    (".cbm", "CatBoost"), (".xgb", "XGBoost"), (".ubj", "XGBoost"), (".tflite", "TensorFlow_Lite"), (".pb", "TensorFlow"),
    (".meta", "TensorFlow"), (".caffemodel", "Caffe"), (".prototxt", "Caffe"), (".t7", "Torch"), (".plan", "TensorRT"),
    (".parquet", "Parquet"), ("model.json", "TensorFlow_js"), ("-symbol.json", "MXNet"),
)  # fmt: skip


def framework_of(name: str) -> str:
    """Return the framework that a weights file's name speaks of; ``""`` for none."""
    lower = name.lower()
    return next((framework for ending, framework in FRAMEWORKS if lower.endswith(ending)), "")


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Everything a model is, apart from its weights, which lie beside it or elsewhere.

    Attributes:
        task: id of the task that made it; empty for one that was only imported.
        design: the configuration's text.
        labels: label to integer.
        metadata: key to ``{"value": text, "type": name}``.
        weights: where the weights are: ``file, sha256, size_bytes`` in the model's folder, or ``url`` elsewhere, with
            ``size_bytes`` and ``sha256`` where they are known and ``uploaded`` when localtrack put them there; and
            ``iteration``, ``at``.
        versions: earlier ``weights``, oldest first.
        parent: id of the model that its task started from.
        published: whether it may no longer change.
        generation: number of the metadata generation that this was read from; 0 before the first commit.
        extra: fields of a newer minor format, kept as they are.
    """

    id: str
    name: str
    project: str = ""
    task: str = ""
    parent: str = ""
    framework: str = ""
    tags: tuple[str, ...] = ()
    system_tags: tuple[str, ...] = ()
    comment: str = ""
    design: str = ""
    labels: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Json] = field(default_factory=dict)
    weights: Json = field(default_factory=dict)
    versions: tuple[Json, ...] = ()
    published: bool = False
    user: str = ""
    created: str = ""
    last_update: str = ""
    generation: int = 0
    extra: Json = field(default_factory=dict)

    @property
    def archived(self) -> bool:
        """Whether listings leave it out."""
        return ARCHIVED_TAG in self.system_tags

    @property
    def is_package(self) -> bool:
        """Whether its weights are several files in a zip."""
        return PACKAGE_TAG in self.system_tags

    def to_json(self) -> Json:
        """Return the ``model`` object of a metadata file."""
        body = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("generation", "extra")}
        return {**self.extra, **{k: list(v) if isinstance(v, tuple) else v for k, v in body.items()}}

    @classmethod
    def from_json(cls, body: Mapping[str, Any], generation: int, origin: str) -> ModelRecord:
        """Build a record from the ``model`` object of a metadata file.

        Raises:
            CorruptFileError: a field is missing or of the wrong kind; names ``origin``.
        """
        values: Json = {}
        extra: Json = {}
        for name, value in body.items():
            expected = _KINDS.get(name)
            if expected is None:
                extra[name] = value
                continue
            if not isinstance(value, expected) or not _members_fit(name, value):
                raise CorruptFileError(f"{origin}: field {name!r} is not what a model's is", path=origin)
            values[name] = tuple(value) if isinstance(value, list) else value
        missing = {"id", "name"} - values.keys()
        if missing:
            raise CorruptFileError(f"{origin}: no field {sorted(missing)[0]!r}", path=origin)
        return cls(**values, generation=generation, extra=extra)

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], task_id: str, project: str) -> ModelRecord:
        """Return the model that a task's entry speaks of, where it has no metadata of its own."""
        weights = {key: entry[key] for key in ("file", "url", "sha256", "size_bytes", "iteration") if key in entry}
        return cls(
            id=str(entry.get("id", "")),
            name=str(entry.get("model_name") or entry.get("name", "")),
            project=project,
            task=task_id,
            framework=str(entry.get("framework") or ""),
            tags=tuple(str(tag) for tag in entry.get("tags") or ()),
            comment=str(entry.get("comment") or ""),
            weights=weights,
            created=str(entry.get("created", "")),
            last_update=str(entry.get("created", "")),
        )

    def check_editable(self, names: frozenset[str]) -> None:
        """Refuse to change what a published model is.

        Raises:
            NotEditableError: names the model and the fields.
        """
        locked = names & LOCKED_BY_PUBLISHING
        if self.published and locked:
            raise NotEditableError(
                f"model {self.id} ({self.name}) is published: {', '.join(sorted(locked))} can't change any more; "
                "make another model",
                model_id=self.id,
            )


def _members_fit(name: str, value: Any) -> bool:
    expected = _MEMBERS.get(name)
    if expected is None:
        return True
    return all(isinstance(one, expected) for one in (value.values() if isinstance(value, dict) else value))


_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,), "name": (str,), "project": (str,), "task": (str,), "parent": (str,), "framework": (str,),
    "tags": (list,), "system_tags": (list,), "comment": (str,), "design": (str,), "labels": (dict,),
    "metadata": (dict,), "weights": (dict,), "versions": (list,), "published": (bool,),
    "user": (str,), "created": (str,), "last_update": (str,),
}  # fmt: skip
_MEMBERS: dict[str, type] = {
    "tags": str, "system_tags": str, "labels": int, "metadata": dict, "versions": dict,
}  # fmt: skip
