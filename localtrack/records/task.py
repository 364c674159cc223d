"""The record of a task: what its metadata log says at one generation.

Source: docs/format/v1.md, "task/<generation>.json".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localtrack.errors import CorruptFileError, NotEditableError
from localtrack.records.plain import dataclass, field, fields, replace
from localtrack.records.status import Status, TaskTypes, check_transition

Json = dict[str, Any]
STORE_URI = "."  # as ``output_uri``: the store itself, wherever it lies
ALWAYS_EDITABLE = frozenset({"name", "project", "comment", "tags", "system_tags", "runtime", "properties"})
OUTPUT_FIELDS = (
    "last_metrics", "last_iteration", "artifacts", "output_models", "runtime", "started", "ended", "progress",
    "owner", "errors", "exit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Everything a task is, apart from its large outputs, which lie beside it as files.

    Attributes:
        history: status changes, oldest first: ``from, to, at, by, reason, message``.
        parameters: ``"Section/name"`` to ``{"value": encoded JSON, "type": name, "description": text}``.
        properties: user properties, in the same shape without a section.
        configuration: name to ``{"file", "type", "description", "sha256", "size_bytes"}``.
        artifacts: name to the artifact's record.
        last_metrics: title to series to ``{"last", "last_iteration", "min", "min_iteration", "max", ...}``.
        owner: the writer whose end is the task's end: ``writer, host, machine, boot, pid, start, attempt``.
        exit: how the run ended: ``code, signal, failure_class``.
        output_uri: where large outputs go: a URL, an absolute path, ``STORE_URI``, or nothing.
        generation: number of the metadata generation that this was read from; 0 before the first commit.
        extra: fields of a newer minor format, kept as they are.
    """

    id: str
    name: str
    project: str
    type: str = TaskTypes.training.value
    status: str = Status.CREATED.value
    status_reason: str = ""
    status_message: str = ""
    status_changed: str = ""
    history: tuple[Json, ...] = ()
    tags: tuple[str, ...] = ()
    system_tags: tuple[str, ...] = ()
    comment: str = ""
    parent: str = ""
    user: str = ""
    created: str = ""
    started: str = ""
    ended: str = ""
    last_update: str = ""
    last_iteration: int = 0
    last_metrics: Json = field(default_factory=dict)
    progress: float | None = None
    script: Json = field(default_factory=dict)
    parameters: dict[str, Json] = field(default_factory=dict)
    properties: dict[str, Json] = field(default_factory=dict)
    configuration: dict[str, Json] = field(default_factory=dict)
    artifacts: dict[str, Json] = field(default_factory=dict)
    input_models: tuple[Json, ...] = ()
    output_models: tuple[Json, ...] = ()
    runtime: Json = field(default_factory=dict)
    owner: Json | None = None
    attempt: int = 0
    exit: Json = field(default_factory=dict)
    container: Json = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    output_uri: str = ""
    errors: tuple[str, ...] = ()
    generation: int = 0
    extra: Json = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return the ``task`` object of a metadata file."""
        body = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("generation", "extra")}
        return {**self.extra, **{k: list(v) if isinstance(v, tuple) else v for k, v in body.items()}}

    @classmethod
    def from_json(cls, body: Mapping[str, Any], generation: int, origin: str) -> TaskRecord:
        """Build a record from the ``task`` object of a metadata file.

        Raises:
            CorruptFileError: a field is missing or of the wrong kind; names ``origin``.
        """
        values: Json = {}
        extra: Json = {}
        for name, value in body.items():
            expected = _KINDS.get(name)
            if expected is None:
                extra[name] = value
            elif not isinstance(value, expected):
                raise CorruptFileError(
                    f"{origin}: field {name!r} has a {type(value).__name__}; run `localtrack index check`", path=origin
                )
            else:
                _check_members(name, value, origin)
                values[name] = tuple(value) if isinstance(value, list) else value
        missing = {"id", "name", "project", "status"} - values.keys()
        if missing:
            raise CorruptFileError(
                f"{origin}: no field {sorted(missing)[0]!r}; run `localtrack index check`", path=origin
            )
        return cls(**values, generation=generation, extra=extra)

    @property
    def state(self) -> Status:
        """The status as a member of :class:`Status`; ``UNKNOWN`` for one of a newer format."""
        try:
            return Status(self.status)
        except ValueError:
            return Status.UNKNOWN

    def with_status(
        self, target: Status, *, at: str, by: str, reason: str = "", message: str = "", force: bool = False
    ) -> TaskRecord:
        """Return the record after a status change, with the change in its history.

        Raises:
            IllegalTransitionError: the life cycle does not allow it.
        """
        check_transition(self.state, target, self.id, force=force)
        entry = {"from": self.status, "to": target.value, "at": at, "by": by, "reason": reason, "message": message}
        times: Json = {}
        if target is Status.IN_PROGRESS:
            times = {"started": self.started or at, "ended": ""}
        elif target in (Status.STOPPED, Status.COMPLETED, Status.FAILED) and not self.ended:
            times = {"ended": at}
        return replace(
            self,
            status=target.value,
            status_reason=reason,
            status_message=message,
            status_changed=at,
            history=(*self.history, entry),
            **times,
        )

    def check_editable(self, names: frozenset[str], *, by_owner: bool = False) -> None:
        """Refuse to change inputs of a task that is no draft; its own process may while it runs.

        Raises:
            NotEditableError: names the task, its status and the fields.
        """
        locked = names - ALWAYS_EDITABLE
        if not locked or self.state is Status.CREATED or (by_owner and self.state is Status.IN_PROGRESS):
            return
        raise NotEditableError(
            f"task {self.id} is {self.status}: {', '.join(sorted(locked))} can be changed only in a draft; "
            "clone it and edit the clone, or reset it",
            task_id=self.id,
            status=self.status,
        )


def _check_members(name: str, value: Any, origin: str) -> None:
    expected = _MEMBERS.get(name)
    if expected is None:
        return
    for member in value.values() if isinstance(value, dict) else value:
        if not isinstance(member, expected):
            raise CorruptFileError(
                f"{origin}: field {name!r} holds a {type(member).__name__}; run `localtrack index check`", path=origin
            )


_KINDS: dict[str, tuple[type, ...]] = {
    "id": (str,), "name": (str,), "project": (str,), "type": (str,), "status": (str,), "status_reason": (str,),
    "status_message": (str,), "status_changed": (str,), "history": (list,), "tags": (list,), "system_tags": (list,),
    "comment": (str,), "parent": (str,), "user": (str,), "created": (str,), "started": (str,), "ended": (str,),
    "last_update": (str,), "last_iteration": (int,), "last_metrics": (dict,), "progress": (int, float, type(None)),
    "script": (dict,), "parameters": (dict,), "properties": (dict,), "configuration": (dict,), "artifacts": (dict,),
    "input_models": (list,), "output_models": (list,), "runtime": (dict,), "owner": (dict, type(None)),
    "attempt": (int,), "exit": (dict,), "container": (dict,), "labels": (dict,), "output_uri": (str,),
    "errors": (list,),
}  # fmt: skip
_MEMBERS: dict[str, type] = {
    "history": dict, "tags": str, "system_tags": str, "parameters": dict, "properties": dict, "configuration": dict,
    "artifacts": dict, "input_models": dict, "output_models": dict, "last_metrics": dict, "labels": int, "errors": str,
}  # fmt: skip
