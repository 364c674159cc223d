"""ONNX: saved and loaded models become models.

Source: onnx.save_model, onnx.load_model.
"""

from __future__ import annotations

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("onnx",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``onnx``, whose functions have two names each."""
    for name in ("save", "save_model"):
        record_saves(ctx, ctx.module, name, "ONNX", 1, "f")
    for name in ("load", "load_model"):
        record_loads(ctx, ctx.module, name, "ONNX", 0, "f")
    return ctx.patch.undo
