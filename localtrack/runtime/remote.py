"""A run that goes on elsewhere: the task of this process, a copy of it, or a function of its script, in a queue.

Source: ClearML's Task.execute_remotely and create_function_task, measured.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

from localtrack.errors import InvalidValueError, UsageError
from localtrack.records.parameters import Entry, entry, value_of
from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.records.values import UnstorableValueError, encode
from localtrack.runtime import current
from localtrack.runtime.exits import Outcome
from localtrack.runtime.own_words import say
from localtrack.runtime.ownership import OWNER
from localtrack.runtime.session import Session
from localtrack.services import lifecycle, parameters, tasks
from localtrack.services.context import StoreContext

FUNCTION_SECTION = "Function"
FUNCTION_MARKER = "__func_readonly__"
FUNCTION_TAG = "func"


def execute(ctx: StoreContext, task_id: str, queue_name: str | None, *, clone: bool, exit_process: bool) -> str | None:
    """Let a task go on in a queue; see :meth:`ExecutionSection.execute_remotely`.

    Returns:
        Id of the task that was queued; None under an agent.

    Raises:
        InvalidValueError: neither a copy nor an end; or a task of another process and no queue.
        UsageError: this process is a child of the one that runs the task.
        QueueNotFoundError: no such queue; this process goes on.
    """
    session = current.get()
    if session is None or session.task_id != task_id:
        return _enqueue_other(ctx, task_id, queue_name, clone)
    if session.options.remote:
        return None
    if session.follows:
        _follow_away(session, exit_process)
        return None
    if session.role != OWNER:
        raise UsageError(
            f"task {task_id} is run by the parent of this process: that calls execute_remotely", task_id=task_id
        )
    if not clone and not exit_process:
        raise InvalidValueError("execute_remotely: a task that goes on elsewhere must end here; clone=True keeps both")
    if queue_name and queue_name != lifecycle.DEFAULT_QUEUE:
        session.ctx.queues.get(queue_name)  # while the run still goes on
    session.finish_captures()
    going = _send_copy(session, queue_name) if clone else _hand_over(session, queue_name)
    if exit_process:
        leave()
    return going


def _follow_away(session: Session, exit_process: bool) -> None:
    """On a rank other than zero: rank zero sends the task on, the others end as it does."""
    if exit_process:
        session.close()
        leave()


def _enqueue_other(ctx: StoreContext, task_id: str, queue_name: str | None, clone: bool) -> str:
    """Queue a task that this process does not run, as ClearML does."""
    if not queue_name:
        raise InvalidValueError(f"task {task_id} is not run by this process: execute_remotely needs a queue_name")
    going = tasks.clone(ctx, task_id).id if clone else task_id
    lifecycle.enqueue(ctx, going, queue_name)
    return going


def _hand_over(session: Session, queue_name: str | None) -> str:
    """End this process's run and queue its task; what was reported up to now stays. Without a queue: a draft again."""
    session.close(Outcome("stopped", 0, message=f"goes on in queue {queue_name}", reason="execute remotely"))
    if queue_name:
        lifecycle.enqueue(session.ctx, session.task_id, queue_name)
    else:
        lifecycle.reset(session.ctx, session.task_id)
        tasks.edit(session.ctx, session.task_id, lifecycle.without_development, "execute remotely")
    where = f"goes on in queue {queue_name}" if queue_name else "is a draft now"
    say(f"task {session.task_id} {where}; this process ends")
    return session.task_id


def _send_copy(session: Session, queue_name: str | None) -> str:
    """Queue a copy of the running task, or only make it."""
    copy = tasks.clone(session.ctx, session.task_id)
    if queue_name:
        lifecycle.enqueue(session.ctx, copy.id, queue_name)
    say(
        f"task {copy.id}, a copy of {session.task_id}, {f'goes on in queue {queue_name}' if queue_name else 'is a draft'}"
    )
    return copy.id


def leave() -> NoReturn:
    """End this process with code 0; from a thread as well."""
    if threading.current_thread() is threading.main_thread():
        sys.exit(0)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)


def function_values(function_name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a call is kept as parameters: its name, and the arguments that can be edited later."""
    kept = {name: value for name, value in arguments.items() if _is_storable(value)}
    return {**kept, FUNCTION_MARKER: function_name}


def _is_storable(value: Any) -> bool:
    try:
        encode(value)
    except (UnstorableValueError, RecursionError):
        return False
    return True


def plan_function(
    session: Session, function: Any, name: str, task_name: str | None, arguments: Mapping[str, Any]
) -> TaskRecord | None:
    """Return a draft that runs this script up to where it calls the function, and then that.

    Returns:
        The draft; None where an agent runs this script for a function: then nothing is to be made.

    Raises:
        InvalidValueError: no function, or its name was used already.
    """
    if not callable(function) or not name:
        raise InvalidValueError(f"create_function_task needs a function, not {function!r:.80}")
    if name in session.function_tasks:
        raise InvalidValueError(f"a function task {name!r} was made already: give func_name, to tell them apart")
    session.function_tasks.add(name)
    if function_asked_for(session):
        return None
    session.finish_captures()
    source = tasks.read(session.ctx, session.task_id, session.writer.folder)
    title = task_name or f"{source.name} <{name}>"
    copy = tasks.clone(session.ctx, session.task_id, name=title, parent=session.task_id)
    values = function_values(name, arguments)
    entries: dict[str, Entry] = {f"{FUNCTION_SECTION}/{key}": entry(value) for key, value in values.items()}

    def mark(record: TaskRecord) -> TaskRecord:
        tags = tuple(dict.fromkeys((*record.system_tags, FUNCTION_TAG)))
        return replace(parameters.merged(record, entries), system_tags=tags)

    return tasks.edit(session.ctx, copy.id, mark, "function task")


def function_asked_for(session: Session) -> str:
    """Return the name of the function that an agent runs this script for; ``""`` for the script itself."""
    if not session.options.remote:
        return ""
    stored = session.record_at_start.parameters.get(f"{FUNCTION_SECTION}/{FUNCTION_MARKER}")
    return "" if stored is None else str(value_of(stored))
