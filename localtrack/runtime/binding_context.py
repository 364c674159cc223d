"""What a binding gets when its framework is there: the run, the user's options, and patches that come off again.

Source: docs/contributing.md, "A binding"; ClearML's auto_connect_frameworks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from types import ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.runtime import current
from localtrack.runtime.patches import Patches, observing
from localtrack.runtime.reporting import SessionReports

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

Undo = Callable[[], None]
Failed = Callable[[str, str, Exception], None]
Find = Callable[[], "Session | None"]


class BindingContext:
    """One binding's hold on one imported module.

    Args:
        name: the binding's name.
        module: the module that has just been imported, or was there already.
        choice: what the user said for it: True, wildcards, or a dict of options.
        remote: an agent runs this task.
        failed: told binding, place and error.
        find: returns the run of this process.

    Attributes:
        patch: replaces attributes of the framework; see :class:`localtrack.runtime.patches.Patches`.
    """

    def __init__(
        self,
        name: str,
        module: ModuleType,
        choice: Any = True,
        *,
        remote: bool = False,
        failed: Failed,
        find: Find = current.get,
    ) -> None:
        self.name = name
        self.module = module
        self.choice = choice
        self.remote = remote
        self.patch = Patches(lambda place, error: failed(name, place, error))
        self._failed = failed
        self._find = find
        self._reports: tuple[Session, SessionReports] | None = None
        self._at_close: list[Callable[[], object]] = []

    def session(self) -> Session | None:
        """Return the run of this process, in a forked child a run of its own for the same task; None without one."""
        return self._find()

    def reports(self) -> SessionReports | None:
        """Return where to report; None when this process has no task, and nothing is to be done then."""
        session = self._find()
        if session is None:
            return None
        known = self._reports
        if known is None or known[0] is not session:
            known = self._reports = (session, SessionReports(session))
        return known[1]

    def option(self, name: str, default: Any = True) -> Any:
        """Return one of the options in ``auto_connect_frameworks={"...": {name: value}}``."""
        return self.choice.get(name, default) if isinstance(self.choice, Mapping) else default

    def allows_file(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether a file is to be recorded: it is, unless wildcards were given and none fits it.

        They may fit its path, its path relative to the folder that the script is in now, or its name.
        """
        wildcards = [self.choice] if isinstance(self.choice, str) else self.choice
        if not isinstance(wildcards, (list, tuple)) or not wildcards:
            return True
        text = os.fspath(path)
        spellings = {text, os.path.basename(text)}
        if "://" not in text:
            with contextlib.suppress(OSError):  # the folder is gone
                spellings.add(os.path.relpath(text))
        return any(fnmatch(one, str(wildcard).removeprefix("./")) for wildcard in wildcards for one in spellings)

    def failed(self, place: str, error: Exception) -> None:
        """Record that something of this binding failed; it is said once for each place."""
        self._failed(self.name, place, error)

    def guarded(self, place: str, action: Callable[[], object]) -> None:
        """Do something of localtrack's own within a framework's call: its failure stays here, and no binding sees it."""
        try:
            with observing():
                action()
        except Exception as error:  # the binding border
            self.failed(place, error)

    def at_close(self, action: Callable[[], object]) -> None:
        """Do something before the run ends, while its reports can still be written."""
        self._at_close.append(action)

    def finish(self) -> None:
        """Do what was to be done at the end of the run."""
        while self._at_close:
            self.guarded("close", self._at_close.pop())
