"""What the resource monitor costs: the CPU time of a process that waits, with and without it, as a share of a core.

Usage, for one measured process: ``monitored.py SECONDS CHILDREN monitor|plain``. A report every ten seconds, three times as
often as ordinarily; loading psutil, once a run, is before the measured stretch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

MARK = "BENCHMARK "
SETTLE_S = 5.0
SECONDS = 30
CHILDREN = 8
LIMIT_PERCENT = 0.5


def monitored(bench: Any) -> list[Any]:
    """The share of a core that a waiting run uses, alone and with eight children to look at."""
    from tests.benchmarks.measure import at_most, compare

    def shares(children: int, mode: str) -> list[float]:
        command = [sys.executable, __file__, SECONDS, children, mode]
        return [bench.run(command, bench.fresh_store()).answer["percent"] for _ in range(bench.repetitions)]

    how = f"CPU time of the whole process over {SECONDS} s, a report every 10 s"
    plain = shares(0, "plain")
    return [
        at_most("resource monitor and heartbeat of a waiting run", "% of a core", shares(0, "monitor"), LIMIT_PERCENT, how),
        at_most(f"the same with {CHILDREN} children", "% of a core", shares(CHILDREN, "monitor"), LIMIT_PERCENT),
        compare("a waiting run without the monitor", "% of a core", plain),
    ]  # fmt: skip


def main(seconds: float, children: int, mode: str) -> None:
    """Be the measured process."""
    from localtrack import Task

    asked = {"report_frequency_sec": 10, "first_report_sec": 4} if mode == "monitor" else False
    task = Task.init(project_name="benchmark", task_name="monitored", auto_resource_monitoring=asked)
    held = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(children)]
    time.sleep(SETTLE_S)
    start, used = time.monotonic(), time.process_time()
    time.sleep(seconds)
    percent = 100.0 * (time.process_time() - used) / (time.monotonic() - start)
    for child in held:
        child.communicate(b"\n")
    task.close()
    if mode == "monitor" and ":monitor:machine" not in task.get_reported_scalars():
        raise SystemExit("the monitor reported nothing")
    print(f"\n{MARK}{json.dumps({'percent': percent})}", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
