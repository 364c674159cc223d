"""The task of this process: at most one, aware of forks.

Source: ClearML's Task.current_task.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

_lock = threading.RLock()
_session: Session | None = None
_forked_from: Session | None = None
_hook_installed = False
_on_end: list[Callable[[Session], None]] = []


def get() -> Session | None:
    """Return the session of this process; a forked child gets one of its own, for the same task, at its first call."""
    global _session, _forked_from
    with _lock:
        if _session is not None and _session.closed:
            _session = None
        if _session is None and _forked_from is not None:
            parent, _forked_from = _forked_from, None
            _session = _attach(parent)
        return _session


def put(session: Session | None) -> None:
    """Make a session this process's own; None ends it."""
    global _session, _forked_from, _hook_installed
    with _lock:
        _session = session
        _forked_from = None
        if not _hook_installed:
            os.register_at_fork(after_in_child=_after_fork)
            _hook_installed = True


def _after_fork() -> None:
    global _session, _forked_from, _lock
    _lock = threading.RLock()
    if _session is not None and not _session.closed:
        _forked_from = _session
        _session.abandon()
    elif _forked_from is not None:  # a child of a child that has not attached
        _forked_from.console.abandon()
    _session = None


def _attach(parent: Session) -> Session | None:
    from localtrack.errors import LocaltrackError
    from localtrack.runtime.ownership import CHILD
    from localtrack.runtime.session import Session, SessionOptions
    from localtrack.services.context import StoreContext

    ctx = StoreContext(parent.ctx.store, parent.ctx.settings, parent.ctx.found_by)
    options = SessionOptions(arguments=False, streams={}, remote=parent.options.remote)
    session = Session(ctx, parent.record_at_start, parent.writer.folder, CHILD, options)
    session.launch = parent.launch
    session.iteration_offset = parent.iteration_offset
    try:
        session.start(None)
    except (LocaltrackError, OSError) as error:
        session.writer.say_once("child", f"this child process is not tracked: {error}")
        return None
    session.console.adopt(parent.console)
    return session
