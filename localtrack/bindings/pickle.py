"""pickle: estimators that ``pickle.dump`` writes and ``pickle.load`` reads become models, when asked for.

``auto_connect_frameworks={"pickle": True}``, or wildcards, asks for it; only objects with ``fit`` or ``predict`` count.

Source: the Python library reference, pickle.
"""

from __future__ import annotations

from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.joblib import framework_of
from localtrack.bindings.model_hooks import record_loads, record_saves

FRAMEWORK = "pickle"
MODULES = ("pickle",)


def install(ctx: BindingContext) -> Undo:
    """Bind ``pickle``."""
    record_saves(ctx, ctx.module, "dump", framework_of, 1, "file", wants=is_estimator)
    record_loads(ctx, ctx.module, "load", framework_of, 0, "file", wants=is_estimator)
    return ctx.patch.undo


def is_estimator(thing: Any) -> bool:
    """Tell whether an object can be fitted or asked."""
    return hasattr(thing, "predict") or hasattr(thing, "fit")
