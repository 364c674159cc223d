"""Where the program runs."""

from localtrack.api.task import Task


def running_remotely():
    """Return whether an agent runs this process."""
    return not Task.running_locally()


__all__ = ["running_remotely"]
