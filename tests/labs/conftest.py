"""The NFS lab: a server and two clients ``a`` and ``b`` that have its export mounted in two versions."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.labs import uml

WORKER = Path(__file__).with_name("worker.py")
SERVER_ADDRESS = "10.77.0.1"
VERSIONS = ("4.2", "3")
AGENT_LOG = "/run/agent.log"


@dataclass(frozen=True, slots=True)
class Share:
    """A fresh folder on the export, mounted with one version of NFS on both clients.

    Attributes:
        lab: the network of hosts.
        folder: its path on a client.
        on_server: its path on the server.
    """

    version: str
    lab: uml.Lab
    server: uml.Host
    a: uml.Host
    b: uml.Host
    folder: Path
    on_server: Path

    def call(self, host: uml.Host, action: str, *arguments: object, timeout_s: float = 90.0) -> Any:
        """Let a worker do something on a host and return its answer."""
        return answer(host.expect(self.begin(host, action, *arguments), timeout_s))

    def both(self, action: str, *arguments: object, timeout_s: float = 120.0) -> tuple[Any, Any]:
        """Let a worker on each client do the same at the same time; they start together, at a barrier."""
        barrier = ("--barrier", self.folder / f"barrier-{time.monotonic_ns()}")
        jobs = [(host, self.begin(host, action, *arguments, *barrier)) for host in (self.a, self.b)]
        first, second = (answer(host.expect(job, timeout_s)) for host, job in jobs)
        return first, second

    def start_agent(self, host: uml.Host, **settings: object) -> uml.Job:
        """Start ``localtrack agent`` on a host; settings go into its environment."""
        host.run(f"rm -f {AGENT_LOG}")
        variables = {"LOCALTRACK_ROOT": self.folder / "store", **settings}
        words = [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
        command = shlex.join([sys.executable, "-m", "localtrack.cli", "agent", "start", "--queue", "default"])
        return host.start(f"cd /run/home && {' '.join(words)} {command} > {AGENT_LOG} 2>&1")

    def wait_for_agent(self, host: uml.Host) -> None:
        """Wait until the agent on a host takes tasks."""
        deadline = time.monotonic() + 60.0
        while "takes tasks" not in (said := agent_log(host)):
            assert time.monotonic() < deadline, f"no agent on {host.name} within 60 s: {said}"
            time.sleep(0.2)

    def add_host(self, name: str, address: str) -> uml.Host:
        """Boot one more client, whose power may be cut."""
        host = self.lab.boot(name, address, "client")
        host.wait_ready()
        mount(host, self.version)
        return host

    def begin(self, host: uml.Host, action: str, *arguments: object) -> uml.Job:
        """Start a worker on a host without waiting for it."""
        return host.ask(action, self.folder, *arguments)


def agent_log(host: uml.Host) -> str:
    """Return what the agent on a host said."""
    return host.run(f"cat {AGENT_LOG} || true")


def answer(output: str) -> Any:
    """Return the JSON on the last line of a worker's output."""
    return json.loads(output.splitlines()[-1])


def mount(host: uml.Host, version: str) -> None:
    """Mount the export on a client at ``/mnt/v<version>``, with the options that are nobody's special choice."""
    exported = "/mnt/export" if version == "3" else "/"
    folder = f"/mnt/v{version}"
    host.run(f"mkdir -p {folder} && mount -t nfs -o vers={version} {SERVER_ADDRESS}:{exported} {folder}")


@pytest.fixture(scope="session")
def hosts() -> Iterator[tuple[uml.Lab, uml.Host, uml.Host, uml.Host]]:
    """Server, ``a`` and ``b``, the export mounted at ``/mnt/v4.2`` and ``/mnt/v3``."""
    reason = uml.missing()
    if reason:
        pytest.skip(reason)
    with uml.Lab() as lab:
        server = lab.boot("server", SERVER_ADDRESS, "server")
        clients = [lab.boot("a", "10.77.0.2", "client"), lab.boot("b", "10.77.0.3", "client")]
        for host in (server, *clients):
            host.wait_ready()
        for version, client in itertools.product(VERSIONS, clients):
            mount(client, version)
        for host in (server, *clients):
            host.serve(WORKER)
        yield lab, server, clients[0], clients[1]


_numbers = itertools.count()


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def share(request: pytest.FixtureRequest, hosts: tuple[uml.Lab, uml.Host, uml.Host, uml.Host]) -> Share:
    """A fresh folder on the export, once for each version of NFS."""
    lab, server, a, b = hosts
    name = f"{os.getpid()}-{next(_numbers)}"
    server.run(f"mkdir -m 777 /mnt/export/{name}")
    folder = Path(f"/mnt/v{request.param}/{name}")
    for host in (a, b):
        host.run(f"ls {folder.parent} | grep -qx {name}")
    return Share(request.param, lab, server, a, b, folder, Path("/mnt/export") / name)
