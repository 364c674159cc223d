"""The life cycle of a task: its states and the changes between them.

Source: the state machine of ClearML's server, as measured (shared behaviour notes, section 2).
"""

from __future__ import annotations

from enum import Enum

from localtrack.errors import IllegalTransitionError, InvalidValueError


class Status(str, Enum):
    """State of a task, with ClearML's values."""

    CREATED = "created"
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    PUBLISHED = "published"
    CLOSED = "closed"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


class TaskStatusEnum(str, Enum):
    """The same states under the names that ClearML gives its members."""

    created = "created"
    queued = "queued"
    in_progress = "in_progress"
    stopped = "stopped"
    completed = "completed"
    failed = "failed"
    published = "published"
    closed = "closed"
    unknown = "unknown"
    publishing = "publishing"

    def __str__(self) -> str:
        return self.value


class TaskTypes(str, Enum):
    """Kind of work that a task does, with ClearML's members."""

    training = "training"
    testing = "testing"
    inference = "inference"
    data_processing = "data_processing"
    application = "application"
    monitor = "monitor"
    controller = "controller"
    optimizer = "optimizer"
    service = "service"
    qc = "qc"
    custom = "custom"

    def __str__(self) -> str:
        return self.value


_S = Status
ALLOWED: dict[Status, frozenset[Status]] = {
    _S.CREATED: frozenset({_S.QUEUED, _S.IN_PROGRESS}),
    _S.QUEUED: frozenset({_S.CREATED, _S.IN_PROGRESS, _S.STOPPED}),
    _S.IN_PROGRESS: frozenset({_S.STOPPED, _S.FAILED, _S.CREATED, _S.COMPLETED}),
    _S.STOPPED: frozenset(
        {_S.CLOSED, _S.CREATED, _S.FAILED, _S.QUEUED, _S.IN_PROGRESS, _S.PUBLISHED, _S.COMPLETED},
    ),
    _S.CLOSED: frozenset({_S.CREATED, _S.FAILED, _S.PUBLISHED, _S.STOPPED}),
    _S.FAILED: frozenset({_S.CREATED, _S.STOPPED, _S.PUBLISHED, _S.QUEUED}),
    _S.COMPLETED: frozenset({_S.PUBLISHED, _S.IN_PROGRESS, _S.CREATED}),
    _S.PUBLISHED: frozenset(),
    _S.UNKNOWN: frozenset({_S.CREATED, _S.FAILED, _S.STOPPED}),
}
ENDED = frozenset({_S.STOPPED, _S.COMPLETED, _S.FAILED, _S.PUBLISHED, _S.CLOSED})


def parse_status(text: str) -> Status:
    """Return the state called ``text``.

    Raises:
        InvalidValueError: no such state; the message lists them.
    """
    try:
        return Status(text)
    except ValueError:
        raise InvalidValueError(
            f"unknown task status {text!r}: use one of {', '.join(s.value for s in Status)}", status=text
        ) from None


def parse_type(kind: str | TaskTypes | None) -> TaskTypes:
    """Return the task type called ``kind``; ``None`` means training.

    Raises:
        InvalidValueError: no such type; the message lists them.
    """
    if kind is None:
        return TaskTypes.training
    try:
        return TaskTypes(str(kind))
    except ValueError:
        raise InvalidValueError(
            f"unknown task type {kind!r}: use one of {', '.join(t.value for t in TaskTypes)}", task_type=str(kind)
        ) from None


def check_transition(current: Status, target: Status, task_id: str, *, force: bool = False) -> None:
    """Refuse a change that the life cycle does not allow. The same state again is allowed.

    Raises:
        IllegalTransitionError: names the task and both states.
    """
    if force or current == target or target in ALLOWED[current]:
        return
    can = ", ".join(sorted(s.value for s in ALLOWED[current])) or "nothing: it is final"
    raise IllegalTransitionError(
        f"task {task_id} can't go from {current.value} to {target.value}: from {current.value} it can become {can}",
        task_id=task_id,
        current=current.value,
        target=target.value,
    )
