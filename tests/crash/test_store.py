"""kill -9 after every call to the file system: nothing is torn, nothing acknowledged is lost."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.config import Settings
from localtrack.errors import TaskNotFoundError
from localtrack.fs.disk import remove_tree
from localtrack.queue.entries import parse_name
from localtrack.records.status import Status
from localtrack.services import artifacts, lifecycle, tasks
from localtrack.services.context import StoreContext
from localtrack.store import journal as journal_module
from localtrack.store import merging, metadata
from localtrack.store.console import ConsoleLog
from localtrack.store.console_reader import read_console
from localtrack.store.documents import parse_sealed
from localtrack.store.journal import ScalarJournal
from localtrack.store.layout import TaskLayout
from localtrack.store.parts import fold, read_part
from localtrack.store.root import Store
from localtrack.store.scalars import read_scalars
from tests.crash.reaper import Death, Say, deaths

World = tuple[StoreContext, str, Path]


@pytest.fixture(autouse=True)
def no_waiting_for_the_medium(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that the kernel has; the calls are still counted, but need not wait."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return where the worlds lie."""
    return tmp_path / "worlds"


def _context(root: Path) -> StoreContext:
    return StoreContext(Store.open(root), Settings())


def _worlds(base: Path, *, ended: bool = False) -> Callable[[int], World]:
    """Return a maker of stores with one task each; the one before is removed."""

    def prepare(number: int) -> World:
        remove_tree(base)
        ctx = StoreContext(Store.create(base / str(number)), Settings())
        folder, record = tasks.create(ctx, name="run", project="p/q", tags=("old",))
        (folder / "code").mkdir()
        (folder / "code" / "diff-0.patch").write_bytes(b"diff")
        if ended:
            pen = ScalarJournal(ctx.store.disk, folder / "scalars", "w", _fail)
            pen.report("a", "b", 1.0, 1)
            pen.close()
            lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS)
            lifecycle.change_status(ctx, record.id, Status.COMPLETED)
        return ctx, record.id, folder

    return prepare


def _fail(error: OSError) -> None:
    raise error


def _check_store(root: Path) -> StoreContext:
    """Open a store as a new process would, and look at everything that has a final name."""
    ctx = _context(root)
    for folder in ctx.store.task_folders():
        try:
            metadata.read_latest(TaskLayout(folder))
        except TaskNotFoundError:
            assert list((folder / "task").iterdir()) == []
    for path in _files(root):
        relative = path.relative_to(root)
        if re.fullmatch(r"[0-9]{6}\.json", path.name):
            parse_sealed(path.read_bytes(), "localtrack/", str(path))
        elif path.name in ("store.json", "trash.json", "queue.json") or path.parent.name in ("plots", "requests"):
            assert isinstance(json.loads(path.read_bytes()), dict)
        elif path.suffix == ".parquet":
            read_part(path)
        elif "pending" in relative.parts or "claims" in relative.parts or "done" in relative.parts:
            parse_sealed(path.read_bytes(), "localtrack/", str(path))
    ids = {
        metadata.read_latest(TaskLayout(f)).id for f in ctx.store.task_folders() if metadata.generations(TaskLayout(f))
    }
    assert set(ctx.index.ids()) == ids, "the index shows what the tree holds"
    assert sorted(row.id for row in ctx.index.rows()) == sorted(ids)
    return ctx


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if "tmp" not in path.relative_to(root).parts and "index" not in path.relative_to(root).parts:
                yield path


def test_creating_a_store(base: Path) -> None:
    """A store whose maker was killed is made by the next one; a store.json is always whole."""

    def prepare(number: int) -> Path:
        return base / str(number)

    def operation(root: Path, say: Say) -> None:
        say(Store.create(root).manifest.store_id)

    base.mkdir()
    for root, death in deaths(prepare, operation):
        if (root / "store.json").exists():
            assert Store.open(root).manifest.store_id
        store = Store.open_or_create(root)
        assert death.said in ([], [store.manifest.store_id])
        tasks.create(StoreContext(store, Settings()), name="run", project="p")
        assert len(_check_store(root).index.ids()) == 1


def test_creating_a_task(base: Path) -> None:
    """A task is there whole or not at all, and the next creation works."""

    def operation(world: World, say: Say) -> None:
        ctx, _, _ = world
        say(tasks.create(ctx, name="new", project="p/q/r", comment="c")[1].id)

    for (ctx, first, _), death in deaths(_worlds(base), operation):
        after = _check_store(ctx.store.root)
        ids = set(after.index.ids())
        assert first in ids
        assert set(death.said) <= ids
        for task_id in ids - {first}:
            assert tasks.read(after, task_id).comment == "c"
        _, again = tasks.create(after, name="new", project="p/q/r")
        assert again.id in _context(ctx.store.root).index.ids()


def test_updating_a_task(base: Path) -> None:
    """A task shows its old or its new state, all of it, and the next update builds on what is shown."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, folder = world
        tasks.edit(ctx, task_id, lambda r: replace(r, tags=(*r.tags, "new"), comment="c"), "edit", folder=folder)
        say("committed")

    seen = set()
    for (ctx, task_id, _), death in deaths(_worlds(base), operation):
        after = _check_store(ctx.store.root)
        record = tasks.read(after, task_id)
        state = (record.tags, record.comment)
        assert state in ((("old",), ""), (("old", "new"), "c"))
        assert not death.said or state[1] == "c"
        seen.add(state)
        tasks.edit(after, task_id, lambda r: replace(r, tags=(*r.tags, "later")), "edit")
        (row,) = _context(ctx.store.root).index.rows()
        assert row.tags == (*state[0], "later")
    assert len(seen) == 2


def test_changing_and_publishing(base: Path) -> None:
    """Each status change is there with its history or not at all; what is published stays so."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, _ = world
        lifecycle.publish(ctx, task_id)
        say("published")

    for (ctx, task_id, _), death in deaths(_worlds(base, ended=True), operation):
        record = tasks.read(_check_store(ctx.store.root), task_id)
        assert record.status in ("completed", "published")
        assert not death.said or record.status == "published"
        assert record.history[-1]["to"] == record.status
        assert read_scalars(ctx.index.locate(task_id) / "scalars").series["a", "b"].values.tolist() == [1.0]


def test_resetting(base: Path) -> None:
    """A task is at every moment its old run or the new draft, with its inputs; the old run is never lost."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, _ = world
        lifecycle.reset(ctx, task_id)
        say("reset")

    seen = set()
    for (ctx, task_id, _), death in deaths(_worlds(base, ended=True), operation):
        after = _check_store(ctx.store.root)
        record = tasks.read(after, task_id)
        folder = after.store.find_folder(task_id)
        (row,) = after.index.rows()
        assert row.status == record.status == tasks.read(after, task_id, folder).status
        seen.add(record.status)
        assert not death.said or record.status == "created"
        assert (folder / "code" / "diff-0.patch").read_bytes() == b"diff"
        old = [folder] if record.status == "completed" else _old_runs(after, folder)
        assert read_scalars(old[0] / "scalars").series["a", "b"].values.tolist() == [1.0]
        tasks.edit(after, task_id, lambda r: replace(r, comment="next"), "edit")
        assert tasks.read(_context(ctx.store.root), task_id).comment == "next"
    assert seen == {"completed", "created"}


def _old_runs(ctx: StoreContext, draft: Path) -> list[Path]:
    in_trash = [ctx.store.layout.trash / note["entry"] / "task-folder" for note in ctx.store.trash_entries()]
    return in_trash + [folder for folder in ctx.store.task_folders() if folder != draft]


def test_deleting_and_restoring(base: Path) -> None:
    """A task is in the tree or in the trash, whole, at every moment."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, _ = world
        entry = tasks.delete(ctx, task_id)
        say("deleted")
        tasks.restore(ctx, entry)
        say("restored")

    for (ctx, task_id, _), death in deaths(_worlds(base, ended=True), operation):
        after = _check_store(ctx.store.root)
        shown = after.index.ids()
        assert "restored" not in death.said or shown == [task_id]
        if not shown:
            assert tasks.restore(after, task_id).id == task_id
        folder = _context(ctx.store.root).index.locate(task_id)
        assert read_scalars(folder / "scalars").series["a", "b"].values.tolist() == [1.0]


def test_renaming(base: Path) -> None:
    """A task that moves is found at every moment, by its id and in a search, under its old or its new name."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, _ = world
        tasks.rename(ctx, task_id, name="other", project="z")
        say("renamed")

    for (ctx, task_id, _), death in deaths(_worlds(base), operation):
        after = _check_store(ctx.store.root)
        record = tasks.read(after, task_id)
        assert (record.name, record.project) in (("run", "p/q"), ("other", "z"))
        assert not death.said or record.name == "other"
        assert after.store.find_folder(task_id) == after.index.locate(task_id)


def test_reporting(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every acknowledged point and line is there, through opening, rolling and folding, each exactly once."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 128)

    def operation(world: World, say: Say) -> None:
        ctx, _, folder = world
        pen = ScalarJournal(ctx.store.disk, folder / "scalars", "w", _fail)
        console = ConsoleLog(ctx.store.disk, folder / "console", "w", _fail)
        for step in range(6):
            pen.report("a", "b" if step % 3 else "c", float(step), step)
            say(f"p{step}")
            console.write("o", [f"line {step}"])
            say(f"l{step}")
        pen.sync()
        for rolled in [*pen.take_rolled(), *pen.take_rolled()]:
            fold(ctx.store.disk, rolled, trusted=True)
        console.close()
        for rolled in pen.close():
            fold(ctx.store.disk, rolled, trusted=False)

    for (ctx, _, folder), death in deaths(_worlds(base), operation):
        _check_store(ctx.store.root)
        found = read_scalars(folder / "scalars")
        assert found.problems == []
        points = sorted(step for series in found.series.values() for step in series.iterations)
        assert len(points) == len(set(points))
        assert {f"p{step}" for step in points} >= {text for text in death.said if text[0] == "p"}
        assert len(points) <= len([text for text in death.said if text[0] == "p"]) + 1
        lines = [line.text for line in read_console(folder / "console")]
        assert lines[: len(lines)] == [f"line {number}" for number in range(len(lines))]
        assert len(lines) >= len([text for text in death.said if text[0] == "l"])


def test_storing_artifacts(base: Path) -> None:
    """An artifact is in the list with all its bytes, or not in the list."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, folder = world
        for value in ({"a": 1}, {"a": 2}):
            artifacts.commit(ctx, task_id, folder, artifacts.upload(ctx, folder, "data", value))
            say(json.dumps(value))

    for (ctx, task_id, folder), death in deaths(_worlds(base), operation):
        after = _check_store(ctx.store.root)
        record = tasks.read(after, task_id)
        if death.said:
            assert artifacts.load(after, folder, artifacts.find(record, "data"))["a"] >= json.loads(death.said[-1])["a"]
        for entry in record.artifacts.values():
            data = (folder / entry["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]


def test_claiming(base: Path) -> None:
    """A queue entry is free or claimed by the one who died, never by two, and never lost before it is done."""

    def prepare(number: int) -> World:
        ctx, task_id, folder = _worlds(base)(number)
        lifecycle.enqueue(ctx, task_id, "default")
        return ctx, task_id, folder

    def operation(world: World, say: Say) -> None:
        ctx, _, _ = world
        queue = ctx.queues.get("default")
        (ref,) = queue.entries()
        claim = queue.claims.take(ref.name, 1, agent="a1", owner={"pid": os.getpid()})
        say("claimed")
        assert claim is not None
        queue.claims.finish(claim, "completed")
        say("finished")

    for (ctx, task_id, _), death in deaths(prepare, operation):
        after = _check_store(ctx.store.root)
        queue = after.queues.get("default")
        entries, claims = queue.entries(), queue.claims.list()
        assert ("finished" in death.said) <= (not entries)
        names = [ref.name for ref in entries] or sorted(queue.claims.ended())
        assert [parse_name(name).task_id for name in names] == [task_id]  # type: ignore[union-attr]
        if "claimed" in death.said:
            assert claims.highest(names[0]) == 1
        second = queue.claims.take(names[0], claims.highest(names[0]) + 1, agent="a2", owner={})
        assert second is not None
        assert queue.claims.take(names[0], second.number, agent="a3", owner={}) is None


def test_enqueueing(base: Path) -> None:
    """A killed enqueue leaves a task that can be enqueued again, once; no entry is there without its status."""

    def operation(world: World, say: Say) -> None:
        ctx, task_id, _ = world
        lifecycle.enqueue(ctx, task_id, "default")
        say("enqueued")

    for (ctx, task_id, _), death in deaths(_worlds(base), operation):
        after = _check_store(ctx.store.root)
        entries = after.queues.get("default").entries() if "default" in after.queues.names() else []
        record = tasks.read(after, task_id)
        assert record.status == "queued" or not entries
        assert not death.said or len(entries) == 1
        lifecycle.enqueue(after, task_id, "default")
        assert [ref.task_id for ref in after.queues.get("default").entries()] == [task_id]


def test_every_death_is_counted(base: Path) -> None:
    """The suite really dies in the middle: an update makes a dozen calls and more."""
    found: list[Death] = []

    def operation(world: World, say: Say) -> None:
        ctx, task_id, folder = world
        tasks.edit(ctx, task_id, lambda r: replace(r, comment="c"), "edit", folder=folder)

    found.extend(death for _, death in deaths(_worlds(base), operation))
    assert len(found) > 10
    assert [death.finished for death in found] == [False] * (len(found) - 1) + [True]


def test_merging_parts(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any step of a merge, every point is there once; whoever comes next ends with one part and no leftovers."""
    monkeypatch.setattr(journal_module, "ROLL_BYTES", 96)
    monkeypatch.setattr(merging, "FEW", 3)
    make = _worlds(base)

    def prepare(number: int) -> World:
        ctx, task_id, folder = make(number)
        pen = ScalarJournal(ctx.store.disk, folder / "scalars", "w", _fail)
        for step in range(12):
            pen.report("a", "b" if step % 3 else "c", float(step), step)
        for journal in pen.close():
            fold(ctx.store.disk, journal, trusted=True)
        return ctx, task_id, folder

    def operation(world: World, say: Say) -> None:
        ctx, _, folder = world
        merging.merge_parts(ctx.store.disk, folder / "scalars", "w")
        say("merged")

    for (ctx, _, folder), death in deaths(prepare, operation):
        _check_store(ctx.store.root)
        for _ in range(2):
            found = read_scalars(folder / "scalars")
            assert found.problems == []
            assert found.of("a", "b").values.tolist() == [float(step) for step in range(12) if step % 3]
            assert found.of("a", "c").values.tolist() == [0.0, 3.0, 6.0, 9.0]
            names = {path.name for path in (folder / "scalars").iterdir()}
            assert not death.said or names == {"w-m1.parquet"}
            for writer, _ in merging.mergeable_parts(folder / "scalars"):
                merging.merge_parts(ctx.store.disk, folder / "scalars", writer)
        assert {path.name for path in (folder / "scalars").iterdir()} == {"w-m1.parquet"}
