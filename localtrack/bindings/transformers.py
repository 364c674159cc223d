"""transformers: folders of ``save_pretrained`` become output models, what ``from_pretrained`` takes becomes an input model.

A model of the hub is recorded by its address there.

Source: transformers.PreTrainedModel; the trainer saves through it.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pytorch"
MODULES = ("transformers.modeling_utils",)
HUB = "https://huggingface.co/"


def install(ctx: BindingContext) -> Undo:
    """Bind ``transformers.modeling_utils``."""
    module: Any = ctx.module
    record_saves(ctx, module.PreTrainedModel, "save_pretrained", "PyTorch", 1, "save_directory")
    record_loads(
        ctx, module.PreTrainedModel, "from_pretrained", "PyTorch", 1, "pretrained_model_name_or_path", find=source_of
    )
    return ctx.patch.undo


def source_of(name: Any) -> str | None:
    """Return the folder of a local model, or the address of one on the hub."""
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else ""
    if not text:
        return None
    return os.path.abspath(text) if os.path.exists(text) else f"{HUB}{text}"
