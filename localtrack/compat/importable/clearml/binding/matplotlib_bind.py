"""Matplotlib."""

from localtrack.compat.frameworks import PatchedMatplotlib

__all__ = ["PatchedMatplotlib"]
