"""The figures, one function each; every one returns rows of the table.

Method: each sample is a fresh process on a fresh store with the settings that a user gets (git, packages, console and
monitor captured). Times of a call are means of batches of 100, so that the clock's own cost does not count.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import rival
from tests.benchmarks.finding import finding
from tests.benchmarks.loading import loading
from tests.benchmarks.measure import (
    WORKLOAD,
    Bench,
    BenchmarkError,
    Figure,
    answer_of,
    at_most,
    compare,
    not_measured,
    size_on_disk,
)
from tests.benchmarks.merging import merging
from tests.benchmarks.monitored import monitored
from tests.benchmarks.printing import printing
from tests.benchmarks.watched import watched

POINTS = 100_000
STEPS = 2_000
PROCESSES = 8
POINTS_A_PROCESS = 2_000
MILLION = 1_000_000
KILLS = 6

_TIMED_IMPORT = (
    "import time; t = time.perf_counter(); {}; print('\\nBENCHMARK {{\"s\": %r}}' % (time.perf_counter() - t))"
)
_TWO_LINES = "from localtrack import Task\nTask.init(project_name='benchmark', task_name='two lines')\n"
_TIMED_INIT = """import json
import time

start = time.perf_counter()
from localtrack import Task

loaded = time.perf_counter()
task = Task.init(project_name="benchmark", task_name="init")
ready = time.perf_counter()
task.close()
times = {"import_s": loaded - start, "init_s": ready - loaded, "close_s": time.perf_counter() - ready}
print("\\nBENCHMARK " + json.dumps(times), flush=True)
"""


def reporting(bench: Bench) -> list[Figure]:
    """report_scalar on the caller's thread, its size on disk, the floor, and reading it back."""
    median_us, p99_us, sizes, first_ms, warm_ms, exact = [], [], [], [], [], True
    floor_median, floor_p99 = [], []
    for _ in range(bench.repetitions):
        floor = bench.workload(
            "floor", bench.fresh_store(), bench.folder / f"floor-{time.monotonic_ns()}", POINTS
        ).answer
        floor_median.append(floor["median_us"])
        floor_p99.append(floor["p99_us"])
        store = bench.fresh_store()
        bench.workload("empty", store)
        base = size_on_disk(store)
        store = bench.fresh_store()
        answer = bench.workload("points", store, POINTS).answer
        median_us.append(answer["median_us"])
        p99_us.append(answer["p99_us"])
        sizes.append((size_on_disk(store) - base) / POINTS)
        back = bench.workload("read", store, answer["id"], POINTS).answer
        first_ms.append(back["first_ms"])
        warm_ms.append(back["warm_ms"])
        exact &= back["exact"]
    return [
        at_most("report_scalar, median", "us", median_us, 2.5, f"{POINTS} calls, batches of 100"),
        at_most("report_scalar, p99", "us", p99_us, 15.0, "of the batches"),
        compare("floor: os.write of 32 bytes, median", "us", floor_median, "the physical limit of such a journal"),
        compare("floor: os.write of 32 bytes, p99", "us", floor_p99),
        at_most("size of a point on disk", "bytes", sizes, 8.0, "after close, whole store less that of an empty task"),
        at_most(
            f"read {POINTS} points, warm", "ms", warm_ms, 30.0, f"bit for bit the same: {'yes' if exact else 'NO'}"
        ),
        compare(f"read {POINTS} points, first in its process", "ms", first_ms, "with the import of pyarrow"),
    ]


def importing(bench: Bench) -> list[Figure]:
    """How long an import takes in a fresh process."""
    rows = []
    for statement in ("import localtrack", "from localtrack import Task"):
        code = _TIMED_IMPORT.format(statement)
        runs = [bench.run([sys.executable, "-c", code]).answer["s"] * 1e3 for _ in range(7)]
        rows.append(at_most(f"`{statement}`", "ms", runs[1:], 60.0, "fresh process, byte code cached"))
    return rows


def starting(bench: Bench) -> list[Figure]:
    """Task.init in a git repository with uncommitted changes, and a two-line script from start to end."""
    repository = make_repository(bench)
    store = bench.fresh_store()
    runs = [bench.run([sys.executable, "train.py"], store, cwd=repository).answer for _ in range(7)]
    script = bench.folder / "two_lines.py"
    script.write_text(_TWO_LINES)
    store = bench.fresh_store()
    walls = [bench.run([sys.executable, script], store).wall_s for _ in range(7)]
    inside = repository / "two_lines.py"
    inside.write_text(_TWO_LINES)
    in_git = [bench.run([sys.executable, "two_lines.py"], store, cwd=repository).wall_s for _ in range(7)]
    bare = [bench.run([sys.executable, "-c", "pass"]).wall_s for _ in range(5)]
    return [
        at_most("Task.init, dirty git repository", "ms", [r["init_s"] * 1e3 for r in runs[1:]], 20.0, "20 files"),
        compare("close of that task", "ms", [r["close_s"] * 1e3 for r in runs[1:]], "waits for the captures"),
        at_most("two-line script, whole process", "s", walls[1:], 0.5, "no git"),
        at_most("two-line script, dirty git repository", "s", in_git[1:], 0.5),
        compare("python -c pass", "s", bare[1:], "the floor of both"),
    ]


def make_repository(bench: Bench) -> Path:
    """Make a git repository of 20 files with an uncommitted change and a script that times Task.init."""
    folder = bench.folder / "repository"
    folder.mkdir()
    for number in range(20):
        (folder / f"module_{number}.py").write_text(f"x = {number}\n" * 30)
    (folder / "train.py").write_text(_TIMED_INIT)
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=bench.environment(None), capture_output=True)
    with open(folder / "module_3.py", "a") as stream:
        stream.write("y = 1\n")
    return folder


def many_series(bench: Bench) -> list[Figure]:
    """200 series of 2,000 steps, side by side with tensorboardX, turn by turn."""
    name = f"200 series x {STEPS} steps"
    try:
        python = rival.make_environment(bench.folder.parent / "localtrack-benchmark-tensorboardx")
        reason = ""
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"not installable here: {str(getattr(error, 'stderr', '') or error).strip()[-160:]}"
    ours, theirs = [], []
    for number in range(bench.repetitions):
        ours.append(bench.workload("many", bench.fresh_store(), STEPS).answer["total_s"])
        if not reason:
            logs = bench.folder / f"tensorboardx-{number}"
            theirs.append(bench.run([python, rival.__file__, logs, STEPS]).answer["total_s"])
    rows = [compare(f"{name}, localtrack", "s", ours, "reported and closed, ready to be read")]
    if reason:
        return [*rows, not_measured(f"{name}, tensorboardX", reason)]
    ratio = statistics.median(theirs) / statistics.median(ours)
    faster = Figure(f"{name}, times faster than tensorboardX", "x", ratio, ">= 5", ratio >= 5.0)
    return [*rows, compare(f"{name}, tensorboardX", "s", theirs), faster]


def eight_processes(bench: Bench) -> list[Figure]:
    """Eight processes that start at once on a store that is not there yet."""
    walls, failed, lost, wrong = [], 0, 0, 0
    for _ in range(bench.repetitions):
        store = bench.fresh_store()
        start = time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, WORKLOAD, "child", str(index), str(POINTS_A_PROCESS)],
                cwd=bench.folder, env=bench.environment(store), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for index in range(PROCESSES)
        ]  # fmt: skip
        outputs = [process.communicate(timeout=240)[0] for process in processes]
        walls.append(time.perf_counter() - start)
        answers = [answer_of(text) for text in outputs]
        ended_badly = sum(
            process.returncode != 0 or not answer for process, answer in zip(processes, answers, strict=True)
        )
        failed += ended_badly + sum(answer.get("errors", 0) for answer in answers)
        found = bench.workload("count", store, *[answer["id"] for answer in answers if answer]).answer
        lost += PROCESSES * POINTS_A_PROCESS - sum(found["counts"])
        wrong += found["wrong"]
    rounds = f"in {bench.repetitions} rounds"
    return [
        at_most("8 processes at once, failed processes and calls", "", [failed], 0, rounds),
        at_most("8 processes at once, points lost or wrong", "", [lost + wrong], 0, rounds),
        compare("8 processes at once, whole", "s", walls, f"{PROCESSES} x {POINTS_A_PROCESS} points, fresh store"),
    ]


def killed(bench: Bench) -> list[Figure]:
    """SIGKILL at a random moment: acknowledged points against readable ones."""
    rows = []
    for pause_us, what in ((1000, "one call a millisecond"), (0, "as fast as it can")):
        acknowledged = lost = wrong = 0
        for _ in range(KILLS):
            store = bench.fresh_store()
            task_id, told = _kill_one(bench, store, pause_us)
            found = bench.workload("count", store, task_id).answer
            acknowledged += told
            lost += max(0, told - found["counts"][0])
            wrong += found["wrong"]
        note = f"{acknowledged} acknowledged over {KILLS} kills; {what}"
        rows.append(at_most("SIGKILL: acknowledged points lost or wrong", "", [lost + wrong], 0, note))
    return rows


def _kill_one(bench: Bench, store: Path, pause_us: int) -> tuple[str, int]:
    """Kill a reporting process; returns its task's id and how many calls had returned."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, WORKLOAD, "acknowledge", str(writing), str(pause_us)],
        cwd=bench.folder, env=bench.environment(store), pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    with open(reading, "rb") as stream:
        task_id = stream.readline().decode().strip()
        if not task_id:
            raise BenchmarkError(f"the process to kill ended by itself: {process.wait()}")
        deadline = time.monotonic() + random.uniform(0.5, 2.0)
        last = b""
        while time.monotonic() < deadline:
            last = stream.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        for line in stream:
            last = line if line.endswith(b"\n") else last
    if not last:
        raise BenchmarkError("the process to kill acknowledged nothing")
    return task_id, int(last) + 1


def memory(bench: Bench) -> list[Figure]:
    """The largest resident size of a process that reports a million points."""
    run = bench.workload("million", bench.fresh_store(), MILLION)
    idle = bench.workload("empty", bench.fresh_store())
    return [
        at_most(
            "peak memory, a million points",
            "MB",
            [run.peak_rss_bytes / 1e6],
            120.0,
            f"{run.answer['files_bytes'] / 1e6:.0f} MB of it files of libraries; loop {run.answer['loop_s']:.2f} s",
        ),
        compare("peak memory, no points", "MB", [idle.peak_rss_bytes / 1e6]),
    ]


ALL: dict[str, Callable[[Bench], list[Figure]]] = {
    "reporting": reporting,
    "importing": importing,
    "starting": starting,
    "many-series": many_series,
    "eight-processes": eight_processes,
    "killed": killed,
    "memory": memory,
    "merging": merging,
    "finding": finding,
    "watched": watched,
    "loading": loading,
    "printing": printing,
    "monitored": monitored,
}
