"""Searches over checkpoint and deltas: nothing missed, nothing stale, whatever lies in the index folder."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import TaskNotFoundError
from localtrack.index import search as search_module
from localtrack.index.announcer import COMMIT_LOOK_EVERY
from localtrack.index.deltas import PENDING_LIMIT_S, read_deltas
from localtrack.index.search import Index
from localtrack.records.filters import Query
from localtrack.store.root import Store
from tests.index.store_of import AUTHOR, add, change, number, open_indexed


def ids_of(index: Index) -> list[str]:
    """Return the ids that a listing gives, sorted."""
    return sorted(index.ids())


def test_row_holds_what_a_listing_shows(tmp_path: Path) -> None:
    """A row has the task's fields with native parameters, metrics and the script's summary."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(
        store,
        name="résumé",
        project="a/b",
        tags=("t",),
        parameters={"Args/lr": number(0.1), "Args/shape": {"value": {"$tuple": [1, 2]}, "type": "tuple"}},
        last_metrics={"loss": {"train": {"last": {"$float": "nan"}, "min": 0.5}}},
        script={"repository": "r", "branch": "main", "commit": "c", "entry_point": "e.py", "diff": "x" * 100},
        input_models=({"id": "m1", "name": "n"},),
    )
    (row,) = index.rows()
    assert (row.id, row.name, row.project, row.tags) == (record.id, "résumé", "a/b", ("t",))
    assert store.root / row.folder == folder
    assert row.generation == 1
    assert row.parameters == {"Args/lr": 0.1, "Args/shape": (1, 2)}
    assert row.metrics["loss"]["train"]["last"] != row.metrics["loss"]["train"]["last"]
    assert row.script == {"repository": "r", "branch": "main", "commit": "c", "entry_point": "e.py"}
    assert row.input_models == ("m1",)


def test_index_can_be_deleted_at_any_time(tmp_path: Path) -> None:
    """Without the index folder the same tasks are found, and commits go on."""
    store, index = open_indexed(tmp_path / "s")
    folder, first = add(store)
    add(store)
    before = index.rows()
    shutil.rmtree(store.layout.index)
    assert index.rows() == before
    shutil.rmtree(store.layout.index)
    change(store, folder, comment="changed")
    _, third = add(store)
    assert {row.id for row in index.rows()} == {row.id for row in before} | {third.id}
    assert index.search(Query(ids=[first.id]))[0].comment == "changed"


def test_many_commits_are_folded_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas do not pile up: commits and searches fold them, and every task stays found with its newest state."""
    monkeypatch.setattr(search_module, "SEARCH_FOLD_DELTAS", 4)
    monkeypatch.setattr(search_module, "COMMIT_FOLD_DELTAS", 10)
    store, index = open_indexed(tmp_path / "s")
    made = {}
    for n in range(60):
        folder, record = add(store, name=f"n{n}")
        change(store, folder, comment=f"c{n}")
        made[record.id] = f"c{n}"
        if n % 20 == 0:
            assert {row.id: row.comment for row in index.rows()} == made
    assert len(read_deltas(index.deltas)) < 10 + 2 * COMMIT_LOOK_EVERY
    assert {row.id: row.comment for row in Index(Store.open(store.root)).rows()} == made
    assert len(index.checkpoints.numbers()) <= 2
    assert index.check() == []


def test_deleted_task_is_gone_and_restored_task_is_back(tmp_path: Path) -> None:
    """The trash takes a task out of the listing at once, a restore brings it back."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    _, other = add(store)
    assert len(index.rows()) == 2
    entry = store.trash_task(folder, record, "deleted", "ada")
    assert ids_of(index) == [other.id]
    index.rebuild()
    assert ids_of(index) == [other.id]
    with pytest.raises(TaskNotFoundError):
        index.locate(record.id)
    restored = store.restore_entry(entry, AUTHOR)
    assert index.locate(record.id) == restored
    assert ids_of(index) == sorted([record.id, other.id])


def test_moved_task_is_found_where_it_is(tmp_path: Path) -> None:
    """A move is seen, whether it happened before the fold or after it."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    index.rebuild()
    record = change(store, folder, project="q/r")
    target = store.layout.task("q/r", record.name, record.id)
    index.announce(record.id, record.generation, target)
    index.rebuild()  # folds the commit, while the mover waits between announcing and moving
    store.disk.make_dirs(target.parent)
    assert store.disk.move(folder, target)
    assert [row.folder for row in index.rows()] == [target.relative_to(store.root).as_posix()]
    assert index.locate(record.id) == target


def test_announced_commit_of_a_paused_writer_is_not_forgotten(tmp_path: Path) -> None:
    """A fold keeps the delta of a generation that is not on disk yet; the late commit is seen."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    index.announce(record.id, 2, folder)
    index.rebuild()
    assert [(d.task_id, d.generation) for d in read_deltas(index.deltas)] == [(record.id, 2)]
    store.announce = lambda task_id, generation, folder: None
    change(store, folder, comment="late")
    assert index.search(Query(task_filter={"comment": "late"}))[0].generation == 2
    index.rebuild()
    assert read_deltas(index.deltas) == []


def test_pending_delta_is_dropped_after_a_day(tmp_path: Path) -> None:
    """What was announced and never happened is forgotten after a day, by the file server's clock."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    index.announce(record.id, 9, folder)
    index.rebuild()
    (delta,) = read_deltas(index.deltas)
    old = delta.path.stat().st_mtime - PENDING_LIMIT_S - 60
    os.utime(delta.path, (old, old))
    index.rebuild()
    assert read_deltas(index.deltas) == []
    assert ids_of(index) == [record.id]


def test_torn_delta_still_means_read_again(tmp_path: Path) -> None:
    """An empty or foreign delta sends the search to the tree, never out of the store."""
    store, index = open_indexed(tmp_path / "s")
    index.rebuild()
    for content in (b"", b"proj", b"../../etc/x--y", b"projects/../../x--y", b"\xff\x00"):
        folder, record = add(store)
        (path,) = index.deltas.glob(f"{record.id}.1.*")
        path.write_bytes(content)
        (index.where / record.id[:2] / record.id).write_bytes(content)
        assert record.id in index.ids()
        assert index.locate(record.id) == folder


def test_hits_are_compared_with_the_disk(tmp_path: Path) -> None:
    """A commit that nobody announced is seen in a small result, and the stale row is mended."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store, tags=("old",))
    index.rebuild()
    store.announce = lambda task_id, generation, folder: None
    change(store, folder, tags=("new",))
    assert index.search(Query(tags=["old"])) == []
    assert [row.id for row in index.search(Query(tags=["new"]))] == [record.id]


def test_folder_removed_by_hand_is_no_hit(tmp_path: Path) -> None:
    """A task whose folder was removed or renamed by hand is not shown where it no longer is."""
    store, index = open_indexed(tmp_path / "s")
    folder, _ = add(store)
    other, record = add(store)
    index.rebuild()
    shutil.rmtree(folder)
    moved = other.with_name("other" + other.name)
    other.rename(moved)
    assert [store.root / row.folder for row in index.rows()] == [moved]
    assert index.locate(record.id) == moved


def test_unreadable_task_is_skipped_and_named(tmp_path: Path) -> None:
    """One damaged task never breaks a listing: it is skipped, named as a problem, and back when it is mended."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    _, other = add(store)
    path = folder / "task" / "000001.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    shutil.rmtree(store.layout.index)
    for _ in range(2):
        assert ids_of(index) == [other.id]
        assert len(index.problems) == 1
        assert folder.name in index.problems[0]
    path.write_bytes(whole)
    assert ids_of(index) == sorted([record.id, other.id])
    assert index.problems == []


def test_folder_whose_first_commit_comes_after_a_rebuild(tmp_path: Path) -> None:
    """A task that a rebuild saw as an empty folder, its delta lost, is found once it is committed."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    path = folder / "task" / "000001.json"
    kept = path.rename(tmp_path / "kept")
    shutil.rmtree(store.layout.index)
    assert index.ids() == []
    kept.rename(path)
    assert index.ids() == [record.id]


def test_locate_and_resolve(tmp_path: Path) -> None:
    """A task is located by its hint, by the index, or by the tree; a prefix gives all ids that begin so."""
    store, index = open_indexed(tmp_path / "s")
    made = {record.id: folder for folder, record in (add(store, name=f"n{n}") for n in range(5))}
    task_id, folder = next(iter(made.items()))
    assert index.locate(task_id) == folder
    shutil.rmtree(index.where)
    assert index.locate(task_id) == folder
    shutil.rmtree(store.layout.index)
    assert index.locate(task_id) == folder
    assert index.resolve("") == sorted(made)
    assert index.resolve(task_id) == [task_id]
    assert index.resolve(task_id[:10]) == [task_id]
    assert index.resolve("zz") == []
    assert index.resolve("0" * 32) == []
    with pytest.raises(TaskNotFoundError, match="0000"):
        index.locate("0" * 32)
    with pytest.raises(TaskNotFoundError):
        index.locate("../../etc/passwd")


def test_stale_hint_is_not_believed(tmp_path: Path) -> None:
    """A hint to the folder of another task is found out."""
    store, index = open_indexed(tmp_path / "s")
    first, one = add(store, name="a")
    second, _ = add(store, name="b")
    hint = index.where / one.id[:2] / one.id
    hint.write_text(str(second.relative_to(store.root)))
    assert Index(store).locate(one.id) == first
    assert hint.read_text() == str(first.relative_to(store.root))


def test_full_disk_shows_in_the_announcement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room for the delta, the error is told: the commit has no room either."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)

    def full(data: bytes, final: Path) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", str(final))

    monkeypatch.setattr(store.disk, "create_small", full)
    with pytest.raises(OSError, match="No space left"):
        index.announce(record.id, 2, folder)


@pytest.mark.skipif(os.getuid() == 0, reason="root can write everywhere")
def test_read_only_store_is_searched(tmp_path: Path) -> None:
    """A store that can't be written is listed all the same."""
    store, index = open_indexed(tmp_path / "s")
    _, record = add(store)
    shutil.rmtree(store.layout.index)
    store.root.chmod(0o555)
    try:
        assert index.ids() == [record.id]
    finally:
        store.root.chmod(0o755)


def test_search_goes_on_where_the_index_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that fails costs nothing but time."""
    store, index = open_indexed(tmp_path / "s")
    _, record = add(store)

    def refuse(data: bytes, final: Path) -> bool:
        raise OSError(errno.EROFS, "Read-only file system", str(final))

    monkeypatch.setattr(index.checkpoints.disk, "publish", refuse)
    assert index.ids() == [record.id]
    assert index.checkpoints.numbers() == []


HOSTILE = ["truncate", "flip", "empty", "folder", "foreign"]


@pytest.mark.parametrize("harm", HOSTILE)
@pytest.mark.parametrize("kind", ["checkpoint", "segment"])
def test_damaged_index_files_are_found_out(tmp_path: Path, kind: str, harm: str) -> None:
    """Whatever is done to a file of the index, the search is right, and the index is built anew."""
    store, index = open_indexed(tmp_path / "s")
    for n in range(6):
        add(store, name=f"n{n}", parameters={"Args/lr": number(n / 10)}, tags=(f"t{n % 2}",))
    index.rebuild()
    expected = index.rows()
    query = Query(tags=["t1"], task_filter={"parameters": {"Args/lr": [0.2, None]}}, order_by="-parameters.Args/lr")
    wanted = [row.id for row in index.search(query)]
    assert len(wanted) == 2
    size = max(path.stat().st_size for path in store.layout.index.glob(f"{kind}-*"))
    for at in sorted({0, 3, 9, 17, size // 5, size // 3, size // 2, size * 4 // 5, size - 3, size - 1}):
        for path in store.layout.index.glob(f"{kind}-*"):
            _harm(path, harm, at)
        assert [row.id for row in index.search(query)] == wanted, (harm, at)
        assert index.rows() == expected, (harm, at)
        assert index.check() == []
        index.rebuild()


def _harm(path: Path, harm: str, at: int) -> None:
    if path.is_dir():
        return
    data = bytearray(path.read_bytes())
    if harm == "truncate":
        path.write_bytes(data[: min(at, len(data) - 1)])
    elif harm == "flip":
        data[min(at, len(data) - 1)] ^= 0x10
        path.write_bytes(data)
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "foreign":
        path.write_bytes(os.urandom(len(data)))
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize("name", ["deltas", "where", "lock", "checkpoint-99999999", ""])
@pytest.mark.parametrize("becomes", ["file", "folder"])
def test_wrong_kind_of_entry_in_the_index(tmp_path: Path, name: str, becomes: str) -> None:
    """A file in place of a folder, or the other way round, hinders neither commits nor searches."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    index.rebuild()
    path = store.layout.index / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if becomes == "file":
        path.write_bytes(b"no")
    else:
        path.mkdir()
    change(store, folder, comment="seen")
    _, other = add(store)
    assert ids_of(index) == sorted([record.id, other.id])
    assert index.search(Query(task_filter={"comment": "seen"}))[0].id == record.id
    assert index.locate(record.id) == folder


def test_two_folds_at_once_lose_nothing(tmp_path: Path) -> None:
    """Of two folds from the same checkpoint one is published; what only the other had stays announced."""
    store, index = open_indexed(tmp_path / "s")
    add(store)
    index.rebuild()
    views = []
    for n in range(2):
        add(store, name=f"n{n}")
        views.append(index._scan())
    assert views[0].number == views[1].number
    index._fold(views[0])
    index._fold(views[1])
    assert len(Index(store).rows()) == 3


def test_check_names_each_problem(tmp_path: Path) -> None:
    """``check`` names damaged generations, empty folders, copies and leftovers, each with its path."""
    store, index = open_indexed(tmp_path / "s")
    add(store)
    assert index.check() == []
    damaged, _ = add(store, name="damaged")
    (damaged / "task" / "000001.json").write_bytes(b"{}")
    empty = store.layout.projects / "p" / "empty--00000000"
    empty.mkdir()
    folder, _ = add(store, name="copied")
    shutil.copytree(folder, folder.with_name("copy" + folder.name))
    left = store.layout.tmp / "left"
    left.write_bytes(b"")
    os.utime(left, (1e9, 1e9))
    problems = index.check()
    for path in (damaged / "task" / "000001.json", empty, folder, left):
        assert len([line for line in problems if str(path) in line]) == 1, problems
    assert all("\n" not in line for line in problems)


def test_same_id_twice_is_one_hit(tmp_path: Path) -> None:
    """A folder copied by hand does not show a task twice; the listing says so."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store)
    shutil.copytree(folder, folder.with_name("copy" + folder.name))
    shutil.rmtree(store.layout.index)
    assert index.ids() == [record.id]
    assert record.id in index.problems[0]


def test_reset_under_the_same_id(tmp_path: Path) -> None:
    """A task whose run went to the trash and that starts again under its id is found with its new run."""
    store, index = open_indexed(tmp_path / "s")
    folder, record = add(store, comment="old")
    index.rebuild()
    store.trash_task(folder, record, "reset", "ada")
    store.create_task(replace(record, comment="new"), AUTHOR, record.generation + 1)
    assert [(row.id, row.comment, row.generation) for row in index.rows()] == [(record.id, "new", 2)]
