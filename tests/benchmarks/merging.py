"""A run of 20 million points: many parts against merged ones. ``python -m tests.benchmarks.merging FOLDER POINTS``.

Ten series of equal length are reported by turns, and folded journal by journal as a run does, but not merged; then one
series is read, all parts are merged by the function that a run and ``localtrack gc`` call, and the series is read again.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from localtrack.fs.disk import Disk
from localtrack.store.journal import ScalarJournal
from localtrack.store.merging import merge_parts
from localtrack.store.parts import fold
from localtrack.store.scalars import read_scalars
from tests.benchmarks.measure import Bench, Figure, compare
from tests.benchmarks.workload import MARK, quantile, values

SERIES = 10
POINTS = 20_000_000
READS = 5


def merging(bench: Bench) -> list[Figure]:
    """A run of 20 million points, before and after its parts were merged."""
    command = [sys.executable, "-m", "tests.benchmarks.merging", str(bench.folder / "long-run"), str(POINTS)]
    answer = bench.run(command, timeout_s=900.0).answer
    name = f"{POINTS / 1e6:g} M points"
    rows = [(f"{name}, {key.replace('_', ' ')}", key) for key in answer]
    return [compare(text, _UNITS[key], [answer[key]]) for text, key in rows]


_UNITS = {
    "parts_before": "", "size_before": "MB", "one_series_before": "s", "merge": "s", "memory_for_the_merge": "MB",
    "parts_after": "", "size_after": "MB", "one_series_after": "s",
}  # fmt: skip


def _fail(error: OSError) -> None:
    raise error


def _write(disk: Disk, folder: Path, points: int) -> None:
    pen = ScalarJournal(disk, folder, "writer", _fail)
    curve = values(1 << 16)
    names = [f"series {number}" for number in range(SERIES)]
    for step in range(points // SERIES):
        value = curve[step & 0xFFFF]
        for name in names:
            pen.report("loss", name, value, step)
        if step % 10_000 == 0:
            for journal in pen.take_rolled():
                fold(disk, journal, trusted=True)
    for journal in pen.close():
        fold(disk, journal, trusted=True)


def _state(folder: Path, points: int) -> tuple[int, float, float]:
    """Return the number of parts, their size in MB, and the median time to read one series in seconds."""
    sizes = [path.stat().st_size for path in folder.iterdir()]
    times = []
    for _ in range(READS):
        start = time.perf_counter()
        found = read_scalars(folder, "loss", "series 4")
        times.append(time.perf_counter() - start)
        assert len(found.of("loss", "series 4").values) == points // SERIES
    return len(sizes), sum(sizes) / 1e6, quantile(times, 0.5)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make the run, measure, merge, measure again."""
    place, points = Path(sys.argv[1]), int(sys.argv[2])
    folder = place / "scalars"
    place.mkdir()
    disk = Disk(place / "tmp")
    _write(disk, folder, points)
    before = _state(folder, points)
    peak_mb = _peak_mb()
    start = time.perf_counter()
    merge_parts(disk, folder, "writer")
    took_s = time.perf_counter() - start
    memory_mb = _peak_mb() - peak_mb
    after = _state(folder, points)
    values_s = [*before, took_s, memory_mb, *after]
    print(MARK + json.dumps(dict(zip(_UNITS, values_s, strict=True))))


if __name__ == "__main__":
    main()
