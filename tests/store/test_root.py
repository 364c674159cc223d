"""A store: opened, made, gated; its tasks created, found, moved, trashed."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localtrack.errors import StoreError, StoreFormatError, TaskNotFoundError
from localtrack.records.ids import new_task_id
from localtrack.records.task import TaskRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import Author
from localtrack.store.root import Store

AUTHOR = Author("ada", "here", 1)
HOSTILE = [
    "..", "../../..", "/etc", "a/../../b", "a\0b", "x" * 300, "🚀", "CON", "nul", "task", "store.json", "trailing.", " ",
    "Same", "same", "SAME", "--", "a--b", "\u202eevil", "\udcff", "new\nline", ".nfs", ".hidden",
]  # fmt: skip


def _new(store: Store, name: str = "name", project: str = "p") -> tuple[Path, TaskRecord]:
    return store.create_task(TaskRecord(new_task_id(), name, project), AUTHOR)


def test_creation_and_opening(store_root: Path) -> None:
    """A new store says its format and opens again as the same store."""
    store = Store.create(store_root)

    body = json.loads((store_root / "store.json").read_bytes())
    assert body["format"] == {"major": 1, "minor": 0}
    assert Store.open(store_root).manifest == Store.create(store_root).manifest == store.manifest
    assert "localtrack store" in (store_root / "README.txt").read_text()


def test_a_shared_store_is_the_groups(store_root: Path) -> None:
    """A team's folders and files are group-writable whatever the umask is."""
    before = os.umask(0o077)
    try:
        store = Store.create(store_root, shared=True)
        folder, _ = _new(store, project="team/deep")
    finally:
        os.umask(before)

    for path in (store_root / "projects", folder, folder.parent, folder / "task"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o2770
    for path in (store_root / "store.json", folder / "task" / "000001.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": {"major": 2, "minor": 0}}, r"needs format 2\.0; this localtrack knows format 1: install a newer"),
        ({"required_features": ["quantum"]}, r"needs the feature 'quantum'"),
    ],
)
def test_newer_stores_are_refused(store: Store, change: dict[str, Any], message: str) -> None:
    """A store of a newer major format, or one that needs an unknown feature, is refused politely and not touched."""
    body = json.loads(store.layout.manifest.read_bytes())
    store.layout.manifest.write_text(json.dumps({**body, **change}))
    before = store.layout.manifest.read_bytes()

    for opening in (Store.open, Store.open_or_create, Store.create):
        with pytest.raises(StoreFormatError, match=message):
            opening(store.root)
    assert store.layout.manifest.read_bytes() == before


def test_newer_minor_formats_are_read(store: Store) -> None:
    """A newer minor format with unknown fields is read."""
    body = json.loads(store.layout.manifest.read_bytes())
    store.layout.manifest.write_text(json.dumps({**body, "format": {"major": 1, "minor": 9}, "hologram": True}))

    assert Store.open(store.root).manifest.format_minor == 9


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '{"format": 1, "id": "x"}', '{"format": {"major": "x", "minor": 0}, "id": "x"}', "[" * 9999,
     '{"format": {"major": 1, "minor": 0}, "id": "x", "sharing": 5}', "\xff", '{"format": {"major": 1}}',
     '{"format": {"major": 1, "minor": 0}, "id": "x", "sharing": {"file_mode": "99"}}',
     '{"format": {"major": 1, "minor": 0}, "id": "x", "required_features": 5}'],
)  # fmt: skip
def test_damaged_manifests(store: Store, text: str) -> None:
    """A damaged store.json is named, and no other store is put in its place."""
    store.layout.manifest.write_text(text, encoding="latin-1")

    for opening in (Store.open, Store.open_or_create):
        with pytest.raises(StoreError, match=r"store\.json is damaged"):
            opening(store.root)
    assert store.layout.manifest.read_text(encoding="latin-1") == text


def test_places_that_hold_no_store(tmp_path: Path) -> None:
    """A missing store, a file, and a pipe for a manifest each give one line that says where and what next."""
    with pytest.raises(StoreError, match=r"no store at .*: `localtrack init"):
        Store.open(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file"):
        Store.open_or_create(tmp_path / "file")
    os.mkfifo(tmp_path / "store.json")
    with pytest.raises(StoreError, match=r"store\.json failed"):
        Store.open(tmp_path)


def test_nested_stores(store: Store) -> None:
    """A store inside a store is refused; one that got there all the same is not taken for tasks of the outer one."""
    with pytest.raises(StoreError, match="lies inside the store"):
        Store.create(store.root / "projects" / "inner")
    folder, record = _new(store)
    os.rename(store.root / "projects", store.root / "away")
    inner_root = store.root.parent / "inner"
    inner = Store.create(inner_root)
    _new(inner)
    os.rename(store.root / "away", store.root / "projects")
    os.rename(inner_root, store.root / "projects" / "inner")

    assert list(store.task_folders()) == [folder]
    assert len(list(Store.open(store.root / "projects" / "inner").task_folders())) == 1
    assert store.find_folder(record.id) == folder


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_data(store: Store, name: str, tmp_path: Path) -> None:
    """Any text names a task and a project, comes back as it was, and puts nothing outside the store."""
    outside = {path for path in tmp_path.rglob("*") if store.root not in (path, *path.parents)}
    folder, record = _new(store, name, name)

    back = metadata.read_latest(TaskLayout(store.find_folder(record.id)))
    assert (back.name, back.project) == (name, name)
    assert folder.is_relative_to(store.root / "projects")
    assert folder.resolve() == folder
    assert {path for path in tmp_path.rglob("*") if store.root not in (path, *path.parents)} == outside
    assert list(store.task_folders()) == [folder]


def test_case_collisions(store: Store) -> None:
    """Names that differ only by case, and equal names, are tasks of their own."""
    folders = {_new(store, name, project)[0] for name in ("Run", "run", "run") for project in ("P", "p")}

    assert set(store.task_folders()) == folders
    assert len({str(folder).lower() for folder in folders}) == 6


def test_equal_beginnings_of_ids(store: Store) -> None:
    """Two tasks whose ids begin alike get folders of their own."""
    records = [TaskRecord(f"01234567{number:024x}", "same", "p") for number in (1, 2)]
    folders = [store.create_task(record, AUTHOR)[0] for record in records]

    assert [store.find_folder(record.id) for record in records] == folders
    assert folders[0] != folders[1]


def test_unknown_tasks(store: Store) -> None:
    """A task that is not there is a lookup error that says where else to look."""
    with pytest.raises(TaskNotFoundError, match="localtrack restore"):
        store.find_folder(new_task_id())


def test_links_among_the_tasks_are_not_followed(store: Store, tmp_path: Path) -> None:
    """A link planted in the tree shows no task from elsewhere."""
    other = Store.create(tmp_path / "other")
    folder, _ = _new(other)
    (store.root / "projects" / "planted--01234567").symlink_to(folder)
    (store.root / "projects" / "all").symlink_to(tmp_path / "other" / "projects")

    assert list(store.task_folders()) == []


def test_of_two_folders_the_newer_generation_is_the_task(store: Store) -> None:
    """While a reset has put the draft beside the old run, the draft is the task."""
    record = TaskRecord(new_task_id(), "name", "p")
    store.create_task(record, AUTHOR)
    draft, _ = store.create_task(record, AUTHOR, number=3)

    assert store.find_folder(record.id) == draft


def test_moving_follows_the_metadata(store: Store) -> None:
    """A folder goes where name and project say; one that can't go stays and is found."""
    folder, record = _new(store)
    renamed = store.update(folder, lambda r: replace(r, name="other", project="q/r"), AUTHOR, "moved")
    moved = store.move_task(folder, renamed)

    assert moved == store.root / "projects" / "q" / "r" / f"other--{record.id[:8]}"
    assert store.find_folder(record.id) == moved
    assert store.move_task(moved, renamed) == moved
    blocked = store.update(moved, lambda r: replace(r, project="z"), AUTHOR, "moved")
    (store.root / "projects" / "z" / moved.name / "x").mkdir(parents=True)
    assert store.move_task(moved, blocked) == moved
    assert store.find_folder(record.id) == moved


def test_trash_and_restore(store: Store) -> None:
    """A trashed task is gone from the tree, whole in the trash, and comes back as it was."""
    folder, record = _new(store)
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "data").write_bytes(b"abc")
    entry = store.trash_task(folder, record, "deleted", "ada")

    assert list(store.task_folders()) == []
    (note,) = store.trash_entries()
    assert (note["entry"], note["id"], note["reason"], note["by"]) == (entry, record.id, "deleted", "ada")
    assert store.restore_entry(entry, AUTHOR) == folder
    assert (folder / "artifacts" / "data").read_bytes() == b"abc"
    assert store.trash_entries() == []
    assert list(store.layout.trash.iterdir()) == []
    with pytest.raises(StoreError, match="no trash entry"):
        store.restore_entry(entry, AUTHOR)


def test_restoring_beside_a_task_of_the_same_id(store: Store) -> None:
    """A run whose task was made anew comes back under an id of its own; nothing is replaced."""
    folder, record = _new(store)
    entry = store.trash_task(folder, record, "reset", "ada")
    again, _ = store.create_task(record, AUTHOR, number=3)
    restored = store.restore_entry(entry, AUTHOR)

    back = metadata.read_latest(TaskLayout(restored))
    assert back.id != record.id
    assert back.name == "name (restored)"
    assert store.find_folder(record.id) == again
    assert store.find_folder(back.id) == restored


def test_restoring_to_a_taken_place(store: Store) -> None:
    """Where something else has taken the folder's name, another name of the same task is used."""
    folder, record = _new(store)
    entry = store.trash_task(folder, record, "deleted", "ada")
    (folder / "something").mkdir(parents=True)

    assert store.restore_entry(entry, AUTHOR) == folder.with_name(f"name--{record.id[:12]}")
    assert store.find_folder(record.id) == folder.with_name(f"name--{record.id[:12]}")


def test_hostile_trash(store: Store) -> None:
    """Garbage in the trash hides no entry."""
    folder, record = _new(store)
    entry = store.trash_task(folder, record, "deleted", "ada")
    (store.layout.trash / "garbage").mkdir()
    (store.layout.trash / "file").touch()
    (store.layout.trash / "torn").mkdir()
    (store.layout.trash / "torn" / "trash.json").write_text("{")

    assert [note["entry"] for note in store.trash_entries()] == [entry]


def test_a_failed_trashing_leaves_the_task(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that can't be moved stays where it is, and the trash stays clean."""
    folder, record = _new(store)

    def refuse(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(StoreError, match="no permission"):
        store.trash_task(folder, record, "deleted", "ada")
    assert store.find_folder(record.id) == folder
    assert list(store.layout.trash.iterdir()) == []


def test_missing_folders_are_made_again(store: Store) -> None:
    """Somebody who tidies empty folders away does no harm."""
    for name in ("tmp", "index", "trash", "queues", "agents", "projects"):
        os.rmdir(store.root / name)
    folder, record = _new(store)

    assert store.find_folder(record.id) == folder
    assert store.trash_task(folder, record, "deleted", "ada")


def test_a_store_that_is_deleted_meanwhile(store: Store) -> None:
    """Updates in a store that is gone say so; creation does not bring half a store back."""
    folder, _ = _new(store)
    subprocess.run(["rm", "-rf", str(store.root)], check=True)

    with pytest.raises(TaskNotFoundError, match="moved or deleted"):
        store.update(folder, lambda r: replace(r, comment="x"), AUTHOR, "comment")
    with pytest.raises(StoreError, match="was the store deleted"):
        _new(store)
    assert list(store.task_folders()) == []
    assert not store.root.exists()


def test_a_read_only_store(small_disk: Path) -> None:
    """Everything can be read from a read-only file system; each write says what is wrong and what to do."""
    store = Store.create(small_disk / "store")
    folder, record = _new(store)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    store = Store.open_or_create(small_disk / "store")
    assert metadata.read_latest(TaskLayout(store.find_folder(record.id))) == record
    with pytest.raises(StoreError, match=r"Read-only file system; .*set LOCALTRACK_ROOT"):
        _new(store)
    with pytest.raises(StoreError, match="read-only"):
        store.update(folder, lambda r: replace(r, comment="x"), AUTHOR, "comment")
    with pytest.raises(StoreError, match="read-only"):
        store.trash_task(folder, record, "deleted", "ada")
    with pytest.raises(StoreError, match="read-only"):
        Store.create(small_disk / "another")


def test_a_full_disk(small_disk: Path, fill_up: Callable[[Path], Path]) -> None:
    """On a full disk a write says so and harms nothing; with room again it works."""
    store = Store.create(small_disk / "store")
    folder, record = _new(store)
    filler = fill_up(small_disk)
    with pytest.raises(StoreError, match="disk is full"):
        store.update(folder, lambda r: replace(r, comment="x" * 5000), AUTHOR, "comment")
    with pytest.raises(StoreError, match="disk is full"):
        _new(store)
    assert metadata.read_latest(TaskLayout(folder)) == record
    assert metadata.generations(TaskLayout(folder)) == [1]

    filler.unlink()
    assert store.update(folder, lambda r: replace(r, comment="x" * 5000), AUTHOR, "comment").generation == 2


def test_another_users_store(
    store: Store, tmp_path: Path, as_another_user: Callable[[Callable[[], None]], None]
) -> None:
    """A store that one may only read is read; writing says who one is and what to do; closed folders hide only theirs."""
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    _, record = _new(store)
    closed, _ = _new(store, "secret", "closed")
    closed.parent.chmod(0o700)

    def act() -> None:
        mine = Store.open_or_create(store.root)
        assert len(list(mine.task_folders())) == 1
        folder = mine.find_folder(record.id)
        with pytest.raises(StoreError, match=r"no permission \(you are uid 65534\)"):
            mine.update(folder, lambda r: replace(r, comment="x"), AUTHOR, "comment")
        with pytest.raises(StoreError, match="no permission"):
            _new(mine)

    as_another_user(act)


def test_lost_replies(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create, update, move and trash come through a file server that lies about every call once it was done."""
    real = {name: getattr(os, name) for name in ("link", "rename", "mkdir")}
    wrong = {"link": errno.EEXIST, "rename": errno.ENOENT, "mkdir": errno.EEXIST}

    def lying(name: str) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            real[name](*args, **kwargs)
            raise OSError(wrong[name], os.strerror(wrong[name]))

        return call

    for name in real:
        monkeypatch.setattr(os, name, lying(name))
    folder, record = _new(store, project="some/where")
    renamed = store.update(folder, lambda r: replace(r, name="other"), AUTHOR, "renamed")
    moved = store.move_task(folder, renamed)
    entry = store.trash_task(moved, renamed, "deleted", "ada")
    back = store.restore_entry(entry, AUTHOR)

    assert metadata.read_latest(TaskLayout(store.find_folder(record.id))) == renamed
    assert back.name == f"other--{record.id[:8]}"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_no_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A store on a file system without hard links works."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    folder, record = _new(store)
    store.update(folder, lambda r: replace(r, comment="x"), AUTHOR, "comment")

    assert metadata.read_latest(TaskLayout(store.find_folder(record.id))).comment == "x"


def test_a_store_that_another_makes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that appears between the look and the making is opened, by every one of those who wanted to make it."""
    root = tmp_path / "store"
    look = Store.open.__func__  # type: ignore[attr-defined]
    made: list[Store] = []

    def late(kind: type[Store], place: Path) -> Store:
        try:
            return look(kind, place)  # type: ignore[no-any-return]
        except StoreError:
            if not made:
                made.append(Store.create(place))
            raise

    monkeypatch.setattr(Store, "open", classmethod(late))
    assert Store.open_or_create(root).manifest.store_id == made[0].manifest.store_id
