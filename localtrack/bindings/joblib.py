"""joblib: dumped and loaded objects become models; arrays, caches and what workers hand to each other do not.

Source: https://clear.ml/docs/latest/docs/integrations/scikit_learn; joblib.numpy_pickle.
"""

from __future__ import annotations

import os
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_files import path_of
from localtrack.bindings.model_hooks import argument_of, record_loads, record_saves

FRAMEWORK = ("joblib", "scikit")
MODULES = ("joblib.numpy_pickle", "joblib")
_FRAMEWORKS = {
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "torch": "PyTorch",
    "keras": "Keras",
}


def install(ctx: BindingContext) -> Undo:
    """Bind ``joblib.dump``, and in ``joblib.numpy_pickle`` what a ``dump`` that was imported by name before calls."""
    module: Any = ctx.module
    record_saves(ctx, module, "dump", framework_of, 1, "filename", find=_path, wants=is_model)
    if module.__name__ == "joblib":
        return ctx.patch.undo
    find_target = argument_of(module.dump, "filename", _path)  # which its pickler does not always know
    record_saves(ctx, module.NumpyPickler, "dump", framework_of, 0, "self", thing=1, find=find_target, wants=is_model)
    position = 2 if "ensure_native_byte_order" in module._unpickle.__code__.co_varnames else 1
    record_loads(ctx, module, "_unpickle", framework_of, position, "filename", find=_path, wants=is_model)
    return ctx.patch.undo


def framework_of(thing: Any) -> str:
    """Return ClearML's name of the framework that an object is of; scikit-learn's where it is none's."""
    for kind in type(thing).__mro__:
        package = str(kind.__module__).partition(".")[0]
        if package in _FRAMEWORKS:
            return _FRAMEWORKS[package]
    return "ScikitLearn"


def is_model(thing: Any) -> bool:
    """Tell whether an object may be a model: not a bare array or table, text or number."""
    return type(thing).__module__.partition(".")[0] not in ("numpy", "pandas", "builtins", "joblib") or isinstance(
        thing, (dict, list, tuple)
    )


def _path(target: Any) -> str | None:
    path = path_of(target) if target else None
    if path is None or os.path.basename(path).startswith("output.pkl") or "joblib_memmapping_folder" in path:
        return None
    return path
