"""A tracked run inside this process: started by ``Task.init``, ended by ``close`` or with the process.

Source: docs/format/v1.md, "Writers"; ClearML's Task.init, measured.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from localtrack.errors import LocaltrackError, LostClaimError
from localtrack.records.plain import dataclass, field
from localtrack.records.task import TaskRecord
from localtrack.runtime import child_processes, early_parsers, early_parses
from localtrack.runtime.aborting import AbortCallback
from localtrack.runtime.argument_watch import ArgumentWatch
from localtrack.runtime.console_capture import ConsoleCapture
from localtrack.runtime.edits import PatientEdits
from localtrack.runtime.exits import ExitWatch, Outcome, main_frame
from localtrack.runtime.final_state import SAID_ENDED, FinalState
from localtrack.runtime.kernels import running_notebook
from localtrack.runtime.monitor import MonitorOptions, ResourceMonitor
from localtrack.runtime.ownership import (
    CHILD,
    FRAMEWORKS_VARIABLE,
    PARENT_VARIABLE,
    check_claim,
    open_record,
    storable_frameworks,
)
from localtrack.runtime.signals import SignalWatch
from localtrack.runtime.writer import TaskWriter
from localtrack.services import tasks
from localtrack.services.context import StoreContext

if TYPE_CHECKING:
    from localtrack.capture.launch import Launch
    from localtrack.runtime.bindings import Bindings
    from localtrack.runtime.captures import Captures
    from localtrack.runtime.notebooks import NotebookWatch
    from localtrack.runtime.registered import RegisteredFrames
    from localtrack.services.recording import Recorder

CODE_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What of a run is captured.

    Attributes:
        arguments: whether parsers are recorded; a dict names single arguments, ``*`` the rest.
        streams: which of ``stdout``, ``stderr``, ``logging`` are captured, and whether by ``descriptors``; without that
            word the setting ``capture_descriptors`` says it.
        monitor: how the machine's load is reported; None when it is not.
        remote: an agent runs this task: stored inputs go into the script instead of out of it.
        frameworks: which frameworks are watched, as ``auto_connect_frameworks`` says it.
    """

    arguments: bool | Mapping[str, bool] = True
    streams: Mapping[str, bool] = field(default_factory=lambda: {"stdout": True, "stderr": True, "logging": True})
    monitor: MonitorOptions | None = None
    remote: bool = False
    frameworks: bool | Mapping[str, Any] = False

    def wants_argument(self, name: str) -> bool:
        """Tell whether an argument is recorded and overridden; an option may be named with its command or alone."""
        if not isinstance(self.arguments, Mapping) or not self.arguments:
            return bool(self.arguments)
        names = (name, name.rpartition("/")[2], "*")
        return bool(next((self.arguments[key] for key in names if key in self.arguments), True))


class Session:
    """One run of one task in this process.

    Args:
        ctx: the store.
        record: the task as it is now.
        folder: its folder.
        role: ``owner`` or ``child``.
        options: what is captured.
    """

    def __init__(self, ctx: StoreContext, record: TaskRecord, folder: Path, role: str, options: SessionOptions) -> None:
        self.ctx = ctx
        self.task_id = record.id
        self.folder = folder
        self.role = role
        self.options = options
        self.pid = os.getpid()
        self._record_at_start = record
        self.writer = TaskWriter(ctx, record.id, folder, role)
        claim = str(self.writer.identity["claim"])
        self.edits = PatientEdits(self.writer, record, lambda current: check_claim(current, claim))
        self.closed = False
        self.launch: Launch | None = None
        self.is_rank = False  # a rank of a launch itself, and no child process of one
        self.asked = (record.project, record.name, record.type)
        self.facade: object = None  # the doors keep their object here, so that a run has one
        self.abort = AbortCallback(self.writer.say_once)
        self.function_tasks: set[str] = set()
        self.hidden_options: set[str] = set()
        self.on_close: list[Callable[[], None]] = []
        self.on_settle: list[Callable[[], None]] = []
        self.on_read_models: list[Callable[[], None]] = []
        self.argument_feed: ArgumentWatch | None = None
        self.iteration_offset = 0
        self.bindings: Bindings | None = None
        self.monitor: ResourceMonitor | None = None
        self.registered: RegisteredFrames | None = None
        self.captures: Captures | None = None
        self.notebook: NotebookWatch | None = None
        self._capture: threading.Thread | None = None
        self._hurry: Callable[[], None] = lambda: None
        self.console = ConsoleCapture(self)
        self._exits: ExitWatch | None = None
        self._signals: SignalWatch | None = None
        self._is_ending = False
        self._late_signal = ""
        self._lock = threading.RLock()
        self._final = FinalState(self)

    @property
    def record_at_start(self) -> TaskRecord:
        """The task as it was when this process took it up."""
        return self._record_at_start

    @record_at_start.setter
    def record_at_start(self, record: TaskRecord) -> None:
        self._record_at_start = record
        self.edits.know(record)

    @property
    def follows(self) -> bool:
        """Whether this process belongs to a rank other than zero: that one alone records inputs and models."""
        return self.role == CHILD and self.launch is not None and self.launch.rank > 0

    @cached_property
    def recorder(self) -> Recorder:
        """What stores the run's plots and media; the logger and the captures share it."""
        from localtrack.services.recording import Recorder

        store = self.ctx.store
        return Recorder(store.disk, self._folder_now, self.writer.id, self._keep_report, store.layout.projects)

    def _folder_now(self) -> Path:
        return self.writer.folder if not self.closed else tasks.folder_of(self.ctx, self.task_id)

    def _keep_report(self, action: Callable[[], object]) -> bool:
        """Run a write of a report; a disk that takes none is said once and never reaches the script."""
        try:
            action()
        except OSError as error:
            if not self.closed:
                self.writer.on_trouble(error)
                self.edits.later(action)
            else:
                self.writer.say_once(f"report-{error.errno}", f"a report was not kept: {error}")
            return False
        return True

    def start(self, frame: FrameType | None) -> None:
        """Register the writer and put the hooks in place.

        Args:
            frame: the frame that called ``Task.init``.

        Raises:
            StoreError: the store takes no writes.
        """
        self.writer.register()
        self.ctx.writer = self.writer.id
        if self.role == CHILD:
            self.console.install()
            if self.is_rank:
                self._watch_exit()
                self._tell_children()
                self._feed_arguments(None)
                self._start_monitor()
            self._bind_frameworks()
            self._start_child()
            return
        self._tell_children()
        self.console.install()
        self.notebook = running_notebook(self) if not self.options.remote else None
        self._watch_exit()
        self._signals = SignalWatch(self._end_by_signal, self.pid, self._note_signal)
        self._signals.install()
        self.writer.on_tick.append(self._signals.look)
        atexit.register(self._at_exit)
        self.writer.on_request = self._on_request
        self._feed_arguments(frame)
        self._bind_frameworks()
        self._start_monitor()
        self._start_captures()
        if self.notebook is not None:
            self.notebook.install()
        self.writer.on_tick.append(self.edits.retry)
        if self.writer.identity["claim"]:
            self.writer.on_beat = self._check_claim
        self.writer.start()

    def _tell_children(self) -> None:
        os.environ[PARENT_VARIABLE] = f"{self.pid}:{self.task_id}:{self.ctx.store.root}"
        os.environ[FRAMEWORKS_VARIABLE] = json.dumps(storable_frameworks(self.options.frameworks))

    def _watch_exit(self) -> None:
        self._exits = ExitWatch(main_frame() if self.notebook is None else None)
        self._exits.install()

    def _feed_arguments(self, frame: FrameType | None) -> None:
        if self.options.arguments:
            self.argument_feed = ArgumentWatch(self)
            self.argument_feed.install(frame)
        else:
            early_parses.take()

    def _start_monitor(self) -> None:
        if self.options.monitor is not None:
            rank = self.launch.label if self.follows and self.launch is not None else ""
            self.monitor = ResourceMonitor(self.writer, self.options.monitor, rank)
            self.writer.on_tick.append(self.monitor.tick)

    def _start_child(self) -> None:
        self.writer.start()
        atexit.register(self._at_exit)
        child_processes.at_end(self._at_exit)  # those of multiprocessing leave by os._exit: atexit never runs there

    def _bind_frameworks(self) -> None:
        failures = early_parsers.stop()
        if not self.options.arguments:
            hidden = early_parsers.forget()
            self.hidden_options |= hidden if self.ctx.settings.mask_secrets else set()
        if self.options.frameworks or self.options.arguments:
            from localtrack.runtime.bindings import Bindings

            self.bindings = Bindings(self, failures=failures)
            self._guarded(self.bindings.install)
            self.writer.on_tick.append(self.bindings.tick)

    def _start_captures(self) -> None:
        from localtrack.runtime.captures import Captures
        from localtrack.services.code import without_hidden

        def commit(change: Callable[[TaskRecord], TaskRecord], label: str) -> object:
            return self.update(lambda record: without_hidden(change(record), self.hidden_options), label, checked=False)

        self.captures = captures = Captures(
            self.ctx, self.folder, commit, remote=self.options.remote, notebook=self.notebook
        )
        self._capture = threading.Thread(target=captures.run, name="localtrack-capture", daemon=True)
        self._capture.start()
        self._hurry = captures.hurry
        self.on_close.append(lambda: self.bounded(captures.finish))

    def settle(self) -> None:
        """Write what captures have put by for a moment, so that a reader finds it."""
        for action in self.on_settle:
            action()

    def update(self, change: Callable[[TaskRecord], TaskRecord], label: str, *, checked: bool = True) -> TaskRecord:
        """Commit a change that this run's own process makes; one that the disk refuses waits."""
        # rank zero may have ended the task a moment ago: the others must not fail for that
        return self.edits.commit(change, label, checked=checked and not self.follows)

    def record_inputs(
        self, change: Callable[[TaskRecord], TaskRecord], label: str, *, checked: bool = True
    ) -> TaskRecord:
        """Commit what the script was given: once for a launch, by its rank zero; also when the script said how it ended."""
        if self.follows:
            return self.edits.known

        def own(record: TaskRecord) -> TaskRecord:
            wanted = change(record)
            is_mine = (record.owner or {}).get("writer") == self.writer.id
            if checked and not (is_mine and record.state in SAID_ENDED):
                record.check_editable(tasks.changed_fields(record, wanted), by_owner=True)
            return wanted

        return self.update(own, label, checked=False)

    def one_facade(self, make: Callable[[], object]) -> object:
        """Return the object that the doors give for this run, made at the first call: one, whatever thread asks."""
        with self._lock:
            if self.facade is None:
                self.facade = make()
            return self.facade

    def watched_frames(self) -> RegisteredFrames:
        """Return the DataFrames that this run watches; the machinery for it starts with the first look."""
        from localtrack.runtime.registered import RegisteredFrames

        with self._lock:
            if self.registered is None:
                self.registered = RegisteredFrames(self)
                self.writer.on_tick.append(self.registered.tick)
                self.on_close.append(self.registered.finish)
            return self.registered

    def close(self, outcome: Outcome | None = None, *, exiting: bool = False) -> None:
        """End the run: wait for the captures, bounded; write all that waits; commit the final state.

        Args:
            outcome: how it ended; completed when the script closes the task itself.
            exiting: the process ends, so that hooks need not be taken off one by one.
        """
        if self.bindings is not None and not self.closed and os.getpid() == self.pid:
            self._guarded(self.bindings.finish)
        with self._lock:
            if self.closed or os.getpid() != self.pid:
                return
            self.closed = True
            self._is_ending = True
        try:
            journals = self._end(outcome, exiting)
        finally:
            self._is_ending = False
            self._give_back_signals()
        self._guarded(self.writer.drop_ballast)
        self._guarded(lambda: self.writer.fold(journals, within_s=self.ctx.settings.fold_wait_s))

    def _end(self, outcome: Outcome | None, exiting: bool) -> list[Path]:
        """Take everything off, write what waits and commit the end; returns the journals to fold."""
        if os.environ.get(PARENT_VARIABLE, "").startswith(f"{self.pid}:"):
            del os.environ[PARENT_VARIABLE]
            os.environ.pop(FRAMEWORKS_VARIABLE, None)
        self._wait_for_captures()
        for action in self.on_close:
            self._guarded(action)
        if self.bindings is not None:
            self._guarded(self.bindings.remove)
        if self.argument_feed is not None:
            self._guarded(self.argument_feed.remove)
        self._guarded(self.console.remove_tee)
        self._guarded(self.console.give_back_descriptors)
        if self._exits is not None:
            self._exits.remove()
        self.abort.register(None, 0.0)  # it holds the script's objects, which are to be finalised with it
        if not exiting:
            atexit.unregister(self._at_exit)
        journals = self.writer.close()
        self._guarded(self._final.read_other_writers)
        self._guarded(self.edits.finish)
        self._guarded(lambda: self._final.commit(outcome or Outcome("completed", 0)))
        return journals

    def _give_back_signals(self) -> None:
        """Watch for signals no longer, and let one that came while the run ended do what it would have done."""
        if self._signals is not None:
            self._guarded(self._signals.remove)
        if self._late_signal:
            os.kill(os.getpid(), getattr(signal, self._late_signal))

    def _guarded(self, action: Callable[[], object]) -> None:
        """Run a step that must not fail the script; what fails is said, and the others run all the same."""
        try:
            action()
        except Exception as error:  # the border to the user's exit: it must stay what it is
            self.writer.say_once(f"end-{type(error).__name__}", f"ending task {self.task_id}: {error}")

    def bounded(self, action: Callable[[], object]) -> None:
        """Run a step of the end that may take long, and go on without it when its time is over."""
        helper = threading.Thread(target=lambda: self._guarded(action), name="localtrack-end", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # the interpreter starts no threads any more
            self._guarded(action)
            return
        helper.join(self.ctx.settings.exit_wait_s)

    def finish_captures(self, timeout_s: float = CODE_WAIT_S) -> None:
        """Wait until the code and the packages imported so far are recorded, for what needs them to be."""
        thread = self._capture
        if thread is None or thread is threading.current_thread():
            return
        self._hurry()
        thread.join(timeout_s)
        if thread.is_alive():
            self.writer.say_once("captures", f"the capture of code and packages takes more than {timeout_s:g} s")
        elif self.captures is not None:
            self._guarded(self.captures.finish)

    def _wait_for_captures(self) -> None:
        thread = self._capture
        if thread is None or thread is threading.current_thread():
            return
        self._hurry()
        thread.join(self.ctx.settings.exit_wait_s)
        if thread.is_alive():
            self.writer.say_once(
                "captures",
                f"the capture of code and packages took more than {self.ctx.settings.exit_wait_s:g} s and was left out "
                "(LOCALTRACK_EXIT_WAIT_S allows more)",
            )

    def _at_exit(self) -> None:
        if os.getpid() != self.pid:
            return
        exits = self._exits
        outcome = exits.outcome() if exits is not None else None
        if outcome is not None and self.notebook is not None:
            outcome = self.notebook.outcome(outcome)
        self.close(outcome, exiting=True)
        if exits is not None:
            exits.keep_interrupt()

    def _end_by_signal(self, name: str) -> bool:
        """End the run before the process dies; False when something else comes first, and the signal again after it.

        That is the abort callback, or the end of the run that is under way already, which is bounded.
        """
        if self._is_ending:
            self._late_signal = name
            return False
        if name == "SIGTERM" and self.abort.begin(self._terminate):
            return False
        outcome = self._final.stopped_by(name)
        helper = threading.Thread(target=lambda: self.close(outcome, exiting=True), daemon=True)
        helper.start()
        helper.join(self.ctx.settings.exit_wait_s + 5.0)
        return True

    def _note_signal(self, name: str) -> None:
        """Record the end that a signal brings while the main thread can't: it may not live to hear of it."""
        if not self.closed:
            self.edits.retry()
            self._final.commit(self._final.stopped_by(name))

    def _on_request(self, request: Mapping[str, Any]) -> None:
        if request.get("kind") != "stop":
            return
        by = request.get("by") or {}
        text = request.get("message") or "aborted"
        self._final.stop_message = f"{text} (asked by {by.get('user', '?')}@{by.get('host', '?')})"
        if not self.abort.begin(self._terminate):
            self._terminate()

    def _terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def _check_claim(self) -> None:
        """Stop when another agent runs the task: this process was thought dead, and whatever it did is void."""
        try:
            check_claim(open_record(self.ctx, self.task_id)[1], str(self.writer.identity["claim"]))
        except LostClaimError as error:
            self.writer.say_once("claim", str(error))
            os.kill(self.pid, signal.SIGTERM)
        except (LocaltrackError, OSError):
            return  # the next beat looks again

    def abandon(self) -> None:
        """In a forked child: let go of everything that is the parent's, without touching its files."""
        self.closed = True
        if self._signals is not None:
            self._signals.abandon()
        if self._exits is not None:
            self._exits.abandon()
        self.writer.forget()
        if self.bindings is not None:
            self.bindings.renew_lock()
        self.console.abandon()
        atexit.unregister(self._at_exit)
