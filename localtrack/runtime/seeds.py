"""One number for the random generators of this process, where the script asks for it; never without.

Source: ClearML's Task.set_random_seed; ClearML seeds with 1337 by itself, localtrack does not.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from localtrack.runtime.own_words import say

_seed: int | None = None
_done: set[str] = set()


def chosen() -> int | None:
    """Return the number in force, None without one."""
    return _seed


def choose(seed: int | None) -> None:
    """Take a number and seed what is imported now; None lets everything be."""
    global _seed
    _seed = None if seed is None else int(seed)
    _done.clear()
    apply()


def apply() -> None:
    """Seed the libraries that are imported and were not seeded yet, and say which."""
    if _seed is None:
        return
    fresh = [name for name in _SEEDERS if name not in _done and (name == "random" or name in sys.modules)]
    seeded = [name for name in fresh if _try(name, _seed)]
    _done.update(fresh)
    if seeded:
        say(f"seeded {', '.join(seeded)} with {_seed}, as asked by Task.set_random_seed")


def _try(name: str, seed: int) -> bool:
    try:
        _SEEDERS[name](sys.modules.get(name), seed)
    except Exception as error:  # the capture border: a library may be half imported
        say(f"seeding {name} failed: {type(error).__name__}: {error}")
        return False
    return True


_SEEDERS: dict[str, Callable[[Any, int], object]] = {
    "random": lambda module, seed: importlib.import_module("random").seed(seed),
    "numpy": lambda module, seed: module.random.seed(seed % 2**32),
    "torch": lambda module, seed: module.manual_seed(seed),
    "tensorflow": lambda module, seed: module.random.set_seed(seed),
}
