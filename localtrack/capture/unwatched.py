"""Marks what a thread parses by argparse as another parser's own doing.

Source: docs/reference/parsers-and-models.md.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_local = threading.local()


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Within, this thread's parsers are left alone: another parser builds on argparse and is watched itself."""
    before = is_unwatched()
    _local.is_unwatched = True
    try:
        yield
    finally:
        _local.is_unwatched = before


def is_unwatched() -> bool:
    """Tell whether this thread's parsers are left alone just now."""
    return getattr(_local, "is_unwatched", False)
