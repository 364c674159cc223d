"""TensorFlow 2: ``tf.summary``, and Keras' TensorBoard callback with it.

Its events are written in C++, so that the hook lies on the operations that take them. Within a ``tf.function`` those have
no values when Python sees them: there the function that is being traced gets one operation more for each summary, which
hands the values over whenever the graph runs.

Source: TensorFlow's gen_summary_ops and summary_ops_v2; ClearML's TensorFlow binding, measured.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.summaries.backlog import Source
from localtrack.bindings.summaries.board import board_of
from localtrack.bindings.summaries.events import EventReader
from localtrack.bindings.summaries.open_files import folders_of_writers
from localtrack.runtime import explicit

FRAMEWORK = "tensorboard"
MODULES = ("tensorflow.python.ops.gen_summary_ops",)
FOLDER = "_localtrack_folder"
TENSOR_BYTES = 1 << 20
_unknown = itertools.count(1)
_watch: _Watch | None = None


def install(ctx: BindingContext) -> Undo:
    """Watch the operations that write summaries."""
    global _watch
    watch = _watch = _Watch(ctx)
    ctx.patch.after(ctx.module, "create_summary_file_writer", _note_folder)
    ctx.patch.after(ctx.module, "write_summary", watch.on_tensor)
    ctx.patch.after(ctx.module, "write_scalar_summary", watch.on_scalar)
    ctx.patch.after(ctx.module, "write_raw_proto_summary", watch.on_proto)
    for name in ("flush_summary_writer", "close_summary_writer"):
        ctx.patch.after(ctx.module, name, watch.drain)

    def undo() -> None:
        global _watch
        ctx.patch.undo()
        if _watch is watch:
            _watch = None

    return undo


def _note_folder(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    setattr(argument(args, kwargs, 0, "writer"), FOLDER, _text(argument(args, kwargs, 1, "logdir")))


class _Watch:
    """Puts by what writers were given."""

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._session: Any = None
        self._board: Any = None
        self._put: Any = None
        self._readers: dict[str, _Operations] = {}

    def on_tensor(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a value of TensorBoard's second format: a tensor and what shows it."""
        names = ("writer", "step", "tensor", "tag", "summary_metadata")
        writer, step, tensor, tag, metadata = (argument(args, kwargs, i, name) for i, name in enumerate(names))
        self._take(_read_tensor, writer, step, tensor, (tag, metadata))

    def on_scalar(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a scalar of the first format."""
        writer, step, tag, value = (
            argument(args, kwargs, i, n) for i, n in enumerate(("writer", "step", "tag", "value"))
        )
        self._take(_read_scalar, writer, step, value, (tag, None))

    def on_proto(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a summary that is serialized already."""
        writer, step, tensor = (argument(args, kwargs, i, n) for i, n in enumerate(("writer", "step", "tensor")))
        self._take(_read_proto, writer, step, tensor, ("", None))

    def drain(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record all that waits, as the writer does."""
        if self._board is not None and not self._session.closed:
            self._board.backlog.drain()

    def _take(self, read: Any, writer: Any, step: Any, tensor: Any, about: tuple[Any, Any]) -> None:
        if _has_value(tensor) and _has_value(step):
            self.take(read, writer, _number(step), tensor, about)
        elif any(getattr(getattr(held, "graph", None), "building_function", False) for held in (tensor, step)):
            _take_when_run(read, writer, step, tensor, about)
        else:
            self._say_missed(about[0])

    def _say_missed(self, tag: Any) -> None:
        session = self._ctx.session()
        if session is not None:
            session.writer.say_once(
                "tf-graph", f"the summary {tag!r} is written in a graph of TensorFlow 1, where it can't be captured"
            )

    def take(self, read: Any, writer: Any, step: int, tensor: Any, about: tuple[Any, Any]) -> None:
        """Put by values, and how they are read; they are looked at later, so that none may change meanwhile."""
        if self._session is None or self._session.closed:
            self._begin()
        if self._put is None:
            return
        folder = getattr(writer, FOLDER, None)
        source: Any = _Late(self, writer) if folder is None else self.reader_of(folder)
        if explicit.left():
            source = source.without(explicit.left())
        self._put(source, (read, (step, tensor, about, time.time())))

    def reader_of(self, folder: str) -> _Operations:
        """Return what reports the values of one folder's writers."""
        return self._readers.get(folder) or self._new_reader(folder)

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something within a graph of the script's, which goes on whatever comes of it."""
        self._ctx.guarded("summary of a tf.function", action)

    def _begin(self) -> None:
        self._session, self._board = self._ctx.session(), board_of(self._ctx)
        self._put = None if self._board is None else self._board.backlog.put
        self._readers = {}

    def _new_reader(self, folder: str) -> _Operations:
        events = EventReader(self._board, folder, takes_hparams=bool(self._ctx.option("report_hparams")))
        return self._readers.setdefault(folder, _Operations(events))


def _take_when_run(read: Any, writer: Any, step: Any, tensor: Any, about: tuple[Any, Any]) -> None:
    """Let a graph that is being traced hand over the values of a summary; a run that begins later gets them, too."""
    script_ops: Any = sys.modules["tensorflow.python.ops.script_ops"]

    def hand_over(step: Any, tensor: Any, tag: Any, metadata: Any) -> None:
        watch = _watch
        if watch is not None:
            held = tensor.copy() if hasattr(tensor, "copy") else tensor  # its memory is the graph's
            watch.guarded(lambda: watch.take(read, writer, int(step), _Value(held), (_text(tag), metadata)))

    tag, metadata = about
    script_ops.numpy_function(hand_over, [step, tensor, tag, metadata or b""], [], stateful=True)


class _Late(Source):
    """What a writer was given whose folder isn't known yet; it is looked for off the script's thread."""

    def __init__(self, watch: _Watch, writer: Any, kinds: frozenset[str] = frozenset()) -> None:
        self._watch = watch
        self._writer = writer
        self._kinds = kinds

    def read(self, item: Any) -> None:
        """Report an item."""
        reader = self._watch.reader_of(_folder(self._writer))
        (reader.without(self._kinds) if self._kinds else reader).read(item)

    def without(self, kinds: frozenset[str]) -> _Late:
        """Return one that passes over what an explicit integration records."""
        return _Late(self._watch, self._writer, kinds)

    def size_of(self, item: Any) -> int:
        """Return the size that such values are taken for."""
        return TENSOR_BYTES


class _Operations(Source):
    """Reports what the operations of one folder's writers were given."""

    def __init__(self, events: EventReader) -> None:
        self._events = events

    def read(self, item: Any) -> None:
        """Report an item."""
        read, held = item
        read(self._events, held)

    def without(self, kinds: frozenset[str]) -> _Operations:
        """Return one that passes over what an explicit integration records."""
        return _Operations(self._events.without(kinds))

    def size_of(self, item: Any) -> int:
        """Return a size that lets few tensors wait: they hold memory of TensorFlow's."""
        return TENSOR_BYTES


def _read_tensor(events: EventReader, item: Any) -> None:
    step, tensor, (tag, serialized), wall_time = item
    tag = _text(tag)
    if hasattr(serialized, "numpy"):
        serialized = serialized.numpy()
    metadata = _summary_pb2().SummaryMetadata.FromString(serialized)
    events.read_tensor(tag, metadata, _EagerTensor(tensor), step, wall_time)


def _read_scalar(events: EventReader, item: Any) -> None:
    step, value, (tag, _), wall_time = item
    events.scalar(_text(tag), float(value), step, wall_time)


def _read_proto(events: EventReader, item: Any) -> None:
    step, tensor, _, wall_time = item
    summary = _summary_pb2().Summary.FromString(tensor.numpy())
    events.read(SimpleNamespace(summary=summary, step=step, wall_time=wall_time))


def _has_value(held: Any) -> bool:
    """Tell values, such as a number of Python's or NumPy's, a tensor or a variable, from what only a graph computes."""
    return hasattr(held, "numpy") or not hasattr(held, "graph")


def _number(step: Any) -> int:
    """Return what a step is now; a variable's will be another one soon."""
    return int(step.numpy() if hasattr(step, "numpy") else step)


class _Value:
    """What a graph handed over, in the place of a tensor."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __float__(self) -> float:
        return float(self._value)

    def numpy(self) -> Any:
        """Return it."""
        return self._value


class _EagerTensor:
    """A tensor as numbers or texts."""

    def __init__(self, tensor: Any) -> None:
        self._array = tensor.numpy()

    def texts(self) -> list[bytes]:
        held = self._array
        return [held] if isinstance(held, bytes) else [bytes(item) for item in held.reshape(-1)]

    def array(self) -> Any:
        import numpy

        return numpy.asarray(self._array)


def _text(tag: Any) -> str:
    held = tag.numpy() if hasattr(tag, "numpy") else tag
    return held.decode() if isinstance(held, bytes) else str(held)


def _folder(writer: Any) -> str:
    """Return the folder of a writer's resource; where that can't be found it is known by a number alone."""
    known = getattr(writer, FOLDER, None)
    if known is None:
        known = folders_of_writers().get(getattr(writer, "_id", -1)) or f"writer-{next(_unknown)}"
        setattr(writer, FOLDER, known)
    return str(known)


def _summary_pb2() -> Any:
    return sys.modules["tensorflow.core.framework.summary_pb2"]
