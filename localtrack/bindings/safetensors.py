"""safetensors: files of tensors become models, whichever framework's they are.

Source: safetensors.torch, safetensors.numpy, safetensors.flax, safetensors.tensorflow.
"""

from __future__ import annotations

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("safetensors.torch", "safetensors.numpy", "safetensors.flax", "safetensors.tensorflow")
_NAMES = {"torch": "PyTorch", "numpy": "Numpy", "flax": "Flax", "tensorflow": "TensorFlow"}


def install(ctx: BindingContext) -> Undo:
    """Bind one of its modules."""
    framework = _NAMES[ctx.module.__name__.rpartition(".")[2]]
    record_saves(ctx, ctx.module, "save_file", framework, 1, "filename")
    record_loads(ctx, ctx.module, "load_file", framework, 0, "filename")
    if framework == "PyTorch":
        record_saves(ctx, ctx.module, "save_model", framework, 1, "filename")
        record_loads(ctx, ctx.module, "load_model", framework, 1, "filename")
    return ctx.patch.undo
