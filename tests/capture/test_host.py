"""The host record names one machine, boot and process, cheaply, and keeps secrets out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localtrack.capture import host
from localtrack.capture.host import capture_environment, capture_host, is_alive, start_token

HAS_PROC = Path("/proc/self/stat").exists()


def test_this_process_is_described() -> None:
    """Each field that a lease needs is there and stays the same within the process."""
    state = capture_host()
    assert state.pid == os.getpid()
    assert state.start_token == start_token(os.getpid())
    assert state.hostname
    assert len(state.machine_id) == 32
    assert state.cpu_count >= 1
    assert state.memory_bytes > 1 << 20
    assert state.errors == ()
    assert state == capture_host()
    assert state.shares_processes_with(state.boot_id, state.pid_namespace)
    assert not state.shares_processes_with(state.boot_id, "pid:[1]")
    assert not state.shares_processes_with("another boot", state.pid_namespace)


def test_the_machine_id_itself_is_not_shown() -> None:
    """Only a hash of /etc/machine-id is recorded."""
    path = Path("/etc/machine-id")
    if not path.exists() or not path.read_text().strip():
        pytest.skip("this host has no machine id")
    assert path.read_text().strip() not in repr(capture_host())


def test_a_child_lives_until_it_ends_even_as_a_zombie() -> None:
    """A running child is alive; killed and not yet waited for, it is not."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        token = start_token(child.pid)
        assert token is not None
        assert is_alive(child.pid, token)
        assert not is_alive(child.pid, token + "0")
        child.kill()
        deadline = time.monotonic() + 10
        while is_alive(child.pid, token):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.communicate()
    assert start_token(child.pid) is None
    assert not is_alive(child.pid, token)


@pytest.mark.parametrize("pid", [-1, 2**22 + 1, 10**40])
def test_impossible_pids_are_dead(pid: int) -> None:
    """A pid that cannot exist has no token and raises nothing."""
    assert start_token(pid) is None
    assert not is_alive(pid, "1")


def test_a_command_name_cannot_fake_the_start_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces and brackets in the name of a program do not shift the fields."""
    fields = ["S", *[str(number) for number in range(4, 53)]]
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").write_text("x")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(f"7 (a) R 1 (b)) {' '.join(fields)}\n")
    monkeypatch.setattr(host, "_PROC", tmp_path)
    assert start_token(7) == "22"
    assert is_alive(7, "22")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "stat").write_text("8 (cut")
    assert start_token(8) is None
    assert not is_alive(8, "22")


def test_without_proc_psutil_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system with no /proc the token comes from psutil and works the same way."""
    monkeypatch.setattr(host, "_PROC", tmp_path)
    token = start_token(os.getpid())
    assert token is not None
    assert is_alive(os.getpid(), token)
    assert not is_alive(os.getpid(), "0.00")
    assert capture_host().boot_id.isdigit()


@pytest.mark.skipif(not HAS_PROC, reason="the budget holds where the kernel has /proc")
def test_capturing_the_host_is_cheap_and_loads_nothing() -> None:
    """The record takes under 2 ms (best of many) and imports neither psutil nor git."""
    code = (
        "import sys, time; from localtrack.capture.host import capture_host\n"
        "def once():\n    t = time.perf_counter(); capture_host(); return time.perf_counter() - t\n"
        "best = min(once() for _ in range(20))\n"
        "assert best < 0.002, best\n"
        "assert not {'psutil', 'git', 'platform', 'socket'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that does not know its user, the number stands for the name."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654321)
    assert capture_host().user == "987654321"


def test_only_allowed_variables_are_captured() -> None:
    """Patterns choose by name; a star is the only special character."""
    environ = {"CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "4", "HOME": "/h", "A[B]": "1", "AxB": "2"}
    assert capture_environment(["CUDA_*", "*_THREADS"], environ) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "4",
    }
    assert capture_environment([], environ) == {}
    assert capture_environment(["A?B*", "A[B]*"], environ) == {"A[B]": "1"}
    assert set(capture_environment(["*"], environ)) == set(environ)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "aws_secret_access_key", "PGPASSWORD", "GOOGLE_APPLICATION_CREDENTIALS", "WANDB_API_KEY"]
)
def test_secrets_need_their_exact_name(name: str) -> None:
    """No wildcard takes a variable whose name suggests a secret; its own name does."""
    environ = {name: "s3cret"}
    assert capture_environment(["*", name[:3] + "*", "*" + name[3:]], environ) == {}
    assert capture_environment([name], environ) == environ


def test_credentials_in_values_are_cut_out() -> None:
    """A proxy URL taken by a wildcard loses its user and password."""
    environ = {"HTTP_PROXY": "http://ada:pw@proxy:3128", "LIST": "http://u:p@a/,https://b/", "PLAIN": "a@b"}
    assert capture_environment(["*"], environ) == {
        "HTTP_PROXY": "http://proxy:3128",
        "LIST": "http://a/,https://b/",
        "PLAIN": "a@b",
    }


def test_values_that_are_not_utf8_can_be_stored() -> None:
    """A byte that UTF-8 cannot read is shown by its number."""
    value = capture_environment(["A"], {"A": "caf\udce9"})["A"]
    assert value == "caf\\xe9"
    value.encode("utf-8")
