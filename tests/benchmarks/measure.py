"""How figures are taken: fresh processes, medians, and what else the machine did meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MARK = "BENCHMARK "
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WORKLOAD = Path(__file__).with_name("workload.py")


class BenchmarkError(Exception):
    """A measured process failed; says what it printed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        name: what was measured.
        unit: of ``value``; empty for plain counts.
        value: the median; None when it could not be measured.
        target: what the project wants to reach, as text; empty for rows that are only there to compare with.
        reached: whether it is; None where there is no target or no value.
        note: how, or why not.
        samples: every value that the median is of.
    """

    name: str
    unit: str
    value: float | None
    target: str = ""
    reached: bool | None = None
    note: str = ""
    samples: tuple[float, ...] = ()


def at_most(name: str, unit: str, samples: Iterable[float], limit: float, note: str = "") -> Figure:
    """Return a figure that should not be above ``limit``."""
    values = tuple(samples)
    middle = statistics.median(values)
    return Figure(name, unit, middle, f"<= {limit:g}", middle <= limit, note, values)


def compare(name: str, unit: str, samples: Iterable[float], note: str = "") -> Figure:
    """Return a figure without a target."""
    values = tuple(samples)
    return Figure(name, unit, statistics.median(values), note=note, samples=values)


def not_measured(name: str, reason: str) -> Figure:
    """Return a row that says why there is no figure."""
    return Figure(name, "", None, note=reason)


@dataclass(frozen=True, slots=True)
class Run:
    """A measured process that ended well.

    Attributes:
        answer: the JSON that it printed.
        wall_s: from start to end, seconds.
        peak_rss_bytes: its largest resident size, by the kernel's account.
    """

    answer: dict[str, Any]
    wall_s: float
    peak_rss_bytes: int


@dataclass(slots=True)
class Bench:
    """Runs workloads in fresh processes and keeps what it needs to in a folder of its own.

    Attributes:
        folder: temporary; removed by :meth:`close`.
        repetitions: how often each figure is taken.
        foreign_cores: for each process run, how many cores other programs used meanwhile.
    """

    repetitions: int
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="localtrack-benchmark-")))
    foreign_cores: list[float] = field(default_factory=list)
    _stores: int = 0

    def fresh_store(self) -> Path:
        """Return a path at which no store is yet."""
        self._stores += 1
        return self.folder / f"store-{self._stores}"

    def environment(self, store: Path | None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return what a measured process gets: this environment, a store, and no settings of the user's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LOCALTRACK_")}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        kept.update(HOME=str(home), PYTHONPATH="", TERM="dumb")
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        if store is not None:
            kept["LOCALTRACK_ROOT"] = str(store)
        return {**kept, **(extra or {})}

    def run(
        self, command: Sequence[object], store: Path | None = None, *, cwd: Path | None = None, timeout_s: float = 300.0
    ) -> Run:
        """Run a command and wait for it.

        Raises:
            BenchmarkError: it failed or took too long.
        """
        words = [str(word) for word in command]
        out = self.folder / "output.txt"
        busy, cpu, start = _busy_s(), os.times(), time.perf_counter()
        with open(out, "wb") as stream:
            process = subprocess.Popen(
                words, cwd=cwd or self.folder, env=self.environment(store), stdout=stream, stderr=subprocess.STDOUT
            )
            usage = _wait(process, timeout_s)
        wall_s = time.perf_counter() - start
        after = os.times()
        own = after.children_user + after.children_system - cpu.children_user - cpu.children_system
        self.foreign_cores.append(max(0.0, (_busy_s() - busy - own) / wall_s))
        text = out.read_text(errors="replace")
        if process.returncode:
            raise BenchmarkError(f"{' '.join(words)}: exit status {process.returncode}\n{text[-2000:]}")
        return Run(answer_of(text), wall_s, usage)

    def workload(self, action: str, store: Path, *arguments: object, timeout_s: float = 300.0) -> Run:
        """Run one action of ``workload.py`` in a fresh process."""
        return self.run([sys.executable, WORKLOAD, action, *arguments], store, timeout_s=timeout_s)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def answer_of(text: str) -> dict[str, Any]:
    """Return the last marked JSON line of a process's output; ``{}`` when there is none."""
    found = [line for line in text.splitlines() if line.startswith(MARK)]
    answer: dict[str, Any] = json.loads(found[-1][len(MARK) :]) if found else {}
    return answer


def size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder, by their lengths."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total


def file_system_of(folder: Path) -> str:
    """Return the type of the file system that holds a folder, as the kernel names it; ``?`` when it can't be told."""
    best, kind = "", "?"
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return kind
    for line in mounts:
        _, point, found = line.split()[:3]
        prefix = point if point.endswith("/") else point + "/"
        if f"{folder}/".startswith(prefix) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Wait for a process; returns its peak resident size in bytes."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0005
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_maxrss * 1024
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise BenchmarkError(f"no end within {timeout_s} s: {process.args!r}")
        time.sleep(pause_s)
        pause_s = min(0.005, pause_s * 1.2)


def _busy_s() -> float:
    """Return the seconds that all processors together have worked since boot."""
    try:
        with open("/proc/stat") as stat:
            values = [int(word) for word in stat.readline().split()[1:9]]
    except OSError:
        return 0.0
    return (sum(values) - values[3] - values[4]) / TICKS_PER_S
