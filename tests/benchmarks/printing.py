"""What the console capture costs a print: the same lines through the captured stream and beside it, in turns.

CPU times, so that other programs count little: of the calling thread, and of the whole process with the recording. Into a
file, into a pipe that a ``cat`` reads, and to a terminal, which flushes every line. A figure is the median of pairs of
turns in one process: as fast as they come, and at a thousand lines a second, each of which is recorded within 50 ms. The capture
of descriptors can't be left out for one turn: there, processes with and without it take turns. Two streams to a terminal differ
by a few percent where nothing is captured; processes that measure that take turns with the others. Unbuffered is as
``python -u`` prints, where a line is two calls of the system.

Usage, for one measured process: ``printing.py tee|plain|descriptors ANSWER``; it prints to its stdout.
"""

from __future__ import annotations

import io
import json
import os
import pty
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LINES = 20_000
ROUNDS = 12
PACED_LINES = 300
PACE_S = 0.001
PAUSE_S = 0.15
WANTED_PERCENT = 2.0
TARGETS = ("file", "pipe", "terminal")
LINE = "epoch 12 | step 003456 | loss 0.123456 | accuracy 0.9876 | lr 1.000e-04 | 812 it/s"


def printing(bench: Any) -> list[Any]:
    """Prints with and without capture, to each kind of target."""
    from tests.benchmarks.measure import at_most, compare

    rows = []
    for target in TARGETS:
        captured, alike, descriptors = _in_turns(bench, target, "tee", "plain", "descriptors")
        what = f"print to a {target}"
        rows += [
            at_most(f"{what}, captured: more time of the caller", "%", _beyond(captured, alike, "caller_percent"), WANTED_PERCENT,
                    f"CPU time, median of {ROUNDS} pairs of {LINES} lines of {len(LINE)} characters, as fast as they come; less "
                    "what the same two streams differ by where none is captured"),
            compare(f"{what}, two streams without capture: more time of the first", "%", [a["caller_percent"] for a in alike],
                    "what is taken off above"),
            compare(f"{what}, captured: more time of the process", "%", _beyond(captured, alike, "process_percent"),
                    "with the recording"),
            compare(f"{what}, not captured", "us", [a["plain_us"] for a in captured]),
            compare(f"{what}, captured", "us", [a["tee_us"] for a in captured]),
            compare(f"{what}, captured, 1000 lines a second: more of a core", "%", [a["paced_core_percent"] for a in captured],
                    "each recorded within 50 ms"),
            compare(f"{what}, by descriptors: more time of the caller", "%", _more_than(descriptors, alike), "pairs of processes"),
            *_unbuffered(bench, target),
        ]  # fmt: skip
    return rows


def _unbuffered(bench: Any, target: str) -> list[Any]:
    from tests.benchmarks.measure import compare

    captured, alike, descriptors = _in_turns(bench, target, "tee", "plain", "descriptors", unbuffered="1")
    what = f"print to a {target}, unbuffered"
    return [
        compare(f"{what}, captured: more time of the caller", "%", _beyond(captured, alike, "caller_percent"), "python -u"),
        compare(f"{what}, captured: more time of the process", "%", _beyond(captured, alike, "process_percent")),
        compare(f"{what}, not captured", "us", [a["plain_us"] for a in captured]),
        compare(f"{what}, by descriptors: more time of the caller", "%", _more_than(descriptors, alike), "pairs of processes"),
    ]  # fmt: skip


Answers = list[dict[str, float]]


def _in_turns(bench: Any, target: str, *ways: str, unbuffered: str = "") -> list[Answers]:
    """Return what processes measure that print in each of these ways, in turns."""
    turns = [[_measure(bench, target, way, unbuffered) for way in ways] for _ in range(bench.repetitions)]
    return [list(answers) for answers in zip(*turns, strict=True)]


def _beyond(captured: Answers, alike: Answers, what: str) -> list[float]:
    return [one[what] - other[what] for one, other in zip(captured, alike, strict=True)]


def _more_than(captured: Answers, plain: Answers) -> list[float]:
    return [(one["tee_us"] / other["tee_us"] - 1) * 100 for one, other in zip(captured, plain, strict=True)]


def _measure(bench: Any, target: str, how: str, unbuffered: str) -> dict[str, float]:
    store = bench.fresh_store()
    answer = bench.folder / "answer.json"
    command = [sys.executable, __file__, how, str(answer)]
    environment = {**bench.environment(store), "PYTHONUNBUFFERED": unbuffered}  # as a script is run, or not
    if target == "file":
        with open(bench.folder / "printed.txt", "wb") as stream:
            subprocess.run(command, stdout=stream, stderr=subprocess.DEVNULL, env=environment, check=True, timeout=120)
    else:
        reading, writing = os.pipe() if target == "pipe" else pty.openpty()
        reader = subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(reading)
        try:
            subprocess.run(command, stdout=writing, stderr=subprocess.DEVNULL, env=environment, check=True, timeout=120)
        finally:
            os.close(writing)
            reader.wait(10)
    found: dict[str, float] = json.loads(answer.read_text())
    return found


def main(how: str, answer: str) -> None:
    """Print in turns; in the modes other than ``tee`` both turns are the same stream."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    streams: dict[str, Any] = {"tee": sys.stdout, "plain": _stream_of_its_own()}
    if how != "plain":
        from localtrack import Task

        choice: Any = {"descriptors": True} if how == "descriptors" else True
        Task.init("benchmark", "printing", auto_connect_streams=choice)
        streams["tee"] = sys.stdout
    time.sleep(1.0)  # the capture of code and packages has its own figure
    callers, processes = _turns(streams, ROUNDS, _print_lines)
    paced, _ = _turns(streams, ROUNDS // 4, _print_slowly)
    result = {
        "caller_percent": _more(callers), "process_percent": _more(processes),
        "paced_core_percent": statistics.median(t - p for t, p in zip(paced["tee"], paced["plain"], strict=True))
        * 100 / (PACED_LINES * PACE_S),
        **{f"{name}_us": statistics.median(values) / LINES * 1e6 for name, values in callers.items()},
    }  # fmt: skip
    Path(answer).write_text(json.dumps(result))


def _stream_of_its_own() -> io.TextIOWrapper:
    """Return a stream as the interpreter has made its stdout, beside that one."""
    raw = io.FileIO(1, "w", closefd=False)
    if sys.stdout.write_through:
        return io.TextIOWrapper(raw, "utf-8", newline="\n", write_through=True)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", newline="\n", line_buffering=raw.isatty())


Times = dict[str, list[float]]


def _turns(streams: dict[str, Any], rounds: int, act: Any) -> tuple[Times, Times]:
    """Return CPU seconds of the calling thread and of the process, by stream."""
    callers: Times = {name: [] for name in streams}
    processes: Times = {name: [] for name in streams}
    for number in range(-2, rounds):
        for name in sorted(streams, reverse=number % 2 == 0):
            process, caller = time.process_time(), time.thread_time()
            act(streams[name])
            caller = time.thread_time() - caller
            time.sleep(PAUSE_S)  # what waits is recorded
            if number >= 0:  # the first rounds warm up
                callers[name].append(caller)
                processes[name].append(time.process_time() - process)
    return callers, processes


def _print_lines(stream: Any) -> None:
    for _ in range(LINES):
        print(LINE, file=stream)
    stream.flush()


def _print_slowly(stream: Any) -> None:
    for _ in range(PACED_LINES):
        print(LINE, file=stream)
        time.sleep(PACE_S)
    stream.flush()


def _more(times: Times) -> float:
    return statistics.median(t / p - 1 for t, p in zip(times["tee"], times["plain"], strict=True)) * 100


if __name__ == "__main__":
    main(*sys.argv[1:])
