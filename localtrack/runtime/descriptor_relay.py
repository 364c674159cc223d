"""The helper process of a descriptor capture: reads what was written to stdout and stderr, passes it on, then records it.

It is a process of its own so that C code that holds the interpreter's lock never waits for it, and so that the last words
of a process that is killed still come through. It belongs to no terminal and no process group of the script, and it ends
when the last process that can write to the captured descriptors has ended.

Bytes are passed on first, by the main thread, and recorded by another: a store that hangs delays no output. When
the place that they go to takes no more (a closed pipe, a full disk), the helper ends, and the script's process takes its
descriptors back and meets the same error itself.

Source: docs/explanation/runs.md, "The console".
"""

from __future__ import annotations

import codecs
import errno
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack.fs.disk import Disk, Modes
from localtrack.runtime.line_collector import PARTIAL_FLUSH_S, LineCollector
from localtrack.store.console import ConsoleLog
from localtrack.store.documents import now

FORWARDED, RECORDED, GONE = b"f", b"r", b"."
CHUNK_BYTES = 1 << 16
BACKLOG_BYTES = 32 << 20
END_WAIT_S = 10.0
HELD_S = 0.05
WINDOW_S = 0.5
LOOK_S = 1.0
SWITCH_S = 1e-4  # what is passed on never waits long for what is recorded
_NO_WRITERS = (errno.EIO, errno.EBADF)  # a terminal without writers says the former where a pipe says nothing


class Recorder:
    """Records chunks in a thread of its own; what it can't keep up with is counted and said, never waited for."""

    def __init__(self, console: ConsoleLog, codes: list[str], on_mark: Callable[[], None]) -> None:
        self._console = console
        self._on_mark = on_mark
        self._at = ""
        self._collectors = [LineCollector(code, self._write) for code in codes]
        self._decoders = [codecs.getincrementaldecoder("utf-8")("backslashreplace") for _ in codes]
        self._queue: deque[tuple[int, bytes, str]] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        self._marks = 0
        self._is_over = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="localtrack-recorder", daemon=True)
        self._thread.start()

    def put(self, channel: int, data: bytes) -> None:
        """Take what was passed on."""
        with self._news:
            if self._is_over:
                return
            if self._waiting_bytes + len(data) > BACKLOG_BYTES:
                self._left_out += len(data)
                return
            self._queue.append((channel, data, now()))
            self._waiting_bytes += len(data)
            self._news.notify()

    def mark(self) -> None:
        """Note that the run has ended: when all channels have said so, what comes later is recorded no more."""
        with self._news:
            self._marks += 1
            self._is_over = self._marks >= len(self._collectors)
            self._news.notify()

    def finish(self) -> None:
        """Record what waits, for a bounded time."""
        with self._news:
            self._is_over = True
            self._news.notify()
        self._thread.join(END_WAIT_S)

    def _run(self) -> None:
        try:
            while self._step():
                pass
            for collector, decoder in zip(self._collectors, self._decoders, strict=True):
                collector.feed(decoder.decode(b"", final=True))
                collector.flush_partial()
            self._console.close()
        finally:
            self._is_over = True
            self._on_mark()

    def _step(self) -> bool:
        """Record one chunk, or look after unfinished lines; False when all is recorded."""
        with self._news:
            if not self._queue and not self._is_over:
                self._news.wait(LOOK_S)
            item = self._queue.popleft() if self._queue else None
            left_out, self._left_out = self._left_out, 0
            if item is not None:
                self._waiting_bytes -= len(item[1])
            elif self._is_over and not left_out:
                return False
        if item is not None:
            channel, data, self._at = item
            self._collectors[channel].feed(self._decoders[channel].decode(data))
        if left_out:
            self._console.write("l", [f"(localtrack: {left_out} bytes came faster than they could be recorded)"])
        if item is None:
            self._at = ""
            self._console.drain()
            for collector in self._collectors:
                collector.flush_partial(older_than_s=PARTIAL_FLUSH_S)
        return True

    def _write(self, code: str, texts: list[str]) -> None:
        self._console.write_texts(code, texts, at=self._at)


class Channel:
    """One captured place: where its bytes are read, and where they go.

    Args:
        source: the reading end of a pipe, or the master of a pseudo terminal.
        target: the place that the descriptor led to.
        marker: bytes that the script's process puts in at its end; they go no further.
        record: gets what was passed on.
        on_marker: called when the marker has come.
    """

    def __init__(
        self, source: int, target: int, marker: bytes, record: Callable[[bytes], None], on_marker: Callable[[], None]
    ) -> None:
        self.source = source
        self._target = target
        self._marker = marker
        self._record = record
        self._on_marker = on_marker
        self._held = b""
        self._window = b""

    @property
    def holds(self) -> bool:
        """Whether bytes wait that may be the beginning of the marker."""
        return bool(self._held)

    def pump(self) -> bool:
        """Read once and pass it on; False when nobody can write any more.

        Raises:
            OSError: the target takes no more.
        """
        try:
            data = os.read(self.source, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _NO_WRITERS:
                raise
            data = b""
        if not data:
            self.release()
            return False
        data, self._held = self._held + data, b""
        before, marker, after = data.partition(self._marker)
        if marker:
            self._pass_on(before)
            self._on_marker()
            data = after
        start = data.rfind(self._marker[:1], -len(self._marker))
        if start >= 0 and self._marker.startswith(data[start:]):
            data, self._held = data[:start], data[start:]
        self._pass_on(data)
        return True

    def release(self) -> None:
        """Pass on what was held: it was no marker."""
        data, self._held = self._held, b""
        self._pass_on(data)

    def copy_window(self) -> None:
        """Give a pseudo terminal the size of the terminal that it stands for."""
        import fcntl
        import termios

        try:
            size = fcntl.ioctl(self._target, termios.TIOCGWINSZ, b"\0" * 8)
            if size != self._window:
                self._window = size
                fcntl.ioctl(self.source, termios.TIOCSWINSZ, size)
        except OSError:
            return  # a pipe has no size

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:  # whoever made the target may have made it so
                select.select([], [self._target], [])
        self._record(data)


def relay(channels: list[Channel]) -> None:
    """Pass on until nobody can write any more.

    Raises:
        OSError: a target takes no more.
    """
    open_channels = {channel.source: channel for channel in channels}
    poll = select.poll()
    for source in open_channels:
        poll.register(source, select.POLLIN | select.POLLHUP)
    looked = 0.0
    while open_channels:
        holds = any(channel.holds for channel in open_channels.values())
        events = poll.poll((HELD_S if holds else WINDOW_S) * 1000)
        if not events:
            for channel in open_channels.values():
                channel.release()
        if time.monotonic() - looked >= WINDOW_S:
            looked = time.monotonic()
            for channel in open_channels.values():
                channel.copy_window()
        for source, _ in events:
            if not open_channels[source].pump():
                poll.unregister(source)
                del open_channels[source]


def main(said: dict[str, Any]) -> None:
    """Run as the helper.

    Args:
        said: ``channels`` (source, target and stream code of each), ``ack`` (a pipe to the script's process), ``marker``,
            ``folder``, ``tmp``, ``modes``, ``writer`` and ``limit_bytes`` of the console log.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGTTOU"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

    def tell(what: bytes) -> None:
        try:
            os.write(said["ack"], what)
        except OSError:
            pass  # the script's process is gone, and so is who would hear of it

    sys.setswitchinterval(SWITCH_S)
    disk = Disk(Path(said["tmp"]), Modes(*said["modes"]))
    console = ConsoleLog(
        disk, Path(said["folder"]), said["writer"], lambda error: None, limit_bytes=said["limit_bytes"]
    )
    recorder = Recorder(console, [code for _, _, code in said["channels"]], lambda: tell(RECORDED))

    def over() -> None:
        tell(FORWARDED)
        recorder.mark()

    channels = [
        Channel(source, target, bytes.fromhex(said["marker"]), lambda data, n=n: recorder.put(n, data), over)  # type: ignore[misc]
        for n, (source, target, _) in enumerate(said["channels"])
    ]
    try:
        relay(channels)
    except OSError:
        for channel in channels:
            os.close(channel.source)
        tell(GONE)  # the script's process takes its descriptors back, and meets the same error
    recorder.finish()
