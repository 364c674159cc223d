"""Finds the folders of TensorFlow's writers that were made before anybody watched: by the event files that are open.

Both writers and files are numbered in the order in which they were made; Python has a writer's number, Linux the file.

Source: TensorFlow's EventsWriter, whose files are named ``events.out.tfevents.<time>.<host>.<pid>.<number>.v2``.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from typing import Any

_EVENT_FILE = re.compile(r"(.*)/[^/]*\.tfevents\.\d+\.[^/]*\.(\d+)\.(\d+)\.v2$")
_WRITERS = "tensorflow.python.ops.summary_ops_v2"


def folders_of_writers() -> dict[int, str]:
    """Return the folders of all writers, by the numbers of their resources; empty where they can't be told apart."""
    files = open_event_files()
    writers = sorted(writer._resource._id for writer in _writers())
    if len(files) != len(writers):  # one has another suffix, or has gone meanwhile
        return {}
    return dict(zip(writers, files, strict=True))


def open_event_files(folder: str = "/proc/self/fd") -> list[str]:
    """Return the folders of the event files that TensorFlow has open in this process, in the order of their making."""
    found: dict[str, tuple[int, str]] = {}
    try:
        names = os.listdir(folder)
    except OSError:  # another system
        return []
    for name in names:
        try:
            path = os.readlink(os.path.join(folder, name))
        except OSError:  # closed meanwhile
            continue
        match = _EVENT_FILE.match(path)
        if match is not None and int(match[2]) == os.getpid():
            found[path] = (int(match[3]), match[1])
    return [place for _, place in sorted(found.values())]


def _writers() -> list[Any]:
    kind = getattr(sys.modules.get(_WRITERS), "_ResourceSummaryWriter", None)
    if kind is None:
        return []
    return [thing for thing in gc.get_objects() if isinstance(thing, kind) and not thing._closed]
