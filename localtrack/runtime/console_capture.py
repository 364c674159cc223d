"""What of a run's output is captured: by Python's streams, or by the descriptors below them.

Source: ClearML's ``auto_connect_streams``; docs/explanation/runs.md, "The console".
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.runtime import child_processes
from localtrack.runtime.ownership import CAPTURED_VARIABLE, OWNER
from localtrack.runtime.tee import ConsoleTee

if TYPE_CHECKING:
    from localtrack.runtime.descriptors import DescriptorCapture
    from localtrack.runtime.session import Session

DESCRIPTORS = "descriptors"
STREAMS = ("stdout", "stderr", "logging")


def stream_choice(value: bool | Mapping[str, bool]) -> dict[str, bool]:
    """Return which streams are captured for ClearML's ``auto_connect_streams``; True leaves the descriptors to the setting."""
    if not isinstance(value, Mapping):
        return {name: bool(value) for name in STREAMS}
    by_descriptors = bool(value.get(DESCRIPTORS, False))  # which takes everything that is not left out by its name
    return {DESCRIPTORS: by_descriptors, **{name: bool(value.get(name, by_descriptors)) for name in STREAMS}}


class ConsoleCapture:
    """The capture of one run's output.

    Args:
        session: the run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._tee: ConsoleTee | None = None
        self._descriptors: DescriptorCapture | None = None
        self._is_over = False

    def install(self) -> None:
        """Capture what the run's options say."""
        streams = self._session.options.streams
        if not any(streams.values()):
            return
        self._tee = ConsoleTee(
            self._session.writer.console.write_texts,
            stdout=streams.get("stdout", False),
            stderr=streams.get("stderr", False),
            log=streams.get("logging", False),
            is_left=self._capture_descriptors(),
        )
        self._tee.install()
        self._session.writer.on_tick.append(self._tee.flush_old_partials)
        if self._session.role != OWNER:
            child_processes.before_results(self._tee.settle)

    def renew(self) -> None:
        """Before a notebook's cell: record the kernel's streams, where they were put back since."""
        if self._tee is not None and not self._is_over:
            self._tee.renew()

    def remove_tee(self) -> None:
        """Give Python's streams back."""
        self._is_over = True
        if self._tee is not None:
            self._tee.remove()

    def give_back_descriptors(self) -> None:
        """Give the descriptors back, once what was written to them is recorded; bounded by ``exit_wait_s``."""
        if self._descriptors is not None:
            self._descriptors.close(self._session.ctx.settings.exit_wait_s)

    def abandon(self) -> None:
        """In a forked child: leave what is the parent's; the first line that the child prints attaches it to the task."""
        if self._tee is not None:
            self._tee.rebind(_write_to_current)
            child_processes.before_results(self._tee.settle)
            child_processes.before_threads_end(self._tee.flush_partials)
            atexit.register(self._tee.leave)
        if self._descriptors is not None:
            self._descriptors.abandon()

    def adopt(self, parent: ConsoleCapture) -> None:
        """In a forked child: record what it prints through the tee that it has from its parent, until its run has ended."""
        tee = parent._tee
        if tee is not None and self._tee is None:
            self._tee = tee
            tee.write_to(self._session.writer.console.write_texts)
            self._session.writer.on_tick.append(tee.flush_old_partials)

    def _capture_descriptors(self) -> Callable[[Any], bool]:
        """Capture the descriptors, where that is asked for; returns what tells which streams are captured by them."""
        session, streams = self._session, self._session.options.streams
        is_ours = session.role == OWNER or session.is_rank
        if is_ours and not streams.get(DESCRIPTORS, session.ctx.settings.capture_descriptors):
            return lambda stream: False
        if not is_ours and CAPTURED_VARIABLE not in os.environ:
            return lambda stream: False
        from localtrack.runtime import descriptors

        if is_ours:
            wanted = [fd for fd, name in ((1, "stdout"), (2, "stderr")) if streams.get(name, False)]
            self._descriptors = descriptors.capture_for(session.writer, self._take_streams, wanted)
        places = descriptors.captured_places() if not is_ours or self._descriptors is not None else frozenset()
        return lambda stream: descriptors.leads_to(stream, places)

    def _take_streams(self) -> None:
        """Capture by Python's streams what the descriptors captured: their helper is gone."""
        if self._tee is not None and not self._is_over:
            self._tee.take_left()


def _write_to_current(code: str, texts: list[str]) -> None:
    from localtrack.runtime import current

    session = current.get()
    if session is not None:
        session.writer.console.write_texts(code, texts)
