"""A store of format 1.0 with models, stored once and read for ever."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from localtrack.config import Settings
from localtrack.errors import NotEditableError
from localtrack.records.model import ModelRecord
from localtrack.services import model_removal, model_reports, models, tasks, weights
from localtrack.services.context import StoreContext
from localtrack.store.root import Store

PLACE = Path(__file__).parent / "fixtures" / "v1-models"
EXPECTED: dict[str, Any] = json.loads((PLACE / "expected.json").read_text())
IDS: dict[str, str] = EXPECTED["ids"]
DOCS = Path(__file__).parents[2] / "docs" / "format"


@pytest.fixture
def old(tmp_path: Path) -> StoreContext:
    """Return a copy of the stored tree, opened."""
    shutil.copytree(PLACE / "store", tmp_path / "store")
    return StoreContext(Store.open(tmp_path / "store"), Settings())


def _hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in ("index", "tmp")
    }


def test_the_stored_tree_is_untouched() -> None:
    """The fixture's bytes are those of the day it was made."""
    assert _hashes(PLACE / "store") == EXPECTED["files"]


def test_all_models_are_found(old: StoreContext) -> None:
    """Models of a task, imported ones, rescued ones, and one that is an entry alone; removed ones are not."""
    for _ in range(2):
        found = {row.record.id for row in old.models.rows()}
        assert found == {IDS["best é"], IDS["published"], IDS["imported"], IDS["rescued"], "a" * 32}
    assert old.models.problems == []
    assert [row.record.name for row in models.query(old, project="Vision/ResNet 50", only_published=True)] == [
        "own published"
    ]


def test_what_a_model_says(old: StoreContext) -> None:
    """Fields, weights and earlier versions, reports, and fields of a newer minor format."""
    folder, best = models.read(old, IDS["best é"])
    assert (best.name, best.project, best.task) == ("own best é", "Vision/ResNet 50", IDS["task"])
    assert (best.tags, best.labels, best.design) == (("a", "é"), {"cat": 1}, '{"a": 1}')
    assert best.metadata == {"acc": {"value": "0.5", "type": "float"}}
    assert weights.local_path(old, folder, best).read_bytes() == "best é 2".encode()
    weights.check(weights.local_path(old, folder, best), best)
    assert folder is not None
    assert (folder / best.versions[0]["file"]).read_bytes() == "best é 1".encode()
    assert model_reports.scalars(folder).series["acc", "test"].values.tolist() == [0.1]
    _, entry = models.read(old, "a" * 32)
    assert (entry.framework, weights.local_path(old, None, entry).read_bytes()) == ("Keras", b"old")
    imported = models.edit(old, IDS["imported"], lambda r: replace(r, comment="new"), "comment")
    assert imported.extra == {"hologram": [3]}
    assert imported.archived


def test_it_can_be_worked_on(old: StoreContext) -> None:
    """Published models refuse changes, an entry becomes a model with a log, what was removed comes back."""
    with pytest.raises(NotEditableError):
        models.edit(old, IDS["rescued"], lambda r: replace(r, design="x"), "design")
    models.edit(old, "a" * 32, lambda r: replace(r, comment="now with a log"), "comment")
    folder, record = models.read(old, "a" * 32)
    assert (record.comment, record.generation) == ("now with a log", 2)
    assert weights.local_path(old, folder, record).read_bytes() == b"old"
    assert model_removal.restore(old, IDS["removed"][:8]).name == "own removed"
    assert IDS["removed"] in {entry["id"] for entry in tasks.read(old, IDS["task"]).output_models}
    assert models.read(old, IDS["removed"])[1].weights["iteration"] == 2


def test_reading_changes_nothing(old: StoreContext) -> None:
    """Whoever only looks changes no file but the index, which is derived."""
    for row in old.models.rows():
        models.read(old, row.record.id)
    assert _hashes(old.store.root) == EXPECTED["files"]


def test_documents_fit_the_schema() -> None:
    """Each generation of each model fits its schema, each note of the trash its own; the fields are the record's."""
    schema = json.loads((DOCS / "schemas" / "model.schema.json").read_bytes())
    trash = json.loads((DOCS / "schemas" / "trash.schema.json").read_bytes())
    task = json.loads((DOCS / "schemas" / "task.schema.json").read_bytes())
    seen = []
    for path in sorted((PLACE / "store").rglob("*.json")):
        body = json.loads(path.read_bytes())
        kind = body["schema"].split("/")[1]
        chosen = {"model": schema, "trash": trash, "task": task}.get(kind)
        if chosen is not None:
            jsonschema.Draft202012Validator(chosen).validate(body)
            seen.append(kind)
    assert set(seen) == {"model", "trash", "task"}
    known = set(schema["properties"]["model"]["properties"])
    assert known == {f.name for f in fields(ModelRecord)} - {"generation", "extra"}
    spec = (DOCS / "v1.md").read_text(encoding="utf-8")
    table = spec.partition("### model/<generation>.json\n")[2].partition("```json")[0]
    for name in known:
        assert f"`{name}`" in table, name
