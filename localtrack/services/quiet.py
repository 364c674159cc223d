"""Work of ours within the script's own, of which its warnings are to say nothing.

Source: Python's warnings, whose filters are asked in turn, and which note a warning as said unless a filter ignores it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _OfThisThread:
    """Stands where a filter has a pattern for the text: it fits all that is said in one thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self.is_over = False

    def match(self, text: str) -> bool:
        return not self.is_over and threading.get_ident() == self._thread


@contextmanager
def without_warnings() -> Iterator[None]:
    """Let no warning of this thread be said, nor be an error.

    Not ``warnings.catch_warnings``: that forgets which of the script's warnings have been said, and is of all threads.
    """
    pattern = _OfThisThread()
    ours: Any = ("ignore", pattern, Warning, None, 0)
    filters: Any = warnings.filters
    filters.insert(0, ours)
    try:
        yield
    finally:
        pattern.is_over = True
        if ours in filters:  # another thread may have put other filters in their place
            filters.remove(ours)
