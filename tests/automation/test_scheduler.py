"""A scheduler starts what is due, once, and goes on after its end where it was; the clock is the test's."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localtrack import Task
from localtrack.automation import TaskScheduler
from localtrack.automation import scheduling as scheduling_module
from localtrack.errors import InvalidValueError
from localtrack.runtime import current
from localtrack.services import lifecycle
from localtrack.services.context import StoreContext
from tests.agent.conftest import wait_for

UTC = dt.timezone.utc
START = dt.datetime(2026, 1, 15, 10, 12, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        return self.now

    def to(self, text: str) -> None:
        """Set it to a time of 2026."""
        self.now = dt.datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    """The clock of all schedulers of the test."""
    return Clock()


@pytest.fixture
def make(store_in_force: StoreContext, clock: Clock) -> Iterator[Callable[..., TaskScheduler]]:
    """Return what makes a scheduler; a second one finds what the first one left, as after a restart."""
    store_in_force.queues.create("work")

    def build(**options: Any) -> TaskScheduler:
        one = TaskScheduler(**options)
        one._clock = clock
        return one

    yield build
    end()


def end() -> None:
    """End the task of this process, as its end would."""
    session = current.get()
    if session is not None:
        Task.current_task().close()


def tick(one: TaskScheduler) -> float:
    """Look once."""
    return one._step()


def queued(ctx: StoreContext) -> list[str]:
    """Return the ids of the tasks in the queue."""
    return [entry.task_id for ref in ctx.queues.get("work").entries() if (entry := ctx.queues.get("work").read(ref))]


def test_a_daily_task_is_cloned_into_its_queue_when_it_is_due(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task
) -> None:
    """Not before, once, with its parameters, and again on the next day."""
    one = make()
    assert one.add_task(
        base, queue="work", name="nightly", minute=30, hour=22, day=1, task_parameters={"General/layers": 7},
        target_project="nights",
    )  # fmt: skip
    one._prepare()
    clock.to("01-15 22:29")
    assert tick(one) <= 60
    assert queued(store_in_force) == []
    clock.to("01-15 22:30")
    tick(one)
    (task_id,) = queued(store_in_force)
    task = Task.get_task(task_id=task_id)
    assert task.get_parameters(cast=True)["General/layers"] == 7
    assert (task.get_project_name(), task.status, task.parent) == ("nights", "queued", base.id)
    tick(one)
    clock.to("01-16 22:00")
    tick(one)
    assert len(queued(store_in_force)) == 1
    clock.to("01-16 22:31")
    tick(one)
    assert len(queued(store_in_force)) == 2
    (job,) = one.get_scheduled_tasks()
    assert job.next_run() == dt.datetime(2026, 1, 17, 22, 30, tzinfo=UTC)
    assert job.get_last_executed_task_id() in queued(store_in_force)


def test_a_restart_neither_repeats_nor_forgets(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task
) -> None:
    """What was due while nobody ran is started once; what was done is not done again; the rhythm stays."""

    def scheduler() -> TaskScheduler:
        one = make()
        one.add_task(base.id, queue="work", minute=15)
        one._prepare()
        return one

    first = scheduler()
    clock.to("01-15 10:27")
    tick(first)
    assert len(queued(store_in_force)) == 1
    task_id = first._task.id
    end()
    clock.to("01-15 10:28")
    second = scheduler()
    assert second._task.id == task_id
    tick(second)
    assert len(queued(store_in_force)) == 1
    assert second.get_scheduled_tasks()[0].next_run() == dt.datetime(2026, 1, 15, 10, 42, tzinfo=UTC)
    end()
    clock.to("01-15 13:00")
    third = scheduler()
    tick(third)
    tick(third)
    assert len(queued(store_in_force)) == 2
    assert third.get_scheduled_tasks()[0].next_run() == dt.datetime(2026, 1, 15, 13, 12, tzinfo=UTC)


@pytest.mark.parametrize("moment", ["before the clone", "before the queue", "before the entry", "before it is noted"])
def test_a_kill_in_the_middle_of_a_firing_starts_it_once(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Wherever the process dies, its successor finds one task in the queue, and nothing to do twice."""

    def scheduler() -> TaskScheduler:
        one = make()
        one.add_task(base.id, queue="work", name="hourly", hour=1)
        one._prepare()
        return one

    class KilledError(BaseException):
        pass

    def kill(*args: Any, **kwargs: Any) -> Any:
        raise KilledError

    first = scheduler()
    clock.to("01-15 11:00")
    with monkeypatch.context() as patch:
        if moment == "before the clone":
            patch.setattr(scheduling_module, "ClearmlJob", kill)
        elif moment == "before the queue":
            patch.setattr(scheduling_module.lifecycle, "enqueue", kill)
        elif moment == "before the entry":
            patch.setattr("localtrack.queue.folder.Queue.enqueue", kill)
        else:
            patch.setattr(first, "_note", kill)
        with pytest.raises(KilledError):
            tick(first)
    end()
    clock.to("01-15 11:05")
    second = scheduler()
    tick(second)
    assert len(queued(store_in_force)) == 1
    assert second.get_scheduled_tasks()[0].next_run() == dt.datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
    assert second.get_scheduled_tasks()[0].get_last_executed_task_id() == queued(store_in_force)[0]


def test_a_function_is_called_in_a_thread(make: Any, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """In this process; one that fails is logged, and the scheduler goes on."""
    called: list[str] = []

    def work() -> None:
        called.append(threading.current_thread().name)
        raise ValueError("no luck")

    one = make()
    one.add_task(schedule_function=work, name="work", minute=5)
    one._prepare()
    clock.to("01-15 10:17")
    tick(one)
    wait_for(lambda: "no luck" in caplog.text)
    assert called == ["work-0"]
    clock.to("01-15 10:22")
    tick(one)
    wait_for(lambda: len(called) == 2)


def test_one_instance_at_a_time_leaves_out_what_is_due_meanwhile(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task
) -> None:
    """Of a task as long as it waits or runs, of a function as long as it has not returned."""
    release = threading.Event()
    called: list[int] = []

    def work() -> None:
        called.append(1)
        release.wait(60)

    one = make()
    one.add_task(base, queue="work", name="task", minute=10, single_instance=True)
    one.add_task(schedule_function=work, name="function", minute=10, single_instance=True)
    one._prepare()
    for text in ("01-15 10:22", "01-15 10:32"):
        clock.to(text)
        tick(one)
    assert len(queued(store_in_force)) == 1
    assert called == [1]
    release.set()
    lifecycle.dequeue(store_in_force, queued(store_in_force)[0])
    wait_for(lambda: not one.get_scheduled_tasks()[1]._thread.is_alive())
    clock.to("01-15 10:42")
    tick(one)
    assert len(queued(store_in_force)) == 1
    wait_for(lambda: called == [1, 1])


def test_at_once_and_only_once(store_in_force: StoreContext, make: Any, clock: Clock, base: Task) -> None:
    """execute_immediately starts it now and then as scheduled; recurring=False starts it one time."""
    one = make()
    one.add_task(base, queue="work", name="now", hour=1, execute_immediately=True)
    one.add_task(base, queue="work", name="once", minute=30, recurring=False)
    one._prepare()
    tick(one)
    assert len(queued(store_in_force)) == 1
    clock.to("01-15 11:00")
    tick(one)
    assert len(queued(store_in_force)) == 3
    clock.to("01-15 18:30")
    tick(one)
    assert len(queued(store_in_force)) == 4
    assert one.get_scheduled_tasks()[1].next_run() is None


def test_the_task_itself_is_started_again(store_in_force: StoreContext, make: Any, clock: Clock, base: Task) -> None:
    """reuse_task makes no clone; as long as it waits, it is not queued twice; what it held goes to the trash."""
    one = make()
    one.add_task(base, queue="work", name="same", hour=1, reuse_task=True)
    one._prepare()
    for text in ("01-15 11:00", "01-15 12:00"):
        clock.to(text)
        tick(one)
    assert queued(store_in_force) == [base.id]
    lifecycle.dequeue(store_in_force, base.id)
    base.mark_started()
    base.mark_completed()
    clock.to("01-15 13:00")
    tick(one)
    assert queued(store_in_force) == [base.id]


def test_a_task_that_runs_for_too_long_is_aborted(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task
) -> None:
    """Also by the scheduler's successor."""

    def scheduler() -> TaskScheduler:
        one = make()
        one.add_task(base, queue="work", name="limited", day=1, hour=11, limit_execution_time=0.5)
        one._prepare()
        return one

    first = scheduler()
    clock.to("01-15 11:00")
    tick(first)
    task = Task.get_task(task_id=queued(store_in_force)[0])
    end()
    second = scheduler()
    clock.to("01-15 11:29")
    tick(second)
    assert task.status == "queued"
    clock.to("01-15 11:30")
    tick(second)
    assert task.status == "stopped"


def test_what_goes_wrong_is_said_and_ends_nothing(
    store_in_force: StoreContext, make: Any, clock: Clock, base: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """A queue or a task that is not there is named when it is scheduled, and again when it is due."""
    one = make()
    one.add_task(base, queue="nowhere", name="bad queue", minute=5)
    one.add_task("0123abcd", queue="work", name="bad task", minute=5)
    one.add_task(base, queue="work", name="good", minute=5)
    assert "there is no queue 'nowhere' yet" in caplog.text
    assert "there is no task '0123abcd' yet" in caplog.text
    one._prepare()
    clock.to("01-15 10:17")
    tick(one)
    assert caplog.text.count("could not be started") == 2
    assert len(queued(store_in_force)) == 1


def test_schedules_can_be_taken_out(make: Any, base: Task) -> None:
    """By the task, its id, or the function."""

    def work() -> None: ...

    one = make()
    one.add_task(base, queue="work", name="a", hour=1)
    one.add_task(base.id, queue="work", name="b", hour=2)
    one.add_task(schedule_function=work, hour=1)
    assert [job.name for job in one.get_scheduled_tasks()][:2] == ["a", "b"]
    assert one.remove_task(work)
    assert not one.remove_task(work)
    assert one.remove_task(base)
    assert one.get_scheduled_tasks() == []


def test_the_schedulers_task_shows_the_schedule(make: Any, clock: Clock, base: Task) -> None:
    """It is a service of its own where the process has no task: tables, and the schedule as a configuration."""
    one = make()
    one.add_task(base, queue="work", name="nightly", hour=22, day=1)
    one._prepare()
    clock.to("01-15 22:00")
    tick(one)
    clock.to("01-15 22:20")
    one._sync()
    task = one._task
    assert (task.get_project_name(), task.name, task.task_type) == ("DevOps", "Scheduler", "service")
    (body,) = task.get_configuration_object_as_dict("schedule")
    assert (body["name"], body["hour"], body["queue"]) == ("nightly", 22, "work")
    titles = {plot["metric"] for plot in task.get_reported_plots()}
    assert titles == {"schedules", "last 100 executions"}


def test_times_are_of_the_zone_that_is_asked_for(make: Any, clock: Clock, base: Task) -> None:
    """UTC as with ClearML, unless told otherwise."""
    one = make(timezone="Europe/Berlin")
    one.add_task(base, queue="work", day=1, hour=12)
    assert one.get_scheduled_tasks()[0].next_run() == dt.datetime(2026, 1, 16, 11, 0, tzinfo=UTC) - dt.timedelta(days=1)
    with pytest.raises(InvalidValueError, match="Nowhere/Land"):
        TaskScheduler(timezone="Nowhere/Land")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"hour": 1}, "what is to be started"),
        ({"hour": 1, "schedule_task_id": "x", "schedule_function": print}, "one of them"),
        ({"hour": 1, "schedule_task_id": "x"}, "queue"),
        ({"schedule_function": print}, "minute"),
        ({"schedule_function": print, "hour": 1, "name": "taken"}, "taken"),
        (
            {"schedule_task_id": "x", "queue": "work", "hour": 1, "reuse_task": True, "task_parameters": {"a": 1}},
            "reuse_task",
        ),
    ],
)
def test_a_schedule_without_sense_is_refused(make: Any, options: dict[str, Any], word: str) -> None:
    """At once, with the reason."""
    one = make()
    one.add_task(schedule_function=print, name="taken", hour=1)
    with pytest.raises(InvalidValueError, match=word):
        one.add_task(**options)


def test_the_loop_runs_until_it_is_stopped(
    store_in_force: StoreContext, make: Any, base: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """start() starts what is due, and returns only when stop() is called; a store that fails for once ends nothing."""
    caplog.set_level(logging.INFO)
    one = make()
    one.add_task(base, queue="work", hour=1, execute_immediately=True)
    thread = threading.Thread(target=one.start)
    thread.start()
    wait_for(lambda: len(queued(store_in_force)) == 1)
    assert thread.is_alive()
    one.stop()
    thread.join(60)
    assert not thread.is_alive()
