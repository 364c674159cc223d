"""The server: there is none."""

from localtrack.compat.unsupported import SERVER, unsupported

APIClient = unsupported("APIClient", SERVER)

__all__ = ["APIClient"]
