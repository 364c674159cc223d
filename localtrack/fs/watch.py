"""Wake-up calls: something may have changed in a folder. A hint only: the caller's own listing decides.

On local file systems the kernel's events wake at once (watchdog); on network ones, whose other clients send no events,
and wherever watchdog does not work, the names in the folders are compared.

Source: docs/format/v1.md, "Events are hints".
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from localtrack.fs.disk import list_names
from localtrack.fs.probe import find_mount

_LOG = logging.getLogger("localtrack.watch")
STOP_TIMEOUT_S = 2.0


class Waker:
    """Waits until something may have changed in some folders.

    Args:
        folders: the folders to watch; one that is missing is watched by comparing names.
        poll_interval_s: seconds between two comparisons where no events come.
        use_events: False compares names everywhere.
    """

    def __init__(self, folders: Sequence[Path], poll_interval_s: float = 2.0, *, use_events: bool = True) -> None:
        self._folders = list(folders)
        self._poll_interval_s = poll_interval_s
        self._event = threading.Event()
        self._observer: Any = None
        self.failure = ""
        if use_events and folders and not any(find_mount(folder).is_network is not False for folder in folders):
            self._start_observer()
        self._seen = self._look()

    @property
    def has_events(self) -> bool:
        """Whether the kernel's events wake the waiter."""
        return self._observer is not None and bool(self._observer.is_alive())

    def wake(self) -> None:
        """Let a waiter go on at once; safe from any thread and from a signal handler."""
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for a hint.

        Args:
            timeout_s: at most so many seconds.

        Returns:
            True when something may have changed, False when the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            rest_s = deadline - time.monotonic()
            step_s = rest_s if self.has_events else min(rest_s, self._poll_interval_s)
            if self._event.wait(max(0.0, step_s)):
                self._event.clear()
                self._seen = self._look()
                return True
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                return True
            if time.monotonic() >= deadline:
                return False

    def close(self) -> None:
        """Stop the watching thread; waits for it two seconds at most."""
        observer, self._observer = self._observer, None
        if observer is None:
            return
        try:
            observer.stop()
            observer.join(STOP_TIMEOUT_S)
        except (OSError, RuntimeError) as error:
            _LOG.debug("stopping the watch of %s failed: %s", self._folders, error)

    def __enter__(self) -> Waker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look(self) -> list[frozenset[str]]:
        names = []
        for folder in self._folders:
            try:
                names.append(frozenset(list_names(folder)))
            except OSError:
                names.append(frozenset())
        return names

    def _start_observer(self) -> None:
        """Start watchdog; a system without room for one more watch (inotify limits) is polled instead."""
        try:
            from watchdog.events import FileSystemEventHandler
            from watchdog.observers import Observer

            # watchdog complains about events that come while it is being stopped; who wants to read that can
            logging.getLogger("watchdog").addHandler(logging.NullHandler())
            event = self._event

            class Handler(FileSystemEventHandler):
                def on_any_event(self, happened: Any) -> None:
                    # Reading makes events too: an agent that woke itself by its own listing would never rest.
                    if happened.event_type not in ("opened", "closed_no_write"):
                        event.set()

            observer = Observer()
            observer.daemon = True
            for folder in self._folders:
                observer.schedule(Handler(), str(folder), recursive=False)
            observer.start()
        except (OSError, ImportError, RuntimeError, AttributeError) as error:
            self.failure = str(error)
            _LOG.info("no file events for %s (%s): its names are compared instead", self._folders, error)
            return
        self._observer = observer
