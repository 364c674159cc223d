"""Every error that localtrack raises: one tree, each also the builtin that a caller would expect.

A message says what was being done, on which path or id, and what to do next.
"""

from __future__ import annotations

from typing import Any


class LocaltrackError(Exception):
    """Root of all errors of this library.

    Args:
        message: what was being done, on what, and what to do next.
        fields: typed details (``path``, ``task_id``, ...), kept as attributes and through pickling.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fields)


def _rebuild(kind: type[LocaltrackError], message: str, fields: dict[str, Any]) -> LocaltrackError:
    return kind(message, **fields)


class UsageError(LocaltrackError, RuntimeError):
    """A call that contradicts the state of the program, such as a second ``Task.init`` with another name."""


class InvalidValueError(LocaltrackError, ValueError):
    """An argument that can't be accepted: the message names the argument and what would be."""


class TaskNotFoundError(LocaltrackError, LookupError):
    """No task with that id, or that project and name, lies in the store."""


class ModelNotFoundError(LocaltrackError, LookupError, ValueError):
    """No model with that id, or that project, name and tags, lies in the store."""


class ProjectNotFoundError(LocaltrackError, ValueError):
    """No task lies in the project that a call names."""


class AmbiguousTaskError(LocaltrackError, LookupError):
    """An id prefix or a name that more than one task answers to."""


class QueueNotFoundError(LocaltrackError, ValueError):
    """No queue with that name lies in the store."""


class IllegalTransitionError(LocaltrackError, ValueError):
    """A status change that the life cycle does not allow; names both states."""


class NotEditableError(LocaltrackError, ValueError):
    """A change of a field that the task's status does not allow."""


class CorruptFileError(LocaltrackError, ValueError):
    """A file of the store whose content is not what its name promises."""


class StoreError(LocaltrackError, OSError):
    """A store that can't be opened, read or written as asked."""

    def __str__(self) -> str:
        return self.message


class StoreFormatError(LocaltrackError, RuntimeError):
    """A store of a newer major format, or one that needs a feature that this version does not know."""


class ArtifactNotFoundError(LocaltrackError, KeyError):
    """The task has no artifact with that name."""

    def __str__(self) -> str:
        return self.message


class UntrustedPickleError(LocaltrackError, PermissionError):
    """A pickle that another user wrote: loading it would run their code."""

    def __str__(self) -> str:
        return self.message


class CodeUnavailableError(LocaltrackError, RuntimeError):
    """The recorded code can't be brought back: no repository, no such commit, or a diff that no longer applies."""


class LostClaimError(LocaltrackError, RuntimeError):
    """A higher claim exists: this agent no longer owns the entry and must stop."""


class StorageError(LocaltrackError, OSError):
    """A file at a path or URL outside the store that can't be read, written, listed or removed."""

    def __str__(self) -> str:
        return self.message


class MissingExtraError(LocaltrackError, ImportError):
    """Something that needs an optional package; the message says which to install."""


class UnsupportedError(LocaltrackError, NotImplementedError):
    """A part of ClearML that only a server could do, or that is not there yet; ``instead`` names the local way."""
