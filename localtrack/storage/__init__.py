"""Files by URL, under the module's name that ClearML has."""

from localtrack.api.storage import StorageManager

__all__ = ["StorageManager"]
