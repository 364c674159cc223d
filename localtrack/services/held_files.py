"""What a file of the user's held at the moment of its report, kept while the store's disk takes no writes.

Source: docs/explanation/runs.md, "When the disk fails".
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from localtrack.records.plain import dataclass

FILE_BYTES = 8 << 20
TOTAL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file as it was: its content in memory, or the path with what tells whether it is still the same.

    Attributes:
        path: the user's file.
        identity: device, inode, size and time of change, in nanoseconds.
        content: the bytes; None for a file too large to hold.
    """

    path: Path
    identity: tuple[int, int, int, int]
    content: bytes | None

    def is_unchanged(self) -> bool:
        """Tell whether the path still leads to the same file with the same content."""
        try:
            return _identity(self.path) == self.identity
        except OSError:
            return False

    def source(self) -> bytes | Path | None:
        """Return what to store: the bytes, or the path while it holds what it held; None when that is gone."""
        if self.content is not None:
            return self.content
        return self.path if self.is_unchanged() else None


class HeldFiles:
    """Holds files in memory, at most ``TOTAL_BYTES`` in all, and files above ``FILE_BYTES`` by reference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_bytes = 0

    def hold(self, path: Path) -> HeldFile:
        """Take a file as it is now.

        Raises:
            OSError: it can't be read.
        """
        identity = _identity(path)
        size_bytes = identity[2]
        with self._lock:
            if size_bytes > FILE_BYTES or self._held_bytes + size_bytes > TOTAL_BYTES:
                return HeldFile(path, identity, None)
            self._held_bytes += size_bytes
        try:
            content = path.read_bytes()
        except OSError:
            self._give_back(size_bytes)
            raise
        self._give_back(size_bytes - len(content))
        return HeldFile(path, identity, content)

    def release(self, held: HeldFile) -> None:
        """Let go of a file that is stored, or given up."""
        self._give_back(len(held.content or b""))

    def _give_back(self, size_bytes: int) -> None:
        with self._lock:
            self._held_bytes -= size_bytes


def _identity(path: Path) -> tuple[int, int, int, int]:
    info = os.stat(path)
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns
