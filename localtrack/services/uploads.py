"""Uploads in the background: started, waited for, and finished before the process ends.

The threads are those of ``concurrent.futures``, which the interpreter joins at its end: an upload that was started is
not lost with the script's last line.

Source: ClearML's OutputModel.wait_for_uploads, StorageManager.upload_file(wait_for_upload=False).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from localtrack.services.storage import LOG

WORKERS = 4
_LOCK = threading.Lock()
_POOLS: dict[int, ThreadPoolExecutor] = {}
_PENDING: dict[int, list[Future[Any]]] = {}


def _renew_lock() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)


def submit(action: Callable[[], Any], label: str) -> Future[Any]:
    """Run ``action`` in the background; a failure is logged, and kept in the future.

    Args:
        action: does the upload.
        label: what it uploads, for people.
    """

    def guarded() -> Any:
        try:
            return action()
        except BaseException as error:
            LOG.error("%s failed: %s", label, error)
            raise

    pid = os.getpid()  # a forked child starts with a pool of its own: the parent's threads are not there
    with _LOCK:
        pool = _POOLS.get(pid)
        if pool is None:
            pool = _POOLS[pid] = ThreadPoolExecutor(WORKERS, thread_name_prefix="localtrack-upload")
        future = pool.submit(guarded)
        _PENDING[pid] = [one for one in _PENDING.get(pid, []) if not one.done()] + [future]
    return future


def wait_for_uploads(timeout_s: float | None = None, count: int | None = None) -> bool:
    """Wait for this process's uploads, at most so long and for at most so many; tell whether those are done."""
    with _LOCK:
        pending = list(_PENDING.get(os.getpid(), []))[:count]
    if not pending:
        return True
    return not wait(pending, timeout=timeout_s).not_done


def pending() -> int:
    """Return how many uploads of this process have not ended."""
    with _LOCK:
        return sum(not future.done() for future in _PENDING.get(os.getpid(), []))
