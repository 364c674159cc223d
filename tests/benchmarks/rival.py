"""tensorboardX beside localtrack: the same 200 series, in an environment of its own.

Usage, by that environment's Python: ``rival.py FOLDER STEPS``.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

MARK = "BENCHMARK "
PACKAGES = ("tensorboardX",)


def make_environment(folder: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Return the Python of an environment with tensorboardX in it, or with other packages, making it where there is none.

    Raises:
        OSError: it can't be made.
        subprocess.CalledProcessError: nor can the package be installed; its output is in ``stderr``.
    """
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)]
        install = [uv, "pip", "install", "-q", "--python", str(python), *packages]
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(folder)]
        install = [str(python), "-m", "pip", "install", "-q", *packages]
    for command in (make, install):
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (folder / "ready").touch()
    return python


def main(folder: str, steps: str) -> None:
    """Write 200 series for so many steps with tensorboardX's defaults."""
    from tensorboardX import SummaryWriter  # type: ignore[import-not-found, unused-ignore]

    workload = importlib.import_module("workload")  # beside this script: that environment has no ``tests``
    curve = workload.values(workload.SERIES + int(steps), 1)
    names = [f"group {k // 20}/series {k:03d}" for k in range(workload.SERIES)]
    writer = SummaryWriter(folder)
    start = time.perf_counter()
    for step in range(int(steps)):
        for k, name in enumerate(names):
            writer.add_scalar(name, curve[step + k], step)
    loop_s = time.perf_counter() - start
    writer.close()
    print(f"\n{MARK}{json.dumps({'loop_s': loop_s, 'total_s': time.perf_counter() - start})}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
