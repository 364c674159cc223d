"""A copy of what the process prints, taken beside the print: the user's streams stay what they are.

Source: ClearML's console capture, measured; docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO, cast

from localtrack.runtime.buffer_copy import BufferCopy
from localtrack.runtime.line_collector import PARTIAL_FLUSH_S, LineCollector, Pace, Sink

if TYPE_CHECKING:
    import io
    import logging


class LoggingMark:
    """Knows of each write whether a logging handler makes it, however and whenever that handler was made."""

    def __init__(self) -> None:
        self._thread = threading.local()
        self._undo: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Mark what runs below ``logging.Handler.handle``, by which every record reaches its handler."""
        import logging

        previous = logging.Handler.handle
        thread = self._thread

        def handle(handler: logging.Handler, record: logging.LogRecord) -> Any:
            thread.depth = getattr(thread, "depth", 0) + 1
            try:
                return previous(handler, record)
            finally:
                thread.depth -= 1

        handle.__doc__ = previous.__doc__
        logging.Handler.handle = handle  # type: ignore[assignment,method-assign]

        def undo() -> None:
            if logging.Handler.handle is handle:
                logging.Handler.handle = previous  # type: ignore[method-assign]

        self._undo = undo

    def remove(self) -> None:
        """Take the mark off, where nobody else put another on top."""
        self._undo()

    def is_set(self) -> bool:
        """Tell whether this thread is in a logging handler now."""
        return getattr(self._thread, "depth", 0) > 0


class _TeeGate:
    """Puts the original's ``write`` in the place of a tee's, and takes it away, unless somebody put another there."""

    def __init__(self, tee: TeeStream, original: TextIO) -> None:
        self._tee = tee
        self._passing = original.write

    def open(self) -> None:
        """Let the original's ``write`` stand there."""
        if self._tee.write is self._tee.recording:
            self._tee.write = self._passing

    def shut(self) -> None:
        """Let the tee's stand there again."""
        if self._tee.write is self._passing:
            self._tee.write = self._tee.recording

    def is_held_open(self) -> bool:
        """Tell whether anybody keeps the original's, beside the tee, this object and this call."""
        return sys.getrefcount(self._passing) > 3


class TeeStream:
    """Stands where ``sys.stdout`` or ``sys.stderr`` stood: everything goes to the original, a copy to the collector.

    Its ``write`` is made for each; ``recording`` is the same one, for the gate.

    Args:
        original: the stream that stood there.
        collector: gets the copy.
        is_wanted: whether a write that is made now is copied; every one without.
        may_copy_below: whether a flood may be copied below the stream: only for one tee of a stream.
    """

    def __init__(
        self,
        original: TextIO,
        collector: LineCollector,
        is_wanted: Callable[[], bool] | None = None,
        *,
        may_copy_below: bool = True,
    ) -> None:
        self._original = original
        self._collector = collector
        if is_wanted is None and may_copy_below and BufferCopy.suits(original):
            gate = _TeeGate(self, original)
            collector.copy = BufferCopy(cast("io.TextIOWrapper", original), gate)
        self.write = self.recording = _writing(original, collector, is_wanted)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the original stream."""
        self._original.flush()

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach", "reconfigure"):
            self._collector.end_copy(for_good=name != "reconfigure")
        return getattr(self._original, name)

    def __iter__(self) -> Any:
        return iter(self._original)

    def __enter__(self) -> TeeStream:
        self._original.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._original.__exit__(*details)


def _writing(original: TextIO, collector: LineCollector, is_wanted: Callable[[], bool] | None) -> Callable[[str], int]:
    """Return what stands for the stream's ``write``: a closure, as each print makes two of these calls."""
    copy = collector.copy
    waiting = collector.waiting
    put_by = waiting.append

    def write(text: str) -> int:
        """Write to the original stream; the copy never fails the print."""
        if copy is not None and copy.is_busy:  # somebody kept this closure, or came just now
            copy.arrive()
            if copy.is_ending:
                collector.end_copy()
                copy.arrive()
            if copy.is_open:
                return original.write(text)  # which no other thread can come between
        written = original.write(text)
        put_by(text)
        if len(waiting) > collector.limit:
            collector.came(text)
        return written

    def write_wanted(text: str) -> int:
        """Write to the original stream; the copy never fails the print, and is made where it is wanted."""
        wanted = is_wanted is not None and is_wanted()
        written = original.write(text)
        if wanted:
            collector.feed(text)
        return written

    return write if is_wanted is None else write_wanted


class ConsoleTee:
    """Installs the tee on stdout, stderr and the logging handlers that write to them, and takes it off again.

    Args:
        sink: gets the stream's code and the lines.
        stdout: whether stdout is captured.
        stderr: whether stderr is captured.
        log: whether what logging handlers write to them is captured, also handlers that hold the stream from before.
        is_left: tells of a stream that something else takes down already.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        stdout: bool = True,
        stderr: bool = True,
        log: bool = True,
        is_left: Callable[[Any], bool] = lambda stream: False,
    ) -> None:
        self._collectors: dict[str, LineCollector] = {}
        self._pace = Pace(self._collectors.values())
        for name, code in (("stdout", "o"), ("stderr", "e")):
            self._collectors[name] = LineCollector(code, sink, self._pace)
        self._wanted = {"stdout": stdout, "stderr": stderr}
        self._log = log
        self._is_left = is_left
        self._mark = LoggingMark()
        self._has_mark = False
        self._installed: dict[str, tuple[Any, TeeStream]] = {}
        self._handlers: list[tuple[logging.StreamHandler[Any], Any, TeeStream]] = []

    def install(self) -> None:
        """Put the tees in place; a stream that is None (no console) is left alone."""
        for name, on in self._wanted.items():
            original = getattr(sys, name)
            if name in self._installed or original is None or not (on or self._log) or self._is_left(original):
                continue
            is_first = all(original is not other for other, _ in self._installed.values())
            tee = TeeStream(original, self._collectors[name], self._condition(on), may_copy_below=is_first)
            self._installed[name] = (original, tee)
            setattr(sys, name, tee)
        if not self._has_mark and any(on is not self._log for on in self._wanted.values()):
            self._has_mark = True
            self._mark.install()
        if self._log:
            self._redirect_handlers()

    def take_left(self) -> None:
        """Capture the streams that were left as well: nothing else takes them down any more."""
        self._is_left = lambda stream: False
        self.install()

    def _condition(self, on: bool) -> Callable[[], bool] | None:
        """Return what decides over a write: where logging and other writes are treated alike, nothing has to."""
        if on is self._log:
            return None
        is_logging = self._mark.is_set
        return is_logging if self._log else lambda: not is_logging()

    def _redirect_handlers(self) -> None:
        loaded: Any = sys.modules.get("logging")
        if loaded is None:
            return  # there is no handler yet, and those to come find the tee in place
        streams = {id(original): tee for original, tee in self._installed.values()}
        for reference in list(loaded._handlerList):
            handler = reference()
            if isinstance(handler, loaded.StreamHandler) and id(handler.stream) in streams:
                tee = streams[id(handler.stream)]
                original = handler.stream
                try:
                    handler.stream = tee
                except AttributeError:
                    continue  # logging's last resort looks for sys.stderr anew each time
                self._handlers.append((handler, original, tee))

    def flush_partials(self) -> None:
        """Write out unfinished lines, which nothing ends any more."""
        for collector in self._collectors.values():
            collector.end_copy()
        for collector in self._collectors.values():
            collector.flush_partial()

    def flush_old_partials(self) -> None:
        """Write out unfinished lines that have stood for a while."""
        for collector in self._collectors.values():
            collector.flush_partial(older_than_s=PARTIAL_FLUSH_S)

    def write_to(self, sink: Sink) -> None:
        """Send lines to another sink from now on."""
        for collector in self._collectors.values():
            collector.sink = sink

    def settle(self) -> None:
        """Record what was printed up to now, but for an unfinished line."""
        for collector in self._collectors.values():
            collector.settle_whole()

    def remove(self) -> None:
        """Put the original streams back, where nobody else replaced them since, and write out unfinished lines."""
        self._restore()
        self._mark.remove()
        for collector in self._collectors.values():
            collector.end_copy(for_good=True)
        for collector in self._collectors.values():
            collector.flush_partial()
            collector.rebind(lambda code, texts: None)  # a handler that was made meanwhile may hold the tee for ever

    def rebind(self, sink: Sink) -> None:
        """In a forked child: drop the parent's unfinished lines and send what comes to another sink."""
        self._pace.forget()
        for collector in self._collectors.values():
            collector.rebind(sink)

    def _restore(self) -> None:
        for name, (original, tee) in self._installed.items():
            if getattr(sys, name) is tee:
                setattr(sys, name, original)
        for handler, stream, tee in self._handlers:
            if handler.stream is tee:
                handler.stream = stream
        self._installed, self._handlers = {}, []
