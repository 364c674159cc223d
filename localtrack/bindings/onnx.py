"""ONNX: saved and loaded models become models.

Source: onnx.save_model, onnx.load_model.
"""

from __future__ import annotations

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import argument_of, record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("onnx",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``onnx``, whose functions have two names each, and what they call where they were imported by name before."""
    save, load = argument_of(ctx.module.save_model, "f"), argument_of(ctx.module.load_model, "f")
    record_saves(ctx, ctx.module, "_save_bytes", "ONNX", 1, "f", find=save)
    record_loads(ctx, ctx.module, "_load_bytes", "ONNX", 0, "f", find=load)
    for name in ("save", "save_model"):
        record_saves(ctx, ctx.module, name, "ONNX", 1, "f")
    for name in ("load", "load_model"):
        record_loads(ctx, ctx.module, name, "ONNX", 0, "f")
    return ctx.patch.undo
