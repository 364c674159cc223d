"""A writer of TensorBoard files that reports all it is given into a task as well, built over either package's own.

Source: docs/how-to/integrations.md; SummaryWriter of torch.utils.tensorboard and of tensorboardX.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from localtrack.bindings.summaries.board import board_of
from localtrack.bindings.summaries.events import EventReader
from localtrack.integrations.hold import TaskHold
from localtrack.integrations.scopes import say_failed
from localtrack.runtime import current, explicit
from localtrack.runtime.patches import Patches, argument

_EVENTS = frozenset({explicit.EVENTS})


class _Writing(threading.local):
    tee: Any = None


_writing = _Writing()


class TeeMixin:
    """What is added to a ``SummaryWriter``: its arguments are that one's, and then these by name.

    Args:
        project: project of the task that is started when this process has none.
        name: its name.
        init: further arguments for ``Task.init``, when the task is started here.
    """

    def __init__(
        self,
        *args: Any,
        project: str | None = None,
        name: str | None = None,
        init: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._hold = TaskHold(project, name, init=init)
        self._readers: dict[str, EventReader] = {}
        self._session: Any = None
        self._error: BaseException | None = None
        self._hold.start()
        super().__init__(*args, **kwargs)

    @property
    def task(self) -> Any:
        """The task; None on ranks other than zero, and once the writer is closed."""
        return self._hold.task

    def close(self) -> None:
        """Close the files, report what waits, and close the task if it was started here."""
        super().close()  # type: ignore[misc]  # the writer's
        session = current.get()
        if session is not None and session is self._session:
            session.settle()
        self._hold.ended(self._error)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._error = error
        self.close()

    def _record(self, folder: str, event: Any) -> None:
        """Report an event, in a thread of localtrack's own."""
        if self._hold.start() is None:
            return
        session = current.get()
        if session is not self._session:
            self._session, self._readers = session, {}
        reader = self._readers.get(folder)
        if reader is None:
            board = board_of(self._hold.context("tensorboard"))
            if board is None:
                return
            reader = self._readers[folder] = EventReader(board, folder, takes_hparams=True)
        reader.board.backlog.put(reader, event)


def tee_of(base: type[Any], event_files: ModuleType) -> type[Any]:
    """Return a subclass of a package's ``SummaryWriter`` that reports what its ``add_`` methods are given.

    Args:
        base: that class.
        event_files: the module with the ``EventFileWriter`` through which its events go.
    """
    added = {
        name: _recorded(getattr(base, name))
        for name in dir(base)
        if name.startswith("add_") and callable(getattr(base, name))
    }
    Patches(say_failed).tap(event_files.EventFileWriter, "add_event", _take)
    return type("SummaryWriter", (TeeMixin, base), {"__doc__": TeeMixin.__doc__, **added})


def _recorded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def add(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _writing.tee is not None:  # one method calls another
            return method(self, *args, **kwargs)
        _writing.tee = self
        try:
            with explicit.leaving(_EVENTS):
                return method(self, *args, **kwargs)
        finally:
            _writing.tee = None

    return add


def _take(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if _writing.tee is not None:
        _writing.tee._record(os.fspath(args[0]._logdir), argument(args, kwargs, 1, "event"))
