"""PyTorch: files of ``torch.save``, ``torch.load``, TorchScript and ONNX export become models.

Source: https://clear.ml/docs/latest/docs/integrations/pytorch; torch.serialization.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_files import ModelFiles, is_wanted, path_of
from localtrack.bindings.model_hooks import argument_of, files_of, is_seen, record_loads, record_saves, running_call

FRAMEWORK = "pytorch"
#: ``torch.onnx`` is imported when it is first used; below it is what an ``export`` that was imported by name calls.
MODULES = (
    "torch", "torch.onnx", "torch.onnx.utils",
    "torch.onnx._internal.torchscript_exporter.utils", "torch.onnx._internal.exporter._compat",
)  # fmt: skip
PYTORCH, ONNX = "PyTorch", "ONNX"


def install(ctx: BindingContext) -> Undo:
    """Bind ``torch``, or one of the modules that export to ONNX."""
    torch: Any = ctx.module
    if torch.__name__ != "torch":
        _watch_exports(ctx, torch)
        return ctx.patch.undo
    tensor = torch.Tensor

    def is_model(thing: Any) -> bool:
        """A bare tensor is data that somebody keeps in a file."""
        return type(thing) is not tensor

    _watch_named(ctx, torch, is_model)
    for owner in (torch, torch.serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f", wants=is_model)
        record_loads(ctx, owner, "load", PYTORCH, 0, "f", unwanted=tensor)
    for owner in (torch.jit, torch.jit._serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f")
        record_loads(ctx, owner, "load", PYTORCH, 0, "f")
    record_saves(ctx, torch.jit.RecursiveScriptModule, "save", PYTORCH, 1, "f")
    return ctx.patch.undo


def _watch_named(ctx: BindingContext, torch: Any, is_model: Callable[[Any], bool]) -> None:
    """Watch what functions call that the script imported by name before: they can't be replaced themselves."""
    serialization, scripts = torch.serialization, torch.jit._serialization
    for name in ("_load", "_legacy_load"):
        find = argument_of(serialization.load, "f")
        record_loads(ctx, serialization, name, PYTORCH, 0, "", find=find, unwanted=torch.Tensor)
    record_loads(ctx, scripts, "wrap_cpp_module", PYTORCH, 0, "", find=argument_of(scripts.load, "f"))
    record_saves(ctx, serialization, "_legacy_save", PYTORCH, 1, "f", wants=is_model)
    running = running_call(serialization.save)

    def opened(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        writer = call(*args, **kwargs)
        frame = running() if is_seen() else None
        if frame is None:
            return writer
        thing, target = frame.f_locals.get("obj"), frame.f_locals.get("f")
        path = path_of(target) if is_model(thing) else None
        files = files_of(ctx) if path is not None else None
        if files is None or path is None or not is_wanted(ctx, files.session, path):
            return writer
        return _saving(files, path, thing, writer, getattr(target, "flush", None))

    ctx.patch.around(serialization, "_open_zipfile_writer", opened)


@contextmanager
def _saving(files: ModelFiles, path: str, thing: Any, writer: Any, flush: Any) -> Iterator[Any]:
    """Be the writer of a file that is recorded when it is closed."""
    with files.saving(path, PYTORCH, thing):
        with writer as opened:
            yield opened
        if callable(flush):
            flush()


def _watch_exports(ctx: BindingContext, module: Any) -> None:
    """Record what ``export`` writes, and of a program that it returns what its ``save`` does."""
    for name in ("export", "export_compat"):
        if not ctx.patch.same_as_elsewhere(module, name):
            record_saves(ctx, module, name, ONNX, 2, "f", files=_data_of)
    program = vars(module).get("ONNXProgram")
    if program is not None:
        record_saves(ctx, program, "save", ONNX, 1, "destination", files=_data_of)


def _data_of(path: str, _: Any) -> list[str]:
    """Return the file beside an exported model that holds its weights; one that the model does not name is older."""
    data = f"{path}.data"
    if not os.path.isfile(data):
        return []
    with open(path, "rb") as file:
        return [data] if os.fsencode(os.path.basename(data)) in file.read() else []
