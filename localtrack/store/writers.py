"""Who wrote what: the processes of a task, and which of them belong to an attempt that was taken over.

Source: docs/format/v1.md, "writers/<writer>/" and "Fencing".
"""

from __future__ import annotations

import json
from typing import Any

from localtrack.fs.disk import list_names, read_bytes
from localtrack.store.layout import TaskLayout

WRITER_LIMIT_BYTES = 1 << 16


def read_writer(layout: TaskLayout, writer: str) -> dict[str, Any]:
    """Return what a writer said of itself; empty when it can't be read."""
    try:
        body = json.loads(read_bytes(layout.writers / writer / "writer.json", WRITER_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def taken_over(layout: TaskLayout, claim: str) -> tuple[str, ...]:
    """Return the writers of earlier claims of the same queue entry: what they wrote is not the current attempt's.

    Args:
        layout: the task.
        claim: ``<queue>/<entry>.<number>``, the claim in force.
    """
    entry, _, number = claim.rpartition(".")
    if not entry or not number.isdigit():
        return ()
    found = []
    for writer in list_names(layout.writers):
        other, _, earlier = str(read_writer(layout, writer).get("claim", "")).rpartition(".")
        if other == entry and earlier.isdigit() and int(earlier) < int(number):
            found.append(writer)
    return tuple(sorted(found))
