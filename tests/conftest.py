"""Every test runs in a world of its own: no user's settings, no user's git, no network, an empty store."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from localtrack.config import Settings
from localtrack.runtime import early_parsers, early_parses
from localtrack.services.context import StoreContext
from localtrack.store.root import Store

collect_ignore = ["labs", "benchmarks", "clients", "frameworks"]  # they take minutes; .ci/run names them
# a machine that is busy for half a second fails nothing
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
OTHER_UID = 65534
KEPT = frozenset({"LOCALTRACK_NO_LOCKS"})
FOREIGN_PREFIXES = (
    "LOCALTRACK_", "CLEARML_", "TRAINS_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "TORCHELASTIC_", "MASTER_", "GIT_", "XDG_",
)  # fmt: skip
FOREIGN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NO_COLOR", "FORCE_COLOR", "COLUMNS")


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let the tests' scripts be interrupted though a shell started the tests in the background, deaf to Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
def no_early_parses() -> None:
    """Forget what other tests parsed while no task ran."""
    early_parses.take()
    early_parsers.stop()
    early_parsers.forget()


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 512 kB of its own, to fill it up."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system to fill up can be mounted only by root")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let us mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def as_another_user() -> Callable[[Callable[[], None]], None]:
    """Return a function that runs an action in a child process of another user and passes its failure on."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")

    def run(action: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(OTHER_UID)
                os.setuid(OTHER_UID)
                action()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, "see the traceback of the child above"

    return run


@pytest.fixture
def fill_up() -> Callable[[Path], Path]:
    """Return a function that fills a file system to the last byte and returns the file to remove again."""

    def fill(folder: Path) -> Path:
        filler = folder / "filler"
        with open(filler, "ab", buffering=0) as stream:
            for size in (65536, 4096, 512, 1):
                try:
                    while stream.write(b"x" * size):
                        pass
                except OSError:
                    continue
        return filler

    return fill
