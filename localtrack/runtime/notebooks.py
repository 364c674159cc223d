"""Follows a notebook while its kernel runs a task: its code, its file and what went wrong in its cells.

IPython's events say when a cell has run; the rest happens in a thread, and again when the file is saved.

Source: IPython's events (https://ipython.readthedocs.io/en/stable/config/callbacks.html); ClearML's notebook observer,
measured; docs/how-to/notebooks.md.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.capture.notebook_code import (
    Cell,
    NotebookError,
    build_notebook,
    masked_notebook,
    parse_cells,
    read_notebook,
    to_script,
    with_unsaved,
)
from localtrack.capture.notebook_place import find_notebook
from localtrack.records.digests import hex_sha256
from localtrack.records.plain import dataclass, replace
from localtrack.records.task import Json, TaskRecord
from localtrack.runtime.exits import Outcome
from localtrack.runtime.kernels import executed_sources, kernel_traits
from localtrack.services import artifacts, code

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

ARTIFACT = "notebook"
INTERVAL_S = 3.0
SEARCH_AGAIN_S = 30.0
SHARE_OF_TIME = 0.05
ERRORS_LIMIT = 50
_EVENTS = ("pre_run_cell", "post_run_cell")


@dataclass(frozen=True, slots=True)
class Reading:
    """A notebook as it was at one moment.

    Attributes:
        path: its file; None where it can't be found.
        data: the file's bytes, or a notebook made of what the kernel ran.
        sources: the code of its cells.
        script: the same as one script.
    """

    path: Path | None
    data: bytes
    sources: tuple[str, ...]
    script: bytes


@dataclass(frozen=True, slots=True)
class _Ran:
    cell: Cell
    at: float


class NotebookWatch:
    """The notebook of one run.

    Args:
        session: the run.
        shell: the kernel's shell.
    """

    def __init__(self, session: Session, shell: Any) -> None:
        self._session = session
        self._shell = shell
        self._kernel = kernel_traits(shell)
        self._path: Path | None = None
        self._search_at = 0.0
        self._ran: list[_Ran] = []
        self._reading: Reading | None = None
        self._problem = ""
        self._seen: object = None
        self._stored: list[Json] = []
        self._digests = ("", "")
        self._new_errors: list[str] = []
        self._errors_count = 0
        self._last_error = ""
        self._was_interrupted = False
        self._earlier_error = ""
        self._look_at_packages: Callable[[], None] | None = None
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self._is_new = False

    def install(self) -> None:
        """Listen to the shell, and tend the notebook from the writer's thread on."""
        sources = executed_sources(self._shell)
        if sources:  # the running cell; its own beginning was not heard
            self._ran.append(_Ran(Cell(sources[-1], self._running_id()), time.time()))
        for event in _EVENTS:
            self._shell.events.register(event, getattr(self, f"_{event}"))
        session = self._session
        session.writer.on_tick.append(self.tick)
        session.on_close.append(self.remove)
        session.on_close.append(lambda: session.bounded(self.finish))

    def remove(self) -> None:
        """Listen no more."""
        for event in _EVENTS:
            try:
                self._shell.events.unregister(event, getattr(self, f"_{event}"))
            except ValueError:
                pass  # somebody took it off

    @property
    def sources(self) -> tuple[str, ...]:
        """The code of the cells, as it was read last."""
        return self._reading.sources if self._reading is not None else ()

    def begin(self, look_at_packages: Callable[[], None]) -> None:
        """From now on keep the task's code as the notebook is; what its surroundings are has been recorded."""
        self._look_at_packages = look_at_packages
        self._is_new = True

    def outcome(self, known: Outcome) -> Outcome:
        """Return how the run ended with its kernel: as its last cell did.

        Args:
            known: what the process says.
        """
        if known.status != "completed":
            return known
        if not self._last_error:
            return replace(known, message=known.message or self._earlier_error)
        if self._was_interrupted:
            return Outcome("stopped", 130, "SIGINT", "the last cell was interrupted", "stopped", "SIGINT")
        return Outcome("failed", 1, message=self._last_error, failure_class="user_error", reason="exception")

    def read(self) -> Reading:
        """Read the notebook as it is now."""
        executed = executed_sources(self._shell)
        path = self._find(executed)
        self._problem = ""
        if path is not None:
            try:
                self._seen = _state_of(path)
                data = read_notebook(path)
                saved = parse_cells(data, str(path))
                since = os.stat(path).st_mtime
                cells = with_unsaved(saved, [ran.cell for ran in list(self._ran) if ran.at > since])
                return self._keep(path, data, [cell.source for cell in cells])
            except NotebookError as error:
                self._problem = f"{error}; what the kernel ran is recorded instead"
            except OSError as error:
                self._problem = f"notebook {path} can't be read: {error}; what the kernel ran is recorded instead"
        return self._keep(path, build_notebook(Cell(source) for source in executed), executed)

    def tick(self) -> None:
        """Look, once a second, whether a cell has run or the file was saved; the work is done in another thread."""
        busy = self._thread is not None and self._thread.is_alive()
        if busy or self._look_at_packages is None or time.monotonic() < self._next:
            return
        if not self._is_new and (self._path is None or _state_of(self._path) == self._seen):
            return
        self._thread = threading.Thread(target=self._refresh_quietly, name="localtrack-notebook", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends: finish() does it
            return

    def finish(self) -> None:
        """Keep the notebook as it is at the end."""
        self._refresh_quietly(is_last=True)

    def _refresh_quietly(self, *, is_last: bool = False) -> None:
        began = time.monotonic()
        self._is_new = False
        with self._lock:
            try:
                if is_last or not self._session.closed:
                    self._refresh(is_last=is_last)
            except Exception as error:  # the capture border
                self._session.writer.say_once("notebook", f"the notebook was not kept: {type(error).__name__}: {error}")
        spent = time.monotonic() - began
        self._next = began + max(INTERVAL_S, spent / SHARE_OF_TIME)

    def _refresh(self, *, is_last: bool) -> None:
        reading = self.read()
        errors, self._new_errors = self._new_errors, []
        if is_last and self._problem:
            errors.append(self._problem)
        digests = (hex_sha256(reading.script), hex_sha256(reading.data))
        is_code_new, is_file_new = (new != old for new, old in zip(digests, self._digests, strict=True))
        if not (errors or is_code_new or is_file_new):
            return
        session = self._session
        folder = session.writer.folder
        fields = code.store_source(session.ctx, folder, reading.script) if is_code_new else {}
        entry = self._store_file(folder, reading, errors) if is_file_new else None

        def change(record: TaskRecord) -> TaskRecord:
            result = code.with_script(record, fields, errors)
            return artifacts.with_entry(result, entry) if entry is not None else result

        session.update(change, "notebook", checked=False)
        self._digests = digests
        if entry is not None:
            self._stored.append(entry)
            while len(self._stored) > 2:  # who has read the entry before this one may still open its file
                artifacts.remove_stored(session.ctx, folder, self._stored.pop(0))
        if is_code_new and self._look_at_packages is not None and not is_last:
            self._look_at_packages()

    def _store_file(self, folder: Path, reading: Reading, errors: list[str]) -> Json:
        data = masked_notebook(reading.data) if self._session.ctx.settings.mask_secrets else reading.data
        if data is not reading.data:
            errors.append(code.MASKED.format("notebook"))
        where = str(reading.path) if reading.path is not None else "made of what the kernel ran: its file was not found"
        options = artifacts.Options(
            metadata={"notebook": where}, preview=where, serialize=lambda data: data, extension=".ipynb"
        )
        return artifacts.upload(self._session.ctx, folder, ARTIFACT, data, options)

    def _keep(self, path: Path | None, data: bytes, sources: list[str]) -> Reading:
        self._reading = Reading(path, data, tuple(sources), to_script(sources))
        return self._reading

    def _find(self, executed: list[str]) -> Path | None:
        """Return the notebook's file; look for it again, now and then, when it is not there."""
        if (self._path is None or not self._path.is_file()) and time.monotonic() >= self._search_at:
            self._path = find_notebook(self._kernel, executed)
            self._search_at = time.monotonic() + SEARCH_AGAIN_S
        return self._path

    def _running_id(self) -> str:
        try:
            return str(self._shell.get_parent()["metadata"]["cellId"])
        except Exception:  # the border to the kernel: front ends send it as they like
            return ""

    def _pre_run_cell(self, info: Any = None) -> None:
        self._session.console.renew()
        if getattr(info, "store_history", False):
            cell = Cell(str(info.raw_cell), str(getattr(info, "cell_id", None) or ""))
            self._ran.append(_Ran(cell, time.time()))

    def _post_run_cell(self, result: Any = None) -> None:
        """Note how a cell ended; what its front end runs beside the user's cells does not count."""
        info = getattr(result, "info", None)
        if info is None or not info.store_history:
            return
        error = result.error_before_exec or result.error_in_exec
        self._is_new = True
        self._last_error = ""
        if error is None or (isinstance(error, SystemExit) and not error.code):
            return
        self._last_error = text = f"cell [{result.execution_count}]: {_said(error)}"
        self._was_interrupted = isinstance(error, KeyboardInterrupt)
        self._earlier_error = f"{text}; later cells ran"
        self._errors_count += 1
        if self._errors_count <= ERRORS_LIMIT:
            self._new_errors.append(text)
        self._session.writer.console.write("e", _trace_of(error))


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:2000]
    except Exception as broken:  # the border to the user's own __str__
        return f"{type(error).__name__}: no text, {type(broken).__name__}"


def _trace_of(error: BaseException) -> list[str]:
    """Return the lines of a traceback that begins in the user's cell, without what IPython has before it."""
    trace = error.__traceback__
    while trace is not None and "IPython" in trace.tb_frame.f_code.co_filename and trace.tb_next is not None:
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # the border to the user's own classes
        text = _said(error)
    return text.rstrip("\n").split("\n")


def _state_of(path: Path) -> object:
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino
