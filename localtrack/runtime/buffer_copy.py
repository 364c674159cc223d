"""A copy of what a text stream hands to the buffer below it, taken by C code alone: what a flood of prints can afford.

A ``print`` into a file or a pipe takes 0.3 us, as much as two calls of a function of ours. So while a stream is flooded, its
``write`` is the interpreter's own again, and the copy is taken where the stream hands its text on: to ``buffer.write``, once for
8 KiB of text, or once for a line where the stream flushes lines. That method is looked up at each call, so what stands there for
a while is a fan: one call of C code that makes two.

What the stream holds back, and its buffer, go the same way as ever: order and errors are the interpreter's own.

Source: CPython's Modules/_io/textio.c (``_textiowrapper_writeflush``) and Objects/listobject.c (``list.count``);
docs/explanation/runs.md, "The console".
"""

from __future__ import annotations

import io
import os
import stat
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

#: To the buffer: the text stream's, the variable's that asks, the call's that counts; the fan's comes on top.
_OWN_REFERENCES = 3
_FAN = "_localtrack_fan"
_SWITCH_WAIT_S = 2.0
_IN_FLIGHT_S = 0.001
TEXT_BYTES = 1 << 15  # what is cut into lines at once stays in the processor's cache, and needs no new pages


def fan_out(*calls: Any) -> Callable[[Any], int]:
    """Return a callable that gives its argument to each of several builtin methods, without a line of Python.

    ``list.count`` compares each of its elements with its argument, and asks the element's type how. A builtin method is no
    descriptor: as a type's ``__eq__`` it gets the argument alone. An exception of one of them is the caller's, and the later
    ones are left out.

    Args:
        calls: bound methods of builtin types with one argument.
    """
    steps: list[Any] = [type("Step", (), {"__eq__": call, "__hash__": None})() for call in calls]
    return steps.count


class Gate(Protocol):
    """What stands before a text stream, and lets prints through to it while the copy is taken below."""

    def open(self) -> None:
        """Let the stream's own ``write`` stand there."""

    def shut(self) -> None:
        """Let the ``write`` that records what it gets stand there again."""

    def is_held_open(self) -> bool:
        """Tell whether somebody keeps the stream's own ``write``, and would pass by the gate when it is shut."""


class BufferCopy:
    """Takes a copy of what one text stream hands to its buffer, between :meth:`begin` and :meth:`end`.

    Only for the interpreter's own text stream over its own buffer and file, in UTF-8, and nobody else may hold that buffer: bytes
    that a program writes to it itself are no lines. Nor without a buffer (``python -u``): there a call for each text costs
    as much as any other way.

    A stream that is flushed while its place takes no more holds its buffer's lock, which no signal interrupts for others. So
    only the threads that print hand on what it holds back, and no thread of ours, except into a regular file.

    Args:
        stream: the text stream.

    Attributes:
        gate: what stands before it; set before the first print.
        is_open: whether what is printed is copied here.
        is_busy: whether whoever comes to the gate has to ask by :meth:`arrive`.
        is_ending: whether the next that comes to the gate has to end it.
        is_file: whether the stream leads to a regular file.
    """

    gate: Gate

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.is_open = False
        self.is_busy = False
        self.is_ending = False
        self.is_file = False
        self._stream: Any = stream
        self._buffer: Any = None
        self._fan: Any = None
        self._taken: list[bytes] = []
        self._switching = threading.Lock()
        self._switcher = 0
        self._failed: OSError | None = None
        self._is_retired = False
        _guard_forks(self)

    @staticmethod
    def suits(stream: Any) -> bool:
        """Tell whether a stream can ever be copied this way."""
        is_locked: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
        is_cpython = sys.implementation.name == "cpython" and is_locked()
        # From 3.11 on no other thread comes between a function's look at an attribute and the call that follows it.
        return is_cpython and sys.hexversion >= 0x30B0000 and type(stream) is io.TextIOWrapper

    @property
    def has_news(self) -> bool:
        """Whether something came that was not taken."""
        return bool(self._taken)

    def begin(self) -> None:
        """Copy from now on, where that can be done now; what was printed before is not in it.

        Raises:
            OSError: the stream's own, as the next print would meet it.
        """
        lock = self._switching
        if self.is_open or not lock.acquire(blocking=False):
            return
        try:
            if not (self.is_open or self._is_retired or self._taken):
                self._begin()
        except (ValueError, LookupError, AttributeError):
            pass  # a stream that is closed or detached meanwhile
        finally:
            self._switched(lock)

    def _begin(self) -> None:
        buffer: Any = self._stream.buffer
        if type(buffer) is not io.BufferedWriter or type(buffer.raw) is not io.FileIO or not _is_utf8(self._stream):
            return
        own = vars(buffer)
        if sys.getrefcount(buffer) > _OWN_REFERENCES + (_FAN in own) or "write" in own:
            return
        fd = buffer.fileno()
        if not os.get_blocking(fd):
            return
        self.is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        if _FAN not in own:  # made once: a class is gone only when the garbage collector comes
            fresh: list[bytes] = []
            own[_FAN] = fresh, fan_out(fresh.append, buffer.write)
        taken, self._fan = own[_FAN]
        self._buffer, self._taken = buffer, []
        self._switcher, self.is_busy = threading.get_ident(), True
        try:
            self._buffer.write = self._fan
            self._hand_on()
            if not self._is_retired:
                taken.clear()  # the lines that the stream held back were recorded when they were printed
                self._taken = taken
                self.is_open = True
                self.gate.open()
        finally:
            if not self.is_open:
                self._give_back()

    def end(self, *, for_good: bool = False) -> None:
        """Copy no more; what was printed until now can be taken still.

        Args:
            for_good: also where somebody keeps the stream's own ``write``, and never begin again.

        Raises:
            OSError: the stream's own, as the next print would meet it.
        """
        self._is_retired = self._is_retired or for_good
        if not for_good and (not self.is_open or self.gate.is_held_open()):
            return
        lock = self._switching
        if self._switcher == threading.get_ident() or not lock.acquire(timeout=_SWITCH_WAIT_S):
            return
        try:
            if self.is_open:
                self._switcher, self.is_open = threading.get_ident(), False
                self.gate.shut()
                try:
                    self._hand_on()
                finally:
                    self._give_back()
        except (ValueError, RuntimeError):
            pass  # closed, detached, or in a handler of a signal that came while this thread was writing
        finally:
            self._switched(lock)

    def end_with_the_next(self) -> None:
        """Let the next that comes to the gate end it, unless somebody would pass by the gate."""
        if not self.is_ending and not self.gate.is_held_open():
            self.is_ending = True
            self.gate.shut()

    def arrive(self) -> None:
        """Wait while copying begins or ends in another thread.

        Raises:
            OSError: what was met when the stream was told to hand on what it held back.
        """
        failed, self._failed = self._failed, None
        if failed is not None:
            self.is_busy = self.is_open
            raise failed
        lock = self._switching
        if self._switcher not in (0, threading.get_ident()) and lock.acquire(timeout=_SWITCH_WAIT_S):
            lock.release()

    def fail(self, error: OSError) -> None:
        """Let whoever comes to the gate next meet an error that the stream had when it was told to hand on."""
        self._failed, self.is_busy = error, True

    def is_shared(self) -> bool:
        """Tell whether somebody holds the buffer by now."""
        return sys.getrefcount(self._buffer) > _OWN_REFERENCES + 1

    def forget(self) -> None:
        """In a forked child, or when all is over: leave what was printed before."""
        self._switching = threading.Lock()
        self._switcher = 0
        if self.is_open:
            self.is_open = False
            self.gate.shut()
        self._give_back()
        self.is_busy = self.is_ending = False
        self._failed = None
        self._taken = []

    def retire(self) -> None:
        """When all is over: hold neither the stream nor what stands before it."""
        self.forget()
        self._is_retired = True
        self._stream = self.gate = self._fan = None  # type: ignore[assignment]

    def push(self) -> None:
        """Let the stream hand on what it holds back for a file, so that it is in the copy; by a thread of ours."""
        lock = self._switching
        if self.is_open and self.is_file and lock.acquire(blocking=False):
            try:
                self._stream.flush()
            except OSError as error:
                self.fail(error)
                self.end_with_the_next()
            except (ValueError, RuntimeError):
                pass  # closed or detached
            finally:
                lock.release()

    def take(self) -> list[str]:
        """Return what came since the last time, in texts of about :data:`TEXT_BYTES` that end with a line."""
        taken = self._taken
        count = len(taken)
        data = b"".join(taken[:count])
        del taken[:count]  # the stream may append at any moment
        texts, start = [], 0
        while start < len(data):
            end = data.find(b"\n", start + TEXT_BYTES) + 1 or len(data)
            texts.append(data[start:end].decode("utf-8", "surrogateescape"))
            start = end
        return texts

    def _hand_on(self) -> None:
        self._stream.flush()
        time.sleep(_IN_FLIGHT_S)  # a thread that was just writing may have left its text in the stream since
        self._stream.flush()

    def _switched(self, lock: threading.Lock) -> None:
        self._switcher = 0
        self.is_busy, self.is_ending = self.is_open or self._failed is not None, False
        lock.release()

    def _give_back(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None and vars(buffer).get("write") is self._fan:
            del buffer.write


_copies: weakref.WeakSet[BufferCopy] = weakref.WeakSet()
_held: list[threading.Lock] = []
_is_guarded = False


def _guard_forks(copy: BufferCopy) -> None:
    """Let no fork come while a thread hands text to a buffer, whose lock the child would never see released."""
    global _is_guarded
    _copies.add(copy)
    if not _is_guarded and hasattr(os, "register_at_fork"):
        _is_guarded = True
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_held.clear)


def _hold() -> None:
    for copy in list(_copies):
        lock = copy._switching
        is_ours = copy._switcher == threading.get_ident()
        if copy.is_busy and not is_ours and lock.acquire(timeout=_SWITCH_WAIT_S):
            _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()


def _is_utf8(stream: io.TextIOWrapper) -> bool:
    return stream.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
