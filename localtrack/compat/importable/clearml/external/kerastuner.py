"""Keras Tuner: not there yet."""

from localtrack.compat.unsupported import REPORTERS, unsupported_module

__getattr__ = unsupported_module(__name__, REPORTERS)
