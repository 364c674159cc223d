"""What localtrack itself says to the process's own stderr; it is no part of the run's console log."""

from __future__ import annotations

import io
import sys


def say(text: str) -> None:
    """Write a line of ours past whatever records that stream; a stream that takes nothing is left alone."""
    stream = sys.__stderr__
    if stream is None:
        return
    try:
        if type(stream) is io.TextIOWrapper:
            io.TextIOWrapper.write(stream, f"localtrack: {text}\n")
        else:
            stream.write(f"localtrack: {text}\n")
        stream.flush()
    except (OSError, ValueError):
        pass  # closed, detached, or its place is full
