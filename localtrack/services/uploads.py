"""Uploads in the background: started, waited for, and finished before the process ends.

The threads are those of ``concurrent.futures``, which the interpreter joins at its end: an upload that was started is
not lost with the script's last line.

Source: ClearML's OutputModel.wait_for_uploads, StorageManager.upload_file(wait_for_upload=False).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localtrack.services.storage import LOG

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORKERS = 4
_LOCK = threading.Lock()
_POOLS: dict[int, ThreadPoolExecutor] = {}
_PENDING: dict[int, list[Future[Any]]] = {}
_LAST: dict[tuple[int, str], Future[Any]] = {}


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)


def submit(action: Callable[[], Any], label: str, *, after: str = "") -> Future[Any]:
    """Run ``action`` in the background; a failure is logged, and kept in the future.

    Args:
        action: does the upload.
        label: what it uploads, for people.
        after: actions with the same text here run one after another, in the order of the calls: a model ends with its
            last weights, whichever upload takes longer.
    """
    from concurrent.futures import ThreadPoolExecutor, wait

    pid = os.getpid()  # a forked child starts with a pool of its own: the parent's threads are not there

    def guarded() -> Any:
        if before is not None:
            wait([before])  # it was submitted earlier to the same pool: it runs already, or is done
        try:
            return action()
        except BaseException as error:
            LOG.error("%s failed: %s", label, error)
            raise

    with _LOCK:
        before = _LAST.get((pid, after)) if after else None
        pool = _POOLS.get(pid)
        if pool is None:
            pool = _POOLS[pid] = ThreadPoolExecutor(WORKERS, thread_name_prefix="localtrack-upload")
        future = pool.submit(guarded)
        _PENDING[pid] = [one for one in _PENDING.get(pid, []) if not one.done()] + [future]
        for key in [key for key, one in _LAST.items() if one.done()]:
            del _LAST[key]
        if after:
            _LAST[pid, after] = future
    return future


def wait_for(after: str) -> None:
    """Wait for this process's uploads that were submitted with that text."""
    with _LOCK:
        last = _LAST.get((os.getpid(), after))
    if last is not None:
        last.exception()  # comes back when it is done, and raises nothing of its own


def wait_for_uploads(timeout_s: float | None = None, count: int | None = None) -> bool:
    """Wait for this process's uploads, at most so long and for at most so many; tell whether those are done."""
    with _LOCK:
        pending = list(_PENDING.get(os.getpid(), []))[:count]
    if not pending:
        return True
    from concurrent.futures import wait

    return not wait(pending, timeout=timeout_s).not_done


def pending() -> int:
    """Return how many uploads of this process have not ended."""
    with _LOCK:
        return sum(not future.done() for future in _PENDING.get(os.getpid(), []))
