"""Queues as folders: made, listed, filled, reordered, emptied.

Source: docs/format/v1.md, "queues/<name>/"; ClearML's queue operations (add, remove, move, peek).
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from localtrack.errors import InvalidValueError, QueueNotFoundError, StoreError, UsageError
from localtrack.fs.disk import list_names, read_bytes, remove_files, remove_tree
from localtrack.queue.claims import DEQUEUE, ClaimList, Claims, read_end
from localtrack.queue.entries import (
    DEFAULT_ATTEMPT_LIMIT,
    Entry,
    EntryRef,
    ForeignEntryError,
    encode_entry,
    new_ref,
    parse_name,
    read_entry,
)
from localtrack.queue.order import arrange, commit_order, moved, read_order
from localtrack.queue.paths import QueuePaths, parse_claim
from localtrack.queue.trust import Trust, store_trust
from localtrack.records.ids import is_task_id, slug
from localtrack.records.plain import dataclass
from localtrack.store.documents import now
from localtrack.store.root import Store

SCHEMA = "localtrack/queue/1"
DEFAULT_QUEUE = "default"
NAME_LIMIT = 200
KEEP_ENDED_S = 7 * 24 * 3600.0
_LOG = logging.getLogger("localtrack.queue")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A queue at one moment: live entries in the order of their turn, and the claims."""

    live: list[EntryRef]
    claims: ClaimList

    def waiting(self) -> list[EntryRef]:
        """Return the live entries that nobody holds."""
        return [ref for ref in self.live if not self.claims.is_held(ref.name)]


class Queue:
    """One queue. Holds no cache: every call looks at the disk.

    Args:
        store: the store.
        paths: the queue's paths.
        name: its name as the user wrote it.
        trust: whose entries count.
        warn: told once about each thing that does not belong among the entries.
    """

    def __init__(
        self, store: Store, paths: QueuePaths, name: str, trust: Trust, warn: Callable[[str], None] | None = None
    ) -> None:
        self.paths = paths
        self.name = name
        self.trust = trust
        self.claims = Claims(store.disk, paths)
        self._disk = store.disk
        self._warn = warn or _LOG.warning
        self._warned: set[str] = set()

    def enqueue(
        self,
        task_id: str,
        priority: int = 0,
        by: Json | None = None,
        attempt_limit: int = DEFAULT_ATTEMPT_LIMIT,
    ) -> str:
        """Add a task; one that waits here already with that priority keeps its place.

        Args:
            task_id: the task.
            priority: higher runs first, -49999 to 49999.
            by: who enqueues, for display; None for the user of this process.
            attempt_limit: so many agents may die over the entry before it becomes a dead letter.

        Returns:
            The entry's name.

        Raises:
            InvalidValueError: no task id, or a priority out of range.
            StoreError: the entry can't be written.
        """
        if not is_task_id(task_id):
            raise InvalidValueError(f"can't enqueue {task_id!r}: give the whole task id, 32 hexadecimal digits")
        snapshot = self.snapshot()
        for ref in snapshot.waiting():
            if ref.task_id == task_id and ref.priority == priority:
                return ref.name
        for _ in range(5):
            ref = new_ref(task_id, priority, self._seqs())
            data = encode_entry(ref, max(1, attempt_limit), by or _requester(), now())
            try:
                if self._disk.publish(data, self.paths.pending / ref.name):
                    return ref.name
            except FileNotFoundError:
                raise QueueNotFoundError(
                    f"queue {self.name!r} was removed while task {task_id} was enqueued; "
                    f"`localtrack queue create {self.name}` makes it anew",
                    queue=self.name,
                ) from None
            except OSError as error:
                raise StoreError(
                    f"enqueueing task {task_id} in {self.paths.pending} failed: {error.strerror}; "
                    "free some space or check the folder's permissions, then enqueue again",
                    path=str(self.paths.pending),
                ) from error
        raise StoreError(f"enqueueing task {task_id} in {self.paths.pending} failed: no free name", task_id=task_id)

    def snapshot(self) -> Snapshot:
        """Return what is in the queue now. Pending names are listed first: an entry that ends meanwhile is left out."""
        refs = self._pending()
        claims = self.claims.list()
        ended = self.claims.ended()
        _, keys = read_order(self.paths.order)
        return Snapshot(arrange([ref for ref in refs if ref.name not in ended], keys), claims)

    def entries(self) -> list[EntryRef]:
        """Return the live entries in the order of their turn, those that an agent runs now included."""
        return self.snapshot().live

    def count(self) -> int:
        """Return how many entries wait: live, and held by nobody."""
        return len(self.snapshot().waiting())

    def read(self, ref: EntryRef) -> Entry | None:
        """Return an entry's document; None when it is gone or must not run, which is warned of once."""
        try:
            return read_entry(self.paths.pending / ref.name, ref, self.trust)
        except FileNotFoundError:
            return None
        except ForeignEntryError as error:
            self._warn_once(ref.name, f"{error.message}; the entry is skipped: move it away or enqueue the task again")
            return None

    def position(self, task_id: str) -> int | None:
        """Return how many waiting entries come before a task's; None when it does not wait here."""
        for place, ref in enumerate(self.snapshot().waiting()):
            if ref.task_id == task_id:
                return place
        return None

    def move(self, task_id: str, where: str) -> None:
        """Move a waiting task to ``front`` or ``back``, or one place ``forward`` or ``backward``.

        Raises:
            UsageError: it does not wait here.
            InvalidValueError: another word.
        """

        def build(keys: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
            waiting = arrange(self.snapshot().waiting(), keys)
            name = next((ref.name for ref in waiting if ref.task_id == task_id), None)
            if name is None:
                raise UsageError(
                    f"task {task_id} does not wait in queue {self.name!r}: it was never enqueued, or an agent has it",
                    task_id=task_id,
                )
            return moved(waiting, keys, name, where)

        commit_order(self._disk, self.paths.order, build)

    def remove(self, task_id: str, by: Json | None = None) -> bool:
        """Take a task out of the queue, decided against agents by a claim.

        Returns:
            False when it is not in the queue.

        Raises:
            UsageError: an agent has claimed it already.
        """
        snapshot = self.snapshot()
        removed = False
        for ref in snapshot.live:
            if ref.task_id != task_id:
                continue
            number = snapshot.claims.highest(ref.name)
            claim = None
            if not snapshot.claims.is_held(ref.name):
                claim = self.claims.take(ref.name, number + 1, agent="", owner=by or _requester(), kind=DEQUEUE)
            if claim is not None:
                self.claims.finish(claim, "dequeued")
                removed = True
            elif ref.name not in self.claims.ended():
                raise self._taken(ref)
        return removed

    def dead_letters(self) -> list[Json]:
        """Return the entries whose attempts are used up: the record of each, with ``entry``, ``task_id``, ``priority``."""
        letters = []
        for name in sorted(list_names(self.paths.dead)):
            ref, body = parse_name(name), read_end(self.paths.dead / name)
            if ref is not None:
                letters.append({**(body or {}), "entry": name, "task_id": ref.task_id, "priority": ref.priority})
        return letters

    def forget_dead(self, names: Iterable[str]) -> None:
        """Remove all records of dead letters; the dead record goes last, so that no entry comes back to life."""
        names = list(names)
        remove_files(self.paths.pending / name for name in names)
        self._remove_claims(set(names))
        remove_files(self.paths.dead / name for name in names)

    def sweep(self, keep_s: float = KEEP_ENDED_S) -> int:
        """Remove the claims and done records of entries that ended long ago, by the store's own clock; return how many.

        The records stay for a week by default, so that an agent that slept over the end still finds it.
        """
        old = self._older(self.paths.done, keep_s)
        self._remove_claims(old)
        remove_files(self.paths.done / name for name in old)
        return len(old)

    def sweep_dead(self, but: Collection[str], keep_s: float = KEEP_ENDED_S) -> int:
        """Remove the records of dead letters that were buried long ago, but for those named; return how many."""
        old = self._older(self.paths.dead, keep_s) - set(but)
        self.forget_dead(old)
        return len(old)

    def _older(self, folder: Path, keep_s: float) -> set[str]:
        """Return the entries that ended, and left ``pending``, so long ago."""
        probe = self._disk.write_tmp(lambda stream: None)
        try:
            clock = probe.stat().st_mtime
        finally:
            remove_files([probe])
        pending = set(list_names(self.paths.pending))
        old = set()
        for name in list_names(folder):
            try:
                age_s = clock - (folder / name).lstat().st_mtime
            except OSError:
                continue
            if age_s >= keep_s and name not in pending:
                old.add(name)
        return old

    def _remove_claims(self, entries: set[str]) -> None:
        names = [n for n in list_names(self.paths.claims) if (p := parse_claim(n)) is not None and p[0] in entries]
        remove_files(self.paths.claims / name for name in names)

    def _taken(self, ref: EntryRef) -> UsageError:
        who = "an agent"
        try:
            claim = self.claims.read(ref.name, self.claims.list().highest(ref.name))
            who = f"agent {claim.agent or '?'} on host {claim.owner.get('host', '?')}"
        except FileNotFoundError:
            pass
        return UsageError(
            f"task {ref.task_id} can't be taken out of queue {self.name!r}: {who} has claimed it; "
            f"`localtrack abort {ref.task_id[:8]}` stops it",
            task_id=ref.task_id,
        )

    def _pending(self) -> list[EntryRef]:
        refs = []
        for name in list_names(self.paths.pending):
            ref = parse_name(name)
            if ref is None:
                self._warn_once(name, f"{self.paths.pending / name} is no queue entry and is skipped; move it away")
            else:
                refs.append(ref)
        return refs

    def _seqs(self) -> list[str]:
        """Return the seq of every entry that left a trace here."""
        names = [*list_names(self.paths.pending), *list_names(self.paths.done), *list_names(self.paths.dead)]
        return [ref.seq for name in names if (ref := parse_name(name)) is not None]

    def _warn_once(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            self._warn(text)


class Queues:
    """The queues of a store.

    Args:
        store: the store.
        also_trusted: user ids whose entries run as well; see :mod:`localtrack.queue.trust`.
        warn: told once about each thing that does not belong among the entries.
    """

    def __init__(
        self, store: Store, also_trusted: frozenset[int] = frozenset(), warn: Callable[[str], None] | None = None
    ) -> None:
        self.store = store
        self._also_trusted = also_trusted
        self._warn = warn

    @cached_property
    def trust(self) -> Trust:
        """Whose entries run."""
        shared = "dir_mode" in self.store.manifest.sharing
        return store_trust(self.store.root, is_shared=shared, also=self._also_trusted)

    def names(self) -> list[str]:
        """Return the names of the queues, sorted."""
        folders = (self.store.layout.queues / name for name in list_names(self.store.layout.queues))
        return sorted(name for folder in folders if (name := _read_name(folder)) is not None)

    def create(self, name: str) -> Queue:
        """Make a queue; one that is there already is returned as it is.

        Raises:
            InvalidValueError: no name, or one that another queue's folder already has.
            StoreError: the store can't be written.
        """
        name = name.strip() if isinstance(name, str) else ""
        if not name or len(name) > NAME_LIMIT or any(ord(char) < 32 for char in name):
            raise InvalidValueError(
                f"{name[:60]!r} can't be a queue's name: use 1 to {NAME_LIMIT} printable characters", queue=name
            )
        paths = self._paths(name)
        body = {"schema": SCHEMA, "name": name, "created": now()}
        try:
            for folder in paths.parts():
                self.store.disk.make_dirs(folder)
            self.store.disk.publish(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), paths.manifest)
        except OSError as error:
            raise StoreError(
                f"creating queue {name!r} in {paths.folder} failed: {error.strerror}; check the folder's permissions",
                path=str(paths.folder),
            ) from error
        found = _read_name(paths.folder)
        if found not in (name, None):
            raise InvalidValueError(
                f"queue {name!r} would share the folder of queue {found!r}: use that one, or another name", queue=name
            )
        return Queue(self.store, paths, name, self.trust, self._warn)

    def get(self, name: str) -> Queue:
        """Return a queue; ``default`` is made when it is not there.

        Raises:
            QueueNotFoundError: no such queue; lists those that exist.
        """
        paths = self._paths(name)
        if _read_name(paths.folder) == name.strip():
            return Queue(self.store, paths, name.strip(), self.trust, self._warn)
        if name == DEFAULT_QUEUE:
            return self.create(name)
        existing = ", ".join(repr(other) for other in self.names()) or "none yet"
        raise QueueNotFoundError(
            f"no queue {name!r} in the store {self.store.root} (there are: {existing}); "
            f"`localtrack queue create {name}` makes it",
            queue=name,
        )

    def remove(self, name: str) -> None:
        """Remove an empty queue, with the records of what ran through it.

        The folder is renamed first and looked at again: who enqueues meanwhile is either seen, or told that it is gone.

        Raises:
            QueueNotFoundError: no such queue.
            UsageError: tasks wait or run in it.
        """
        queue = self.get(name)
        self._refuse_filled(queue)
        self.store.disk.make_dirs(self.store.layout.tmp)
        aside = self.store.layout.tmp / f"queue-{os.getpid()}-{os.urandom(8).hex()}"
        if not self.store.disk.move(queue.paths.folder, aside):
            raise QueueNotFoundError(f"queue {name!r} is gone already: somebody else removed it", queue=name)
        try:
            self._refuse_filled(Queue(self.store, QueuePaths(aside), name, self.trust, lambda text: None))
        except UsageError:
            self.store.disk.move(aside, queue.paths.folder)
            raise
        remove_tree(aside)

    def _refuse_filled(self, queue: Queue) -> None:
        live = queue.entries()
        if live:
            raise UsageError(
                f"queue {queue.name!r} holds {len(live)} tasks and stays; "
                f"`localtrack queue ls {queue.name}` lists them, dequeue them first",
                queue=queue.name,
            )

    def _paths(self, name: str) -> QueuePaths:
        return QueuePaths(self.store.layout.queues / slug(name.strip()))


def _read_name(folder: Path) -> str | None:
    try:
        body = json.loads(read_bytes(QueuePaths(folder).manifest, 64 << 10))
        name = body["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) and name else None


def _requester() -> Json:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = f"uid-{os.getuid()}"
    return {"user": user, "uid": os.getuid(), "host": socket.gethostname().split(".")[0], "pid": os.getpid()}
