"""Signals that end a run: heard in the main thread as ever, and by the writer's thread while that one hears nothing.

Python runs a handler between two of its own instructions, so that a main thread within one long C call (a large matrix
product, a wait for a device) hears of SIGTERM only after it, and a scheduler that sends SIGKILL half a minute later may
come first. The C part of Python's handler writes the signal's number into ``signal.set_wakeup_fd`` at once, though. A
socket stands there, since a socket also tells who wrote: a forked child shares it until it has started.

Source: https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd; unix(7), SO_PASSCRED;
docs/explanation/runs.md, "End".
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket

_CREDENTIALS = struct.Struct("3i")
_MESSAGE_BYTES = 4096


class SignalWatch:
    """Lets SIGTERM and SIGHUP end the process as they would, after the task was told.

    Only a signal with the system's default action is watched; a handler of the user's is left alone.

    Args:
        on_signal: told the signal's name, in the main thread; must be bounded in time; False puts the death off.
        pid: this process.
        on_unheard: told the signal's name by :meth:`look`, when the main thread did not take it up since the look before.
    """

    WATCHED = ("SIGTERM", "SIGHUP")

    def __init__(
        self, on_signal: Callable[[str], bool], pid: int, on_unheard: Callable[[str], None] = lambda name: None
    ) -> None:
        self._on_signal = on_signal
        self._on_unheard = on_unheard
        self._pid = pid
        self._installed: list[int] = []
        self._wakeup: WakeupSocket | None = None
        self._arrived = 0
        self._is_heard = False

    def install(self) -> None:
        """Install the handlers, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for name in self.WATCHED:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)
                self._installed.append(number)
        if self._installed:
            self._wakeup = WakeupSocket.install(self._pid)

    def remove(self) -> None:
        """Give the signals back, where nobody else took them since."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._installed:
            if signal.getsignal(number) == self._handle:
                signal.signal(number, signal.SIG_DFL)
        self._installed = []
        if self._wakeup is not None:
            self._wakeup.remove()
        self._wakeup = None

    def abandon(self) -> None:
        """In a forked child: let signals end it as they would without us, and write no more into the parent's socket.

        A handler of Python's is not run while the main thread begins to wait for a semaphore; a pool's worker that is ended
        just then would wait for ever, and its parent for it.
        """
        self.remove()

    def look(self) -> None:
        """Look, in another thread, whether a signal has come that the main thread is too busy to hear. Call it each second.

        A signal that came since the last look is given until the next one.
        """
        wakeup = self._wakeup
        if wakeup is None or self._is_heard:
            return
        number, self._arrived = self._arrived, 0
        if number:
            if signal.getsignal(number) == self._handle:
                self._arrived = number  # told again, should this fail
                self._on_unheard(signal.Signals(number).name)
                self._is_heard = True
            return
        self._arrived = next((each for each in wakeup.read() if each in self._installed), 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._is_heard = True
        signal.signal(number, signal.SIG_DFL)
        is_due = True
        try:
            if os.getpid() == self._pid:
                is_due = self._on_signal(signal.Signals(number).name)
        finally:
            if is_due:
                os.kill(os.getpid(), number)
            else:
                signal.signal(number, self._handle)
                self._is_heard = False


class WakeupSocket:
    """The socket into which the C part of Python's signal handler writes."""

    def __init__(self, reader: _socket.socket, writer: _socket.socket, pid: int) -> None:
        self._reader = reader
        self._writer = writer
        self._pid = pid

    @classmethod
    def install(cls, pid: int) -> WakeupSocket | None:
        """Put a socket in place; None where something else stands there, or would complain about it.

        An event loop that comes later replaces it without looking (asyncio) or warns of what it found (trio).
        """
        if "trio" in sys.modules:
            return None
        import _socket  # its Python part takes milliseconds to import, and adds nothing used here

        ours = cls(*_socket.socketpair(), pid)
        try:
            ours._reader.setblocking(False)
            ours._writer.setblocking(False)
            ours._reader.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            before = signal.set_wakeup_fd(ours._writer.fileno(), warn_on_full_buffer=False)
        except (OSError, ValueError, AttributeError):
            ours._close()
            return None
        if before != -1:
            ours._yield_to(before)
            return None
        return ours

    def read(self) -> list[int]:
        """Return the signals that this process, and no child that shares the socket, was sent since the last call."""
        import _socket

        found: list[int] = []
        while True:
            try:
                data, ancillary, _, _ = self._reader.recvmsg(_MESSAGE_BYTES, _socket.CMSG_SPACE(_CREDENTIALS.size))
            except OSError:
                return found
            if not data:
                return found
            for level, kind, body in ancillary:
                is_ours = (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_CREDENTIALS) and len(
                    body
                ) == _CREDENTIALS.size
                if is_ours and _CREDENTIALS.unpack(body)[0] == self._pid:
                    found += data

    def remove(self) -> None:
        """Take the socket away, where nothing else stands there since. The main thread alone may do that."""
        mine = self._writer.fileno()
        try:
            before = signal.set_wakeup_fd(mine, warn_on_full_buffer=False)
        except (OSError, ValueError):
            return  # what can't be taken away stays open, and quiet
        self._yield_to(-1 if before == mine else before)

    def _yield_to(self, fd: int) -> None:
        """Put back what stood there, with the signals that came in between."""
        try:
            signal.set_wakeup_fd(fd)
            if fd != -1:
                arrived = bytes(self.read())
                if arrived:
                    os.write(fd, arrived)
        except (OSError, ValueError):  # its owner has closed it
            signal.set_wakeup_fd(-1)
        self._close()

    def _close(self) -> None:
        self._reader.close()
        self._writer.close()
