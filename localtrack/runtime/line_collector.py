"""Cuts what a stream prints into lines for the console log: at once while that is cheap, in a thread of its own in a flood.

Progress bars overwrite their line with carriage returns; only the line as it stood at its end is kept. Where several lines
are drawn over, a :class:`~localtrack.runtime.live_region.LiveRegion` does the same for them.

Source: docs/explanation/runs.md, "The console".
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localtrack.runtime.buffer_copy import BufferCopy
    from localtrack.runtime.live_region import LiveRegion

PARTIAL_FLUSH_S = 10.0
FLUSH_WAIT_S = 2.0
PACE_S = 0.05
SHARE = 0.005  # of the time may go into recording beside the prints: some hundred lines a second
BUDGET_S = 0.004  # so much is there for a burst: hundreds of lines
DEBT_S = 0.05  # a flood is paid for in ten seconds, however long it was
GROUPS_LIMIT = 64  # as many are written at once: each write lets go of the interpreter, and a flood gives it back late
PARTS_LIMIT = 4096  # as many are cut at once: their text stays in the processor's cache
WAITING_LIMIT = 1 << 17
TRY_PARTS = 1 << 10  # where copying below the stream could not begin, it is tried again after so many
PARTIAL_LIMIT = 1 << 20

#: What starts a stretch in which lines are drawn over: going up, or hiding the cursor.
_DRAWING = r"\x1b\[(?:\d*[AF]|\?25l)"
_LEFT_OF_DRAWING = r"\x1b\[(?:\?25[lh]|\d*[ABEFGJK])"

#: Gets the stream's code and texts of whole lines, each without the last one's newline.
Sink = Callable[[str, list[str]], None]


def collapse(line: str) -> str:
    """Return what a terminal would show of a line: the text after its last carriage return, with its colours."""
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part), "")
    return re.sub(_LEFT_OF_DRAWING, "", line) if "\x1b" in line else line


def _ignore(code: str, texts: list[str]) -> None:
    """The sink of what nobody records."""


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
        copy: takes what is printed in a flood, where the stream allows it.
        sink: gets the lines.
    """

    def __init__(self, code: str, sink: Sink, pace: Pace | None = None) -> None:
        self._code = code
        self.sink = sink
        self._pace = pace
        self.waiting: list[str] = []
        self.limit = 0
        self.copy: BufferCopy | None = None
        self._budget_s = BUDGET_S
        self._counted = 0.0
        self._ready: list[str] = []
        self._partial = ""
        self._since = 0.0
        self._region: LiveRegion | None = None
        self._lock = threading.Lock()
        self._is_stuck = False
        self._is_new = True
        self._excused_s = 0.0

    @property
    def is_paced(self) -> bool:
        """Whether what is printed waits for the pace."""
        return self.limit > 0 or (self.is_copied and self.copy is not None and not self.copy.is_ending)

    @property
    def is_copied(self) -> bool:
        """Whether what is printed is copied below the stream."""
        return self.copy is not None and self.copy.is_open

    def feed(self, text: str) -> None:
        """Take text as it is printed."""
        self.waiting.append(text)
        self.came(text)

    def came(self, text: str) -> None:
        """Look what has to be done about a text that waits now."""
        waiting = self.waiting
        if self.limit:
            if len(waiting) > WAITING_LIMIT:
                self.settle()
            elif len(waiting) > self.limit:
                self.limit = min(WAITING_LIMIT, self.limit * 4)
                self._copy_below()
        elif (
            not isinstance(text, str)
            or "\n" in text
            or "\x1b" in text
            or len(waiting) > PARTS_LIMIT
            or len(text) > PARTIAL_LIMIT
        ):
            self.settle()
            self._copy_below()

    def settle(self, *, within_s: float = 0.0) -> None:
        """Cut what waits into lines and write them; whoever does so already takes what comes meanwhile along.

        Args:
            within_s: so long that is waited for another thread that does so.
        """
        copy, lock = self.copy, self._lock
        while (self.waiting or (copy is not None and copy.has_news)) and (
            lock.acquire(timeout=within_s) if within_s else lock.acquire(blocking=False)
        ):
            start = time.monotonic()
            groups = self._withdraw()
            done = 0
            try:
                while done < len(groups):
                    done += 1
                    self._take(_joined(groups[done - 1]), start)
                    if done % GROUPS_LIMIT == 0 or done == len(groups):
                        self._hand_on()
            finally:
                left = groups[done:]  # a signal's exception came in between
                self.waiting[:0] = [part for group in left for part in group]
                self._spend(start)
                lock.release()

    def settle_whole(self) -> None:
        """Record what was printed up to now, also what another thread has taken out to write it.

        Where that takes too long, as the store hangs, nobody waits again before it has gone on.
        """
        if self.is_copied:
            self.end_copy()
        end = time.monotonic() + (0.0 if self._is_stuck else FLUSH_WAIT_S)
        self.settle(within_s=max(0.0, end - time.monotonic()))
        self._is_stuck = not self._lock.acquire(timeout=max(0.0, end - time.monotonic()))
        if not self._is_stuck:
            self._lock.release()

    def _withdraw(self) -> list[list[str]]:
        """Take what waits out, in the order in which each thread printed it.

        While there is a copy, what waits is older; what is left of one that has ended is older than what waits. So the
        newer of the two is read first: whatever its thread printed before is there by then.
        """
        is_copied = self.is_copied
        copied = self._copied() if is_copied else []
        waiting = self.waiting
        count = len(waiting)
        parts = waiting[:count]
        del waiting[:count]  # others may append at any moment
        groups = [parts[first : first + PARTS_LIMIT] for first in range(0, count, PARTS_LIMIT)]
        if is_copied:
            return groups + copied
        return groups if self.is_copied else self._copied() + groups

    def _copied(self) -> list[list[str]]:
        return [[text] for text in self.copy.take()] if self.copy is not None else []

    def keep_pace(self) -> None:
        """Record what came since the last time, and copy below the stream as long as prints come too fast for more."""
        copy = self.copy
        if copy is not None and copy.is_open:
            if not copy.has_news:
                copy.push()
            self.settle()
            if copy.is_shared():
                copy.end_with_the_next()
            elif not self.limit:
                if copy.is_file:
                    self.end_copy()
                else:
                    copy.end_with_the_next()
            return
        self.settle()

    def _copy_below(self) -> None:
        if self.limit and self.copy is not None:
            self.copy.begin()

    def _spend(self, start: float) -> None:
        """Count what recording costs: a share of the time, and a store of it for those who rarely print."""
        end = time.monotonic()
        earned = min(BUDGET_S, self._budget_s + (start - self._counted) * SHARE)
        self._budget_s = max(-DEBT_S, earned - max(0.0, end - start - self._excused_s))
        self._excused_s = 0.0
        self._counted = end
        is_paced = self._budget_s <= 0.0 and self._pace is not None and self._pace.begin()
        self.limit = 0 if not is_paced else WAITING_LIMIT if self.copy is None else TRY_PARTS

    def rest(self) -> None:
        """Let a stream that prints no more have its lines recorded at once again."""
        lock = self._lock
        if self.limit and not self.waiting and lock.acquire(blocking=False):
            try:
                self._spend(time.monotonic())
            finally:
                lock.release()

    def _hand_on(self) -> None:
        ready, self._ready = self._ready, []
        if not ready:
            return
        if not self._is_new:
            self.sink(self._code, ready)
            return
        start = time.monotonic()
        self._is_new = False
        try:
            self.sink(self._code, ready)
        finally:  # a child attaches to the task with its first line, which is done once
            self._excused_s += time.monotonic() - start

    def _take(self, text: str, moment: float) -> None:
        if self._region is not None or ("\x1b" in text and re.search(_DRAWING, text)):
            self._draw(text)
            return
        if not self._partial:
            self._since = moment
        lines, newline, self._partial = (self._partial + text).rpartition("\n")
        if newline:
            self._since = moment
            self._ready.append(_collapsed(lines) if "\r" in lines or "\x1b" in lines else lines)
        if len(self._partial) > PARTIAL_LIMIT:
            text, self._partial = collapse(self._partial), ""
            if len(text) > PARTIAL_LIMIT // 2:
                self._ready.append(text)  # no progress bar: a line that has no end
            else:
                self._partial = text

    def _draw(self, text: str) -> None:
        """Take text while lines are drawn over."""
        if self._region is None:
            start = time.monotonic()
            from localtrack.runtime.live_region import LiveRegion

            self._region, self._partial = LiveRegion(self._partial), ""
            self._since = time.monotonic()
            self._excused_s += self._since - start  # an import, the first time
        self._give(self._region.feed(text))

    def _give(self, lines: list[str]) -> None:
        region = self._region
        if region is not None and region.is_over:
            rest, self._partial = region.end()
            self._region, self._since = None, time.monotonic()
            lines += rest
        if lines:
            self._ready.append("\n".join(lines))

    def _flush_region(self, region: LiveRegion, older_than_s: float) -> None:
        if time.monotonic() - self._since < older_than_s:
            self._give(region.pause())
            return
        self._since = time.monotonic()
        self._give(region.snapshot())

    def rebind(self, sink: Sink) -> None:
        """Forget the unfinished line and write to another sink."""
        self._lock = threading.Lock()
        self._is_stuck = False
        self.waiting.clear()
        self.limit = 0
        self._budget_s = BUDGET_S
        self._is_new = True
        if self.copy is not None:
            self.copy.forget()
        self._region = None
        self._ready = []
        self._partial = ""
        self.sink = sink

    def retire(self) -> None:
        """When all is over: record nothing any more, and hold no stream."""
        copy, self.copy = self.copy, None
        if copy is not None:
            copy.retire()
        self.rebind(_ignore)

    def end_copy(self, *, for_good: bool = False) -> None:
        """Copy below the stream no more, and record what is left of it before what is printed from now on.

        Args:
            for_good: whatever comes.
        """
        if self.copy is not None:
            self.settle(within_s=PACE_S)  # what was printed before copying began is older than what was copied
            try:
                self.copy.end(for_good=for_good)
            except OSError as error:
                self.copy.fail(error)
            self.settle()

    def flush_partial(self, *, older_than_s: float = 0.0) -> None:
        """Write out an unfinished line, such as a progress bar's, when it has stood for a while."""
        self.settle(within_s=FLUSH_WAIT_S)
        lock = self._lock
        if not lock.acquire(timeout=FLUSH_WAIT_S):
            return
        try:
            if self._region is not None:
                self._flush_region(self._region, older_than_s)
            elif self._partial and time.monotonic() - self._since >= older_than_s:
                text, self._partial = collapse(self._partial), ""
                if text:
                    self._ready.append(text)
            self._hand_on()
        finally:
            lock.release()


class Pace:
    """Records in a thread of its own what is printed faster than it could be recorded beside each print.

    Args:
        collectors: whose lines these are.
    """

    def __init__(self, collectors: Iterable[LineCollector]) -> None:
        self._collectors = collectors
        self._begun = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def begin(self) -> bool:
        """Start, or go on; False where no thread can be started any more."""
        if self._is_over:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="localtrack-console", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        self._begun.set()
        return True

    def stop(self) -> None:
        """Let the thread end, which nobody waits for."""
        self._is_over = True
        self._collectors = ()
        self._begun.set()

    def forget(self) -> None:
        """In a forked child: the thread is the parent's."""
        self._thread = None
        self._begun = threading.Event()

    def _run(self) -> None:
        begun = self._begun
        while begun.wait():
            begun.clear()
            if self._is_over:
                return
            time.sleep(PACE_S)
            collectors = tuple(self._collectors)
            for collector in collectors:
                collector.keep_pace()
            if any(collector.is_paced for collector in collectors):
                begun.set()
                for collector in collectors:
                    collector.rest()
