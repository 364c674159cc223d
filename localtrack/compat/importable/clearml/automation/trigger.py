"""Triggers: not there yet."""

from localtrack.compat.unsupported import SCHEDULES, unsupported

TriggerScheduler = unsupported("TriggerScheduler", SCHEDULES)

__all__ = ["TriggerScheduler"]
