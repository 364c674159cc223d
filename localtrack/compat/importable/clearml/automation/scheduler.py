"""What starts tasks at given times: that of localtrack."""

from localtrack.automation.scheduler import (  # noqa: F401
    BaseScheduleJob,
    BaseScheduler,
    ExecutedJob,
    ScheduleJob,
    TaskScheduler,
)
