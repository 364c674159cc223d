"""Looks at the code, packages and machine in a thread, beside the script, and commits what it saw.

Source: ClearML's captures at Task.init; docs/format/v1.md, "script".
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from localtrack.capture import secrets
from localtrack.records.parameters import ENVIRONMENT_SECTION, entry
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.runtime.code_choices import CHOICES
from localtrack.services import code, parameters
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.capture.packages import PackageState
    from localtrack.runtime.notebooks import NotebookWatch

Commit = Callable[[Callable[[TaskRecord], TaskRecord], str], object]

START_AFTER_S = 0.5


class Captures:
    """What one run captures of its surroundings.

    Args:
        ctx: the store.
        folder: the task's folder.
        commit: takes a change of the task and its label.
        remote: an agent runs it: its code is recorded already and stays.
        notebook: the notebook that runs instead of a script.
    """

    def __init__(
        self, ctx: StoreContext, folder: Path, commit: Commit, *, remote: bool, notebook: NotebookWatch | None = None
    ) -> None:
        self._notebook = notebook
        self._ctx = ctx
        self._keep = commit
        self._folder = folder
        self._remote = remote
        self._argv = list(sys.argv)
        self._main = _main_as_it_is_now()
        self._roots: list[Path] = []
        self._entry: Path | None = None
        self._go = threading.Event()
        self._modules_seen = 0
        self._is_diff_large = False
        self._choices = CHOICES.copy()
        self.packages_are_set = False
        self._cwd = Path(os.getcwd())

    def run(self) -> None:
        """Capture and commit; whatever goes wrong is recorded in the task.

        It begins half a second after the start, or when the run ends before that: until then the script's own thread
        has the interpreter to itself.
        """
        self._go.wait(START_AFTER_S)
        errors: list[str] = []
        fields: Json = {}
        runtime: Json = {}
        environment: dict[str, str] = {}
        try:
            runtime = self._machine(errors)
            environment = self._environment()
            if not self._remote:
                fields = self._code(errors)
        except Exception as error:  # the capture border: tracking never breaks the run
            errors.append(f"capture: {type(error).__name__}: {error}")
        self._commit(fields, runtime, environment, errors)
        if self._notebook is not None:
            self._notebook.begin(self.finish)

    def hurry(self) -> None:
        """Begin now: the run ends."""
        self._go.set()

    def finish(self) -> None:
        """At the end: look at the packages once more, since modules are imported late."""
        if self._remote or self.packages_are_set or len(sys.modules) == self._modules_seen:
            return
        errors: list[str] = []
        try:
            fields = code.store_packages(self._ctx, self._folder, self._find_packages(errors))
        except Exception as error:  # the capture border
            fields, errors = {}, [f"packages: {type(error).__name__}: {error}"]
        self._commit(fields, {}, {}, errors)

    def _code(self, errors: list[str]) -> Json:
        from localtrack.capture.git import capture_git, find_root
        from localtrack.capture.script import capture_notebook, capture_script, find_entry_script

        notebook = self._notebook.read() if self._notebook is not None else None
        if notebook is None:
            self._entry = find_entry_script(self._main, self._argv, self._cwd)
        at = notebook.path if notebook is not None else self._entry
        start = at.parent if at is not None else self._cwd
        root = None if self._choices.standalone else find_root(start)
        self._roots = [root or start]
        packages = self._find_packages(errors)
        git = None
        if root is not None:
            git = capture_git(
                start,
                diff_limit_bytes=self._ctx.settings.diff_limit_bytes,
                entry_script=self._entry,
                local_files=[Path(name) for name in packages.local_files],
            )
            errors += git.errors
        if notebook is not None:
            script = capture_notebook(notebook.path, notebook.script, self._cwd, git)
        else:
            script = capture_script(self._main, self._argv, self._cwd, git)
        errors += script.errors
        fields = code.store_script(self._ctx, self._folder, git, script, errors)
        self._is_diff_large = bool(git and git.is_diff_large and fields["diff"])
        if git and self._ctx.settings.bundle:
            fields["bundle"] = code.store_bundle(self._ctx, self._folder, git, errors)
        return {**fields, **code.store_packages(self._ctx, self._folder, packages)}

    def _find_packages(self, errors: list[str]) -> PackageState:
        from localtrack.capture.packages import capture_packages

        self._modules_seen = len(sys.modules)
        sources = self._notebook.sources if self._notebook is not None else ()
        packages = capture_packages(self._entry, self._roots, dict(sys.modules), sources=sources)
        errors += packages.errors
        try:
            return self._choices.apply(packages)
        except OSError as error:
            errors.append(f"packages: {self._choices.requirements_file} can't be read: {error.strerror}")
            return packages

    def _machine(self, errors: list[str]) -> Json:
        from localtrack.capture.host import capture_host

        host = capture_host()
        return {
            "hostname": host.hostname, "python_version": host.python_version, "python_exec": sys.executable,
            "platform": host.platform, "cpu_cores": host.cpu_count, "user": host.user, "pid": os.getpid(),
        }  # fmt: skip

    def _environment(self) -> dict[str, str]:
        from localtrack.capture.host import capture_environment

        patterns = [name.strip() for name in self._ctx.settings.log_environment.split(",") if name.strip()]
        found = capture_environment(patterns) if patterns else {}
        if not self._ctx.settings.mask_secrets:
            return found
        return {name: secrets.masked_argument(name, value) for name, value in found.items()}

    def _commit(self, fields: Json, runtime: Json, environment: dict[str, str], errors: list[str]) -> None:
        def change(record: TaskRecord) -> TaskRecord:
            result = code.with_script(record, fields, errors) if fields or errors else record
            if runtime:
                result = replace(result, runtime={**result.runtime, **runtime})
            if self._is_diff_large and fields.get("diff"):
                from localtrack.services.artifacts import with_entry

                result = with_entry(result, code.diff_artifact(fields))
            entries = {f"{ENVIRONMENT_SECTION}/{name}": entry(value) for name, value in environment.items()}
            return parameters.merged(result, entries) if entries else result

        self._keep(change, "captured")


def _main_as_it_is_now() -> ModuleType:
    """Return a stand-in for the main module: the interpreter takes ``__file__`` away as soon as the script has ended."""
    names = vars(sys.modules["__main__"]) if "__main__" in sys.modules else {}
    stand_in = ModuleType("__main__")
    for name in ("__file__", "__spec__", "__package__"):
        if name in names:
            setattr(stand_in, name, names[name])
    return stand_in
