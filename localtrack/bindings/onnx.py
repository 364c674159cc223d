"""ONNX: saved and loaded models become models.

Source: onnx.save_model, onnx.load_model.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import argument_of, record_loads, record_saves, running_call

FRAMEWORK = "pytorch"
MODULES = ("onnx",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``onnx``, whose functions have two names each, and what they call where they were imported by name before."""
    save, load = argument_of(ctx.module.save_model, "f"), argument_of(ctx.module.load_model, "f")
    running = running_call(ctx.module.save_model)

    def data_of_running(path: str, _: Any) -> list[str]:
        frame = running()
        return [] if frame is None else data_of(path, frame.f_locals.get("proto"))

    record_saves(ctx, ctx.module, "_save_bytes", "ONNX", 1, "f", find=save, files=data_of_running)
    record_loads(ctx, ctx.module, "_load_bytes", "ONNX", 0, "f", find=load)
    for name in ("save", "save_model"):
        record_saves(ctx, ctx.module, name, "ONNX", 1, "f", files=data_of)
    for name in ("load", "load_model"):
        record_loads(ctx, ctx.module, name, "ONNX", 0, "f")
    return ctx.patch.undo


def data_of(path: str, model: Any) -> list[str]:
    """Return the files beside a model that hold its tensors, as its graph names them.

    Args:
        path: the model's file.
        model: what was saved: a ``ModelProto``, or its bytes.
    """
    onnx: Any = sys.modules["onnx"]
    proto = onnx.load_model_from_string(model) if isinstance(model, bytes) else model
    names = {
        item.value
        for tensor in onnx.external_data_helper._get_all_tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for item in tensor.external_data
        if item.key == "location"
    }
    folder = os.path.dirname(path)
    found = (os.path.normpath(os.path.join(folder, name)) for name in sorted(names))
    return [file for file in found if file.startswith(f"{folder}{os.sep}") and os.path.isfile(file)]
