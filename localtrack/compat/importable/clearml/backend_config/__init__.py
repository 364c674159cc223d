"""The file clearml.conf: localtrack has settings of its own."""

from localtrack.compat.unsupported import SETTINGS, unsupported_module

__getattr__ = unsupported_module(__name__, SETTINGS)
