"""Models."""

try:
    from localtrack import InputModel, Model, OutputModel
except ImportError:
    from localtrack.compat.unsupported import MODELS, unsupported

    InputModel, Model, OutputModel = (unsupported(name, MODELS) for name in ("InputModel", "Model", "OutputModel"))

__all__ = ["InputModel", "Model", "OutputModel"]
