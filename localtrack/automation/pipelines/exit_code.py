"""The exit code of a script whose pipeline failed and that says nothing itself: 1 instead of 0.

A script that calls ``sys.exit``, raises, or asks how the pipeline ended keeps the exit code that it makes.

Source: docs/how-to/pipelines.md, "When a step fails".
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from localtrack.runtime.exits import ExitWatch, main_frame

_failed: set[int] = set()
_watch: ExitWatch | None = None


def failed(pipeline: Any) -> None:
    """Remember a pipeline that failed; its task has ended by now, and no longer watches the script's end."""
    global _watch
    _failed.add(id(pipeline))
    if _watch is None:
        _watch = ExitWatch(main_frame())
        _watch.install()
        atexit.register(_leave)


def was_asked(pipeline: Any) -> None:
    """Forget a pipeline whose end the script knows: what that means for the exit code is the script's to say."""
    _failed.discard(id(pipeline))


def forget() -> None:
    """Forget all."""
    global _watch
    _failed.clear()
    if _watch is not None:
        atexit.unregister(_leave)
        _watch.remove()
        _watch = None


def _leave() -> None:
    """End with 1 after all that is to be done at the end: an exit code can't be changed in another way here."""
    if not _failed or _watch is None or _watch.outcome().code or _watch.exit_was_called:
        return
    forget()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(1)
