"""What the capture of loaded models costs: ``torch.load`` with nothing in it, called with and without, in turns.

CPU time of the calling thread. A stand-in for torch is enough, as only what comes on top of its own time is measured.

Usage, for one measured process: ``loading.py ANSWER FOLDER``.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LOADS = 1000
TURNS = 15
WANTED_MS = 1.0
TORCH = """
import types

class Tensor: pass

def load(f, map_location=None): return {}
def save(obj, f): pass

serialization = types.SimpleNamespace(load=load, save=save)
jit = types.SimpleNamespace(load=load, save=save, _serialization=types.SimpleNamespace(load=load, save=save),
                            RecursiveScriptModule=type("RecursiveScriptModule", (), {"save": save}))
"""


def loading(bench: Any) -> list[Any]:
    """A thousand loads of as many files, and of one file."""
    from tests.benchmarks.measure import at_most

    answers = []
    for number in range(bench.repetitions):
        folder = bench.folder / f"loading-{number}"
        folder.mkdir()
        (folder / "torch.py").write_text(TORCH)
        bench.run([sys.executable, __file__, folder / "answer.json", folder], bench.fresh_store())
        answers.append(json.loads((folder / "answer.json").read_text()))
    how = f"CPU time of the caller, median of {TURNS} turns with and without"
    return [
        at_most(f"{LOADS} loads of {what}, captured: more", "ms", [a[name] for a in answers], WANTED_MS, how)
        for name, what in (("distinct", "as many files"), ("same", "one file"))
    ]


def main(answer: str, folder: str) -> None:
    """Load in turns; what waits to be recorded is dropped after each, or later files would be taken for data."""
    sys.path[:0] = [str(Path(__file__).resolve().parents[2]), folder]
    from localtrack import Task

    task = Task.init("benchmark", "loading", auto_resource_monitoring=False)
    import torch  # type: ignore[import-not-found,unused-ignore]  # the stand-in, or mypy knows the real one

    from localtrack.bindings import model_hooks

    torch.load(f"{folder}/first.pt")
    time.sleep(1.0)  # the capture of code and packages has its own figure
    assert model_hooks._known is not None
    files = model_hooks._known[1]
    plain, waiting = torch.load.__wrapped__, files.loads
    more: dict[str, list[float]] = {"distinct": [], "same": []}
    with files._hand_lock:  # or the thread that tends the files would take some of them
        for turn in range(-3, TURNS):
            for name, paths in (
                ("distinct", [f"{folder}/{turn}-{n}.pt" for n in range(LOADS)]),
                ("same", [f"{folder}/a.pt"] * LOADS),
            ):
                spent_ms = _timed_ms(torch.load, paths) - _timed_ms(plain, paths)
                assert turn < 0 or len(waiting) == 3 * LOADS
                waiting.clear()
                if turn >= 0:
                    more[name].append(spent_ms)
    task.close()
    Path(answer).write_text(json.dumps({name: statistics.median(values) for name, values in more.items()}))


def _timed_ms(load: Callable[[str], object], paths: Sequence[str]) -> float:
    start = time.thread_time()
    for path in paths:
        load(path)
    return (time.thread_time() - start) * 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
