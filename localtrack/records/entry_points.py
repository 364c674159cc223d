"""The entry point of a task, as the store and as ClearML write it down.

The store's is relative to the root of the repository, ClearML's to the working directory.

Source: docs/format/v1.md, "script"; ClearML's Task.get_script.
"""

from __future__ import annotations

import posixpath


def from_working_dir(entry_point: str, working_dir: str) -> str:
    """Return ClearML's spelling of an entry point that is relative to the root; a module stays as it is."""
    if not entry_point or entry_point.startswith("-m") or working_dir in ("", "."):
        return entry_point
    return posixpath.relpath(entry_point, working_dir)


def from_root(entry_point: str, working_dir: str) -> str:
    """Return the store's spelling of an entry point that is relative to the working directory."""
    if not entry_point or entry_point.startswith(("-m", "/")) or working_dir in ("", "."):
        return entry_point
    return posixpath.normpath(posixpath.join(working_dir, entry_point))
