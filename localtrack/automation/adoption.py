"""A search that goes on after its process ended: what it started lies in the store, and is taken up from there.

The task of the search keeps the run's id, each job the same id and what was varied. So a search that was killed between
two writes loses nothing and starts nothing twice, and needs no file of its own.

Source: docs/how-to/optimize.md, "Going on after an end".
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import QUEUE_PREFIX, BaseJob, ClearmlJob, RunningJob, is_in_a_queue
from localtrack.automation.strategy import LOG, RUN_KEY, SearchStrategy
from localtrack.errors import LocaltrackError, UsageError
from localtrack.fs.disk import list_names
from localtrack.queue.claims import DEQUEUE
from localtrack.records.ids import new_sortable_id
from localtrack.records.parameters import full_name
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, parameters, tasks
from localtrack.services.context import StoreContext, current_user, host_name
from localtrack.services.search import Search, find
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.api.task import Task

CUT_SHORT = ("agent stopped", "SIGTERM", "SIGHUP")


def open_run(task: Task | None) -> tuple[str, bool]:
    """Return the id of the search that a task runs, and whether it goes on; a task that was reset starts anew."""
    fresh = new_sortable_id()
    if task is None:
        return fresh, False
    known = (task._read().runtime.get(RUN_KEY) or {}).get("run")
    if known:
        return str(known), True
    task._edit(
        lambda record: replace(record, runtime={**record.runtime, RUN_KEY: {"run": fresh}}), "search", checked=False
    )
    return fresh, False


def adopt_jobs(ctx: StoreContext, strategy: SearchStrategy, parent: str) -> int:
    """Give a search all that its earlier process started.

    A job whose process was ended together with the search is left out: what it tried is tried again.

    Returns:
        How many jobs were taken up.
    """
    count = 0
    rows = sorted(find(ctx, Search(task_filter={"parent": parent})), key=lambda row: row.created)
    for row in rows:
        mark = row.runtime.get(RUN_KEY)
        if not isinstance(mark, dict) or mark.get("run") != strategy.run_id or not mark.get("names"):
            continue
        record = tasks.read(ctx, row.id)
        if _is_cut_short(ctx, record):
            LOG.info("job %s was cut short with the search before: what it tried is tried again", record.id)
            _drop_queue(ctx, record)
            continue
        if record.state is Status.QUEUED and (_is_for_its_agent(record) or not is_in_a_queue(ctx, record.id)):
            record = _taken_back(ctx, record)
        is_draft = record.state is Status.CREATED
        values = parameters.as_values(record)
        varied = {str(name): values.get(full_name(str(name))) for name in mark["names"]}
        strategy.adopt(_job_of(record, strategy), varied, mark, is_draft=is_draft)
        count += 1
    if count:
        LOG.info("the search goes on with %d jobs from before", count)
    return count


def _is_cut_short(ctx: StoreContext, record: TaskRecord) -> bool:
    """Tell whether a job ended with the search, or with its machine, and not because anybody asked for it."""
    if record.state is Status.FAILED:
        return record.exit.get("failure_class") == "lost" and not is_in_a_queue(ctx, record.id)
    if record.state is not Status.STOPPED or record.status_reason not in CUT_SHORT:
        return False
    return not list_names(TaskLayout(tasks.folder_of(ctx, record.id)).requests)


def _is_for_its_agent(record: TaskRecord) -> bool:
    """Tell whether a queued job waits for an agent that ended with the search."""
    return str(record.runtime.get("queue", "")).startswith(QUEUE_PREFIX)


def _taken_back(ctx: StoreContext, record: TaskRecord) -> TaskRecord:
    """Return a job that nobody would run as a draft again; as it is now where somebody has run it meanwhile."""
    try:
        changed = lifecycle.dequeue(ctx, record.id)
    except UsageError:
        return tasks.read(ctx, record.id)
    _drop_queue(ctx, record)
    return changed


def _drop_queue(ctx: StoreContext, record: TaskRecord) -> None:
    """Remove the queue of an agent that is dead: nobody else ever took tasks from it, so its claim is taken over."""
    name = str(record.runtime.get("queue", ""))
    if not name.startswith(QUEUE_PREFIX) or name not in ctx.queues.names():
        return
    try:
        queue = ctx.queues.get(name)
        owner = {"user": current_user(), "host": host_name(), "pid": os.getpid()}
        for ref in queue.entries():
            number = queue.claims.list().highest(ref.name) + 1
            claim = queue.claims.take(ref.name, number, agent="", owner=owner, kind=DEQUEUE)
            if claim is not None:
                queue.claims.finish(claim, "cut short")
        ctx.queues.remove(name)
    except (LocaltrackError, OSError) as error:
        LOG.debug("queue %s stays: %s", name, error)


def _job_of(record: TaskRecord, strategy: SearchStrategy) -> BaseJob:
    if record.state is not Status.CREATED:
        return RunningJob(record.id)
    made: Any = strategy._job_class
    kind = made if isinstance(made, type) and issubclass(made, ClearmlJob) else ClearmlJob
    return kind(record.id, disable_clone_task=True)
