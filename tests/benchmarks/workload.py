"""What a measured process does: one action, its times as JSON on a marked line. Only localtrack's public API is used.

Usage: ``workload.py ACTION ARGUMENT...``; the store comes from ``LOCALTRACK_ROOT``. Run by itself, so that nothing but
the measured library is loaded.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

MARK = "BENCHMARK "
BATCH = 100
SERIES = 200
Answer = dict[str, Any]


def values(number: int, seed: int = 0) -> list[float]:
    """Return a noisy falling curve with all bits of a double in use; the same for the same arguments."""
    noise = random.Random(seed)
    return [2.0 * math.exp(-i / 30000.0) + 0.1 * noise.random() for i in range(number)]


def quantile(samples: list[float], share: float) -> float:
    """Return the sample below which that share of them lies."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _init(name: str) -> Any:
    from localtrack import Task

    return Task.init(project_name="benchmark", task_name=name)


def _task(task_id: str) -> Any:
    from localtrack import Task

    return Task.get_task(task_id=task_id)


def _timed(report: Callable[[int, float], object], curve: list[float]) -> tuple[float, float]:
    """Call once a point; returns median and p99 of the batches' means, in microseconds a call."""
    means = []
    for first in range(0, len(curve), BATCH):
        start = time.perf_counter()
        for i in range(first, first + BATCH):
            report(i, curve[i])
        means.append((time.perf_counter() - start) / BATCH * 1e6)
    return quantile(means, 0.5), quantile(means, 0.99)


def points(number: str) -> Answer:
    """Report so many points of one series."""
    curve = values(int(number))
    task = _init("points")
    report_scalar = task.get_logger().report_scalar
    median_us, p99_us = _timed(lambda i, value: report_scalar("loss", "train", value, i), curve)
    start = time.perf_counter()
    task.close()
    return {"median_us": median_us, "p99_us": p99_us, "close_s": time.perf_counter() - start, "id": task.id}


def empty() -> Answer:
    """Make a task that reports nothing, for the size of a task by itself."""
    task = _init("points")
    task.close()
    return {"id": task.id}


def floor(path: str, number: str) -> Answer:
    """Write as many records of 32 bytes with plain system calls: what the journal's write costs without us."""
    import struct

    pack = struct.Struct("<qqdd").pack
    clock = time.time
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write = os.write
    median_us, p99_us = _timed(lambda i, value: write(fd, pack(1, i, clock(), value)), values(int(number)))
    os.close(fd)
    return {"median_us": median_us, "p99_us": p99_us}


def read(task_id: str, number: str) -> Answer:
    """Read a series back twice and compare each point, bit by bit."""
    task = _task(task_id)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        found = task.get_reported_scalars()
        times.append((time.perf_counter() - start) * 1e3)
    series = found["loss"]["train"]
    exact = list(series["x"]) == list(range(int(number))) and list(series["y"]) == values(int(number))
    return {"first_ms": times[0], "warm_ms": min(times[1:]), "exact": exact, "points": len(series["y"])}


def many(steps: str) -> Answer:
    """Report 200 series for so many steps, the way a training loop does."""
    curve = values(SERIES + int(steps), 1)
    names = [(f"group {k // 20}", f"series {k:03d}") for k in range(SERIES)]
    task = _init("many")
    report_scalar = task.get_logger().report_scalar
    start = time.perf_counter()
    for step in range(int(steps)):
        for k, (title, series) in enumerate(names):
            report_scalar(title, series, curve[step + k], step)
    loop_s = time.perf_counter() - start
    task.close()
    return {"loop_s": loop_s, "total_s": time.perf_counter() - start, "id": task.id}


def million(number: str) -> Answer:
    """Report so many points in ten series; the caller looks at the peak memory. Keeps no list of its own."""
    task = _init("million")
    report_scalar = task.get_logger().report_scalar
    names = [f"series {k}" for k in range(10)]
    start = time.perf_counter()
    for i in range(int(number) // 10):
        for name in names:
            report_scalar("loss", name, i * 0.1, i)
    loop_s = time.perf_counter() - start
    task.close()
    return {"loop_s": loop_s, "id": task.id, "files_bytes": _mapped_files_bytes()}


def _mapped_files_bytes() -> int:
    """How much of the resident size is pages of files, which the page cache holds anyway: libraries, nearly all."""
    with open("/proc/self/status") as stream:
        return next((int(line.split()[1]) * 1024 for line in stream if line.startswith("RssFile")), 0)


def child(index: str, number: str) -> Answer:
    """Be one of several processes that start at once."""
    curve = values(int(number))
    task = _init(f"process {index}")
    report_scalar = task.get_logger().report_scalar
    errors = 0
    for i, value in enumerate(curve):
        try:
            report_scalar("loss", "train", value, i)
        except Exception:  # counted: the figure is how many calls fail
            errors += 1
    task.close()
    return {"errors": errors, "id": task.id}


def acknowledge(fd: str, pause_us: str) -> Answer:
    """Report until killed, and tell each returned call through a pipe."""
    curve = values(100_000)
    task = _init("killed")
    report_scalar = task.get_logger().report_scalar
    pipe, pause_s = int(fd), int(pause_us) / 1e6
    os.write(pipe, f"{task.id}\n".encode())
    i = 0
    while True:
        report_scalar("loss", "train", curve[i % len(curve)], i)
        os.write(pipe, b"%d\n" % i)
        i += 1
        if pause_s:
            time.sleep(pause_s)


def count(*task_ids: str) -> Answer:
    """Return how many points of ``loss/train`` can be read of each task, and whether each has its value."""
    curve = values(100_000)
    counts, wrong = [], 0
    for task_id in task_ids:
        series = _task(task_id).get_reported_scalars().get("loss", {}).get("train", {"x": [], "y": []})
        counts.append(len(series["x"]))
        wrong += sum(curve[int(x) % len(curve)] != y for x, y in zip(series["x"], series["y"], strict=True))
    return {"counts": counts, "wrong": wrong}


ACTIONS: dict[str, Callable[..., Answer]] = {
    function.__name__: function for function in (points, empty, floor, read, many, million, child, acknowledge, count)
}


if __name__ == "__main__":
    answer = ACTIONS[sys.argv[1]](*sys.argv[2:])
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)
