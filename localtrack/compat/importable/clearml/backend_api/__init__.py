"""The server: there is none."""

from localtrack.compat.unsupported import SERVER, unsupported

browser_login = unsupported("browser_login", SERVER)
Session = unsupported("Session", SERVER)

__all__ = ["Session", "browser_login"]
