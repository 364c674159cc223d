"""Signals while the main thread is within one long C call, and the things that stand where ours would."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from localtrack.runtime.signals import SignalWatch, WakeupSocket
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext

HEAD = """
import hashlib, os, signal, subprocess, sys, time
from localtrack import Task
task = Task.init(project_name="ends", task_name="run", reuse_last_task_id=False, auto_resource_monitoring=False)
task.get_logger().report_scalar("loss", "train", 1.0, 1)

def busy(rounds):  # one C call that lets other threads run, and that no signal interrupts
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", rounds)

"""


def begin(ctx: StoreContext, tmp_path: Path, body: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a script that says when it is ready; return it and its task's id."""
    script = tmp_path / "script.py"
    script.write_text(HEAD + "print(task.id, flush=True)\n" + textwrap.dedent(body) + "\n")
    environment = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root)}
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
    )
    assert process.stdout is not None
    return process, process.stdout.readline().decode().strip()


def end_of(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Wait for a script's end; return what it printed after its id, and its errors."""
    out, err = process.communicate(timeout=60)
    return out.decode(), err.decode()


def status_within(ctx: StoreContext, task_id: str, status: str, seconds: float) -> bool:
    """Wait until a task has a status."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if tasks.read(ctx, task_id).status == status:
            return True
        time.sleep(0.1)
    return False


def test_a_busy_run_that_is_killed_after_sigterm_is_stopped(ctx: StoreContext, tmp_path: Path) -> None:
    """SIGTERM during a C call that never ends is recorded within seconds; SIGKILL after it changes nothing."""
    process, task_id = begin(ctx, tmp_path, "busy(2_000_000_000)")
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    stopped = status_within(ctx, task_id, "stopped", 8.0)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=30)
    assert stopped
    record = tasks.read(ctx, task_id)
    assert (record.status, record.status_reason, record.exit["signal"], record.exit["code"]) == (
        "stopped", "SIGTERM", "SIGTERM", 143,
    )  # fmt: skip
    assert record.last_metrics["loss"]["train"]["last"] == 1.0


@pytest.mark.parametrize("close", ["", "task.close(); print('never printed')"])
def test_sigterm_while_a_run_ends_waits_for_its_end(ctx: StoreContext, tmp_path: Path, close: str) -> None:
    """A signal that comes while the end is being written leaves a run that has ended, and kills the process then."""
    process, task_id = begin(
        ctx, tmp_path, f"""
        from localtrack.runtime.final_state import FinalState
        commit = FinalState.commit
        def slowly(final, outcome):
            print("ending", flush=True)
            time.sleep(1.5)
            commit(final, outcome)
        FinalState.commit = slowly
        {close}
        """,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"ending\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = end_of(process)
    assert (process.returncode, out) == (-signal.SIGTERM, ""), err
    assert tasks.read(ctx, task_id).status == "completed"


def test_a_busy_run_that_comes_back_dies_by_the_signal(ctx: StoreContext, tmp_path: Path) -> None:
    """When the C call ends, the process dies by SIGTERM as ever, and its end is recorded once."""
    process, task_id = begin(
        ctx, tmp_path, """
        rounds, begin = 200_000, time.monotonic()
        busy(rounds)
        busy(int(rounds * 5 / (time.monotonic() - begin)))
        print("never printed")
        """,
    )  # fmt: skip
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    out, err = end_of(process)
    assert process.returncode == -signal.SIGTERM, err
    assert "never printed" not in out
    record = tasks.read(ctx, task_id)
    assert record.status == "stopped"
    assert [change["to"] for change in record.history] == ["in_progress", "stopped"]
    assert [path.suffix for path in (tasks.folder_of(ctx, task_id) / "scalars").iterdir()] == [".parquet"]
    assert reports.scalars(tasks.folder_of(ctx, task_id)).of("loss", "train").values.tolist() == [1.0]


def test_a_forked_child_ends_by_a_signal_as_without_us(ctx: StoreContext, tmp_path: Path) -> None:
    """Python's handler is none of its business: a worker that begins to wait would never run it, and its pool waits for it."""
    process, _ = begin(
        ctx, tmp_path, """
        import multiprocessing
        names = ("SIGTERM", "SIGHUP")
        before = [callable(signal.getsignal(getattr(signal, name))) for name in names]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            held = [signal.getsignal(getattr(signal, name)) is signal.SIG_DFL for name in names]
            os.write(writing, b"%d%d" % tuple(held))
            task.get_logger().report_scalar("child", "loss", 1.0, 1)
            multiprocessing.get_context("fork").Semaphore(0).acquire()
        print(before, os.read(reading, 2))
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )  # fmt: skip
    out, err = end_of(process)
    assert out == "[True, True] b'11'\n-15\n", err
    assert process.returncode == 0


def test_a_signal_to_a_child_is_not_taken_for_ones_own(ctx: StoreContext, tmp_path: Path) -> None:
    """A forked child shares the socket for a moment; SIGTERM to it, however forked, leaves the parent's task alone."""
    process, task_id = begin(
        ctx, tmp_path, """
        import ctypes
        for fork in (os.fork, ctypes.CDLL(None).fork):
            child = fork()
            if child == 0:
                if fork is os.fork:
                    time.sleep(60)
                ctypes.CDLL(None).pause()
                os._exit(0)
            time.sleep(0.3)
            os.kill(child, signal.SIGTERM)
            time.sleep(0.3)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        time.sleep(3.5)
        print(Task.get_task(task_id=task.id).status)
        """,
    )  # fmt: skip
    out, err = end_of(process)
    assert (process.returncode, out) == (0, "in_progress\n"), err
    assert tasks.read(ctx, task_id).status == "completed"


def test_asyncio_gets_its_signals(ctx: StoreContext, tmp_path: Path) -> None:
    """An event loop's own signal handlers work in a tracked run, before and after one was closed."""
    process, task_id = begin(
        ctx, tmp_path, """
        import asyncio
        async def main(number):
            loop, got = asyncio.get_running_loop(), asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, got.set)
            loop.call_later(0.1, os.kill, os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(got.wait(), 10)
            loop.remove_signal_handler(signal.SIGUSR1)
        asyncio.run(main(1))
        task.close()
        asyncio.run(main(2))
        print("both", signal.set_wakeup_fd(-1))
        """,
    )  # fmt: skip
    out, err = end_of(process)
    assert (process.returncode, out) == (0, "both -1\n"), err
    assert tasks.read(ctx, task_id).status == "completed"


class TestWakeupSocket:
    def test_what_stands_there_stays(self) -> None:
        """Where an event loop listens already, nothing is put in its place, and the loop hears its signals."""

        async def listen() -> WakeupSocket | None:
            loop, got = asyncio.get_running_loop(), asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, got.set)
            try:
                found = WakeupSocket.install(os.getpid())
                loop.call_later(0.05, os.kill, os.getpid(), signal.SIGUSR1)
                await asyncio.wait_for(got.wait(), 10)
                return found
            finally:
                loop.remove_signal_handler(signal.SIGUSR1)

        assert asyncio.run(listen()) is None

    def test_what_came_later_stays(self) -> None:
        """A socket that somebody put in place after ours is there when ours goes; with none, nothing is left."""
        ours = WakeupSocket.install(os.getpid())
        assert ours is not None
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        with reader, writer:
            signal.set_wakeup_fd(writer.fileno())
            ours.remove()
            assert signal.set_wakeup_fd(-1) == writer.fileno()
        ours = WakeupSocket.install(os.getpid())
        assert ours is not None
        ours.remove()
        assert signal.set_wakeup_fd(-1) == -1

    def test_a_closed_descriptor_of_somebody_else_is_survived(self) -> None:
        """Whoever put theirs in place and closed it leaves nothing to come back to."""
        ours = WakeupSocket.install(os.getpid())
        assert ours is not None
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        reader.close()
        writer.close()
        ours.remove()
        assert signal.set_wakeup_fd(-1) == -1

    def test_only_this_process_counts(self) -> None:
        """A number that a child wrote is left out, one's own signals are read in order."""
        previous = signal.signal(signal.SIGUSR1, lambda number, frame: None)
        ours = WakeupSocket.install(os.getpid())
        assert ours is not None
        try:
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
                os._exit(0)
            os.waitpid(child, 0)
            assert ours.read() == []
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.05)
            assert ours.read() == [signal.SIGUSR1]
        finally:
            ours.remove()
            signal.signal(signal.SIGUSR1, previous)

    def test_trio_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Trio warns of anything that it finds there, so nothing is put there once it is imported."""
        monkeypatch.setitem(sys.modules, "trio", sys)
        assert WakeupSocket.install(os.getpid()) is None
        assert signal.set_wakeup_fd(-1) == -1


def test_a_handler_of_the_users_keeps_the_signal(ctx: StoreContext, tmp_path: Path) -> None:
    """A handler that the script installs after Task.init is called alone: the run goes on and completes."""
    process, task_id = begin(
        ctx, tmp_path, """
        signal.signal(signal.SIGTERM, lambda number, frame: print("mine", flush=True))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3)
        """,
    )  # fmt: skip
    out, err = end_of(process)
    assert (process.returncode, out) == (0, "mine\n"), err
    assert tasks.read(ctx, task_id).status == "completed"


def test_a_record_that_fails_is_tried_again() -> None:
    """When the end can't be recorded now, the next look tries once more, and after success no look does."""
    told: list[str] = []

    def tell(name: str) -> None:
        told.append(name)
        if len(told) == 1:
            raise OSError("full")

    watch = SignalWatch(lambda name: True, os.getpid(), tell)
    watch.install()
    try:
        assert watch._wakeup is not None
        watch._wakeup.read = lambda: [signal.SIGTERM]  # type: ignore[method-assign]
        watch.look()
        with pytest.raises(OSError, match="full"):
            watch.look()
        for _ in range(3):
            watch.look()
    finally:
        watch.remove()
    assert told == ["SIGTERM", "SIGTERM"]
