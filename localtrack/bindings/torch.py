"""PyTorch: files of ``torch.save``, ``torch.load``, TorchScript and ONNX export become models.

Source: https://clear.ml/docs/latest/docs/integrations/pytorch; torch.serialization.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("torch",)
PYTORCH = "PyTorch"


def install(ctx: BindingContext) -> Undo:
    """Bind ``torch``."""
    torch: Any = ctx.module
    tensor = torch.Tensor

    def is_model(thing: Any) -> bool:
        """A bare tensor is data that somebody keeps in a file."""
        return type(thing) is not tensor

    for owner in (torch, torch.serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f", wants=is_model)
        record_loads(ctx, owner, "load", PYTORCH, 0, "f", unwanted=tensor)
    for owner in (torch.jit, torch.jit._serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f")
        record_loads(ctx, owner, "load", PYTORCH, 0, "f")
    record_saves(ctx, torch.jit.RecursiveScriptModule, "save", PYTORCH, 1, "f")
    if "onnx" in vars(torch):
        record_saves(ctx, torch.onnx, "export", "ONNX", 2, "f")
    return ctx.patch.undo
