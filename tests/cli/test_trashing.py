"""rm, restore, gc."""

from __future__ import annotations

import os

import pytest

from localtrack.records.status import Status
from localtrack.services import artifacts, tasks
from localtrack.store.layout import TaskLayout

DAY_S = 86400


def age(path, days):
    """Make a file or folder older."""
    when = path.stat().st_mtime - days * DAY_S
    os.utime(path, (when, when))


def test_rm_moves_to_the_trash_and_restore_brings_back(cli, ctx, make):
    """What `rm` takes, `restore` brings back whole, by the beginning of the id."""
    task = make(parameters={"Args/lr": 0.1}, points=[("loss", "test", 1.0, 1)])
    assert cli("rm", task.id, "-y", "--json").json[0]["id"] == task.id
    assert cli("show", task.id).code == 1
    (entry,) = cli("restore", "--json").json
    assert (entry["id"], entry["reason"]) == (task.id, "deleted")
    assert cli("restore", task.id[:8]).out == f"{task.id}\n"
    assert tasks.read(ctx, task.id).parameters == task.parameters
    assert cli("restore", "--json").json == []


def test_rm_asks_and_refuses_where_nobody_answers(cli, ctx, make):
    """Without -y and without a terminal, `rm` is a usage error and removes nothing."""
    task = make()
    ran = cli("rm", task.id)
    assert ran.code == 2
    assert "-y" in ran.err
    assert tasks.read(ctx, task.id).id == task.id


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("n", True)])
def test_rm_takes_the_answer(cli, ctx, make, monkeypatch, answer, stays):
    """On a terminal, the answer decides."""
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    task = make()
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    assert cli("rm", task.id).code == int(stays)
    assert (tasks.try_read(ctx, task.id) is not None) is stays


def test_rm_resolves_all_before_it_takes_one(cli, ctx, make):
    """One unknown reference, and nothing is removed."""
    task = make()
    assert cli("rm", "-y", task.id, "nonsense").code == 1
    assert tasks.read(ctx, task.id).id == task.id


def test_published_tasks_need_force(cli, make):
    """A published task stays unless --force is given."""
    task = make(status=Status.PUBLISHED)
    assert "published" in cli("rm", "-y", task.id).err
    assert cli("rm", "-y", "--force", task.id).code == 0


def test_restore_of_nothing_says_so(cli, store):
    """An unknown entry is refused with the way to list them; an empty trash is said."""
    assert "localtrack restore" in cli("restore", "abc").err
    assert "empty" in cli("restore").err


def test_the_trash_is_listed_in_plain_text(cli, make):
    """`restore` alone shows id, task, reason and entry."""
    task = make()
    cli("rm", "-y", task.id)
    out = cli("restore").out
    assert task.id[:8] in out
    assert "vision/base" in out
    assert "deleted" in out


def test_gc_dry_run_removes_nothing(cli, make):
    """`gc --dry-run` lists what would go, asks nothing, and leaves it."""
    task = make()
    cli("rm", "-y", task.id)
    (item,) = cli("gc", "--dry-run", "--json").json["items"]
    assert (item["kind"], item["about"]) == ("trash", "vision/base (deleted)")
    assert cli("gc", "--dry-run").code == 0
    assert len(cli("restore", "--json").json) == 1


def test_gc_empties_the_trash_for_good(cli, make, store_root):
    """`gc -y` removes the trash; without -y and a terminal it refuses."""
    cli("rm", "-y", make().id)
    assert cli("gc").code == 2
    assert cli("gc", "-y").code == 0
    assert list((store_root / "trash").iterdir()) == []


def test_gc_keeps_younger_trash(cli, make, store_root):
    """--older-than keeps what was trashed since, by the store's clock."""
    first, second = make("1"), make("2")
    cli("rm", "-y", first.id, second.id)
    old = next(path for path in (store_root / "trash").iterdir() if path.name.startswith("1--"))
    age(old / "trash.json", 10)
    assert cli("gc", "-y", "--older-than", "5").code == 0
    assert [entry["id"] for entry in cli("restore", "--json").json] == [second.id]


def test_gc_removes_unreferenced_artifacts_older_than_a_day(cli, ctx, make):
    """An artifact folder that the task does not name goes when it is old; a fresh one may be an upload and stays."""
    task = make(status=Status.COMPLETED)
    folder = tasks.folder_of(ctx, task.id)
    kept = artifacts.upload(ctx, folder, "kept", {"a": 1})
    artifacts.commit(ctx, task.id, folder, kept)
    artifacts.upload(ctx, folder, "old", {"a": 1})
    artifacts.upload(ctx, folder, "fresh", {"a": 1})
    for name in ("kept.1", "old.1"):
        place = TaskLayout(folder).artifacts / name
        for path in (*place.iterdir(), place):
            age(path, 2)
    assert [item["kind"] for item in cli("gc", "-y", "--json").json["items"]] == ["artifact"]
    assert sorted(os.listdir(TaskLayout(folder).artifacts)) == ["fresh.1", "kept.1"]
    record = tasks.read(ctx, task.id)
    assert artifacts.load(ctx, folder, artifacts.find(record, "kept")) == {"a": 1}


def test_gc_sweeps_temporary_files_older_than_a_day(cli, store):
    """A forgotten temporary file goes after a day; a fresh one may still get its name."""
    for name in ("old", "fresh"):
        (store.layout.tmp / name).write_text("x")
    age(store.layout.tmp / "old", 2)
    cli("gc", "-y")
    assert [path.name for path in store.layout.tmp.iterdir()] == ["fresh"]


def test_gc_folds_journals_of_dead_writers(cli, ctx, make):
    """A dead writer's journal becomes Parquet without a question, and every point is still there."""
    import json
    import subprocess
    import sys

    from localtrack.capture.host import capture_host
    from localtrack.services import reports

    task = make(points=[("loss", "test", 0.25, 3)], status=Status.COMPLETED)
    layout = TaskLayout(tasks.folder_of(ctx, task.id))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    host = capture_host()
    writer = layout.writers / f"w-{task.id[:6]}"
    writer.mkdir(parents=True)
    identity = {"machine": host.machine_id, "boot": host.boot_id, "pid": child.pid, "start": "0"}
    (writer / "writer.json").write_text(json.dumps(identity))
    assert cli("gc").code == 0
    assert {path.suffix for path in layout.scalars.iterdir()} == {".parquet"}
    assert reports.scalars(layout.folder).series["loss", "test"].values.tolist() == [0.25]


def test_gc_merges_the_small_parts_of_dead_writers(cli, ctx, make, monkeypatch):
    """Where a dead writer left more than sixteen parts, gc makes one of them without a question; a dry run only says so."""
    from localtrack.services import reports
    from localtrack.store import journal
    from localtrack.store.journal import ScalarJournal
    from localtrack.store.parts import fold

    monkeypatch.setattr(journal, "ROLL_BYTES", 320)
    task = make(status=Status.COMPLETED)
    layout = TaskLayout(tasks.folder_of(ctx, task.id))
    pen = ScalarJournal(ctx.store.disk, layout.scalars, "w", pytest.fail)
    for step in range(200):
        pen.report("loss", "test", step / 7, step)
    for path in pen.close():
        fold(ctx.store.disk, path, trusted=True)
    assert "parts" not in {item["kind"] for item in cli("gc", "--dry-run", "--json").json["items"]}
    for path in (*layout.scalars.iterdir(), layout.scalars):
        age(path, 2)  # no such writer is known: it counts as dead when nothing has happened for a day
    (item,) = cli("gc", "--dry-run", "--json").json["items"]
    assert (item["kind"], item["about"][:14]) == ("parts", "23 small parts")
    assert cli("gc").code == 0
    assert [path.name for path in layout.scalars.iterdir()] == ["w-m1.parquet"]
    assert reports.scalars(layout.folder).of("loss", "test").values.tolist() == [step / 7 for step in range(200)]


def test_gc_leaves_journals_of_writers_that_may_live(cli, ctx, make):
    """A journal whose writer is not known to be dead is left alone."""
    task = make(points=[("loss", "test", 0.25, 3)], status=Status.COMPLETED)
    assert cli("gc").code == 0
    layout = TaskLayout(tasks.folder_of(ctx, task.id))
    assert ".journal" in {path.suffix for path in layout.scalars.iterdir()}


def test_gc_of_a_tidy_store(cli, store):
    """Nothing to do is no failure and no question."""
    ran = cli("gc")
    assert (ran.code, ran.out) == (0, "")
