"""Callbacks around captured weights."""

from clearml.binding.frameworks import pytorch_bind, tensorflow_bind
from localtrack.runtime.weight_callbacks import WeightsFileHandler

__all__ = ["WeightsFileHandler", "pytorch_bind", "tensorflow_bind"]
