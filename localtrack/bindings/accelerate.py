"""accelerate: folders of ``save_state`` and ``save_model`` become models, each one with all that is in it.

Source: accelerate.Accelerator.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_folders, record_loads

FRAMEWORK = "pytorch"
MODULES = ("accelerate.accelerator",)
PYTORCH = "PyTorch"


def install(ctx: BindingContext) -> Undo:
    """Bind ``accelerate.accelerator``."""
    module: Any = ctx.module
    record_folders(ctx, module.Accelerator, "save_state", PYTORCH, _state, _models_of)
    record_folders(ctx, module.Accelerator, "save_model", PYTORCH, _target, _saved)
    record_loads(ctx, module.Accelerator, "load_state", PYTORCH, 1, "input_dir")
    return ctx.patch.undo


def _state(accelerator: Any, output_dir: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return where a state is saved; accelerate names the folder itself where it was told to."""
    if not accelerator.project_configuration.automatic_checkpoint_naming:
        return output_dir
    return os.path.join(accelerator.project_dir, "checkpoints", f"checkpoint_{accelerator.save_iteration}")


def _models_of(accelerator: Any, *args: Any, **kwargs: Any) -> Any:
    return accelerator._models


def _target(accelerator: Any, model: Any, save_directory: Any = None, *args: Any, **kwargs: Any) -> Any:
    return save_directory


def _saved(accelerator: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    return model
