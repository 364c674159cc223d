"""A copy of what the process prints, taken beside the print: the user's streams stay what they are.

Source: ClearML's console capture, measured; docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import io
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from localtrack.runtime.buffer_copy import BufferCopy
from localtrack.runtime.line_collector import PARTIAL_FLUSH_S, LineCollector, Pace, Sink
from localtrack.runtime.tees import OtherTee, PlainTee, Tee, Write

if TYPE_CHECKING:
    import logging

_patched: weakref.WeakSet[Any] = weakref.WeakSet()  # the streams whose own ``write`` records


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


class _Gate:
    """Puts a stream's own ``write`` in the places of the one that records, and takes it away, unless somebody put another there.

    Args:
        passing: the stream's own.
        recording: the one that records.
        places: the objects that have it as an attribute.
    """

    def __init__(self, passing: Write, recording: Write, places: list[Any]) -> None:
        self._passing = passing
        self._recording = recording
        self._places = places
        self._own = sys.maxsize

    def count_own(self) -> None:
        """Note how many hold the stream's own while all is in place and nobody else can have it."""
        self._own = sys.getrefcount(self._passing)

    def open(self) -> None:
        """Let the stream's own ``write`` stand there."""
        self._put(self._recording, self._passing)

    def shut(self) -> None:
        """Let the one that records stand there again."""
        self._put(self._passing, self._recording)

    def is_held_open(self) -> bool:
        """Tell whether anybody keeps the stream's own, beside ours and the places."""
        standing = sum(vars(place).get("write") is self._passing for place in self._places)
        return sys.getrefcount(self._passing) > self._own + standing

    def _put(self, old: Write, new: Write) -> None:
        for place in self._places:
            if vars(place).get("write") is old:
                vars(place)["write"] = new


def is_recorded(stream: Any) -> bool:
    """Tell whether what is written to a stream is in the console log."""
    try:
        return isinstance(stream, Tee) or stream in _patched
    except TypeError:  # one that has no hash
        return False


def _writing(passing: Write, collector: LineCollector, copy: BufferCopy | None) -> Write:
    """Return what stands for the stream's ``write``: a closure, as each print makes two of these calls."""
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
                return passing(text)  # which no other thread can come between
        written = passing(text)
        put_by(text)
        if len(waiting) > collector.limit:
            collector.came(text)
        return written

    return write


def _writing_wanted(passing: Write, collector: LineCollector, is_wanted: Callable[[], bool]) -> Write:
    def write(text: str) -> int:
        """Write to the original stream; the copy never fails the print, and is made where it is wanted."""
        wanted = is_wanted()
        written = passing(text)
        if wanted:
            collector.feed(text)
        return written

    return write


def _marking(original: TextIO, within: set[int]) -> Write:
    """Return a stream's ``write`` that notes its thread meanwhile: what it prints further down is no second line."""

    def write(text: str) -> int:
        thread = threading.get_ident()
        if thread in within:
            return original.write(text)
        within.add(thread)
        try:
            return original.write(text)
        finally:
            within.discard(thread)

    return write


def _outside(passing: Write, recording: Write, within: set[int]) -> Write:
    """Return a ``write`` that records what was not recorded further up."""

    def write(text: str) -> int:
        """Write to the original stream; the copy never fails the print."""
        return passing(text) if threading.get_ident() in within else recording(text)

    return write


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
        self._installed: dict[str, tuple[Any, Tee]] = {}
        self._in_place: list[tuple[Any, Write | None, Write, Write]] = []
        self._gates: dict[str, _Gate] = {}
        self._within: set[int] = set()
        self._handlers: list[tuple[logging.StreamHandler[Any], Any, Tee]] = []

    def install(self) -> None:
        """Put the tees in place; a stream that is None (no console) is left alone.

        Also the stream below, and the process's own where another one stands in its place for now, record what comes to
        them: many hold them from before, or put them back.
        """
        names = [name for name, on in self._wanted.items() if name not in self._installed and (on or self._log)]
        is_plain = all(_is_plain(getattr(sys, name, None)) for name in names)
        for name in names:
            condition = self._condition(self._wanted[name])
            original = getattr(sys, name, None)
            if original is not None and not self._is_left(original):
                tee = self._tee(name, original, condition, is_plain=is_plain)
                self._installed[name] = (original, tee)
                setattr(sys, name, tee)
        for name in names:
            real = getattr(sys, f"__{name}__", None)
            if _is_plain(real) and not self._is_left(real):
                self._record_in_place(name, real, self._condition(self._wanted[name]))
        for name in names:
            if name in self._gates:
                self._gates[name].count_own()
        if not self._has_mark and any(on is not self._log for on in self._wanted.values()):
            self._has_mark = True
            self._mark.install()
        if self._log:
            self._redirect_handlers()

    def _tee(self, name: str, original: Any, condition: Callable[[], bool] | None, *, is_plain: bool) -> Tee:
        """Return what stands for one stream; with it the stream records itself, where it is one of the interpreter's own kind."""
        collector = self._collectors[name]
        is_first = all(original is not other for other, _ in self._installed.values())
        is_alone = sum(original is getattr(sys, each, None) for each in self._wanted) == 1 and is_first
        passing = self._own_write(original) if _is_plain(original) else _marking(original, self._within)
        places: list[Any] = [original] if is_plain else []
        if condition is None and is_alone and BufferCopy.suits(original):
            copy = collector.copy = BufferCopy(original)
            recording = _writing(passing, collector, copy)
            copy.gate = self._gates[name] = _Gate(passing, recording, places)
        else:
            recording = self._recording(passing, collector, condition)
        tee = (PlainTee if _is_plain(original) else OtherTee)(original, collector, recording)
        places.append(tee)
        if is_first and _is_plain(original):
            self._patch(original, passing, recording if is_plain else _outside(passing, recording, self._within))
        return tee

    def _own_write(self, stream: Any) -> Write:
        patched = (passing for other, _, passing, _ in self._in_place if other is stream)
        return next(patched, None) or stream.write

    def _recording(self, passing: Write, collector: LineCollector, condition: Callable[[], bool] | None) -> Write:
        if condition is None:
            return _writing(passing, collector, None)
        return _writing_wanted(passing, collector, condition)

    def _record_in_place(self, name: str, real: Any, condition: Callable[[], bool] | None) -> None:
        if any(real is stream for stream, *_ in self._in_place):
            return
        passing = real.write
        recording = self._recording(passing, self._collectors[name], condition)
        self._patch(real, passing, _outside(passing, recording, self._within))

    def _patch(self, stream: Any, passing: Write, recording: Write) -> None:
        self._in_place.append((stream, vars(stream).get("write"), passing, recording))
        vars(stream)["write"] = recording
        _patched.add(stream)

    def take_left(self) -> None:
        """Capture the streams that were left as well: nothing else takes them down any more."""
        self._is_left = lambda stream: False
        self.install()

    def renew(self) -> None:
        """Before a notebook's cell: record the kernel's streams where others stood at the start, as in a captured cell."""
        for name, (_, tee) in list(self._installed.items()):
            current = getattr(sys, name, None)
            if current is not tee and type(current).__module__.startswith("ipykernel."):
                del self._installed[name]
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
        self._let_go()

    def rebind(self, sink: Sink) -> None:
        """In a forked child: drop the parent's unfinished lines and send what comes to another sink."""
        self._pace.forget()
        self._within.clear()
        for collector in self._collectors.values():
            collector.rebind(sink)

    def leave(self) -> None:
        """At the end of a forked child that has not attached: put the streams back, and record nothing."""
        self._restore()
        self._mark.remove()
        for collector in self._collectors.values():
            if collector.copy is not None:
                collector.copy.forget()
        self._let_go()

    def _let_go(self) -> None:
        """Hold no stream any more: it is to be flushed and closed with the script's own objects."""
        self._pace.stop()
        for collector in self._collectors.values():
            collector.retire()  # a handler that was made meanwhile may hold the tee for ever

    def _restore(self) -> None:
        for name, (original, tee) in self._installed.items():
            if getattr(sys, name, None) is tee:
                setattr(sys, name, original)
        for handler, stream, tee in self._handlers:
            if handler.stream is tee:
                handler.stream = stream
        for stream, previous, passing, recording in self._in_place:
            if vars(stream).get("write") in (passing, recording):
                del vars(stream)["write"]
                if previous is not None:
                    vars(stream)["write"] = previous
            _patched.discard(stream)
        self._installed, self._handlers, self._in_place, self._gates = {}, [], [], {}


def _is_plain(stream: Any) -> bool:
    """Tell whether a stream is of the interpreter's own kind, whose ``write`` every instance can have for itself."""
    return type(stream) is io.TextIOWrapper
