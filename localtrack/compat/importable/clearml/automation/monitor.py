"""Automation: not there yet."""

from localtrack.compat.unsupported import WATCHERS, unsupported_module

__getattr__ = unsupported_module(__name__, WATCHERS)
