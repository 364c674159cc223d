"""This process as if an agent had started it for a task.

Source: ClearML's Task.debug_simulate_remote_task.
"""

from __future__ import annotations

import os

from localtrack.config import TASK_VARIABLE
from localtrack.errors import UsageError
from localtrack.records.status import Status
from localtrack.runtime import current
from localtrack.runtime.ownership import agent_task
from localtrack.services import lifecycle, tasks
from localtrack.services.context import StoreContext


def adopt(ctx: StoreContext, task_id: str, *, reset: bool) -> None:
    """Let the next ``Task.init`` of this process run a stored task with its stored inputs.

    Does nothing where an agent did start this process.

    Raises:
        TaskNotFoundError: no such task.
        UsageError: this process runs a task already, or another one runs that task.
    """
    if agent_task():
        return
    if current.get() is not None:
        raise UsageError("debug_simulate_remote_task must come before Task.init: this process runs a task already")
    found = tasks.resolve(ctx, task_id)
    state = tasks.read(ctx, found).state
    if state in (Status.IN_PROGRESS, Status.PUBLISHED):
        raise UsageError(f"task {found} is {state.value}: clone it and simulate the clone", task_id=found)
    if reset:
        lifecycle.reset(ctx, found)
    from localtrack.runtime.arguments import install_early  # imports argparse

    os.environ[TASK_VARIABLE] = found
    install_early(found)
