"""Floods of real processes, also under ``python -u``: the output is what it is without localtrack, and the log has each line."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.runtime.printed import wait_until

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="prints are copied one by one there")

UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


def environment(store_root: Path, unbuffered: str) -> dict[str, str]:
    """Return what a script is run with."""
    return {
        **os.environ,
        "LOCALTRACK_ROOT": str(store_root),
        "PYTHONUNBUFFERED": unbuffered,
        "PYTHONIOENCODING": "utf-8",
    }


def lines_of(path: Path) -> list[str]:
    """Return a console file's lines of stdout."""
    lines = path.read_text().split("\n")[:-1]  # a last line may be torn
    return [line.split(" o ", 1)[1] for line in lines if " o " in line]


def recorded(store_root: Path) -> list[str]:
    """Return the lines of stdout in all console logs, of each process in their order."""
    paths = store_root.glob("projects/**/console/*.txt")
    order = sorted(paths, key=lambda path: (path.stem.rsplit("-", 1)[0], int(path.stem.rsplit("-", 1)[1])))
    return [line for path in order for line in lines_of(path)]


def run_to(target: str, command: list[str], env: dict[str, str], folder: Path) -> bytes:
    """Return what a process prints to a file, a pipe or a terminal."""
    if target == "file":
        with open(folder / "out.txt", "wb") as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=env, cwd=folder)
        assert done.returncode == 0, done.stderr
        return (folder / "out.txt").read_bytes()
    reading, writing = os.pipe() if target == "pipe" else pty.openpty()
    read = bytearray()

    def drain() -> None:
        try:
            while data := os.read(reading, 1 << 16):
                read.extend(data)
        except OSError:
            pass  # a terminal without writers

    reader = threading.Thread(target=drain)
    reader.start()
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=env, cwd=folder)
    os.close(writing)
    reader.join()
    os.close(reading)
    assert done.returncode == 0, done.stderr
    return bytes(read)


FLOOD = """
import os, sys, time
if os.environ["CAPTURED"]:
    from localtrack import Task
    Task.init("flood", "whole", auto_connect_frameworks=False)
stood = 0
for number in range(12_000):
    print("line", number, "ä漢🙂", "x" * (number % 200), sep="-")
    if number % 1000 == 0:
        time.sleep(0.02)
        stood += "write" in vars(sys.__stdout__.buffer)
sys.stdout.write("no end")
if os.environ["CAPTURED"]:
    is_buffered = not os.environ["PYTHONUNBUFFERED"]
    assert (stood > 0) is is_buffered, stood  # it was copied below the stream
"""


@UNBUFFERED
@pytest.mark.parametrize("target", ["file", "pipe", "terminal"])
def test_the_output_is_the_same_and_the_log_has_each_line(
    tmp_path: Path, store_root: Path, target: str, unbuffered: str
) -> None:
    """Byte by byte what the script prints by itself; in the log each line once and in order."""
    (tmp_path / "flood.py").write_text(FLOOD)
    env = environment(store_root, unbuffered)
    command = [sys.executable, "flood.py"]
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    plain = run_to(target, command, {**env, "CAPTURED": ""}, tmp_path)
    assert run_to(target, command, {**env, "CAPTURED": "1"}, tmp_path) == plain
    assert recorded(store_root) == plain.decode().replace("\r\n", "\n").split("\n")


FORKS = """
import os, sys
from localtrack import Task
Task.init("flood", "forks", auto_connect_frameworks=False)
for number in range(6000):
    print("parent", number)
    if number in (2000, 4000):
        sys.stdout.flush()
        if os.fork() == 0:
            for own in range(3000):
                print("child", number, own)
            sys.exit(0)
        os.wait()
"""


@UNBUFFERED
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_a_flood(tmp_path: Path, store_root: Path, unbuffered: str) -> None:
    """Parent and children have each their own lines in the log, once and in order, and so has the output."""
    (tmp_path / "forks.py").write_text(FORKS)
    env = {**environment(store_root, unbuffered), "PYTHONPATH": str(Path(__file__).parents[2])}
    printed = run_to("pipe", [sys.executable, "forks.py"], env, tmp_path).decode().splitlines()
    found = recorded(store_root)
    for start, count in (("parent", 6000), ("child 2000", 3000), ("child 4000", 3000)):
        expected = [f"{start} {number}" for number in range(count)]
        assert [line for line in printed if line.startswith(start)] == expected
        assert [line for line in found if line.startswith(start)] == expected


KEPT = """
import os, sys, time
from localtrack import Task
kept = sys.stdout.buffer if {before} else None
Task.init("flood", "kept", auto_connect_frameworks=False)
for number in range(3000):
    print("line", number)
if kept is None:
    assert ("write" in vars(sys.__stdout__.buffer)) is (not os.environ["PYTHONUNBUFFERED"])
    kept = sys.__stdout__.buffer
    time.sleep(0.3)
print("after", flush=True)
assert "write" not in vars(kept)
assert kept.write(b"bytes\\n") == 6
kept.flush()
for number in range(3000):
    print("again", number)
assert "write" not in vars(kept)
"""


@UNBUFFERED
@pytest.mark.parametrize("before", [True, False])
def test_a_buffer_that_is_kept_is_not_copied(tmp_path: Path, store_root: Path, before: bool, unbuffered: str) -> None:
    """Bytes that the script writes itself are no lines, whether it has the buffer from before or took it in the flood."""
    (tmp_path / "kept.py").write_text(KEPT.format(before=before))
    env = {**environment(store_root, unbuffered), "PYTHONPATH": str(Path(__file__).parents[2])}
    out = run_to("pipe", [sys.executable, "kept.py"], env, tmp_path).decode().splitlines()
    prints = [*(f"line {number}" for number in range(3000)), "after", *(f"again {number}" for number in range(3000))]
    assert out == [*prints[:3001], "bytes", *prints[3001:]]
    assert recorded(store_root) == prints


PAUSED = """
import time
from localtrack import Task
Task.init("flood", "paused", auto_connect_frameworks=False)
for number in range({lines}):
    print("x" * 90)
time.sleep(0.5)
print("held")
"""


@pytest.mark.parametrize("way", ["module", "script"])
def test_a_reader_that_pauses_changes_nothing_at_the_exit(tmp_path: Path, store_root: Path, way: str) -> None:
    """A full pipe, as before a pager, when the script ends: it waits for its reader as ever, and all arrives."""
    (tmp_path / "paused.py").write_text(PAUSED.format(lines=740))  # a pipe is full, and Python holds the rest back
    env = environment(store_root, "")
    call = ["-m", "paused"] if way == "module" else [str(tmp_path / "paused.py")]
    source = str(Path(__file__).parents[2])
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), source])
    with subprocess.Popen(
        [sys.executable, *call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=tmp_path
    ) as process:
        time.sleep(6.0)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.decode().splitlines() == ["x" * 90] * 740 + ["held"]
    consoles = list(store_root.glob("projects/**/console/*.txt"))
    assert sum(path.read_text().count(" o ") for path in consoles) == 741


SCRIPT = """
import sys, time
from localtrack import Task
task = Task.init("flood", "killed")
print(task.id, flush=True)
number = 0
while True:
    print("line", number)
    number += 1
    if number % 1000 == 0:
        time.sleep(0.001)
"""


@UNBUFFERED
def test_a_killed_flood_has_lost_no_more_than_a_moment(tmp_path: Path, store_root: Path, unbuffered: str) -> None:
    """After SIGKILL the record is a piece of the output without gaps, and ends within the last moments of it."""
    script = tmp_path / "flood.py"
    script.write_text(textwrap.dedent(SCRIPT))
    env = environment(store_root, unbuffered)
    with open(tmp_path / "out.txt", "wb") as out:
        process = subprocess.Popen([sys.executable, str(script)], stdout=out, env=env, cwd=tmp_path)
    wait_until(lambda: (tmp_path / "out.txt").stat().st_size > 1_000_000)
    size = (tmp_path / "out.txt").stat().st_size
    time.sleep(2.0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    numbers = [int(line.rsplit(" ", 1)[1]) for line in recorded(store_root) if line.startswith("line ")]
    assert numbers == list(range(len(numbers)))
    assert sum(len(f"line {number}\n") for number in numbers) > size
