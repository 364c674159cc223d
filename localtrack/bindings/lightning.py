"""Lightning and Fabric: checkpoints become models, also where they are written through a buffer or to a remote place.

Source: lightning_fabric's TorchCheckpointIO, through which the trainer's first rank writes every checkpoint.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves
from localtrack.bindings.torch import PYTORCH

FRAMEWORK = "pytorch"
MODULES = ("lightning_fabric.plugins.io.torch_io", "lightning.fabric.plugins.io.torch_io")


def install(ctx: BindingContext) -> Undo:
    """Bind Fabric's checkpoint plugin, in the package of either name."""
    plugin: Any = ctx.module
    record_saves(ctx, plugin.TorchCheckpointIO, "save_checkpoint", PYTORCH, 2, "path", thing=1)
    record_loads(ctx, plugin.TorchCheckpointIO, "load_checkpoint", PYTORCH, 1, "path")
    return ctx.patch.undo
