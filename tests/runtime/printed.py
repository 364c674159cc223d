"""A stream in the place of the interpreter's own stdout, for what has to be seen of it from within one process."""

from __future__ import annotations

import io
import os
import pty
import sys
import threading
import time
from pathlib import Path

import pytest

from localtrack.runtime.tee import ConsoleTee


class Printed:
    """A stream as the interpreter makes its own, in place of it, with a tee before it.

    Args:
        kind: what it leads to: file, pipe or terminal.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, kind: str = "file") -> None:
        self._path = path
        self._reader: threading.Thread | None = None
        self._read = bytearray()
        self.fd = self._open(kind)
        self.stream = self._text(io.FileIO(self.fd, "w", closefd=False), kind)
        monkeypatch.setattr(sys, "stdout", self.stream)
        self.seen: list[str] = []
        self.tee = ConsoleTee(lambda code, texts: self.seen.extend("\n".join(texts).split("\n")), stderr=False)
        self.tee.install()
        copy = self.tee._collectors["stdout"].copy
        assert copy is not None
        self.copy = copy

    def _text(self, raw: io.FileIO, kind: str) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", newline="\n", line_buffering=kind == "terminal")

    def _open(self, kind: str) -> int:
        if kind == "file":
            return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        reading, writing = os.pipe() if kind == "pipe" else pty.openpty()
        self._reader = threading.Thread(target=self._drain, args=(reading,))
        self._reader.start()
        return writing

    def _drain(self, reading: int) -> None:
        try:
            while data := os.read(reading, 1 << 16):
                self._read += data
        except OSError:
            pass  # a terminal without writers
        os.close(reading)

    def begin(self) -> None:
        """Print until the copy is taken below."""
        print("first")
        assert self.copy.is_open

    def end(self) -> str:
        """Take the tee off; returns what came out."""
        self.tee.remove()
        self.stream.flush()
        os.close(self.fd)
        if self._reader is None:
            return self._path.read_text()
        self._reader.join()
        return self._read.decode("utf-8", "replace").replace("\r\n", "\n")


def wait_until(condition) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
