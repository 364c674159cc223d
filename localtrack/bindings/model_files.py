"""Model files that frameworks save and load become the task's output and input models: by reference, off the script's thread.

With the task's ``output_uri`` set a saved file is copied there, complete before the run's end. The script waits for a copy
only where it saves over a file that is just being copied.

Source: ClearML's framework bindings, measured; docs/format/v1.md, "models/<name>--<id8>/".
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext
from localtrack.bindings.kept_files import keep, release
from localtrack.records.plain import dataclass, field, replace
from localtrack.runtime import weight_callbacks
from localtrack.runtime.patches import observing, thread_state
from localtrack.runtime.weight_callbacks import CallbackType, ModelInfo, WeightsFileHandler

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

OWNER = "owner"

#: A run that loads more files than this loads data, not models: later ones are not recorded, which is said once.
LOAD_LIMIT = 100
GATHER_S = 0.2
SEEN_LIMIT = 100_000
_WAIT_FOR_COPY_S = 600.0
SETTLE_S = 10.0  # so long who asks for the models waits for copies of large ones
#: What trainers save beside a model.
_NOT_MODELS = ("optimizer.", "scheduler.", "scaler.", "rng_state", "random_states_", "training_args.", "output.pkl")


@dataclass(frozen=True, slots=True)
class Event:
    """A file that was saved or loaded.

    Attributes:
        path: absolute path, or a URL.
        framework: ClearML's name of the framework.
        is_save: whether it was saved.
        iteration: the task's last iteration when it was saved.
        kept: path by which it can be read as it was saved, for the copy; empty where there is none.
        upload_name: name of the file in the task, where it is not its own.
        key: what tells this model from others, where it is not the path.
        files: further files without which it can't be loaded, in the folder of its path or below.
    """

    path: str
    framework: str
    is_save: bool
    iteration: int = 0
    kept: str = ""
    upload_name: str = ""
    key: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loading:
    """What a file was loaded by.

    Attributes:
        framework: ClearML's name of the framework.
        ctx: whose binding saw it.
    """

    framework: str
    ctx: BindingContext


#: Returns the further files of a model, given the path that it was saved to and what was saved.
Files = Callable[[str, Any], Iterable[str]]

#: A file that was loaded, before anybody looked at it: its path, what loaded it, and the folder that the path is relative to.
_Load = tuple[str, Loading, str]


class ShortWay:
    """How a load is put by when nothing about it has to be asked first: a run is there, and it only keeps what was loaded.

    It is shut where that ends: with the run, in a forked child, by a callback that wants to see each file.

    Attributes:
        put: takes a load; None while the way is shut.
    """

    __slots__ = ("put",)

    def __init__(self) -> None:
        self.put: Callable[[_Load], None] | None = None

    def shut(self) -> None:
        """Have the next load ask for everything."""
        self.put = None


short_way = ShortWay()
weight_callbacks.when_added.append(short_way.shut)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=short_way.shut)


@dataclass(slots=True)
class Recorded:
    """What a run has recorded.

    Attributes:
        base: the folder that the run began in.
        files: by what the task calls a model, which file it is: its key.
        ids: by a file's path, the id of the model that was saved to it.
        owners: by names that integrations gave, which of them did.
    """

    base: str = ""
    files: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    owners: dict[str, object] = field(default_factory=dict)

    def key_of(self, path: str) -> str:
        """Return what tells a file from others, also for a run that goes on elsewhere: its path below the run's folder."""
        is_below = self.base and path.startswith(os.path.join(self.base, ""))
        return os.path.relpath(path, self.base) if is_below else path


def path_of(source: Any) -> str | None:
    """Return the absolute path, or the URL, of what a framework was given to save to or load from; None for a buffer."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fsdecode(source)
    else:
        name = getattr(source, "name", None)
        if not isinstance(name, str):
            return None
        text = name
    if "://" in text:
        scheme, _, rest = text.partition("://")
        return None if scheme == "memory" else os.path.abspath(rest) if scheme == "file" else text
    return os.path.abspath(text)


def speaks(session: Session) -> bool:
    """Tell whether this process records model files: of a distributed run only rank zero does, for all."""
    return session.role == OWNER or not (session.follows or is_other_rank())


def is_other_rank() -> bool:
    """Tell whether PyTorch says that this process, spawned by one that has the task, is a rank other than zero."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    try:
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_rank()) > 0
    except Exception:  # half an initialisation
        return False
    return False


class ModelFiles:
    """The model files of one run.

    Args:
        session: the run.
        failed: told what could not be recorded.

    Attributes:
        session: the run.
        takes_loads: whether a file that is loaded is still taken for a model.
        loads: what was loaded and nobody looked at yet: of each in turn its path, its :class:`Loading` and its folder.
    """

    def __init__(self, session: Session, failed: Callable[[str, Exception], None]) -> None:
        self.session = session
        self._failed = failed
        self.takes_loads = session.role == OWNER  # a worker process that loads is a data loader's
        self._events: SimpleQueue[Event | _Load | threading.Event | None] = SimpleQueue()
        self.loads: deque[Any] = deque()  # flat: tuples would be objects for the garbage collector
        self._handed_over: set[Any] = set()
        self._worker: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self._hand_lock = threading.RLock()
        self._turn = threading.Condition()
        self._written: list[str] = []
        self._copied = ""
        self._work = threading.RLock()
        self._loaded: set[str] = set()
        self._recorded = Recorded(_working_folder())
        self._is_over = False
        self._is_drained = False
        self._awaited_by = 0
        session.on_close.append(self.finish)
        session.on_read_models.append(self.settle)
        session.writer.on_tick.append(self._hand_loads_over)
        # at the end of the process, when what waits is recorded, it can't be imported any more
        import_module("concurrent.futures.thread")

    @contextlib.contextmanager
    def saving(self, path: str, framework: str, thing: Any, files: Files | None = None) -> Iterator[None]:
        """While a file is written: nobody copies it, and what is saved within is a part of it; then it is recorded.

        ``files`` returns, once it is written, what further files belong to it.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._copied != path, _WAIT_FOR_COPY_S)
            self._written.append(path)
        thread_state.nested += 1
        try:
            yield
        finally:
            thread_state.nested -= 1
            with self._turn:
                self._written.remove(path)
                self._turn.notify_all()
        with observing():
            try:
                self._saved(path, framework, thing, () if files is None else tuple(files(path, thing)))
            except Exception as error:  # the binding border
                self._failed(f"save {os.path.basename(path)}", error)

    def _saved(self, path: str, framework: str, thing: Any, files: tuple[str, ...]) -> None:
        iteration = max(0, self.session.writer.last_iteration())
        event = Event(path, framework, True, iteration, files=files)
        if WeightsFileHandler.has_callbacks():
            self._with_callbacks(event, thing)
        else:
            self._put(replace(event, kept=self._keep(path, files)))

    def loaded(self, load: _Load) -> None:
        """Record a file that was loaded, each only once. Whether it is one that is wanted is seen later, off this thread.

        Nobody is woken for it, which takes longer than all the rest: the thread that tends the files hands it on.
        """
        if WeightsFileHandler.has_callbacks():
            event = self._accepted(load)
            if event is not None:
                self._with_callbacks(event, None)
            return
        self.loads.extend(load)  # in one step
        if self._is_over:
            self._hand_loads_over()
            return
        short_way.put = self.loads.extend
        if self._is_over or not self.takes_loads or WeightsFileHandler.has_callbacks():  # since it was asked
            short_way.shut()

    def _hand_loads_over(self) -> None:
        with self._hand_lock:
            known, take = self._handed_over, self.loads.popleft
            while self.loads:
                path, loading, folder = load = take(), take(), take()
                key = (path, folder, loading.framework)
                if key in known:
                    continue
                if len(known) < SEEN_LIMIT:
                    known.add(key)
                self._hand_over(load)

    def _accepted(self, load: _Load) -> Event | None:
        path, loading, folder = load
        path = path if "://" in path else os.path.abspath(os.path.join(folder, path))
        if path in self._loaded or not is_wanted(loading.ctx, self.session, path):
            return None
        if len(self._loaded) >= LOAD_LIMIT:
            self.takes_loads = False
            short_way.shut()
            self.session.writer.say_once(
                "loads", f"more than {LOAD_LIMIT} files were loaded: the others are taken for data and not recorded"
            )
            return None
        self._loaded.add(path)
        return Event(path, loading.framework, False)

    def _keep(self, path: str, files: tuple[str, ...]) -> str:
        """Hold on to a file or folder that will be copied, so that the script may delete it meanwhile."""
        if not self.session.edits.known.output_uri or "://" in path:
            return ""
        return keep(path, self.session.folder / "models", f"{id(self):x}-{len(self._loaded)}", files)

    def _with_callbacks(self, event: Event, thing: Any) -> None:
        """Record at once, between the user's functions."""
        task: Any = self.session.facade
        action = CallbackType.save if event.is_save else CallbackType.load
        name = os.path.basename(event.path) if event.is_save else None
        info = WeightsFileHandler.run_pre_callbacks(
            action, ModelInfo(None, name, event.path, event.path, event.framework, task, thing)
        )
        if info is None or not info.local_model_path:
            return
        key = str(info.local_model_id) if info.local_model_id != event.path else ""
        path = str(info.local_model_path)
        files = event.files if path == event.path else ()  # another file has none of them
        model_id = self._record(
            replace(event, path=path, upload_name=str(info.upload_filename or ""), key=key, files=files)
        )
        if task is not None:
            models = task.models["output" if event.is_save else "input"]
            info.model = next((model for model in models if model.id == model_id), None)
        WeightsFileHandler.run_post_callbacks(action, info)

    def _put(self, event: Event) -> None:
        with self._hand_lock:
            self._hand_loads_over()
            self._hand_over(event)

    def _hand_over(self, event: Event | _Load) -> None:
        """Give what was saved or loaded to whoever records next, after all that came before it."""
        if self._is_drained:
            self._record_now(event)
            return
        self._events.put(event)
        if self._worker is None and not self._is_over:
            with self._start_lock:
                if self._worker is None:
                    self._start_worker()

    def _record_now(self, event: Event | _Load) -> None:
        found = event if isinstance(event, Event) else self._accepted(event)
        if found is not None:
            self._try(found)

    def _start_worker(self) -> None:
        worker = threading.Thread(target=self._run, name="localtrack-models", daemon=True)
        try:
            worker.start()
        except RuntimeError:  # the process ends: its end records what waits
            return
        self._worker = worker

    def _run(self) -> None:
        is_over = False
        while not is_over:
            found = [self._events.get()]
            if isinstance(found[0], (Event, tuple)):
                self._turn_over()
            with contextlib.suppress(Empty):
                while True:
                    found.append(self._events.get_nowait())
            is_over = any(one is None for one in found)
            latest: dict[tuple[str, bool], Event] = {}
            for one in found:
                if isinstance(one, (Event, tuple)):
                    self._gather(latest, one)
            for event in latest.values():
                self._try(event)
            for one in found:
                if isinstance(one, threading.Event):
                    one.set()

    def _turn_over(self) -> None:
        """Leave the interpreter to the script for a moment, unless the run ends or somebody waits."""
        with self._turn:
            self._turn.wait_for(lambda: self._is_over or self._awaited_by > 0, GATHER_S)

    def settle(self) -> None:
        """Record what was saved and loaded before this, for one who asks for the task's models; he waits for a while at most."""
        mark = threading.Event()
        with self._hand_lock:
            self._hand_loads_over()
            if self._worker is None or self._is_over or threading.current_thread() is self._worker:
                return
            self._events.put(mark)
        with self._turn:
            self._awaited_by += 1
            self._turn.notify_all()
        try:
            mark.wait(SETTLE_S)
        finally:
            with self._turn:
                self._awaited_by -= 1

    def _gather(self, latest: dict[tuple[str, bool], Event], found: Event | _Load) -> None:
        """Of a file that was saved several times only the last state is there to be recorded."""
        event = found if isinstance(found, Event) else self._accepted(found)
        if event is None:
            return
        old = latest.get((event.path, event.is_save))  # its place stays: what is loaded from the file comes after it
        if old is not None:
            release(old.kept)
        latest[event.path, event.is_save] = event

    def _try(self, event: Event) -> None:
        try:
            with observing():
                self._record(event)
        except Exception as error:  # the binding border
            self._failed(f"record {os.path.basename(event.path)}", error)
        finally:
            release(event.kept)

    def name_for(self, path: str) -> str:
        """Return what the task calls the model of a file that somebody else records; no other file gets that name."""
        from localtrack.bindings.model_records import name_for

        with self._work:
            return name_for(self.session, path, self._recorded)

    def name_of(self, owner: object, name: str) -> str:
        """Return what the task calls a model that an integration has a name for: another one where another one has that."""
        with self._work:
            names = itertools.chain([name], (f"{name} - {number}" for number in itertools.count(1)))
            free = next(one for one in names if self._recorded.owners.get(one, owner) is owner)
            self._recorded.owners[free] = owner
            return free

    def key_of(self, path: str) -> str:
        """Return what the task knows a file by."""
        return self._recorded.key_of(path)

    def finish(self) -> None:
        """At the end of the run: record and copy all that waits."""
        with self._turn:
            self._is_over = True
            self._turn.notify_all()
        short_way.shut()
        worker = self._worker
        if worker is not None and worker is not threading.current_thread():
            self._events.put(None)
            worker.join()
        with self._hand_lock:  # the tending thread may be handing loads on
            self._hand_loads_over()
            with contextlib.suppress(Empty):
                while True:
                    event = self._events.get_nowait()
                    if isinstance(event, threading.Event):
                        event.set()
                    elif event is not None:
                        self._record_now(event)
            self._is_drained = True

    def _record(self, event: Event) -> str:
        from localtrack.bindings.model_records import record_input, record_output

        with self._work:
            if not event.is_save:
                return record_input(self.session, event, self._recorded)
            with self._turn:
                self._turn.wait_for(lambda: event.path not in self._written, _WAIT_FOR_COPY_S)
                self._copied = event.path
            try:
                return record_output(self.session, event, self._recorded)
            finally:
                with self._turn:
                    self._copied = ""
                    self._turn.notify_all()


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def is_wanted(ctx: BindingContext, session: Session, path: str) -> bool:
    """Tell whether a path is a model's that the user wants recorded."""
    if os.path.basename(path).startswith(_NOT_MODELS) or path.startswith("/dev/"):
        return False
    return ctx.allows_file(path) and not Path(path).is_relative_to(session.ctx.store.root)
