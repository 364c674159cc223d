"""Models."""

from localtrack import InputModel, Model, OutputModel

__all__ = ["InputModel", "Model", "OutputModel"]
