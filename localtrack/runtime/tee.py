"""A copy of what the process prints, taken beside the print: the user's streams stay what they are.

Progress bars overwrite their line with carriage returns; only the line as it stood at its end is kept. Where several lines
are drawn over, a :class:`~localtrack.runtime.live_region.LiveRegion` does the same for them.

Source: ClearML's console capture, measured; docs/format/v1.md, "console/<writer>-<n>.txt".
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import logging

    from localtrack.runtime.live_region import LiveRegion

PARTIAL_FLUSH_S = 10.0
FLUSH_WAIT_S = 2.0
PACE_S = 0.05
SHARE = 0.005  # of the time may go into recording beside the prints: some hundred lines a second
BUDGET_S = 0.004  # so much is there for a burst: hundreds of lines
PARTS_LIMIT = 4096  # as many are cut at once: their text stays in the processor's cache
WAITING_LIMIT = 1 << 17
PARTIAL_LIMIT = 1 << 20

#: What starts a stretch in which lines are drawn over: going up, or hiding the cursor.
_DRAWING = r"\x1b\[(?:\d*[AF]|\?25l)"
_LEFT_OF_DRAWING = r"\x1b\[(?:\?25[lh]|\d*[ABEFGJK])"

#: Gets the stream's code and whole lines as one text, without the last one's newline.
Sink = Callable[[str, str], None]


def collapse(line: str) -> str:
    """Return what a terminal would show of a line: the text after its last carriage return, with its colours."""
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part), "")
    return re.sub(_LEFT_OF_DRAWING, "", line) if "\x1b" in line else line


def _collapsed(lines: str) -> str:
    return "\n".join([collapse(line) for line in lines.split("\n")])


def _joined(parts: list[str]) -> str:
    try:
        return "".join(parts)
    except TypeError:  # a stream that takes more than text
        return "".join([part for part in parts if isinstance(part, str)])


class LineCollector:
    """Cuts one stream's text into lines for the console log.

    What is printed is in the log when the print returns, until printing takes so much time that recording it as well would
    be felt: then lines wait for ``pace``, which records them together within :data:`PACE_S`.

    Attributes:
        waiting: what was printed and is not cut into lines yet; always the same list.
        limit: so many parts may wait without a look; 0 while what is printed does not wait for the pace.
    """

    def __init__(self, code: str, sink: Sink, pace: Pace | None = None) -> None:
        self._code = code
        self._sink = sink
        self._pace = pace
        self.waiting: list[str] = []
        self.limit = 0
        self._budget_s = BUDGET_S
        self._counted = 0.0
        self._partial = ""
        self._since = 0.0
        self._region: LiveRegion | None = None
        self._lock = threading.Lock()

    @property
    def is_paced(self) -> bool:
        """Whether what is printed waits for the pace."""
        return self.limit > 0

    def feed(self, text: str) -> None:
        """Take text as it is printed."""
        self.waiting.append(text)
        self.came(text)

    def came(self, text: str) -> None:
        """Look what has to be done about a text that waits now."""
        waiting = self.waiting
        if self.is_paced:
            if len(waiting) > WAITING_LIMIT:
                self.settle()
        elif (
            not isinstance(text, str)
            or "\n" in text
            or "\x1b" in text
            or len(waiting) > PARTS_LIMIT
            or len(text) > PARTIAL_LIMIT
        ):
            self.settle()

    def settle(self, *, within_s: float = 0.0) -> None:
        """Cut what waits into lines and write them; whoever does so already takes what comes meanwhile along.

        Args:
            within_s: so long that is waited for another thread that does so.
        """
        waiting = self.waiting
        while waiting and (self._lock.acquire(timeout=within_s) if within_s else self._lock.acquire(blocking=False)):
            start = time.monotonic()
            count = len(waiting)
            parts = waiting[:count]
            del waiting[:count]  # others may append at any moment
            taken = 0
            try:
                while taken < count:
                    first, taken = taken, taken + PARTS_LIMIT
                    self._take(_joined(parts[first:taken]), start)
            finally:
                waiting[:0] = parts[taken:]  # a signal's exception came in between
                self._spend(start)
                self._lock.release()

    def _spend(self, start: float) -> None:
        """Count what recording costs: a share of the time, and a store of it for those who rarely print."""
        end = time.monotonic()
        self._budget_s = min(BUDGET_S, self._budget_s + (start - self._counted) * SHARE) - (end - start)
        self._counted = end
        self.limit = WAITING_LIMIT if self._budget_s <= 0.0 and self._pace is not None and self._pace.begin() else 0

    def rest(self) -> None:
        """Let a stream that prints no more have its lines recorded at once again."""
        if self.is_paced and not self.waiting and self._lock.acquire(blocking=False):
            try:
                self._spend(time.monotonic())
            finally:
                self._lock.release()

    def _take(self, text: str, moment: float) -> None:
        if self._region is not None or ("\x1b" in text and re.search(_DRAWING, text)):
            self._draw(text)
            return
        if not self._partial:
            self._since = moment
        lines, newline, self._partial = (self._partial + text).rpartition("\n")
        if newline:
            self._since = moment
            self._sink(self._code, _collapsed(lines) if "\r" in lines or "\x1b" in lines else lines)
        if len(self._partial) > PARTIAL_LIMIT:
            text, self._partial = collapse(self._partial), ""
            if len(text) > PARTIAL_LIMIT // 2:
                self._sink(self._code, text)  # no progress bar: a line that has no end
            else:
                self._partial = text

    def _draw(self, text: str) -> None:
        """Take text while lines are drawn over."""
        if self._region is None:
            from localtrack.runtime.live_region import LiveRegion

            self._region, self._partial = LiveRegion(self._partial), ""
            self._since = time.monotonic()
        self._give(self._region.feed(text))

    def _give(self, lines: list[str]) -> None:
        region = self._region
        if region is not None and region.is_over:
            rest, self._partial = region.end()
            self._region, self._since = None, time.monotonic()
            lines += rest
        if lines:
            self._sink(self._code, "\n".join(lines))

    def _flush_region(self, region: LiveRegion, older_than_s: float) -> None:
        if time.monotonic() - self._since < older_than_s:
            self._give(region.pause())
            return
        self._since = time.monotonic()
        self._give(region.snapshot())

    def rebind(self, sink: Sink) -> None:
        """Forget the unfinished line and write to another sink."""
        self._lock = threading.Lock()
        self.waiting.clear()
        self.limit = 0
        self._region = None
        self._partial = ""
        self._sink = sink

    def flush_partial(self, *, older_than_s: float = 0.0) -> None:
        """Write out an unfinished line, such as a progress bar's, when it has stood for a while."""
        self.settle(within_s=FLUSH_WAIT_S)
        if not self._lock.acquire(timeout=FLUSH_WAIT_S):
            return
        try:
            if self._region is not None:
                self._flush_region(self._region, older_than_s)
                return
            if self._partial and time.monotonic() - self._since >= older_than_s:
                text, self._partial = collapse(self._partial), ""
                if text:
                    self._sink(self._code, text)
        finally:
            self._lock.release()


class Pace:
    """Records in a thread of its own what is printed faster than it could be recorded beside each print.

    Args:
        collectors: whose lines these are.
    """

    def __init__(self, collectors: Iterable[LineCollector]) -> None:
        self._collectors = collectors
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> bool:
        """Start, or go on; False where no thread can be started any more."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="localtrack-console", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        self._begun.set()
        return True

    def forget(self) -> None:
        """In a forked child: the thread is the parent's."""
        self._thread = None
        self._begun = threading.Event()

    def _run(self) -> None:
        begun = self._begun
        while begun.wait():
            begun.clear()
            time.sleep(PACE_S)
            for collector in self._collectors:
                collector.settle()
            if any(collector.is_paced for collector in self._collectors):
                begun.set()
                for collector in self._collectors:
                    collector.rest()


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


class TeeStream:
    """Stands where ``sys.stdout`` or ``sys.stderr`` stood: everything goes to the original, a copy to the collector.

    Its ``write`` is made for each.

    Args:
        original: the stream that stood there.
        collector: gets the copy.
        is_wanted: whether a write that is made now is copied; every one without.
    """

    def __init__(self, original: TextIO, collector: LineCollector, is_wanted: Callable[[], bool] | None = None) -> None:
        self._original = original
        self.write = _writing(original, collector, is_wanted)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the original stream."""
        self._original.flush()

    def __getattr__(self, name: str) -> Any:
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
    waiting = collector.waiting
    put_by = waiting.append

    def write(text: str) -> int:
        """Write to the original stream; the copy never fails the print."""
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
            tee = TeeStream(original, self._collectors[name], self._condition(on))
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

    def flush_old_partials(self) -> None:
        """Write out unfinished lines that have stood for a while."""
        for collector in self._collectors.values():
            collector.flush_partial(older_than_s=PARTIAL_FLUSH_S)

    def remove(self) -> None:
        """Put the original streams back, where nobody else replaced them since, and write out unfinished lines."""
        self._restore()
        self._mark.remove()
        for collector in self._collectors.values():
            collector.flush_partial()
            collector.rebind(lambda code, text: None)  # a handler that was made meanwhile may hold the tee for ever

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
