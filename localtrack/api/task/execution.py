"""Section: queues and remote runs.

Source: ClearML's Task.enqueue, Task.dequeue, Task.running_locally.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError, UsageError
from localtrack.records.late import LateModule
from localtrack.runtime import current
from localtrack.runtime.ownership import agent_task
from localtrack.services import lifecycle
from localtrack.services.context import open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.runtime import remote
else:
    remote = LateModule("localtrack.runtime.remote")


class ExecutionSection(Section):
    """Where and when a task runs."""

    @classmethod
    def enqueue(
        cls,
        task: Task | str,
        queue_name: str | None = None,
        queue_id: str | None = None,
        force: bool = False,
        *,
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

    def execute_remotely(
        self, queue_name: str | None = None, clone: bool = False, exit_process: bool = True
    ) -> Task | None:
        """Go on in a queue: this process ends here, and an agent runs the script from its first line.

        Under an agent this does nothing. What was recorded so far, parameters above all, goes with the task.

        Args:
            queue_name: the queue; without one the task becomes a draft again and is not queued.
            clone: queue a copy, and keep this task as the record of this process.
            exit_process: end this process with code 0.

        Returns:
            None under an agent, else the queued task, where this process goes on.

        Raises:
            InvalidValueError: neither a copy nor an end; or a task of another process and no queue.
            QueueNotFoundError: no such queue; this process goes on.
        """
        going = remote.execute(self._ctx, self._id, queue_name, clone=clone, exit_process=exit_process)
        return None if going is None else self._other(going)

    def _other(self, task_id: str) -> Task:
        from localtrack.api.task import Task

        return Task._of_id(self._ctx, task_id)

    def create_function_task(
        self, func: Callable[..., Any], func_name: str | None = None, task_name: str | None = None, **kwargs: Any
    ) -> Task | None:
        """Return a draft that runs a function of this script; enqueue it, and an agent does.

        An agent runs the script from its first line up to this call, calls the function there with the stored
        arguments, and ends. All calls of this method in a script are met on the way; each must have its own name.

        Args:
            func: the function.
            func_name: its name among the function tasks of this script; the function's own without one.
            task_name: the draft's name; that of this task and the function without one.
            **kwargs: arguments of the call; those that are values can be changed in the draft, section ``Function``.

        Returns:
            The draft; None where an agent runs another function of this script.

        Raises:
            UsageError: this process does not run the task.
            InvalidValueError: no function, or its name was used already.
        """
        session = current.get()
        if session is None or session.task_id != self._id:
            raise UsageError(f"task {self._id} is not run by this process: Task.init first", task_id=self._id)
        name = str(func_name or getattr(func, "__name__", "")).strip()
        draft = remote.plan_function(session, func, name, task_name, kwargs)
        if draft is not None:
            return self._other(draft.id)
        if remote.function_asked_for(session) != name:
            return None
        values = remote.function_values(name, kwargs)
        connected = cast("Task", self).connect(values, remote.FUNCTION_SECTION)
        func(**{**kwargs, **{key: value for key, value in connected.items() if key != remote.FUNCTION_MARKER}})
        remote.leave()

    def launch_multi_node(
        self,
        total_num_nodes: int,
        port: int | None = 29500,
        queue: str | None = None,
        wait: bool = False,
        addr: str | None = None,
        devices: int | Sequence[int] | None = None,
        hide_children: bool = False,
    ) -> dict[str, Any]:
        """Run this script on several nodes: under an agent, copies of the task are queued for the others.

        ``MASTER_ADDR``, ``MASTER_PORT``, ``RANK``, ``NODE_RANK`` and ``WORLD_SIZE`` are set in each. Locally nothing
        is queued. The number of nodes and the queue are parameters, section ``launch_multi_node``.

        Args:
            total_num_nodes: with this one, the master, whose rank is 0.
            port: of the master.
            queue: for the other nodes; the one that the task came from without one.
            wait: wait until all nodes have started.
            addr: address of the master; found out without one.
            devices: how many a node has, or which; -1 asks torch. Ranks count devices then.
            hide_children: mark the other nodes' tasks as hidden.

        Returns:
            What this node was told: ``master_addr``, ``master_port``, ``node_rank``, ``total_num_nodes``, ...

        Raises:
            InvalidValueError: less than one node.
            UsageError: this process does not run the task, or the task came from no queue and none is named.
        """
        from localtrack.runtime import multi_node

        session = current.get()
        if session is None or session.task_id != self._id:
            raise UsageError(f"task {self._id} is not run by this process: Task.init first", task_id=self._id)
        if total_num_nodes < 1:
            raise InvalidValueError(f"launch_multi_node needs at least one node, not {total_num_nodes}")
        told = multi_node.node_of(session)
        asked = {"total_num_nodes": total_num_nodes, "queue": queue}
        values = {
            **multi_node.master_values(port, wait, addr, devices),
            **cast("Task", self).connect(asked, multi_node.SECTION),
        }
        if session.options.remote:
            if told is None:
                multi_node.queue_nodes(session, values, hide=hide_children)
            values = told or values
            multi_node.set_environment(values)
        return values

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
