"""Starts the feed of the argument parser with :mod:`argparse`: a script without it does not load it.

Source: ClearML's argparse binding, measured.
"""

from __future__ import annotations

import sys
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from localtrack.runtime import early_parses
from localtrack.runtime.import_hooks import PostImportHook

if TYPE_CHECKING:
    from localtrack.runtime.arguments import ArgumentFeed
    from localtrack.runtime.session import Session


class ArgumentWatch:
    """Puts the feed in place now where argparse is loaded, else when the script imports it.

    Args:
        session: the run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._feed: ArgumentFeed | None = None
        self._hook = PostImportHook(self._on_import)

    def install(self, frame: FrameType | None) -> None:
        """Feed later parses, and record those that the caller's frames show to have happened before."""
        if "argparse" in sys.modules:
            self._start(frame)
        else:
            early_parses.take()  # none: it waits for the import as well
            self._hook.watch(["argparse"])
            self._hook.install()

    def remove(self) -> None:
        """Take the feed off, or stop waiting for the parser."""
        self._hook.remove()
        if self._feed is not None:
            self._feed.remove()

    def _on_import(self, module: ModuleType) -> None:
        if self._feed is not None or self._session.closed:
            return
        try:
            self._start(None)
        except Exception as error:  # it must not reach the script's import
            self._session.writer.say_once("arguments", f"the arguments are not recorded: {error}")

    def _start(self, frame: FrameType | None) -> None:
        from localtrack.runtime.arguments import ArgumentFeed

        self._feed = ArgumentFeed(self._session)
        self._feed.install(frame)
