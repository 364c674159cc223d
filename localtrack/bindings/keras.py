"""Keras 3: saved and loaded models and weights, also those of ``tf.keras`` and of its callbacks.

Source: https://clear.ml/docs/latest/docs/integrations/keras; keras.src.saving.saving_api, which ``Model.save`` calls.
"""

from __future__ import annotations

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "tensorflow"
MODULES = ("keras.src.saving.saving_api", "keras.saving", "keras.models")
KERAS = "Keras"


def install(ctx: BindingContext) -> Undo:
    """Bind the module that saves, or one that passes its functions on."""
    record_saves(ctx, ctx.module, "save_model", KERAS, 1, "filepath")
    record_saves(ctx, ctx.module, "save_weights", KERAS, 1, "filepath")
    record_loads(ctx, ctx.module, "load_model", KERAS, 0, "filepath")
    record_loads(ctx, ctx.module, "load_weights", KERAS, 1, "filepath")
    return ctx.patch.undo
