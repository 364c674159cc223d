"""Leases: an owner lives while its heartbeat changes, timed by the observer's own clock.

No two hosts' clocks are compared and no time is written. On the owner's own host its process tells at once.

Source: docs/format/v1.md, "Locks, leases, clocks".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from localtrack.fs.disk import Disk, read_bytes, remove_files
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass

BEAT_BYTES = 24
BEATS_PER_LEASE = 6
SELF_STOP_SHARE = 2 / 3
MIN_READS = 5
MAX_GAP_SHARE = 0.5

IsAlive = Callable[[dict[str, Any]], "bool | None"]


class Verdict(str, Enum):
    """What an observer knows of an owner."""

    ALIVE = "alive"
    UNKNOWN = "unknown"
    DEAD = "dead"


def elapsed_s() -> float:
    """Return a clock in seconds that only goes forward, and goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Heartbeat:
    """An owner's heartbeat: 24 bytes overwritten in place, by this process alone.

    Args:
        disk: the store's disk.
        path: the file; created by :meth:`start`.
        lease_s: the lease that it keeps.
        clock: seconds, going forward.
    """

    def __init__(self, disk: Disk, path: Path, lease_s: float, clock: Callable[[], float] = elapsed_s) -> None:
        self._disk = disk
        self._path = path
        self._lease_s = lease_s
        self._clock = clock
        self._nonce = os.urandom(4).hex().encode()
        self._count = 0
        self._fd = -1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.last_success = clock()

    def beat(self) -> bool:
        """Write the next beat; False when the store takes none now."""
        try:
            if self._fd < 0:
                self._fd = self._disk.open_new(self._path)
            self._count += 1
            os.pwrite(self._fd, b"%s%016x" % (self._nonce, self._count), 0)
            os.fsync(self._fd)
        except OSError:
            return False
        self.last_success = self._clock()
        return True

    def is_expired(self) -> bool:
        """Tell whether so much of the lease passed without a beat that the owner must stop what it does."""
        return self._clock() - self.last_success > self._lease_s * SELF_STOP_SHARE

    def start(self) -> None:
        """Write the first beat and go on in a thread.

        Raises:
            OSError: the store can't be written.
        """
        self._fd = self._disk.open_new(self._path)
        if not self.beat():
            raise OSError(f"writing the heartbeat {self._path} failed")
        self._thread = threading.Thread(target=self._run, name="localtrack-heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; the file stays as it is and grows old."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _run(self) -> None:
        while not self._stop.wait(self._lease_s / BEATS_PER_LEASE):
            self.beat()


@dataclass(slots=True)
class _Watch:
    content: bytes
    since: float
    last_read: float
    reads: int = 1
    changed: bool = False


class LeaseObserver:
    """Judges whether owners live. Ask it again and again: one look at another host's owner proves nothing.

    An owner is dead when its heartbeat stood still for the lease over at least five reads with no long gap between
    them, and this process has just written to the store itself: else the observer may be the one who is cut off.

    Args:
        disk: the store's disk, for the observer's own trial write.
        lease_s: the lease of the owners.
        is_alive: tells from an owner's record whether its process lives; None when it runs on another host.
        slack_s: added to the lease where a file server may show old bytes for a while.
        clock: seconds, going forward.
    """

    def __init__(
        self,
        disk: Disk,
        lease_s: float,
        is_alive: IsAlive = lambda owner: None,
        *,
        slack_s: float = 0.0,
        clock: Callable[[], float] = elapsed_s,
    ) -> None:
        self._disk = disk
        self._lease_s = lease_s + slack_s
        self._is_alive = is_alive
        self._clock = clock
        self._watches: dict[str, _Watch] = {}

    def judge(self, key: str, owner: dict[str, Any], heartbeat: Path | None) -> Verdict:
        """Look at an owner once more.

        Args:
            key: names what it owns, such as a claim's reference and nonce.
            owner: its record; empty when it is unknown.
            heartbeat: its heartbeat; None when it keeps none, a missing file is one that stands still.
        """
        alive = self._is_alive(owner) if owner else None
        if alive is not None:
            self._watches.pop(key, None)
            return Verdict.ALIVE if alive else Verdict.DEAD
        try:
            content = read_bytes(heartbeat, 4096) if heartbeat else b""
        except FileNotFoundError:
            content = b""
        except OSError:
            return Verdict.UNKNOWN
        return self._weigh(key, content)

    def _weigh(self, key: str, content: bytes) -> Verdict:
        moment = self._clock()
        watch = self._watches.get(key)
        if watch is None or moment - watch.last_read > max(1.0, self._lease_s * MAX_GAP_SHARE):
            self._watches[key] = _Watch(content, moment, moment)
            return Verdict.UNKNOWN
        if watch.content != content:
            self._watches[key] = _Watch(content, moment, moment, changed=True)
            return Verdict.ALIVE
        watch.last_read = moment
        watch.reads += 1
        if moment - watch.since < self._lease_s or watch.reads < MIN_READS:
            return Verdict.ALIVE if watch.changed else Verdict.UNKNOWN
        return Verdict.DEAD if self._can_write() else Verdict.UNKNOWN

    def _can_write(self) -> bool:
        try:
            remove_files([self._disk.write_tmp(_write_trial)])
        except OSError:
            return False
        return True


def _write_trial(stream: BinaryIO) -> None:
    stream.write(b"?")


def claim_key(reference: str, nonce: str) -> str:
    """Return the key under which a claim's owner is watched."""
    return hex_sha256(f"{reference} {nonce}".encode())
