"""What starts tasks when something happens: that of localtrack."""

from localtrack.automation.trigger import (  # noqa: F401
    BaseTrigger,
    DatasetTrigger,
    ModelTrigger,
    TaskTrigger,
    TriggerScheduler,
)
