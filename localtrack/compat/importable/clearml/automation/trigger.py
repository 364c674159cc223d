"""Automation: not there yet."""

from localtrack.compat.unsupported import SCHEDULES, unsupported_module

__getattr__ = unsupported_module(__name__, SCHEDULES)
