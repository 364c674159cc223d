"""TensorFlow: saved models and checkpoints become models.

Source: https://clear.ml/docs/latest/docs/integrations/tensorflow; tf.saved_model, tf.train.Checkpoint.
"""

from __future__ import annotations

import glob
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_files import path_of
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "tensorflow"
MODULES = (
    "tensorflow.python.saved_model.save", "tensorflow.python.saved_model.load",
    "tensorflow.python.checkpoint.checkpoint",
)  # fmt: skip
TENSORFLOW = "TensorFlow"


def install(ctx: BindingContext) -> Undo:
    """Bind one of its modules."""
    module: Any = ctx.module
    name = module.__name__.rpartition(".")[2]
    if name == "save":
        record_saves(ctx, module, "save_and_return_nodes", TENSORFLOW, 1, "export_dir")
    elif name == "load":
        record_loads(ctx, module, "load_partial", TENSORFLOW, 0, "export_dir")
    else:
        for kind in (module.Checkpoint, module.CheckpointV1):
            record_saves(ctx, kind, "_write", TENSORFLOW, 1, "file_prefix", find=index_of, files=_data_of)
            record_loads(ctx, kind, "read", TENSORFLOW, 1, "save_path", find=index_of)
    return ctx.patch.undo


def index_of(prefix: Any) -> str | None:
    """Return the one file that every checkpoint has: its index."""
    path = path_of(prefix)
    return None if path is None else f"{path}.index"


def _data_of(index: str, _: Any) -> list[str]:
    """Return the files that hold a checkpoint's values."""
    return sorted(glob.glob(f"{glob.escape(index.removesuffix('.index'))}.data-*"))
