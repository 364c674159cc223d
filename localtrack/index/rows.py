"""What a search knows of a task, without opening the task.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from localtrack.records.plain import dataclass
from localtrack.records.task import TaskRecord
from localtrack.records.values import decode

Packed = list[Any]
Json = dict[str, Any]
_SCALARS = (
    "name", "project", "type", "status", "status_reason", "status_message", "status_changed", "comment", "parent",
    "user", "created", "started", "ended", "last_update", "last_iteration", "progress", "owner", "attempt",
)  # fmt: skip
_SCRIPT = ("repository", "branch", "commit", "entry_point")
_get_scalars = attrgetter(*_SCALARS)


@dataclass(frozen=True, slots=True)
class Row:
    """One task as a listing shows it.

    Attributes:
        folder: the task's folder, relative to the store's root, with ``/``.
        generation: number of the metadata generation that this was read from.
        parameters: ``"Section/name"`` to native value.
        metrics: title to series to ``{"last", "min", "max", ...}``.
        script: ``repository``, ``branch``, ``commit``, ``entry_point``.
        input_models: ids of the models that the task loads.
        output_models: ids of the models that it made.
        owner: the writer whose end is the task's end, for telling whether it still lives.
    """

    id: str
    folder: str
    generation: int
    name: str
    project: str
    type: str
    status: str
    status_reason: str
    status_message: str
    status_changed: str
    comment: str
    parent: str
    user: str
    created: str
    started: str
    ended: str
    last_update: str
    last_iteration: int
    progress: float | None
    owner: Json | None
    attempt: int
    tags: tuple[str, ...]
    system_tags: tuple[str, ...]
    script: Json
    runtime: Json
    input_models: tuple[str, ...]
    output_models: tuple[str, ...]
    parameters: Json
    metrics: dict[str, dict[str, Json]]


WIDTH = len(Row.__slots__)
_FIRST_PLAIN = 3
_TAGS = _FIRST_PLAIN + len(_SCALARS)


def pack(record: TaskRecord, folder: str) -> Packed:
    """Return a row as JSON values in the order of :class:`Row`'s fields, stored values still encoded."""
    script = record.script
    return [
        record.id,
        folder,
        record.generation,
        *_get_scalars(record),
        list(record.tags),
        list(record.system_tags),
        {name: script[name] for name in _SCRIPT if script.get(name)},
        record.runtime,
        _model_ids(record.input_models),
        _model_ids(record.output_models),
        {
            name: entry.get("value") if isinstance(entry, Mapping) else entry
            for name, entry in record.parameters.items()
        },
        {title: series for title, series in record.last_metrics.items() if isinstance(series, Mapping)},
    ]


def unpack(packed: Packed, *, plain: bool = False) -> Row:
    """Return the row that :func:`pack` wrote.

    Args:
        packed: the row.
        plain: whether it is known that no value in it is encoded.

    Raises:
        ValueError: it is none.
    """
    if len(packed) != WIDTH:
        raise ValueError(f"{len(packed)} fields instead of {WIDTH}")
    head, tail = packed[: WIDTH - 2], packed[WIDTH - 2 :]
    for place in (_TAGS, _TAGS + 1, _TAGS + 4, _TAGS + 5):
        head[place] = tuple(head[place])
    if plain:
        return Row(*head, *tail)
    metrics = {
        title: {name: _plain(summary) if type(summary) is dict else decode(summary) for name, summary in series.items()}
        for title, series in tail[1].items()
    }
    head += [_plain(tail[0]), metrics]
    return Row(*head)


def _plain(values: Json) -> Json:
    return {name: decode(value) if type(value) in (dict, list) else value for name, value in values.items()}


def _model_ids(models: tuple[Json, ...]) -> list[str]:
    return [str(model.get("id", "")) for model in models if isinstance(model, Mapping)]
