"""safetensors: files of tensors become models, whichever framework's they are.

Source: safetensors.torch, safetensors.numpy, safetensors.flax, safetensors.tensorflow.
"""

from __future__ import annotations

import sys
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("safetensors.torch", "safetensors.numpy", "safetensors.flax", "safetensors.tensorflow")
_NAMES = {"torch": "PyTorch", "numpy": "Numpy", "flax": "Flax", "tensorflow": "TensorFlow"}


def install(ctx: BindingContext) -> Undo:
    """Bind one of its modules, and what its functions call where they were imported by name before."""
    framework = _NAMES[ctx.module.__name__.rpartition(".")[2]]
    saved = _saved_through_numpy if framework == "Numpy" else framework
    record_saves(ctx, ctx.module, "save_file", saved, 1, "filename")
    record_saves(ctx, ctx.module, "serialize_file", saved, 1, "filename")
    for name in ("load_file", "safe_open"):
        record_loads(ctx, ctx.module, name, framework, 0, "filename")
    if framework == "PyTorch":
        record_saves(ctx, ctx.module, "save_model", framework, 1, "filename")
        record_loads(ctx, ctx.module, "load_model", framework, 1, "filename")
    return ctx.patch.undo


def _saved_through_numpy(_: Any) -> str:
    """Return whose tensors are being saved: the modules for flax and TensorFlow do it through the one for numpy."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        package, _dot, module = str(frame.f_globals.get("__name__")).rpartition(".")
        if package == "safetensors" and module != "numpy":
            return _NAMES.get(module, "Numpy")
        frame = frame.f_back
    return "Numpy"
