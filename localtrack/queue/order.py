"""Entries moved by hand: a log of numbered generations that says which entry sorts by which key.

Entries never change, so moving one commits a new order. A move permutes the keys that the entries have: the set of
keys stays the same, so an entry that is added later still finds its place by its own priority.

Source: docs/format/v1.md, "order/<generation>.json".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.errors import CorruptFileError, InvalidValueError, StoreError
from localtrack.fs.disk import Disk, list_names, read_bytes, remove_files
from localtrack.queue.entries import EntryRef
from localtrack.queue.paths import order_name, parse_order
from localtrack.store.documents import now, parse_sealed, sealed

FAMILY = "localtrack/order/"
SCHEMA = "localtrack/order/1"
ORDER_LIMIT_BYTES = 16 << 20
ATTEMPTS = 200
KEEP = 8

Key = tuple[str, str]
Keys = dict[str, Key]

_CHANCE = random.SystemRandom()  # the module's own generator is the script's: its numbers must not depend on us


def read_order(folder: Path) -> tuple[int, Keys]:
    """Return the newest whole order's number and its keys; ``(0, {})`` when nothing was ever moved."""
    numbers = sorted((n for n in map(parse_order, list_names(folder)) if n is not None), reverse=True)
    for number in numbers:
        path = folder / order_name(number)
        try:
            body = parse_sealed(read_bytes(path, ORDER_LIMIT_BYTES), FAMILY, str(path))
            return numbers[0], {name: (str(key[0]), str(key[1])) for name, key in body["keys"].items()}
        except (OSError, CorruptFileError, KeyError, TypeError, AttributeError, IndexError):
            continue  # an order is a wish: an older one, or none, does no harm
    return (numbers[0] if numbers else 0), {}


def arrange(refs: list[EntryRef], keys: Keys) -> list[EntryRef]:
    """Return entries in the order of their turn."""
    return sorted(refs, key=lambda ref: (*keys.get(ref.name, ref.key), ref.name))


def moved(refs: list[EntryRef], keys: Keys, name: str, where: str) -> Keys:
    """Return the keys after one entry was moved.

    Args:
        refs: the entries in the order of their turn.
        keys: the keys in force.
        name: the entry to move.
        where: ``front``, ``back``, ``forward`` or ``backward``.

    Raises:
        InvalidValueError: another word.
    """
    place = next(i for i, ref in enumerate(refs) if ref.name == name)
    targets = {
        "front": 0,
        "back": len(refs) - 1,
        "forward": max(0, place - 1),
        "backward": min(len(refs) - 1, place + 1),
    }
    if where not in targets:
        raise InvalidValueError(f"can't move an entry {where!r}: use front, back, forward or backward", where=where)
    wanted = [ref for ref in refs if ref.name != name]
    wanted.insert(targets[where], refs[place])
    slots = [keys.get(ref.name, ref.key) for ref in refs]
    return {ref.name: slot for ref, slot in zip(wanted, slots, strict=True) if slot != ref.key}


def commit_order(disk: Disk, folder: Path, build: Callable[[Keys], Keys]) -> None:
    """Commit the next order; a lost race builds it again from what the winner wrote.

    Raises:
        StoreError: hundreds of races were lost in a row.
    """
    for attempt in range(ATTEMPTS):
        number, keys = read_order(folder)
        wanted = build(keys)
        if wanted == keys:
            return
        data = sealed(SCHEMA, {"generation": number + 1, "at": now(), "keys": {k: list(v) for k, v in wanted.items()}})
        if disk.publish(data, folder / order_name(number + 1)):
            remove_files(folder / order_name(n) for n in range(max(1, number - 2 * KEEP), number + 1 - KEEP))
            return
        time.sleep(_CHANCE.uniform(0.001, min(0.1, 0.002 * 2 ** min(attempt, 6))))
    raise StoreError(f"could not reorder {folder.parent}: {ATTEMPTS} races lost in a row", path=str(folder))
