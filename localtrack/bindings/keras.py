"""Keras 3: saved and loaded models and weights, also those of ``tf.keras`` and of its callbacks.

Source: https://clear.ml/docs/latest/docs/integrations/keras; keras.src.saving.saving_api, which ``Model.save`` calls.
"""

from __future__ import annotations

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "tensorflow"
MODULES = (
    "keras.src.saving.saving_api", "keras.saving", "keras.models",
    "keras.src.saving.saving_lib", "keras.src.legacy.saving.legacy_h5_format",
)  # fmt: skip
KERAS = "Keras"


def install(ctx: BindingContext) -> Undo:
    """Bind the module that saves, one that passes its functions on, or what those call that were imported by name before."""
    for name in ("save_model", "save_weights", "save_weights_only", "save_model_to_hdf5"):
        record_saves(ctx, ctx.module, name, KERAS, 1, "filepath")
    for name in ("load_model", "load_model_from_hdf5"):
        record_loads(ctx, ctx.module, name, KERAS, 0, "filepath")
    for name in ("load_weights", "load_weights_only"):
        record_loads(ctx, ctx.module, name, KERAS, 1, "filepath")
    return ctx.patch.undo
