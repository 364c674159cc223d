"""Takes the events of TensorBoard's file format apart, whichever package's classes hold them.

Source: TensorBoard's event.proto and summary.proto, and the metadata of its plug-ins.
"""

from __future__ import annotations

import sys
from typing import Any

from localtrack.bindings.summaries import layouts
from localtrack.bindings.summaries.backlog import Source
from localtrack.bindings.summaries.board import Board
from localtrack.runtime import explicit

HPARAMS_TAG = "_hparams_/session_start_info"
_HPARAMS_MODULES = (
    "tensorboard.plugins.hparams.plugin_data_pb2",
    "tensorboardX.proto.plugin_hparams_pb2",
)


class EventReader(Source):
    """Reports the events of the writers of one folder.

    Args:
        board: where to.
        folder: the writers'.
        takes_hparams: whether hyper-parameters are wanted.
        takes_scalars: whether scalars are wanted.

    Attributes:
        board: where to.
        names: those of the folder's tags.
        takes_scalars: whether scalars are wanted.
    """

    def __init__(self, board: Board, folder: str, *, takes_hparams: bool, takes_scalars: bool = True) -> None:
        self.board = board
        self._folder = folder
        self.names = board.names.of(folder)
        self.names.readers += 1
        self._takes_hparams = takes_hparams
        self.takes_scalars = takes_scalars
        self._plugins: dict[str, str] = {}

    def without(self, kinds: frozenset[str]) -> EventReader:
        """Return a reader of the same folder that passes over what an explicit integration records."""
        made = EventReader(
            self.board, self._folder,
            takes_hparams=self._takes_hparams and explicit.PARAMETERS not in kinds,
            takes_scalars=self.takes_scalars and explicit.SCALARS not in kinds,
        )  # fmt: skip
        made._plugins = self._plugins
        return made

    def read(self, event: Any) -> None:
        """Report what an event holds; what is no summary is passed over."""
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                self.scalar(value.tag, value.simple_value, event.step, event.wall_time)
            else:
                self._read_other(kind, value, event)

    def size_of(self, event: Any) -> int:
        """Return the size of an event in bytes."""
        size: int = event.ByteSize()
        return size

    def scalar(self, tag: str, value: float, step: int, wall_time: float) -> None:
        """Report one point of the curve that a tag is."""
        if self.takes_scalars:
            self.board.scalar(self.names.scalar(tag), value, step, wall_time)

    def _read_other(self, kind: str | None, value: Any, event: Any) -> None:
        board, folder, tag, step = self.board, self._folder, value.tag, int(event.step)
        if kind == "histo":
            held = value.histo
            edges = [held.min, *(min(max(limit, held.min), held.max) for limit in held.bucket_limit)]
            board.histogram(folder, tag, edges, list(held.bucket), step)
        elif kind == "image":
            board.image(folder, tag, value.image.encoded_image_string, step)
        elif kind == "audio":
            board.audio(folder, tag, value.audio.encoded_audio_string, value.audio.content_type, step)
        elif kind == "tensor" or tag == HPARAMS_TAG:
            self.read_tensor(tag, value.metadata, _Tensor(value.tensor), step, event.wall_time)

    def read_tensor(self, tag: str, metadata: Any, tensor: Any, step: int, wall_time: float) -> None:
        """Report a value of TensorBoard's second format: a tensor, and the plug-in that shows it.

        Plug-ins other than those for scalars, histograms, images, audio, text and curves are passed over.

        Args:
            tag: its name.
            metadata: a ``SummaryMetadata``; later values of a tag may have an empty one.
            tensor: has ``texts()`` and ``array()``.
            step: its step.
            wall_time: seconds since 1970; 0 for now.
        """
        if tag == HPARAMS_TAG:
            self._read_hparams(metadata.plugin_data.content)
            return
        if tag == layouts.TAG:
            self.board.layout(self._folder, layouts.charts_of(tensor.texts()))
            return
        plugin = metadata.plugin_data.plugin_name
        if plugin:
            self._plugins[tag] = plugin
        else:
            plugin = self._plugins.get(tag, "")
        board, folder = self.board, self._folder
        if plugin == "scalars":
            self.scalar(tag, float(tensor.array().reshape(-1)[0]), step, wall_time)
        elif plugin == "histograms":
            bars = tensor.array()  # (n, 3): left, right, count
            if len(bars):
                board.histogram(folder, tag, [*bars[:, 0], bars[-1, 1]], bars[:, 2], step)
        elif plugin == "images":
            pictures = tensor.texts()[2:]  # the first two are width and height
            for number, data in enumerate(pictures):
                board.image(folder, f"{tag}/sample_{number}" if len(pictures) > 1 else tag, data, step)
        elif plugin == "audio":
            sounds = [data for data in tensor.texts() if data]  # with labels, which may be empty, in between
            for number, data in enumerate(sounds):
                board.audio(folder, f"{tag}/{number}" if len(sounds) > 1 else tag, data, "audio/wav", step)
        elif plugin == "text":
            board.text(folder, tag, tensor.texts(), step)
        elif plugin == "pr_curves":
            board.curve(folder, tag, metadata.display_name, tensor.array(), step)

    def _read_hparams(self, content: bytes) -> None:
        if not self._takes_hparams:
            return
        for name in _HPARAMS_MODULES:
            module: Any = sys.modules.get(name)
            if module is None:
                continue
            data = module.HParamsPluginData.FromString(content)
            found = {key: _plain(value) for key, value in data.session_start_info.hparams.items()}
            self.board.parameters(found)
            return


class _Tensor:
    """A tensor of an event as numbers or texts."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto

    def texts(self) -> list[bytes]:
        return list(self._proto.string_val)

    def array(self) -> Any:
        import numpy

        proto = self._proto
        kind = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}.get(int(proto.dtype))
        if kind is None:
            raise ValueError(f"a tensor of the type {int(proto.dtype)}")
        held = proto.float_val or proto.double_val or proto.int_val or proto.int64_val
        shape = [dim.size for dim in proto.tensor_shape.dim]
        flat = numpy.frombuffer(proto.tensor_content, kind) if proto.tensor_content else numpy.asarray(list(held), kind)
        return flat.reshape(shape) if flat.size != 1 or not shape else numpy.broadcast_to(flat, shape)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null_value":
        return None
    held: Any = getattr(value, kind)
    return int(held) if kind == "number_value" and float(held).is_integer() else held
