"""Identifiers and the slugs that stand for names on disk.

Names are data: they live in JSON, whole. Directories carry only ids and slugs, so no name leads outside the store.

Source: docs/format/v1.md, "Names and slugs".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import NewType

from localtrack.records.digests import hex_sha256

TaskId = NewType("TaskId", str)
WriterId = NewType("WriterId", str)

SLUG_LIMIT = 40
PROJECT_PATH_LIMIT = 100
ID_LENGTH = 32
RESERVED_NAMES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SLUG_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_last_sortable = 0
_sortable_lock = threading.Lock()


def _renew_lock() -> None:
    global _sortable_lock
    _sortable_lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)


def new_task_id() -> TaskId:
    """Return 32 random hexadecimal digits, the shape of a ClearML id."""
    return TaskId(os.urandom(16).hex())


def is_task_id(text: str) -> bool:
    """Tell whether ``text`` has the shape of a whole task id."""
    return len(text) == ID_LENGTH and not text.strip("0123456789abcdef")


def tags_of(given: str | Iterable[object] | None) -> tuple[str, ...]:
    """Return tags, each once: a text is split at blanks, an item of a list may hold some.

    Source: ClearML's Task.add_tags.
    """
    items = given.split() if isinstance(given, str) else given or ()
    return tuple(dict.fromkeys(str(tag) for tag in items))


def new_sortable_id() -> str:
    """Return a 26-character id that sorts after all that this process made before (a ULID in lower case).

    The first 48 bits are the time in milliseconds; within one, or when the clock steps back, the id before is counted
    up by a random step, so that a forked child does not count to the same one.
    """
    global _last_sortable
    random = os.urandom(10)
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(random, "big")
    with _sortable_lock:
        if value >> 80 <= _last_sortable >> 80:
            value = _last_sortable + 1 + int.from_bytes(random[:8], "big")
        _last_sortable = value
    digits = []
    for _ in range(26):
        digits.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(digits))


def slug(name: str, limit: int = SLUG_LIMIT) -> str:
    """Return the part of a file name that stands for ``name``: ``[a-z0-9-_]``, 1 to ``limit`` characters.

    A name that the slug does not tell apart from others (cut, reserved by a system, or with nothing left) gets six
    digits of its hash. Two dashes in a row never occur: they separate a task's slug from its id.
    """
    ascii_name = name if name.isascii() else _without_accents(name)
    words = "".join([char if char in _SLUG_CHARACTERS else " " for char in ascii_name.lower()]).split()
    text = "-".join(words).strip("-_")
    if not text or text in RESERVED_NAMES or text == "task" or len(text) > limit:
        digest = hex_sha256(name.encode("utf-8", "surrogatepass"))[:6]
        text = f"{text[: limit - 7].strip('-_') or 'x'}-{digest}"
    return text


def _without_accents(name: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def task_folder_name(name: str, task_id: str, id_digits: int = 8) -> str:
    """Return ``<slug>--<first digits of the id>``; the two dashes mark a task's folder among project folders."""
    return f"{slug(name)}--{task_id[:id_digits]}"


def project_parts(project: str) -> tuple[str, ...]:
    """Return the folder names of a project path, outermost first; too deep a path ends in a hash."""
    parts = tuple(slug(part) for part in split_project(project))
    if len("/".join(parts)) <= PROJECT_PATH_LIMIT:
        return parts
    digest = hex_sha256(project.encode("utf-8", "surrogatepass"))[:12]
    return (parts[0], f"deep-{digest}")


def split_project(project: str) -> tuple[str, ...]:
    """Return the components of a project's name: split at ``/``, empty ones and outer blanks dropped."""
    return tuple(part.strip() for part in project.split("/") if part.strip())


def normal_project(project: str) -> str:
    """Return the one spelling of a project's name; ``""`` when nothing is left."""
    return "/".join(split_project(project))
