"""Tasks that another program starts: those of localtrack."""

from localtrack.automation.job import BaseJob, ClearmlJob, LocalClearmlJob, RunningJob, TrainsJob  # noqa: F401
