"""Dead letters, made as an agent makes them."""

from __future__ import annotations

import os
import time

import pytest

from localtrack.agent.gateway import RunEnd, StoreGateway
from localtrack.errors import UsageError
from localtrack.queue.claims import BURY, RUN
from localtrack.records.status import Status
from localtrack.services import collection, dead_letters, health, lifecycle, tasks


@pytest.fixture
def bury(ctx):
    """Return a function that lets two agents die over a queued task and a third bury it."""

    def run(name="t", priority=0, queue_name="gpu"):
        queue = ctx.queues.create(queue_name)
        _, record = tasks.create(ctx, name=name, project="p")
        lifecycle.enqueue(ctx, record.id, queue_name, priority=priority)
        (ref,) = [ref for ref in queue.entries() if ref.task_id == record.id]
        for number, agent in enumerate(("ada-1", "ada-2"), 1):
            assert queue.claims.take(ref.name, number, agent=agent, owner={"host": "node7"}, kind=RUN) is not None
        claim = queue.claims.take(ref.name, 3, agent="bob-1", owner={"host": "node8"}, kind=BURY)
        assert claim is not None
        end = RunEnd(Status.FAILED, None, "", "lost", "lost", "2 agents died while they ran it")
        StoreGateway(ctx).bury(record.id, claim, end)
        queue.claims.finish(claim, "lost", bury=True)
        return record.id, ref.name

    return run


def test_a_letter_says_why_and_who_tried(ctx, bury):
    """An open letter has the task, its priority, the reason, the time, and the lost attempts without the burial."""
    task_id, entry = bury(priority=7)
    (letter,) = dead_letters.open_letters(ctx, "gpu")
    assert (letter.task_id, letter.entry, letter.task, letter.priority) == (task_id, entry, "p/t", 7)
    assert "2 agents died" in letter.why
    assert [(each.agent, each.host) for each in letter.attempts] == [("ada-1", "node7"), ("ada-2", "node7")]
    assert letter.at > letter.attempts[-1].at > letter.attempts[0].at


def test_putting_back_gives_new_attempts_and_keeps_the_priority(ctx, bury):
    """The task waits again with its priority and no attempt counted, and no trace of the letter is left."""
    task_id, entry = bury(priority=7)
    (record,) = dead_letters.put_back(ctx, "gpu")
    assert (record.id, record.status) == (task_id, "queued")
    queue = ctx.queues.get("gpu")
    (ref,) = queue.entries()
    assert (ref.task_id, ref.priority, queue.claims.list().attempts(ref.name)) == (task_id, 7, 0)
    assert ref.name != entry
    assert not [name for folder in queue.paths.parts() for name in os.listdir(folder) if name.startswith(entry)]
    assert dead_letters.put_back(ctx, "gpu") == []


def test_one_of_several_is_put_back(ctx, bury):
    """Named tasks are put back and the others stay; a task that is no dead letter is refused and changes nothing."""
    (first, _), (second, _) = bury("a"), bury("b")
    with pytest.raises(UsageError, match="no dead letter of queue 'gpu'"):
        dead_letters.put_back(ctx, "gpu", [first, "0" * 32])
    assert len(dead_letters.open_letters(ctx)) == 2
    dead_letters.put_back(ctx, "gpu", [first])
    assert [letter.task_id for letter in dead_letters.open_letters(ctx)] == [second]


def test_a_death_between_enqueueing_and_forgetting_settles_the_letter(ctx, bury, monkeypatch):
    """Killed after the enqueue, the task waits once and its letter is not shown any more, also when it fails later."""
    task_id, _ = bury()
    queue_type = type(ctx.queues.get("gpu"))

    def die(self, names):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(queue_type, "forget_dead", die)
        with pytest.raises(KeyboardInterrupt):
            dead_letters.put_back(ctx, "gpu")
    assert [ref.task_id for ref in ctx.queues.get("gpu").entries()] == [task_id]
    assert dead_letters.open_letters(ctx) == []
    queue = ctx.queues.get("gpu")
    claim = queue.claims.take(queue.entries()[0].name, 1, agent="c", owner={}, kind=RUN)
    StoreGateway(ctx).start(task_id, claim, {})
    StoreGateway(ctx).finish(task_id, claim, RunEnd(Status.FAILED, 1))
    assert dead_letters.open_letters(ctx) == []


@pytest.mark.parametrize("settle", ["enqueue", "reset", "delete"])
def test_other_ways_settle_a_letter_and_gc_takes_it_after_a_week(ctx, bury, settle):
    """A task that was enqueued, reset or deleted is no open letter; its record goes after a week, an open one stays."""
    (task_id, entry), (_, other) = bury("a"), bury("b")
    if settle == "enqueue":
        lifecycle.enqueue(ctx, task_id, "gpu")
    elif settle == "reset":
        lifecycle.reset(ctx, task_id)
    else:
        tasks.delete(ctx, task_id)
    queue = ctx.queues.get("gpu")
    assert [letter.entry for letter in dead_letters.open_letters(ctx)] == [other]
    assert collection.tidy_queues(ctx) == (0, 0)
    old = time.time() - 8 * 24 * 3600
    for name in (entry, other):
        os.utime(queue.paths.dead / name, (old, old))
    assert collection.tidy_queues(ctx) == (1, 0)
    assert os.listdir(queue.paths.dead) == [other]
    assert not [name for name in os.listdir(queue.paths.claims) if name.startswith(entry)]


def test_a_torn_dead_record_still_is_a_letter(ctx, bury):
    """A dead record that can't be read loses its time; task, reason and attempts come from elsewhere."""
    task_id, entry = bury()
    path = ctx.queues.get("gpu").paths.dead / entry
    path.chmod(0o644)
    path.write_bytes(b"{")
    (letter,) = dead_letters.open_letters(ctx)
    assert (letter.task_id, letter.at, len(letter.attempts)) == (task_id, "", 2)


def test_doctor_names_queues_with_dead_letters(ctx, bury):
    """The finding counts them by queue and names both verbs; without any there is none."""
    assert "dead letters" not in {finding.name for finding in health.examine(ctx)}
    bury("a")
    bury("b")
    (found,) = [finding for finding in health.examine(ctx) if finding.name == "dead letters"]
    assert (found.level, found.found) == ("note", "2 in queue gpu")
    assert "queue ls gpu --dead" in found.consequence
    assert "queue retry gpu" in found.consequence
