"""Drivers of storage."""

from localtrack.compat.unsupported import FILES, unsupported_module

__getattr__ = unsupported_module(__name__, FILES)
