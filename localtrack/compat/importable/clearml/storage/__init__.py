"""Files by URL."""

from localtrack.api.storage import StorageManager

__all__ = ["StorageManager"]
