"""The server: there is none."""

from localtrack.compat.unsupported import SERVER, unsupported_module

__getattr__ = unsupported_module(__name__, SERVER)
