"""Makes ``fixtures/v1``: a store of format 1.0 that every later version must read. Run once; never run again.

``python -m tests.format.make_fixture`` writes the tree and its ``expected.json`` and refuses to replace them: the
stored bytes are the promise, not this script.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from localtrack.config import Settings
from localtrack.records.parameters import flatten
from localtrack.records.status import Status
from localtrack.records.values import encode
from localtrack.services import artifacts, context, lifecycle, parameters, tasks
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_content, put_report, put_stream
from localtrack.store.console import ConsoleLog
from localtrack.store.journal import ScalarJournal
from localtrack.store.parts import fold
from localtrack.store.root import Store

PLACE = Path(__file__).parent / "fixtures" / "v1"
WRITER = "01k0000000000000000000000a"
OTHER = "01k0000000000000000000000b"
START_US = 1_750_000_000_000_000
VALUES = [0.1, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1 / 3]
VALUES_HELD: dict[str, Any] = {
    "int": 3, "big": 2**70, "float": 0.1, "nan": math.nan, "inf": -math.inf, "text": "é 🚀", "bool": True, "none": None,
    "list": [1, "a"], "tuple": (1, (2,)), "bytes": b"\x00\xff", "map": {1: "a", (2, 3): None}, "empty": {}, "set": {1, 2},
    "nested": {"deep": {"er": 1}},
}  # fmt: skip
OWNER = {
    "writer": WRITER, "host": "lab", "machine": "m" * 32, "boot": "b" * 36, "pid": 4711, "pidns": "pid:[4026531836]",
    "start": "12345", "user": "ada", "role": "owner", "claim": "", "rank": "", "at": "2026-01-01T00:00:00.000000Z",
}  # fmt: skip


def _fail(error: OSError) -> None:
    raise error


def main() -> None:
    """Write the fixture."""
    if PLACE.exists():
        raise SystemExit(f"{PLACE} is there already and stays as it is")
    os.environ["LOGNAME"] = "ada"
    os.umask(0o022)
    context.host_name = lambda: "lab"
    ctx = StoreContext(Store.create(PLACE / "store"), Settings())
    run = _full_run(ctx)
    draft = tasks.clone(ctx, run, name="Clone: CON / ../..")
    lifecycle.enqueue(ctx, draft.id, "default", priority=3)
    old = _reset_run(ctx)
    _claim(ctx, draft.id)
    for name in ("index", "tmp"):
        _remove(PLACE / "store" / name)
    expected = {"run": run, "draft": draft.id, "reset": old, "files": _hashes(PLACE / "store")}
    (PLACE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def _full_run(ctx: StoreContext) -> str:
    folder, record = tasks.create(ctx, name="Fine-tune 🚀", project="Vision/ResNet 50", task_type="training")
    disk = ctx.store.disk
    diff = put_content(disk, folder, "code", "diff", ".patch", b"--- a/train.py\n+++ b/train.py\n")
    config = parameters.put_configuration(ctx, folder, "model", '{"layers": 2}', "dictionary", "the model")
    tasks.edit(
        ctx,
        record.id,
        lambda r: replace(
            r, tags=("a", "é"), comment="first\nsecond", configuration={"model": config}, labels={"cat": 1},
            parameters=flatten(VALUES_HELD, "General"), properties=flatten({"note": "x"}, "p"),
            script={"repository": "https://example.org/r.git", "commit": "c" * 40, "entry_point": "train.py",
                    "working_dir": ".", "argv": ["--lr", "0.1"], "diff": diff.to_json(), "source": None},
        ),
        "inputs",
    )  # fmt: skip
    lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS, reason="started", owner=OWNER, attempt=1)
    _reports(ctx, folder)
    for name, value in (("data", {"a": [1, math.nan]}), ("text", "hello"), ("data", {"a": [2, (3,)]})):
        artifacts.commit(ctx, record.id, folder, artifacts.upload(ctx, folder, name, value))
    summary = {"last": 1 / 3, "last_iteration": 7, "min": encode(-math.inf), "min_iteration": 4, "max": encode(math.inf),
               "max_iteration": 3, "count": 8}  # fmt: skip
    lifecycle.change_status(
        ctx, record.id, Status.COMPLETED, last_iteration=7, progress=100.0, last_metrics={"loss": {"train": summary}},
        exit={"code": 0, "signal": "", "failure_class": ""},
    )  # fmt: skip
    lifecycle.publish(ctx, record.id)
    return record.id


def _reports(ctx: StoreContext, folder: Path) -> None:
    disk = ctx.store.disk
    first = ScalarJournal(disk, folder / "scalars", WRITER, _fail)
    second = ScalarJournal(disk, folder / "scalars", OTHER, _fail)
    for step, value in enumerate(VALUES):
        first.report("loss", "train", value, step, START_US + step)
        second.report("loss", "test é", -value, -step, START_US + step)
        second.report("Summary", "best", value, -(2**31), START_US + step)
    for path in first.close():
        fold(disk, path, trusted=True)
    second.close()
    console = ConsoleLog(disk, folder / "console", WRITER, _fail)
    console.write("o", ["hello", "", "é 🚀"])
    console.write("e", ["trouble"])
    console.write("l", ["reported"])
    console.close()
    plot = {
        "schema": "localtrack/plot/1", "title": "confusion", "series": "test", "iteration": 7, "kind": "plotly",
        "figure": {"data": [{"type": "heatmap", "z": [[1, None], [math.nan, 4]]}], "layout": {"title": "c"}},
        "at": "2026-01-01T00:00:00.000000Z", "writer": WRITER,
    }  # fmt: skip
    put_report(disk, folder / "plots", plot)
    name = "01k0000000000000000000000c"
    (folder / "media").mkdir()
    stored = put_stream(disk, folder, folder / "media" / f"{name}.html", lambda stream: _put(stream, b"<p>hi</p>"))
    media = {
        **stored.to_json(), "file": f"{name}.html", "schema": "localtrack/media/1", "title": "page", "series": "s",
        "iteration": 0, "content_type": "text/html", "at": "2026-01-01T00:00:00.000000Z", "writer": WRITER,
    }  # fmt: skip
    disk.publish(json.dumps(media, sort_keys=True).encode(), folder / "media" / f"{name}.json")
    (folder / "writers" / WRITER).mkdir(parents=True)
    disk.create_small(
        json.dumps({"schema": "localtrack/writer/1", **OWNER}, sort_keys=True).encode(),
        folder / "writers" / WRITER / "writer.json",
    )
    disk.create_small(struct.pack("<Q", 7) + b"\x07" * 16, folder / "writers" / WRITER / "heartbeat")


def _put(stream: Any, data: bytes) -> None:
    stream.write(data)


def _reset_run(ctx: StoreContext) -> str:
    folder, record = tasks.create(ctx, name="x" * 300, project="Vision/ResNet 50", parent="0" * 32)
    lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS, reason="started")
    lifecycle.request_stop(ctx, record.id, "enough")
    lifecycle.change_status(ctx, record.id, Status.STOPPED, reason="aborted", message="enough")
    (folder / "scalars").mkdir()
    lifecycle.reset(ctx, record.id)
    tasks.edit(ctx, record.id, lambda r: replace(r, extra={"hologram": {"depth": [3]}}), "by a newer minor format")
    return record.id


def _claim(ctx: StoreContext, task_id: str) -> None:
    queue = ctx.queues.get("default")
    (ref,) = queue.entries()
    claim = queue.claims.take(ref.name, 1, agent="lab-1-abc", owner={"host": "lab", "pid": 1})
    assert claim is not None
    queue.claims.release(claim, "stopping")
    assert queue.position(task_id) == 0


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _hashes(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(root)}


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())


if __name__ == "__main__":
    main()
