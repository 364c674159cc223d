"""What garbage is, and what is none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from localtrack.errors import CorruptFileError
from localtrack.records.status import Status
from localtrack.services import artifacts, collection, lifecycle, tasks
from localtrack.store.launches import Launches
from localtrack.store.layout import TaskLayout

DAY_S = 86400


def age(path, days):
    """Make a file or folder older."""
    when = path.stat().st_mtime - days * DAY_S
    os.utime(path, (when, when))


def dead_owner():
    """Return the identity of a process of this machine that is gone."""
    from localtrack.capture.host import capture_host

    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    host = capture_host()
    return {"host": "h", "machine": host.machine_id, "boot": host.boot_id, "pid": child.pid, "start": "0"}


def test_a_sound_store_has_no_garbage(ctx):
    """A store with a completed task and its artifact has nothing to remove."""
    folder, task = tasks.create(ctx, name="a", project="p")
    artifacts.commit(ctx, task.id, folder, artifacts.upload(ctx, folder, "x", {"a": 1}))
    assert list(collection.find(ctx)) == []


def test_a_running_task_has_no_garbage(ctx):
    """What lies in a running task's folder is never garbage, however old it is."""
    folder, task = tasks.create(ctx, name="a", project="p")
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    artifacts.upload(ctx, folder, "x", {"a": 1})
    place = TaskLayout(folder).artifacts / "x.1"
    for path in (*place.iterdir(), place):
        age(path, 3)
    assert list(collection.find(ctx)) == []


def test_snapshots_of_a_killed_run(ctx, tmp_path):
    """A link to a saved model file, or a folder of them, goes a day after the last change; the user's files stay."""
    folder, task = tasks.create(ctx, name="a", project="p")
    models = TaskLayout(folder).models
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    mine = [tmp_path / "net.pt", tmp_path / "saved" / "variables" / "a"]
    link, tree = models / ".4711-7f00aa-0-0011aabb", models / ".4711-7f00aa-1-0011aabb"
    (tree / "variables").mkdir(parents=True)
    for path, target in zip(mine, (link, tree / "variables" / "a"), strict=True):
        path.write_bytes(b"weights")
        os.link(path, target)
    (models / ".keep").write_text("")
    age(models / ".keep", 3)
    for path in (tree / "variables", tree):
        age(path, 3)
    assert list(collection.find(ctx)) == []
    age(mine[0], 3)
    assert [item.path for item in collection.find(ctx)] == [link], "the folder holds a file that is young"
    age(mine[1], 3)
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    assert list(collection.find(ctx)) == [], "the task runs"
    lifecycle.change_status(ctx, task.id, Status.STOPPED)
    items = list(collection.find(ctx))
    assert [(item.kind, item.path, item.size_bytes) for item in items] == [
        ("temporary", link, 7),
        ("temporary", tree, 7),
    ]
    for item in items:
        collection.remove(ctx, item)
    assert sorted(os.listdir(models)) == [".keep"]
    assert [path.read_bytes() for path in mine] == [b"weights"] * 2


def test_an_unreadable_task_has_no_garbage(ctx):
    """Where the metadata can't be read, nothing is known to be unreferenced: all stays."""
    folder, _ = tasks.create(ctx, name="a", project="p")
    artifacts.upload(ctx, folder, "x", {"a": 1})
    place = TaskLayout(folder).artifacts / "x.1"
    for path in (*place.iterdir(), place):
        age(path, 3)
    for path in TaskLayout(folder).metadata.iterdir():
        path.chmod(0o644)
        path.write_bytes(b"{")
    assert list(collection.find(ctx)) == []


def test_a_trash_entry_without_a_note_is_garbage(ctx):
    """A trash entry whose note is gone can't be restored, and goes with the others."""
    (ctx.store.layout.trash / "broken").mkdir()
    (item,) = collection.find(ctx)
    assert (item.kind, item.about) == ("trash", "an entry without a readable note")
    collection.remove(ctx, item)
    assert not item.path.exists()


def test_a_link_in_the_trash_is_removed_and_not_followed(ctx, tmp_path):
    """A link that lies where garbage lies is unlinked; what it points to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (ctx.store.layout.trash / "link").symlink_to(outside)
    (item,) = collection.find(ctx)
    collection.remove(ctx, item)
    assert (outside / "precious").read_text() == "x"
    assert not item.path.is_symlink()


def test_a_foreign_journal_is_refused_and_stays(ctx):
    """A file that only looks like a journal is no journal: folding it raises, and it stays."""
    folder, _ = tasks.create(ctx, name="a", project="p")
    layout = TaskLayout(folder)
    layout.scalars.mkdir()
    path = layout.scalars / "w-1.journal"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(CorruptFileError):
        collection.remove(ctx, collection.Garbage(collection.JOURNAL, path, 14, 0.0))
    assert path.exists()


def test_a_journal_without_its_names_stays(ctx):
    """A journal whose series file is gone holds points that nobody can name: it is kept, not folded into nothing."""
    from localtrack.store.journal import ScalarJournal

    folder, _ = tasks.create(ctx, name="a", project="p")
    journal = ScalarJournal(ctx.store.disk, TaskLayout(folder).scalars, "w", pytest.fail)
    journal.report("loss", "test", 1.0, 1)
    (path,) = TaskLayout(folder).scalars.glob("*.journal")
    path.with_suffix(".series").unlink()
    with pytest.raises(CorruptFileError):
        collection.remove(ctx, collection.Garbage(collection.JOURNAL, path, path.stat().st_size, 0.0))
    assert path.exists()


def test_dead_agents_and_old_records_go(ctx):
    """An agent whose process is gone leaves the register; one that lives stays."""
    from localtrack.capture.host import capture_host
    from localtrack.queue.agents import Agents

    host = capture_host()
    alive = {
        "host": "h", "machine": host.machine_id, "boot": host.boot_id, "pid": os.getpid(), "start": host.start_token,
    }  # fmt: skip
    agents = Agents(ctx.store)
    for name, owner in (("gone", dead_owner()), ("here", alive)):
        _, heartbeat = agents.register(name, ["default"], owner, 60.0)
        heartbeat.close()
    assert collection.tidy_queues(ctx) == (0, 1)
    assert [agent.name for agent in agents.list()] == ["here"]


def test_where_a_launch_met_is_garbage_a_week_after_its_end(ctx):
    """As long as a task of it runs, torchrun may start its ranks anew; later nobody comes any more."""
    _, task = tasks.create(ctx, name="a", project="p")
    lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS)
    launches = Launches(ctx.store)
    launches.announce("a" * 32, {"task": task.id, "ordinal": 1})
    folder = launches.folder("a" * 32)
    assert list(collection.find(ctx)) == []
    for path in (*folder.iterdir(), folder):
        age(path, 8)
    assert list(collection.find(ctx)) == []
    lifecycle.change_status(ctx, task.id, Status.COMPLETED)
    (found,) = collection.find(ctx)
    assert (found.kind, found.path) == ("launch", folder)
    collection.remove(ctx, found)
    assert list(collection.find(ctx)) == []
