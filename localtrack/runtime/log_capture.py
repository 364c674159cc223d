"""Records of Python's logging in the task's console, for a stretch of the script.

Source: ClearML's Logger.capture_logging.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from localtrack.runtime import descriptors
from localtrack.runtime.ownership import CAPTURED_VARIABLE
from localtrack.runtime.tee import is_recorded

DEFAULT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"


class _ConsoleHandler(logging.Handler):
    def __init__(self, sink: Callable[[str, list[str]], None]) -> None:
        super().__init__(logging.NOTSET)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink("l", self.format(record).split("\n"))
        except Exception:  # the border to the user's logging call
            self.handleError(record)


@contextmanager
def captured_logging(sink: Callable[[str, list[str]], None]) -> Iterator[None]:
    """Send what reaches the root logger to ``sink``, unless a handler prints it to a captured stream already.

    Args:
        sink: gets the stream code and the lines, formatted as the root's first handler does.
    """
    root = logging.getLogger()
    streams = [handler.stream for handler in root.handlers if isinstance(handler, logging.StreamHandler)]
    places = descriptors.captured_places() if CAPTURED_VARIABLE in os.environ else frozenset()
    if any(is_recorded(stream) or descriptors.leads_to(stream, places) for stream in streams):
        yield
        return
    handler = _ConsoleHandler(sink)
    formatter = next((h.formatter for h in root.handlers if h.formatter is not None), None)
    handler.setFormatter(formatter or logging.Formatter(DEFAULT_FORMAT))
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
