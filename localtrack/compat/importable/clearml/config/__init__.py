"""Where the program runs."""

from localtrack.config import running_remotely

__all__ = ["running_remotely"]
