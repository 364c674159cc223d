"""enqueue, dequeue, queue."""

from __future__ import annotations

import pytest

from localtrack.services import tasks


def turns(cli, name="default"):
    """Return the ids that wait in a queue, in the order of their turn."""
    (queue,) = cli("queue", "ls", name, "--json").json
    return [task["id"] for task in queue["tasks"]]


def test_enqueue_and_dequeue(cli, ctx, make):
    """A task waits in the queue until it is taken out, and is then what it was."""
    task = make()
    (item,) = cli("enqueue", task.id, "--priority", 3, "--json").json
    assert (item["status"], item["queue"], item["priority"]) == ("queued", "default", 3)
    assert turns(cli) == [task.id]
    assert cli("dequeue", task.id).code == 0
    assert turns(cli) == []
    assert tasks.read(ctx, task.id).status == "created"


def test_priority_goes_first(cli, make):
    """Higher priorities come first, equal ones in the order of their coming."""
    first, second, urgent = make("1"), make("2"), make("3")
    cli("enqueue", first.id, second.id)
    cli("enqueue", urgent.id, "--priority", 5)
    assert turns(cli) == [urgent.id, first.id, second.id]


def test_move_changes_the_turn(cli, make):
    """`queue move` brings a task to the front."""
    first, second = make("1"), make("2")
    cli("enqueue", first.id, second.id)
    assert cli("queue", "move", "default", second.id, "front").code == 0
    assert turns(cli) == [second.id, first.id]
    assert cli("queue", "move", "default", second.id, "sideways").code == 2


def test_an_unknown_queue_lists_those_that_exist(cli, ctx, make):
    """Enqueueing into an unknown queue names the queues there are, and the task stays a draft."""
    task = make()
    cli("queue", "create", "gpu")
    ran = cli("enqueue", task.id, "--queue", "cpu")
    assert ran.code == 1
    assert "'gpu'" in ran.err
    assert tasks.read(ctx, task.id).status == "created"


@pytest.mark.parametrize("verb", ["clear", "rm"])
def test_clear_and_rm_release_the_tasks(cli, ctx, make, verb):
    """Clearing or removing a queue makes its tasks drafts again; without -y and a terminal it refuses."""
    task = make()
    cli("queue", "create", "gpu")
    cli("enqueue", task.id, "--queue", "gpu")
    assert cli("queue", verb, "gpu").code == 2
    assert cli("queue", verb, "gpu", "-y", "--json").json["released"] == [task.id]
    assert tasks.read(ctx, task.id).status == "created"
    assert ("gpu" in ctx.queues.names()) is (verb == "clear")


def test_plain_listing(cli, make):
    """The plain listing shows queue, turn and task; `queue list` and `queue show` mean the same."""
    task = make()
    cli("enqueue", task.id)
    assert task.id[:8] in cli("queue", "ls").out
    assert cli("queue", "list").out == cli("queue", "show").out == cli("queue", "ls").out


def test_no_queues_yet(cli, store):
    """Without queues, the listing says how one is made."""
    ran = cli("queue", "ls")
    assert (ran.code, ran.out) == (0, "")
    assert "enqueue" in ran.err


def test_removing_what_does_not_wait_is_refused(cli, make):
    """`queue remove` of a draft names its status."""
    ran = cli("queue", "remove", make().id)
    assert ran.code == 1
    assert "not queued" in ran.err


def test_a_completed_task_needs_force(cli, make, ctx):
    """Enqueueing a completed task is refused; --force resets it first, and its results are in the trash."""
    from localtrack.records.status import Status

    task = make(status=Status.COMPLETED)
    assert "completed" in cli("enqueue", task.id).err
    assert cli("enqueue", task.id, "--force").code == 0
    assert tasks.read(ctx, task.id).status == "queued"
    assert cli("restore", "--json").json[0]["id"] == task.id


def test_dead_letters_are_listed_and_put_back(cli, ctx, make):
    """`queue ls --dead` says why and who tried; `queue retry` puts the task back; both speak JSON."""
    from localtrack.agent.gateway import RunEnd, StoreGateway
    from localtrack.queue.claims import BURY
    from localtrack.records.status import Status

    assert cli("queue", "ls", "--dead").err == "no dead letters\n"
    task = make()
    cli("enqueue", task.id)
    queue = ctx.queues.get("default")
    (ref,) = queue.entries()
    queue.claims.take(ref.name, 1, agent="ada-1", owner={"host": "node7"})
    claim = queue.claims.take(ref.name, 2, agent="bob-1", owner={}, kind=BURY)
    StoreGateway(ctx).bury(task.id, claim, RunEnd(Status.FAILED, None, "", "lost", "lost", "it died"))
    queue.claims.finish(claim, "lost", bury=True)
    out = cli("queue", "show", "default", "--dead").out
    assert "after 1 attempt: it died" in out
    assert "taken by ada-1 on node7" in out
    (letter,) = cli("queue", "ls", "--dead", "--json").json
    assert (letter["id"], letter["queue"], letter["attempts"][0]["agent"]) == (task.id, "default", "ada-1")
    assert cli("queue", "retry", "default", make("other").id).code == 1
    (item,) = cli("queue", "retry", "default", task.id[:8], "--json").json
    assert (item["id"], item["status"], item["queue"]) == (task.id, "queued", "default")
    assert cli("queue", "ls", "--dead", "--json").json == []
