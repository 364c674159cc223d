"""The exit code of a script whose pipeline failed: 1, unless the script asked how the pipeline ended, or fails itself.

Source: docs/how-to/pipelines.md, "When a step fails".
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

_failed: set[int] = set()
_is_registered = False


def failed(pipeline: Any) -> None:
    """Remember a pipeline that failed."""
    global _is_registered
    _failed.add(id(pipeline))
    if not _is_registered:
        _is_registered = True
        atexit.register(_leave)


def was_asked(pipeline: Any) -> None:
    """Forget a pipeline whose end the script knows: what that means for the exit code is the script's to say."""
    _failed.discard(id(pipeline))


def _leave() -> None:
    """End with 1 after all that is to be done at the end: an exit code can't be changed in another way here."""
    if not _failed or getattr(sys, "last_type", None) is not None:
        return
    pending, atexit_run = set(_failed), atexit._run_exitfuncs
    _failed.clear()
    atexit_run()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if pending:
        os._exit(1)
