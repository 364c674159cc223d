"""TensorBoard: what its writers are given becomes scalars, plots, samples and parameters of the task.

The hook lies where every event passes on its way to the file: below ``torch.utils.tensorboard``, tensorboardX,
TensorFlow 1's writers, and whatever builds on them, so that each point is recorded once.

Source: tensorboard's, tensorboardX's and TensorFlow's EventFileWriter; ClearML's TensorBoard binding, measured.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.summaries.board import board_of
from localtrack.bindings.summaries.events import EventReader
from localtrack.runtime import explicit

FRAMEWORK = "tensorboard"
MODULES = (
    "tensorboard.summary.writer.event_file_writer",
    "tensorboardX.event_file_writer",
    "tensorflow.python.summary.writer.event_file_writer",
)


def install(ctx: BindingContext) -> Undo:
    """Watch one package's event files."""
    ctx.patch.tap(ctx.module.EventFileWriter, "add_event", _Watch(ctx).take)
    return ctx.patch.undo


class _Watch:
    """Puts by what a writer was given, once the writer has taken it."""

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._session: Any = None
        self._board: Any = None
        self._put: Any = None
        self._readers: dict[Any, EventReader] = {}

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Put by an event; it is on the way of every one."""
        if self._session is None or self._session.closed:
            self._begin()
        if self._put is not None:
            folder = args[0]._logdir
            reader = self._readers.get(folder) or self._new_reader(folder)
            kinds = explicit.left()
            if kinds:
                if explicit.EVENTS in kinds:
                    return
                reader = reader.without(kinds)
            self._put(reader, args[1] if len(args) > 1 else kwargs["event"])

    def _begin(self) -> None:
        """Take the run that the process has now; in a forked child, that is another one."""
        self._session, self._board = self._ctx.session(), board_of(self._ctx)
        self._put = None if self._board is None else self._board.backlog.put
        self._readers = {}

    def _new_reader(self, folder: Any) -> EventReader:
        made = EventReader(self._board, os.fspath(folder), takes_hparams=bool(self._ctx.option("report_hparams")))
        return self._readers.setdefault(folder, made)
