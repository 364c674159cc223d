"""Locks that spare duplicate work and never protect truth.

Nothing may be wrong when a lock is refused, missing or shared by two: on some mounts locks do not exist, hang, or are
kept for ever by a dead host. The setting ``LOCALTRACK_NO_LOCKS=1`` turns them all off, and the test suite passes so.

Source: docs/format/v1.md, "Locks, leases, clocks".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS_VARIABLE = "LOCALTRACK_NO_LOCKS"


@contextmanager
def advisory_lock(path: Path, timeout_s: float = 0.0) -> Iterator[bool]:
    """Try to hold the lock file ``path`` for the block; yields whether it is held.

    Args:
        path: the lock file; it stays.
        timeout_s: how long to wait for another holder.

    Yields:
        False when another holds it, or the file system can't lock: the caller then leaves the work to others, or does
        it all the same where that is merely wasteful.
    """
    if os.environ.get(NO_LOCKS_VARIABLE) == "1":
        yield True
        return
    from filelock import FileLock, Timeout

    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=timeout_s, poll_interval=0.01)
    except (Timeout, OSError, NotImplementedError):
        yield False
        return
    try:
        yield True
    finally:
        try:
            lock.release()
        except OSError:
            pass
