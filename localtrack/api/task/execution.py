"""Section: queues and remote runs.

Source: ClearML's Task.enqueue, Task.dequeue, Task.running_locally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError
from localtrack.runtime.session import agent_task
from localtrack.services import lifecycle
from localtrack.services.context import open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task


class ExecutionSection(Section):
    """Where and when a task runs."""

    @classmethod
    def enqueue(
        cls,
        task: Task | str,
        queue_name: str | None = None,
        queue_id: str | None = None,
        force: bool = False,
        priority: int = 0,
    ) -> bool:
        """Put a task into a queue, from which an agent takes it.

        Args:
            task: the task or its id.
            queue_name: the queue.
            queue_id: the same; a queue's name is its id here.
            force: reset a completed task first; what it produced goes to the trash.
            priority: higher ones are taken first.

        Returns:
            True.

        Raises:
            InvalidValueError: neither or both of name and id.
            QueueNotFoundError: no such queue; the message lists those that exist.
            IllegalTransitionError: the task runs, or is completed and ``force`` is not given.
        """
        if (queue_name is None) == (queue_id is None):
            raise InvalidValueError("Task.enqueue needs queue_name or queue_id, one of them")
        task_id = task if isinstance(task, str) else task._id
        lifecycle.enqueue(open_context(), task_id, str(queue_name or queue_id), priority=priority, force=force)
        return True

    @classmethod
    def dequeue(cls, task: Task | str) -> bool:
        """Take a task out of its queue; it is again what it was before.

        Returns:
            True.

        Raises:
            UsageError: it is not queued.
        """
        lifecycle.dequeue(open_context(), task if isinstance(task, str) else task._id)
        return True

    @classmethod
    def get_num_enqueued_tasks(cls, queue_name: str | None = None, queue_id: str | None = None) -> int:
        """Return how many tasks wait in a queue.

        Raises:
            QueueNotFoundError: no such queue.
        """
        return open_context().queues.get(str(queue_name or queue_id)).count()

    def get_executed_queue(self, return_name: bool = False) -> str | None:
        """Return the queue that the task was put into last; None when it never was."""
        return self._read().runtime.get("queue")

    @classmethod
    def running_locally(cls) -> bool:
        """Tell whether this process is an ordinary run, not one that an agent started."""
        return not agent_task()

    @property
    def attempt(self) -> int:
        """How many times the task was run."""
        return self._read().attempt

    @property
    def exit_info(self) -> dict[str, Any]:
        """How the last run ended: ``code``, ``signal``, ``failure_class``."""
        return dict(self._read().exit)
