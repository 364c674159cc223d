"""PyTorch: files of ``torch.save``, ``torch.load``, TorchScript and ONNX export become models.

Source: https://clear.ml/docs/latest/docs/integrations/pytorch; torch.serialization.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

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

    for owner in (torch, torch.serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f", wants=is_model)
        record_loads(ctx, owner, "load", PYTORCH, 0, "f", unwanted=tensor)
    for owner in (torch.jit, torch.jit._serialization):
        record_saves(ctx, owner, "save", PYTORCH, 1, "f")
        record_loads(ctx, owner, "load", PYTORCH, 0, "f")
    record_saves(ctx, torch.jit.RecursiveScriptModule, "save", PYTORCH, 1, "f")
    return ctx.patch.undo


def _watch_exports(ctx: BindingContext, module: Any) -> None:
    """Record what ``export`` writes, and of a program that it returns what its ``save`` does."""
    for name in ("export", "export_compat"):
        if not ctx.patch.same_as_elsewhere(module, name):
            record_saves(ctx, module, name, ONNX, 2, "f")
    program = vars(module).get("ONNXProgram")
    if program is not None:
        record_saves(ctx, program, "save", ONNX, 1, "destination")
