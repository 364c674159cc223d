"""TensorBoard: what its writers are given becomes scalars, plots, samples and parameters of the task.

The hook lies where every event passes on its way to the file: below ``torch.utils.tensorboard``, tensorboardX,
TensorFlow 1's writers, and whatever builds on them, so that each point is recorded once.

Source: tensorboard's, tensorboardX's and TensorFlow's EventFileWriter; ClearML's TensorBoard binding, measured.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.summaries.board import board_of
from localtrack.bindings.summaries.events import EventReader

FRAMEWORK = "tensorboard"
MODULES = (
    "tensorboard.summary.writer.event_file_writer",
    "tensorboardX.event_file_writer",
    "tensorflow.python.summary.writer.event_file_writer",
)


def install(ctx: BindingContext) -> Undo:
    """Watch one package's event files."""
    ctx.patch.after(ctx.module.EventFileWriter, "add_event", _Watch(ctx))
    return ctx.patch.undo


class _Watch:
    """Puts by what a writer was given, once the writer has taken it."""

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._session: Any = None
        self._put: Any = None
        self._read: Any = None

    def __call__(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._session is None or self._session.closed:
            self._begin()
        if self._put is not None:
            event = args[1] if len(args) > 1 else kwargs["event"]
            self._put((self._read, args[0]._logdir, event), event.ByteSize)

    def _begin(self) -> None:
        """Take the run that the process has now; in a forked child, that is another one."""
        self._session, board = self._ctx.session(), board_of(self._ctx)
        self._put = None
        if board is not None:
            self._put = board.backlog.put
            self._read = EventReader(board, takes_hparams=bool(self._ctx.option("report_hparams"))).read
