"""transformers: folders of ``save_pretrained`` become output models, what ``from_pretrained`` takes becomes an input model.

A checkpoint of its trainer is one model: its whole folder, with all that the trainer writes there after the weights.
A model of the hub is recorded by its address there.

Source: transformers.PreTrainedModel; transformers.Trainer, ``_save_checkpoint`` and ``save_model``, the same in 4 and 5.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_folders, record_loads, record_saves
from localtrack.runtime import explicit

FRAMEWORK = "pytorch"
MODULES = ("transformers.modeling_utils", "transformers.trainer")
PYTORCH = "PyTorch"
HUB = "https://huggingface.co/"


def install(ctx: BindingContext) -> Undo:
    """Bind ``transformers.modeling_utils``, or ``transformers.trainer``."""
    module: Any = ctx.module
    if module.__name__ == "transformers.trainer":
        record_folders(ctx, module.Trainer, "_save_checkpoint", PYTORCH, _checkpoint, _model_of)
        record_folders(ctx, module.Trainer, "save_model", PYTORCH, _target, _model_of)
        return ctx.patch.undo
    record_saves(ctx, module.PreTrainedModel, "save_pretrained", PYTORCH, 1, "save_directory")
    record_loads(
        ctx, module.PreTrainedModel, "from_pretrained", PYTORCH, 1, "pretrained_model_name_or_path", find=source_of
    )
    return ctx.patch.undo


def source_of(name: Any) -> str | None:
    """Return the folder of a local model, or the address of one on the hub."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""
    if not text:
        return None
    return os.path.abspath(text) if os.path.exists(text) else f"{HUB}{text}"


def _checkpoint(trainer: Any, model: Any, trial: Any = None, *args: Any, **kwargs: Any) -> str | None:
    """Return the folder of a checkpoint; None where the training's integration records its checkpoints."""
    if explicit.is_taken(explicit.MODELS):
        return None
    return os.path.join(trainer._get_output_dir(trial=trial), f"checkpoint-{trainer.state.global_step}")


def _target(trainer: Any, output_dir: Any = None, *args: Any, **kwargs: Any) -> Any:
    return trainer.args.output_dir if output_dir is None else output_dir


def _model_of(trainer: Any, *args: Any, **kwargs: Any) -> Any:
    return trainer.model
