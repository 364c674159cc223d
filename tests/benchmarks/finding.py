"""How fast tasks are found, listed and made in a store that holds many, through the public API and in fresh processes.

``python -m tests.benchmarks.finding 10000 100000`` measures those sizes; ``--keep FOLDER`` keeps the stores there and
takes them up again, since making a hundred thousand tasks takes minutes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Bench, Figure, at_most, compare

FINDER = Path(__file__).with_name("finder.py")
TASKS = 10_000
LIMITS_MS = {"list": 50.0, "query": 15.0, "get": 1.0, "create": 4.0}
ROWS = (
    ("query_ids_ms", "list", "ids of all, query_tasks"),
    ("get_all_ms", "list", "all of them as Task objects, get_tasks"),
    ("fields_ms", "list", "id, name, status, last update of all, query_tasks"),
    ("whole_ms", "", "whole rows of all, from the index"),
    ("top_ms", "query", "filtered by parameter, metric and tag, sorted by a metric, top 20, query_tasks"),
    ("top_tasks_ms", "query", "the same as Task objects, get_tasks"),
    ("name_ms", "", "name by regular expression, newest 20"),
    ("get_ms", "get", "one task by id, get_task"),
    ("get_name_ms", "", "one task by id, get_task and its name"),
    ("create_ms", "create", "Task.create"),
    ("run_ms", "", "a run outside any repository: Task.init, 10 parameters, 5 metrics, close"),
)


def finding(bench: Bench, sizes: tuple[int, ...] = (TASKS,), keep: Path | None = None) -> list[Figure]:
    """List, filter, get and create, at each size of the store."""
    rows = []
    finder = Path(
        shutil.copy(FINDER, bench.folder / "finder.py")
    )  # outside any repository: what a run captures is no part of it
    for size in sizes:
        store = keep / f"tasks-{size}" if keep is not None else bench.fresh_store()
        if not (store / "store.json").exists():
            bench.run([sys.executable, finder, "build", size], store, timeout_s=3600.0)
        answers: list[dict[str, Any]] = []
        for _ in range(bench.repetitions):
            answers.append(bench.run([sys.executable, finder, "find", size], store).answer)
        made = [bench.run([sys.executable, finder, "create", size], store).answer for _ in range(bench.repetitions)]
        for name, limit, text in ROWS:
            samples = [answer[name] for answer in (*answers, *made) if name in answer]
            title = f"{size:,} tasks: {text}"
            if limit and size <= TASKS:
                rows.append(at_most(title, "ms", samples, LIMITS_MS[limit]))
            else:
                rows.append(compare(title, "ms", samples))
    return rows


def main() -> None:
    """Measure the sizes that the command line names."""
    from tests.benchmarks.__main__ import describe, table

    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.finding", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[TASKS])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    bench = Bench(options.repetitions)
    try:
        rows = finding(bench, tuple(options.sizes), options.keep)
        print(table(rows, describe(bench)))
    finally:
        bench.close()


if __name__ == "__main__":
    main()
