"""Automation: not there yet."""

from localtrack.compat.unsupported import PIPELINES, unsupported_module

__getattr__ = unsupported_module(__name__, PIPELINES)
