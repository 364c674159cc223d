"""``python -m tests.benchmarks``: every figure in one run, as a Markdown table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.figures import ALL
from tests.benchmarks.measure import Bench, BenchmarkError, Figure, file_system_of, not_measured


def main() -> int:
    """Run the wanted figures; returns 1 when one could not be taken, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(ALL), help=f"comma-separated: {', '.join(ALL)}")
    parser.add_argument("--repetitions", type=int, default=3, help="samples of each figure (default 3)")
    parser.add_argument("--json", type=Path, help="write the JSON to this file instead of printing it")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        parser.error(f"no figure {unknown[0]!r}: choose from {', '.join(ALL)}")

    bench = Bench(options.repetitions)
    rows: list[Figure] = []
    failed = False
    try:
        for name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                rows += ALL[name](bench)
            except (BenchmarkError, OSError, KeyError) as error:
                failed = True
                rows.append(not_measured(name, f"failed: {error!r}"[:300]))
                print(f"{name}: {error}", file=sys.stderr)
        place = describe(bench)
    finally:
        bench.close()
    print(table(rows, place))
    body = json.dumps({"machine": place, "figures": [asdict(row) for row in rows]}, indent=1)
    if options.json:
        options.json.write_text(body + "\n")
    else:
        print(f"\n```json\n{body}\n```")
    return 1 if failed else 0


def describe(bench: Bench) -> dict[str, str]:
    """Return where and when the figures were taken."""
    foreign = max(bench.foreign_cores, default=0.0)
    return {
        "at": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": str(len(os.sched_getaffinity(0))),
        "file system": file_system_of(bench.folder),
        "localtrack": version("localtrack"),
        "pyarrow": version("pyarrow"),
        "other programs": f"at most {foreign:.2f} cores during a sample",
    }


def table(rows: list[Figure], place: dict[str, str]) -> str:
    """Return the figures as Markdown."""
    lines = [", ".join(f"{key} {text}" for key, text in place.items()), ""]
    lines += ["| figure | measured | wanted | reached | how |", "|---|---|---|---|---|"]
    for row in rows:
        measured = "-" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        reached = {True: "yes", False: "**no**", None: ""}[row.reached]
        lines.append(f"| {row.name} | {measured} | {row.target} | {reached} | {row.note} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
