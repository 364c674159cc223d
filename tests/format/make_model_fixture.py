"""Makes ``fixtures/v1-models``: a store of format 1.0 with models of every kind. Run once; never run again.

``python -m tests.format.make_model_fixture`` writes the tree and its ``expected.json`` and refuses to replace them.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from localtrack.config import Settings
from localtrack.records.model import ModelRecord
from localtrack.services import context, model_removal, model_reports, models, outputs, tasks
from localtrack.services.context import StoreContext
from localtrack.services.outputs import TaskAccess, Weights
from localtrack.store.root import Store
from tests.format.make_fixture import _hashes, _remove

PLACE = Path(__file__).parent / "fixtures" / "v1-models"
LEGACY = {"id": "a" * 32, "name": "entry only", "framework": "Keras", "tags": ["old"], "created": "", "iteration": None,
          "file": "models/entry-only.1/net.h5", "sha256": "0" * 64, "size_bytes": 3}  # fmt: skip


def main() -> None:
    """Write the fixture."""
    if PLACE.exists():
        raise SystemExit(f"{PLACE} is there already and stays as it is")
    os.environ["LOGNAME"] = "ada"
    os.umask(0o022)
    context.host_name = lambda: "lab"
    ctx = StoreContext(Store.create(PLACE / "store"), Settings())
    source = PLACE / "net.pt"
    folder, task = tasks.create(ctx, name="Fine-tune 🚀", project="Vision/ResNet 50")
    access = TaskAccess(
        ctx,
        task.id,
        lambda: folder,
        lambda: tasks.read(ctx, task.id),
        lambda change, label: tasks.edit(ctx, task.id, change, label, checked=False),
    )
    ids = {"task": task.id}
    for name in ("best é", "published", "removed"):
        draft = ModelRecord(
            id="", name=f"own {name}", project=task.project, tags=("a", "é"), comment="first\nsecond", design='{"a": 1}',
            labels={"cat": 1}, metadata={"acc": {"value": "0.5", "type": "float"}},
        )  # fmt: skip
        filed = outputs.file_model(access, name, draft)
        for step in (1, 2):
            source.write_bytes(f"{name} {step}".encode())
            wanted = Weights(source, "", "net.pt", ".", step, False, False, False)
            outputs.put_weights(access, name, filed, wanted)
        ids[name] = filed.id
    pen = model_reports.ModelPen(ctx, models.locate(ctx, ids["best é"]) or folder)
    pen.scalar("acc", "test", 0.1, 1)
    pen.plot("confusion", "test", {"data": [], "layout": {}}, 1, "plotly")
    pen.close()
    models.publish(ctx, ids["published"])
    model_removal.remove(ctx, ids["removed"])
    (folder / "models" / "entry-only.1").mkdir()
    (folder / "models" / "entry-only.1" / "net.h5").write_bytes(b"old")
    tasks.edit(
        ctx, task.id, lambda r: replace(r, output_models=(*r.output_models, LEGACY)), "entry only", checked=False
    )
    imported, _ = models.import_model(ctx, "s3://bucket/net.onnx", ModelRecord(id="", name="imported", project="Zoo"))
    models.set_archived(ctx, imported.id, True)
    models.edit(ctx, imported.id, lambda r: replace(r, extra={"hologram": [3]}), "by a newer minor format")
    ids["imported"] = imported.id
    doomed_folder, doomed = tasks.create(ctx, name="gone", project="Vision")
    rescued = outputs.file_model(
        TaskAccess(ctx, doomed.id, lambda: doomed_folder, lambda: tasks.read(ctx, doomed.id),
                   lambda change, label: tasks.edit(ctx, doomed.id, change, label, checked=False)),
        "rescued", ModelRecord(id="", name="rescued", project="Vision"),
    )  # fmt: skip
    models.publish(ctx, rescued.id, folder=rescued.folder)
    tasks.delete(ctx, doomed.id)
    ids["rescued"] = rescued.id
    source.unlink()
    for name in ("index", "tmp"):
        _remove(PLACE / "store" / name)
    expected = {"ids": ids, "files": _hashes(PLACE / "store")}
    (PLACE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
