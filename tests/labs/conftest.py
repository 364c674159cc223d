"""The NFS lab: a server and two clients ``a`` and ``b`` that have its export mounted in two versions."""

from __future__ import annotations

import itertools
import json
import os
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


@dataclass(frozen=True, slots=True)
class Share:
    """A fresh folder on the export, mounted with one version of NFS on both clients.

    Attributes:
        folder: its path on a client.
        on_server: its path on the server.
    """

    version: str
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

    def begin(self, host: uml.Host, action: str, *arguments: object) -> uml.Job:
        """Start a worker on a host without waiting for it."""
        return host.start_python(WORKER, action, self.folder, *arguments)


def answer(output: str) -> Any:
    """Return the JSON on the last line of a worker's output."""
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="session")
def hosts() -> Iterator[tuple[uml.Host, uml.Host, uml.Host]]:
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
            exported = "/mnt/export" if version == "3" else "/"
            client.run(
                f"mkdir -p /mnt/v{version} && mount -t nfs -o vers={version} {SERVER_ADDRESS}:{exported} /mnt/v{version}"
            )
        yield server, clients[0], clients[1]


_numbers = itertools.count()


@pytest.fixture(params=VERSIONS, ids=lambda version: f"v{version}")
def share(request: pytest.FixtureRequest, hosts: tuple[uml.Host, uml.Host, uml.Host]) -> Share:
    """A fresh folder on the export, once for each version of NFS."""
    server, a, b = hosts
    name = f"{os.getpid()}-{next(_numbers)}"
    server.run(f"mkdir -m 777 /mnt/export/{name}")
    folder = Path(f"/mnt/v{request.param}/{name}")
    for host in (a, b):
        host.run(f"ls {folder.parent} | grep -qx {name}")
    return Share(request.param, server, a, b, folder, Path("/mnt/export") / name)
