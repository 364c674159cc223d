"""The server: there is none."""

from localtrack.compat.unsupported import SERVER, unsupported

Session = unsupported("Session", SERVER)

__all__ = ["Session"]
