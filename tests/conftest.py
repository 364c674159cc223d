"""Every test runs in a world of its own: no user's settings, no user's git, no network, an empty store."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from localtrack.config import Settings
from localtrack.services.context import StoreContext
from localtrack.store.root import Store

KEPT = frozenset({"LOCALTRACK_NO_LOCKS"})
FOREIGN_PREFIXES = ("LOCALTRACK_", "CLEARML_", "TRAINS_", "SLURM_", "GIT_", "XDG_")
FOREIGN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of this session's homes."""
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture(autouse=True)
def isolated_world(worlds: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a fresh home and working directory, and an environment that says nothing."""
    home = Path(tempfile.mkdtemp(dir=worlds))
    for name in list(os.environ):
        if (name.startswith(FOREIGN_PREFIXES) or name in FOREIGN) and name not in KEPT:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name, folder in (
        ("XDG_DATA_HOME", "data"), ("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "tester@example.org")
    work = home / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return home


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that talks to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if str(host) not in ("localhost", "127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def store_root(tmp_path: Path) -> Path:
    """Where the test's store lies; nothing is there yet."""
    return tmp_path / "store"


@pytest.fixture
def store(store_root: Path) -> Store:
    """An empty store."""
    return Store.create(store_root)


@pytest.fixture
def ctx(store: Store) -> StoreContext:
    """An opened, empty store with its index and queues, and default settings."""
    return StoreContext(store, Settings())
