"""The register of agents."""

from __future__ import annotations

import os

import pytest

from localtrack.errors import InvalidValueError, UsageError
from localtrack.queue.agents import STOP_AFTER_TASK, STOP_NOW, Agents
from localtrack.queue.folder import Queues
from localtrack.queue.lease import LeaseObserver, Verdict
from localtrack.records.ids import new_task_id
from localtrack.store.root import Store

ALIVE = {"pid": 1}
GONE = {"pid": 2}


def _observer(store: Store) -> LeaseObserver:
    return LeaseObserver(store.disk, 60, lambda owner: owner["pid"] == 1)


def test_agents_are_listed_with_what_they_run(store: Store) -> None:
    """The list tells the living from the dead, and names the task that each runs."""
    agents, queue = Agents(store), Queues(store).create("gpu")
    first, beat1 = agents.register("box 1", ["gpu"], ALIVE, 60)
    second, beat2 = agents.register("box 1", ["gpu"], GONE, 60)
    beat1.close()
    beat2.close()
    task = new_task_id()
    claim = queue.claims.take(queue.enqueue(task), 1, agent=first, owner=ALIVE)
    assert claim is not None
    found = {agent.id: agent for agent in agents.list(_observer(store), [queue])}
    assert first != second
    assert found[first].verdict is Verdict.ALIVE
    assert found[first].current == (claim.reference,)
    assert found[first].task_ids == (task,)
    assert (found[second].verdict, found[second].current) == (Verdict.DEAD, ())
    assert found[first].queues == ("gpu",)


def test_only_a_dead_agent_is_removed(store: Store) -> None:
    """A living agent stays registered unless forced."""
    agents = Agents(store)
    for owner in (ALIVE, GONE):
        _, beat = agents.register("box", [], owner, 60)
        beat.close()
    alive, dead = (agent.id for agent in agents.list(_observer(store)))
    with pytest.raises(UsageError, match="may still run"):
        agents.remove(alive, _observer(store))
    agents.remove(dead, _observer(store))
    assert [agent.id for agent in agents.list()] == [alive]
    agents.remove(alive, force=True)
    assert agents.list() == []


def test_an_agent_can_be_asked_to_stop(store: Store) -> None:
    """A request to stop is seen, the stronger one wins, and an unknown agent is told."""
    agents = Agents(store)
    agent, beat = agents.register("box", [], ALIVE, 60)
    beat.close()
    assert agents.stop_requested(agent) == ""
    agents.request_stop(agent)
    agents.request_stop(agent)
    assert agents.stop_requested(agent) == STOP_AFTER_TASK
    agents.request_stop(agent, STOP_NOW)
    assert agents.stop_requested(agent) == STOP_NOW
    with pytest.raises(InvalidValueError):
        agents.request_stop(agent, "soon")
    with pytest.raises(UsageError, match="agent ls"):
        agents.request_stop("nobody")


def test_foreign_things_are_no_agents(store: Store) -> None:
    """Files, broken folders and names that lead outside are skipped or refused."""
    agents = Agents(store)
    (store.layout.agents / "stray").write_text("")
    (store.layout.agents / "empty").mkdir()
    (store.layout.agents / "torn").mkdir()
    (store.layout.agents / "torn" / "agent.json").write_text("{")
    os.mkdir(store.layout.agents / "pipe")
    os.mkfifo(store.layout.agents / "pipe" / "agent.json")
    assert agents.list() == []
    with pytest.raises(InvalidValueError):
        agents.remove("../projects", force=True)
    assert agents.heartbeat("../x").parent.parent == store.layout.agents
