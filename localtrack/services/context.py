"""An opened store with what every use case needs beside it: index, queues, settings, and who acts.

Source: docs/format/v1.md, "Finding a store".
"""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.config import Settings, find_root, load_settings
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import Author
from localtrack.store.root import Store

if TYPE_CHECKING:
    from localtrack.index.announcer import Announcer
    from localtrack.index.models import ModelIndex
    from localtrack.index.search import Index
    from localtrack.queue.folder import Queues
    from localtrack.records.task import TaskRecord


class StoreContext:
    """One store as a program uses it.

    Args:
        store: the opened store.
        settings: the settings in force.
        found_by: how the store was found, for people.
    """

    def __init__(self, store: Store, settings: Settings, found_by: str = "the argument") -> None:
        self.store = store
        self.settings = settings
        self.found_by = found_by
        self.writer = ""
        store.announce = self._announce

    def _announce(self, task_id: str, generation: int, folder: Path) -> None:
        self._announcer.announce(task_id, generation, folder)

    def locate(self, task_id: str) -> Path:
        """Return the folder of a task, without loading the search where a hint is enough.

        Raises:
            TaskNotFoundError: no such task.
        """
        return self._announcer.hinted(task_id) or self.index.locate(task_id)

    def find(self, task_id: str) -> tuple[Path, TaskRecord]:
        """Return a task's folder and what is in it, by one reading where a hint is right.

        Raises:
            TaskNotFoundError: no such task.
            CorruptFileError: none of its metadata is whole.
        """
        found = self._announcer.held(task_id)
        if found is not None:
            return found
        folder = self.locate(task_id)
        return folder, metadata.read_latest(TaskLayout(folder))

    @cached_property
    def _announcer(self) -> Announcer:
        """What tells the index of changes: a process that only reports never loads the search."""
        from localtrack.index.announcer import Announcer

        return Announcer(self.store)

    @cached_property
    def index(self) -> Index:
        """The store's index."""
        from localtrack.index.search import Index

        return Index(self.store)

    @cached_property
    def models(self) -> ModelIndex:
        """The index of the store's models."""
        from localtrack.index.models import ModelIndex

        return ModelIndex(self.store, self.index)

    @cached_property
    def queues(self) -> Queues:
        """The store's queues."""
        from localtrack.queue.folder import Queues

        return Queues(self.store)

    @property
    def author(self) -> Author:
        """Who commits: the user, host, process and writer of now."""
        return Author(current_user(), host_name(), os.getpid(), self.writer)


def open_context(root: str | os.PathLike[str] | None = None, *, create: bool = True) -> StoreContext:
    """Open the store in force, making it where there is none.

    Args:
        root: the store's folder; None finds it (see :func:`localtrack.config.find_root`).
        create: whether a missing store is made.

    Raises:
        StoreError: there is none, or it can't be made or read.
        StoreFormatError: it needs a newer localtrack.
    """
    path, found_by = find_root(root)
    store = Store.open_or_create(path) if create else Store.open(path)
    return StoreContext(store, load_settings(), found_by)


def current_user() -> str:
    """Return the login name of the user; their number where there is no name.

    Source: ``getpass.getuser``, which is asked for its names only, as it loads what reads passwords.
    """
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := os.environ.get(variable):
            return name
    return _login_name(os.getuid()) if hasattr(os, "getuid") else "unknown"


@lru_cache(maxsize=8)
def _login_name(number: int) -> str:
    """Return the name that the system has for a user; each lookup reads its files anew."""
    try:
        import pwd

        return pwd.getpwuid(number).pw_name
    except (KeyError, ImportError):
        return f"uid-{number}"


def host_name() -> str:
    """Return this host's short name."""
    if hasattr(os, "uname"):
        return os.uname().nodename.split(".")[0]
    from socket import gethostname

    return gethostname().split(".")[0]
