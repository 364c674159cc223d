"""The register of agents: who they are, whether they live, what they run.

Source: docs/format/v1.md, "agents/<agent>/".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, InvalidValueError, UsageError
from localtrack.fs.disk import list_names, read_bytes, remove_tree
from localtrack.queue.claims import RUN
from localtrack.queue.folder import Queue
from localtrack.queue.lease import Heartbeat, LeaseObserver, Verdict
from localtrack.records.ids import slug
from localtrack.records.plain import dataclass, field
from localtrack.store.documents import now, parse_sealed, sealed
from localtrack.store.root import Store

FAMILY, SCHEMA = "localtrack/agent/", "localtrack/agent/1"
STOP_SCHEMA = "localtrack/agent-stop/1"
DOCUMENT_LIMIT_BYTES = 64 << 10
STOP_NOW, STOP_AFTER_TASK = "now", "after-task"
_ID = re.compile(r"[a-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as it registered.

    Attributes:
        owner: its process: ``host, machine, boot, pid, start``.
        verdict: whether it lives, as far as the observer knows by now.
        current: references of the claims that it holds: ``<queue>/<entry>.<k>``.
        task_ids: the tasks that it runs.
    """

    id: str
    name: str
    queues: tuple[str, ...]
    owner: dict[str, Any]
    at: str
    verdict: Verdict = Verdict.UNKNOWN
    current: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = field(default=())


class Agents:
    """The agents of a store. An id names one process: a restarted agent is another agent.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def folder(self, agent_id: str) -> Path:
        """Return an agent's folder.

        Raises:
            InvalidValueError: no agent's id.
        """
        if not _ID.fullmatch(agent_id):
            raise InvalidValueError(f"{agent_id!r} is no agent's id; `localtrack agent ls` shows them")
        return self._store.layout.agents / agent_id

    def heartbeat(self, agent_id: str) -> Path:
        """Return an agent's heartbeat; for a foreign id a path at which nothing is."""
        return self._store.layout.agents / (agent_id if _ID.fullmatch(agent_id) else "-") / "heartbeat"

    def register(
        self, name: str, queues: Iterable[str], owner: dict[str, Any], lease_s: float
    ) -> tuple[str, Heartbeat]:
        """Register this process and start its heartbeat.

        Returns:
            Its id, and the heartbeat to close at the end.

        Raises:
            OSError: the store can't be written.
        """
        disk = self._store.disk
        disk.make_dirs(self._store.layout.agents)
        stem = slug(name)
        while True:
            agent_id = f"{stem}-{os.getpid()}-{os.urandom(3).hex()}"
            if disk.make_dir_exclusive(self._store.layout.agents / agent_id):
                break
        heartbeat = Heartbeat(disk, self.heartbeat(agent_id), lease_s)
        heartbeat.start()
        body = {"id": agent_id, "name": name, "queues": list(queues), "owner": owner, "lease_s": lease_s, "at": now()}
        disk.publish(sealed(SCHEMA, body), self.folder(agent_id) / "agent.json")
        return agent_id, heartbeat

    def list(self, observer: LeaseObserver | None = None, queues: Iterable[Queue] = ()) -> list[AgentInfo]:
        """Return the registered agents, oldest first.

        Args:
            observer: judges whether they live; asked again over time it learns of those on other hosts.
            queues: where to look for what they run.
        """
        claims = _running(queues)
        found = []
        for agent_id in list_names(self._store.layout.agents):
            body = self._read(agent_id)
            if body is None:
                continue
            owner = body["owner"] if isinstance(body.get("owner"), dict) else {}
            verdict = Verdict.UNKNOWN
            if observer is not None:
                verdict = observer.judge(f"agent {agent_id}", owner, self.heartbeat(agent_id))
            held = claims.get(agent_id, [])
            found.append(
                AgentInfo(
                    agent_id, str(body.get("name", "")), tuple(map(str, body.get("queues", ()))), owner,
                    str(body.get("at", "")), verdict, tuple(ref for ref, _ in held), tuple(task for _, task in held),
                )
            )  # fmt: skip
        return sorted(found, key=lambda agent: (agent.at, agent.id))

    def remove(self, agent_id: str, observer: LeaseObserver | None = None, *, force: bool = False) -> None:
        """Take an agent out of the register; what it still holds is judged by a heartbeat that stands still.

        Raises:
            UsageError: it is not known to be dead, and ``force`` is not given.
        """
        folder = self.folder(agent_id)
        if not force and folder.is_dir():
            body = self._read(agent_id) or {}
            owner = body.get("owner")
            judged = observer.judge(f"agent {agent_id}", owner if isinstance(owner, dict) else {}, folder / "heartbeat") \
                if observer else Verdict.UNKNOWN  # fmt: skip
            if judged is not Verdict.DEAD:
                raise UsageError(
                    f"agent {agent_id} may still run: `localtrack agent stop {agent_id}` first, or force it",
                    agent=agent_id,
                )
        remove_tree(folder)

    def request_stop(self, agent_id: str, mode: str = STOP_AFTER_TASK) -> None:
        """Ask an agent on any host to stop: ``after-task``, or ``now`` with the task that it runs.

        Raises:
            UsageError: no such agent.
            InvalidValueError: another mode.
        """
        if mode not in (STOP_NOW, STOP_AFTER_TASK):
            raise InvalidValueError(f"can't stop an agent {mode!r}: use {STOP_NOW} or {STOP_AFTER_TASK}")
        folder = self.folder(agent_id)
        if not folder.is_dir():
            raise UsageError(f"no agent {agent_id} is registered; `localtrack agent ls` shows them", agent=agent_id)
        body = {"mode": mode, "at": now()}
        self._store.disk.publish(sealed(STOP_SCHEMA, body), folder / f"stop-{mode}")

    def stop_requested(self, agent_id: str) -> str:
        """Return how an agent was asked to stop; ``""`` when it was not."""
        names = list_names(self.folder(agent_id))
        return next((mode for mode in (STOP_NOW, STOP_AFTER_TASK) if f"stop-{mode}" in names), "")

    def _read(self, agent_id: str) -> dict[str, Any] | None:
        if not _ID.fullmatch(agent_id):
            return None
        path = self._store.layout.agents / agent_id / "agent.json"
        try:
            return parse_sealed(read_bytes(path, DOCUMENT_LIMIT_BYTES), FAMILY, str(path))
        except (OSError, CorruptFileError):
            return None


def _running(queues: Iterable[Queue]) -> dict[str, list[tuple[str, str]]]:
    """Return what each agent holds: claim references and task ids."""
    held: dict[str, list[tuple[str, str]]] = {}
    for queue in queues:
        snapshot = queue.snapshot()
        for ref in snapshot.live:
            if not snapshot.claims.is_held(ref.name):
                continue
            try:
                claim = queue.claims.read(ref.name, snapshot.claims.highest(ref.name))
            except FileNotFoundError:
                continue
            if claim.kind == RUN:
                held.setdefault(claim.agent, []).append((claim.reference, ref.task_id))
    return held
