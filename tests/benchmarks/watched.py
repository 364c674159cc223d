"""What the capture of TensorBoard costs a writer: the same writer with and without it, in short turns, in one process.

CPU times, so that other programs count little: of the calling thread, and of all threads together. A figure is the median
of many ratios, each of two turns that follow each other: the speed of a shared machine changes from second to second.

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
CALLS = 20_000  # some 0.3 s, much longer than what was put by waits, so that the recording runs beside the writer
ROUNDS = 24
PAUSE_S = 0.1
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
            f"CPU time, median of {ROUNDS} pairs of {CALLS} calls with and without, which comes first in turns",
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
    open_writer = import_module(package).SummaryWriter
    writers = {name: open_writer(f"{folder}/{name}") for name in ("watched", "plain")}
    _leave(writers["plain"].file_writer.event_writer)
    callers: dict[str, list[float]] = {name: [] for name in writers}
    processes: dict[str, list[float]] = {name: [] for name in writers}
    for number in range(-2, ROUNDS):
        for name in sorted(writers, reverse=number % 2 == 0):
            caller_us, process_us = _timed(writers[name].add_scalar)
            if number >= 0:  # the first rounds warm up
                callers[name].append(caller_us)
                processes[name].append(process_us)
    for writer in writers.values():
        writer.close()
    task.close()
    answer = {
        "caller_percent": _more(callers), "process_percent": _more(processes),
        "caller_us": statistics.median(callers["plain"]), "process_us": statistics.median(processes["plain"]),
    }  # fmt: skip
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)


def _leave(writer: Any) -> None:
    """Give one writer back the functions that the capture has replaced."""
    for held in (writer, getattr(writer, "_async_writer", None)):
        for name in ("add_event", "write"):
            original = getattr(getattr(type(held), name, None), "__wrapped__", None)
            if original is not None:
                setattr(held, name, MethodType(original, held))


def _timed(add_scalar: Any) -> tuple[float, float]:
    process, caller = time.process_time(), time.thread_time()
    for step in range(CALLS):
        add_scalar("train/loss", 0.5, step)
    caller = time.thread_time() - caller
    time.sleep(PAUSE_S)  # what was put by is recorded, and the writer's own thread is done
    return caller / CALLS * 1e6, (time.process_time() - process) / CALLS * 1e6


def _more(times: dict[str, list[float]]) -> float:
    """Return how much longer the watched turns took, in per cent: the median of the pairs."""
    return statistics.median(w / p - 1 for w, p in zip(times["watched"], times["plain"], strict=True)) * 100


if __name__ == "__main__":
    main(*sys.argv[1:])
