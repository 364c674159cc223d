"""Schedules: not there yet."""

from localtrack.compat.unsupported import SCHEDULES, unsupported

TaskScheduler = unsupported("TaskScheduler", SCHEDULES)

__all__ = ["TaskScheduler"]
