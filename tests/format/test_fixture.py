"""A store of format 1.0, stored once and read for ever."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localtrack.config import Settings
from localtrack.errors import NotEditableError, StoreFormatError
from localtrack.records.parameters import value_of
from localtrack.services import artifacts, parameters, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store import metadata
from localtrack.store.blobs import read_content
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store
from tests.format.make_fixture import START_US, VALUES, VALUES_HELD

PLACE = Path(__file__).parent / "fixtures" / "v1"
EXPECTED: dict[str, Any] = json.loads((PLACE / "expected.json").read_text())


@pytest.fixture
def old(tmp_path: Path) -> StoreContext:
    """Return a copy of the stored tree, opened."""
    shutil.copytree(PLACE / "store", tmp_path / "store")
    return StoreContext(Store.open(tmp_path / "store"), Settings())


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*")) if path.is_file())


def test_the_stored_tree_is_untouched() -> None:
    """The fixture's bytes are those of the day it was made."""
    hashes = {
        path.relative_to(PLACE / "store").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(PLACE / "store")
    }

    assert hashes == EXPECTED["files"]
    assert sum(path.stat().st_size for path in _files(PLACE)) < 100_000


def test_reading_changes_nothing(old: StoreContext) -> None:
    """Whoever only looks changes no file but the index, which is derived."""
    for row in old.index.rows():
        folder = old.index.locate(row.id)
        tasks.read(old, row.id)
        reports.scalars(folder)
        reports.console(folder)
        reports.plots(folder)

    now = {
        path.relative_to(old.store.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(old.store.root)
        if path.relative_to(old.store.root).parts[0] not in ("index", "tmp")
    }
    assert now == EXPECTED["files"]


def test_tasks(old: StoreContext) -> None:
    """All tasks are found, by a scan and by the index, and say what they said."""
    assert sorted(old.index.ids()) == sorted([EXPECTED["run"], EXPECTED["draft"], EXPECTED["reset"]])
    run, draft, reset = (tasks.read(old, EXPECTED[key]) for key in ("run", "draft", "reset"))

    assert (run.name, run.project, run.status, run.tags) == (
        "Fine-tune 🚀",
        "Vision/ResNet 50",
        "published",
        ("a", "é"),
    )
    assert [(change["from"], change["to"]) for change in run.history] == [
        ("created", "in_progress"), ("in_progress", "completed"), ("completed", "published"),
    ]  # fmt: skip
    assert (run.comment, run.labels, run.attempt, run.progress) == ("first\nsecond", {"cat": 1}, 1, 100.0)
    assert run.owner is not None
    assert run.owner["pid"] == 4711
    assert run.exit == {"code": 0, "signal": "", "failure_class": ""}
    assert (draft.name, draft.parent, draft.status) == ("Clone: CON / ../..", run.id, "queued")
    assert draft.parameters == run.parameters
    assert (reset.name, reset.status, reset.extra) == ("x" * 300, "created", {"hologram": {"depth": [3]}})
    assert metadata.generations(TaskLayout(old.index.locate(reset.id))) == [5, 6]


def test_values(old: StoreContext) -> None:
    """Parameters have their values and types, NaN, bytes and tuples included."""
    record = tasks.read(old, EXPECTED["run"])
    held = {key: value_of(stored) for key, stored in record.parameters.items()}

    wanted = {f"General/{key}": value for key, value in VALUES_HELD.items() if key not in ("nested", "map")}
    wanted |= {"General/nested/deep/er": 1, "General/map/1": "a", "General/map/(2, 3)": None}
    assert repr(held) == repr({key: wanted[key] for key in held})
    assert set(held) == set(wanted)
    assert record.parameters["General/list"]["type"] == "list"
    assert parameters.configuration_text(old.index.locate(record.id), record, "model") == '{"layers": 2}'
    assert record.script["entry_point"] == "train.py"
    assert read_content(old.index.locate(record.id), record.script["diff"]).startswith(b"--- a/train.py")


def test_scalars(old: StoreContext) -> None:
    """Every point of part and journal is exact to the bit."""
    found = reports.scalars(old.index.locate(EXPECTED["run"]))

    assert found.problems == []
    assert set(found.series) == {("loss", "train"), ("loss", "test é"), ("Summary", "best")}
    train, test = found.series["loss", "train"], found.series["loss", "test é"]
    assert train.iterations.tolist() == list(range(8))
    assert train.times_us.tolist() == [START_US + step for step in range(8)]
    assert repr(train.values.tolist()) == repr(VALUES)
    assert test.iterations.tolist() == [-step for step in range(7, -1, -1)]
    assert repr(test.values.tolist()) == repr([-value for value in reversed(VALUES)])
    assert reports.single_values(found) == {"best": VALUES[-1]}
    metrics = reports.last_metrics(tasks.read(old, EXPECTED["run"]))["loss"]["train"]
    assert (metrics["max"], metrics["min"], metrics["last"]) == (math.inf, -math.inf, 1 / 3)


def test_console_plots_and_media(old: StoreContext) -> None:
    """Lines, plots and media come back as they were."""
    folder = old.index.locate(EXPECTED["run"])

    assert [(line.stream, line.text) for line in reports.console(folder)] == [
        ("o", "hello"), ("o", ""), ("o", "é 🚀"), ("e", "trouble"), ("l", "reported"),
    ]  # fmt: skip
    (plot,), problems = reports.plots(folder)
    assert problems == []
    assert repr(plot["figure"]["data"][0]["z"]) == "[[1, None], [nan, 4]]"
    (media,), _ = reports.media(folder)
    assert (folder / "media" / media["file"]).read_bytes() == b"<p>hi</p>"


def test_artifacts(old: StoreContext) -> None:
    """Artifacts load as what they were; the later upload of a name counts."""
    record = tasks.read(old, EXPECTED["run"])
    folder = old.index.locate(record.id)

    assert artifacts.load(old, folder, artifacts.find(record, "data")) == {"a": [2, (3,)]}
    assert artifacts.load(old, folder, artifacts.find(record, "text")) == "hello"


def test_queue_and_trash(old: StoreContext) -> None:
    """The entry waits after its claim was given back; the old run of the reset task is in the trash."""
    queue = old.queues.get("default")
    (ref,) = queue.entries()
    assert (ref.task_id, ref.priority, queue.count()) == (EXPECTED["draft"], 3, 1)
    assert queue.claims.list().highest(ref.name) == 1
    (note,) = old.store.trash_entries()
    assert (note["id"], note["reason"]) == (EXPECTED["reset"], "reset")
    restored = tasks.restore(old, note["entry"])
    assert (restored.status, restored.status_message) == ("stopped", "enough")
    assert restored.id != note["id"]


def test_updates_keep_what_a_newer_minor_format_wrote(old: StoreContext) -> None:
    """A store of format 1.7 is opened; unknown fields go through an update, a clone and a move of this version."""
    manifest = json.loads(old.store.layout.manifest.read_bytes())
    manifest["format"]["minor"] = 7
    manifest["hologram"] = True
    old.store.layout.manifest.write_text(json.dumps(manifest))
    ctx = StoreContext(Store.open(old.store.root), Settings())

    tasks.edit(ctx, EXPECTED["reset"], lambda r: replace(r, comment="new"), "edit")
    tasks.rename(ctx, EXPECTED["reset"], project="elsewhere")
    clone = tasks.clone(ctx, EXPECTED["reset"])
    for task_id in (EXPECTED["reset"], clone.id):
        folder = ctx.store.find_folder(task_id)
        newest = TaskLayout(folder).generation(metadata.generations(TaskLayout(folder))[-1])
        assert json.loads(newest.read_bytes())["task"]["hologram"] == {"depth": [3]}


def test_a_newer_major_format_is_refused(old: StoreContext) -> None:
    """A store of format 2 gives one clear error that says what to do, and is not touched."""
    manifest = json.loads(old.store.layout.manifest.read_bytes())
    manifest["format"] = {"major": 2, "minor": 0}
    old.store.layout.manifest.write_text(json.dumps(manifest))

    with pytest.raises(StoreFormatError, match=r"needs format 2\.0; .*install a newer localtrack"):
        Store.open(old.store.root)


def test_published_stays_published(old: StoreContext) -> None:
    """The rules hold for old tasks as well."""
    with pytest.raises(NotEditableError):
        tasks.edit(old, EXPECTED["run"], lambda r: replace(r, parameters={}), "edit")


def test_a_merged_part_counts_for_what_it_stands_for(tmp_path: Path) -> None:
    """Of a merged part and what a death left of its sources, every point counts once; a merge removes the leftovers."""
    from localtrack.fs.disk import Disk
    from localtrack.store.merging import merge_parts, mergeable_parts
    from localtrack.store.scalars import read_scalars

    folder = tmp_path / "scalars"
    shutil.copytree(PLACE.parent / "merged" / "scalars", folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == json.loads((PLACE.parent / "merged" / "expected.json").read_text())

    def check() -> None:
        found = read_scalars(folder)
        assert found.problems == []
        for series, first in (("test é", 0), ("train", 1)):
            points = found.series["loss", series]
            assert points.iterations.tolist() == list(range(8))
            assert repr(points.values.tolist()) == repr((VALUES * 2)[first::2])
            assert points.times_us.tolist() == [START_US + step for step in range(first, 16, 2)]

    check()
    ((writer, _),) = mergeable_parts(folder)
    merge_parts(Disk(tmp_path / "tmp"), folder, writer)
    assert [path.name for path in folder.iterdir()] == [f"{writer}-m1.parquet"]
    check()
