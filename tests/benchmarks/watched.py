"""What the capture of TensorBoard costs a writer: the same writer with and without it, in turns, in one process.

CPU times, so that other programs count little: of the calling thread, and of all threads together.

Usage, for one measured process, by a Python with localtrack and the writer: ``watched.py PACKAGE FOLDER``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any

MARK = "BENCHMARK "
CALLS = 10_000
BATCH = 100
ROUNDS = 10
PAUSE_S = 0.2
LIMIT_PERCENT = 10.0
EVENT_FILES = {
    "torch.utils.tensorboard": "tensorboard.summary.writer.event_file_writer",
    "tensorboardX": "tensorboardX.event_file_writer",
}
ROOT = Path(__file__).resolve().parents[2]


def watched(bench: Any) -> list[Any]:
    """``add_scalar`` of torch's writer, where torch is, and of tensorboardX, watched and not."""
    from tests.benchmarks.measure import not_measured

    rows = []
    for package in EVENT_FILES:
        try:
            python = _python_with(package, bench)
        except (OSError, subprocess.SubprocessError) as error:
            rows.append(not_measured(f"{package}, watched", f"no environment with it: {error}"[:200]))
            continue
        if not python:
            rows.append(not_measured(f"{package}, watched", f"{sys.executable} has no torch and tensorboard"))
            continue
        rows += _rows(package, [_measure(package, python, bench) for _ in range(bench.repetitions)])
    return rows


def _python_with(package: str, bench: Any) -> str:
    from tests.benchmarks import rival

    if find_spec(package.partition(".")[0]) is not None and find_spec(EVENT_FILES[package].partition(".")[0]):
        return sys.executable
    if package != "tensorboardX":
        return ""
    return str(rival.make_environment(bench.folder / "watched-environment", (*rival.PACKAGES, str(ROOT))))


def _measure(package: str, python: str, bench: Any) -> dict[str, float]:
    store = bench.fresh_store()
    answer: dict[str, float] = bench.run(
        [python, __file__, package, bench.folder / f"events-{store.name}"], store
    ).answer
    return answer


def _rows(package: str, answers: list[dict[str, float]]) -> list[Any]:
    from tests.benchmarks.measure import at_most, compare

    what = f"{package}, add_scalar"
    return [
        at_most(
            f"{what}, watched: more of the caller's time", "%", [a["caller_percent"] for a in answers], LIMIT_PERCENT,
            f"CPU time, medians of batches of {BATCH}, {ROUNDS} rounds of {CALLS} calls in turns with and without",
        ),
        compare(f"{what}, not watched: the caller", "us", [a["caller_us"] for a in answers]),
        compare(f"{what}, watched: more CPU time of the process", "%", [a["process_percent"] for a in answers],
                "with the recording, in a thread of its own"),
        compare(f"{what}, not watched: the process", "us", [a["process_us"] for a in answers]),
    ]  # fmt: skip


def main(package: str, folder: str) -> None:
    """Write the same scalar with two writers in turns; the task sees one of them."""
    from localtrack import Task

    task = Task.init(project_name="benchmark", task_name="watched")
    open_writer, kind = import_module(package).SummaryWriter, import_module(EVENT_FILES[package]).EventFileWriter
    writers = {name: open_writer(f"{folder}/{name}") for name in ("watched", "plain")}
    plain = writers["plain"].file_writer.event_writer
    plain.add_event = MethodType(kind.add_event.__wrapped__, plain)
    callers: dict[str, list[float]] = {name: [] for name in writers}
    processes: dict[str, list[float]] = {name: [] for name in writers}
    for number in range(-1, ROUNDS):
        for name in sorted(writers, reverse=number % 2 == 0):
            start = time.process_time()
            batches = _timed(writers[name].add_scalar)
            time.sleep(PAUSE_S)  # what was put by is recorded, and the writer's own thread is done
            if number >= 0:  # the first round warms up
                callers[name].append(statistics.median(batches))
                processes[name].append((time.process_time() - start) / CALLS * 1e6)
    for writer in writers.values():
        writer.close()
    task.close()
    answer = {
        "caller_percent": _more(callers), "process_percent": _more(processes),
        "caller_us": statistics.median(callers["plain"]), "process_us": statistics.median(processes["plain"]),
    }  # fmt: skip
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)


def _timed(add_scalar: Any) -> list[float]:
    means = []
    for first in range(0, CALLS, BATCH):
        start = time.thread_time()
        for step in range(first, first + BATCH):
            add_scalar("train/loss", 0.5, step)
        means.append((time.thread_time() - start) / BATCH * 1e6)
    return means


def _more(times: dict[str, list[float]]) -> float:
    """Return how much longer the watched rounds took, in per cent: the median of the rounds."""
    return statistics.median(w / p - 1 for w, p in zip(times["watched"], times["plain"], strict=True)) * 100


if __name__ == "__main__":
    main(*sys.argv[1:])
