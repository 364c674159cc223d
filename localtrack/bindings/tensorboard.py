"""TensorBoard: what its writers are given becomes scalars, plots, samples and parameters of the task.

The hook lies where every event passes on its way to the file: below ``torch.utils.tensorboard``, tensorboardX,
TensorFlow 1's writers, and whatever builds on them, so that each point is recorded once.

Source: tensorboard's, tensorboardX's and TensorFlow's EventFileWriter; ClearML's TensorBoard binding, measured.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.summaries.backlog import Put
from localtrack.bindings.summaries.board import board_of
from localtrack.bindings.summaries.events import EventReader
from localtrack.bindings.summaries.serialized import SerializedReader
from localtrack.runtime import explicit

FRAMEWORK = "tensorboard"
MODULES = (
    "tensorboard.summary.writer.event_file_writer",
    "tensorboardX.event_file_writer",
    "tensorflow.python.summary.writer.event_file_writer",
)
QUEUE = "_AsyncWriter"


def install(ctx: BindingContext) -> Undo:
    """Watch one package's event files: their events, or where there is one a queue of these as bytes.

    Bytes cost the caller a fraction of what events do that stay in memory, which would be freed and used again at once.
    """
    module: Any = ctx.module
    write = getattr(getattr(module, QUEUE, None), "write", None)
    if write is not None and hasattr(module, "event_pb2") and _parameters(write) == ("self", "bytestring"):
        parse = module.event_pb2.Event.FromString
        watch = _Watch(ctx, _folder_of_queue, lambda events: SerializedReader(events, parse))
        ctx.patch.place(getattr(module, QUEUE), "write", watch.writing)
    else:
        watch = _Watch(ctx, _folder_of_writer, lambda events: events)
        if _parameters(getattr(module.EventFileWriter, "add_event", None)) == ("self", "event"):
            ctx.patch.place(module.EventFileWriter, "add_event", watch.writing)
        else:
            ctx.patch.tap(module.EventFileWriter, "add_event", watch.take)
    for name in ("flush", "close"):
        ctx.patch.after(module.EventFileWriter, name, watch.drain)

    def undo() -> None:
        ctx.patch.undo()
        watch.forget_ready()

    return undo


def _parameters(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount]


def _folder_of_writer(writer: Any) -> str:
    return str(os.fspath(writer._logdir))


def _folder_of_queue(queue: Any) -> str:
    file = queue._writer._writer
    return os.path.dirname(os.fsdecode(file.filename if hasattr(file, "filename") else file.name))


class _NoSession:
    closed = True


class _Watch:
    """Puts by what a writer was given, once the writer has taken it.

    Args:
        ctx: the binding's hold.
        folder_of: returns the folder of a writer.
        reader_of: returns what reads the things that it is given.
    """

    def __init__(
        self, ctx: BindingContext, folder_of: Callable[[Any], str], reader_of: Callable[[EventReader], Any]
    ) -> None:
        self._ctx = ctx
        self._folder_of = folder_of
        self._reader_of = reader_of
        self._session: Any = _NoSession
        self._board: Any = None
        self._backlog: Any = None
        self._readers: dict[int, Any] = {}
        self._by_folder: dict[str, Any] = {}
        self._writers: dict[int, Any] = {}
        #: How writers, by their ids, put something by of which nothing has to be asked: the run goes on, it may take any
        #: number of them, and no integration stands in.
        self._ready: dict[int, Put] = {}
        _watches.add(self)

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Put by an event."""
        self._take(args[0], argument(args, kwargs, 1, "event"))

    def _take(self, writer: Any, item: Any) -> None:
        if not self._ctx.patch.is_live:  # somebody patched over ours, which stays then
            return
        if self._session.closed:
            self._begin()
        if self._backlog is None:
            return
        session, backlog = self._session, self._backlog
        reader = self._readers.get(id(writer)) or self._new_reader(writer)
        if explicit.is_used:
            kinds = explicit.left()
            if explicit.EVENTS not in kinds:
                backlog.put(reader.without(kinds) if kinds else reader, item)
            return
        backlog.put(reader, item)
        way = backlog.way_of(reader)
        if way is not None:
            self._ready[id(writer)] = way
            goes_on = backlog.is_open and not session.closed and self._ctx.patch.is_live
            if not goes_on or explicit.is_used or self._readers.get(id(writer)) is not reader:  # since it was asked
                self.forget_ready()

    def forget_ready(self) -> None:
        """Have each writer's next event ask for everything."""
        self._ready.clear()

    def writing(self, original: Callable[[Any, Any], object]) -> Callable[[Any, Any], object]:
        """Return what stands for a function of one item and puts by what that takes; each step is on every point's way.

        A queue's parameter has another name, but its one caller gives it by position.
        """
        watch, way_of = self, self._ready.get

        def write(self: Any, event: Any) -> object:
            result = original(self, event)
            try:
                put = way_of(id(self))
                if put is None:
                    watch._take(self, event)
                else:
                    put(event)
            except Exception as error:  # the binding border
                watch._ctx.failed("write", error)
            return result

        return write

    def drain(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record all that waits: a writer that was flushed has its events in the file, and the task has them then, too."""
        if self._board is not None and not self._session.closed:
            self._board.backlog.drain()

    def _begin(self) -> None:
        """Take the run that the process has now; in a forked child, that is another one."""
        session, board = self._ctx.session(), board_of(self._ctx)
        backlog = None if board is None else board.backlog
        if session is not None:
            session.on_close.append(self.forget_ready)
        if backlog is not None:
            backlog.when_shut.append(self.forget_ready)
        self._readers, self._by_folder, self._writers = {}, {}, {}
        self._board, self._backlog = board, backlog
        self._session = session or _NoSession  # last: another thread goes on as soon as there is one

    def _new_reader(self, writer: Any) -> Any:
        folder, key = self._folder_of(writer), id(writer)
        made = self._by_folder.get(folder)
        if made is None:
            events = EventReader(self._board, folder, takes_hparams=bool(self._ctx.option("report_hparams")))
            made = self._by_folder.setdefault(folder, self._reader_of(events))
        tables = self._readers, self._writers, self._ready

        def forget(reference: Any) -> None:  # its id may be another's then
            for table in tables:
                table.pop(key, None)

        self._writers[key] = weakref.ref(writer, forget)
        self._readers[key] = made
        return made


_watches: weakref.WeakSet[_Watch] = weakref.WeakSet()


def _forget_ready() -> None:
    for watch in list(_watches):
        watch.forget_ready()


explicit.when_used.append(_forget_ready)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_ready)
