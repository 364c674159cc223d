"""Callbacks around captured weights."""

from localtrack.runtime.weight_callbacks import WeightsFileHandler

__all__ = ["WeightsFileHandler"]
