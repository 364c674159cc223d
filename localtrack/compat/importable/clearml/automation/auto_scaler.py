"""Automation: not there yet."""

from localtrack.compat.unsupported import CLOUD, unsupported_module

__getattr__ = unsupported_module(__name__, CLOUD)
