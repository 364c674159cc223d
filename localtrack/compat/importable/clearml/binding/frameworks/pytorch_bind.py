"""PyTorch."""

from localtrack.compat.frameworks import PatchPyTorchModelIO

__all__ = ["PatchPyTorchModelIO"]
