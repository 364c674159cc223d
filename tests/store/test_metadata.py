"""The metadata log: numbered generations."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import CorruptFileError, StoreError, TaskNotFoundError
from localtrack.records.ids import new_task_id
from localtrack.records.task import TaskRecord
from localtrack.store import generations as log
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import Author
from localtrack.store.root import Store

AUTHOR = Author("ada", "here", 1, "w1")


@pytest.fixture
def layout(store: Store) -> TaskLayout:
    """Return the folder of a task with three generations."""
    folder, _ = store.create_task(TaskRecord(new_task_id(), "name", "p"), AUTHOR)
    for tag in ("one", "two"):
        store.update(folder, lambda r, tag=tag: replace(r, tags=(*r.tags, tag)), AUTHOR, f"tag {tag}")
    return TaskLayout(folder)


def _tag(store: Store, layout: TaskLayout, tag: str) -> TaskRecord:
    return store.update(layout.folder, lambda r: replace(r, tags=(*r.tags, tag)), AUTHOR, "tag")


def test_generations_say_who_when_and_what(layout: TaskLayout) -> None:
    """Each generation names its author, parent, time and change."""
    body = json.loads(layout.generation(3).read_bytes())

    assert body["schema"] == "localtrack/task/1"
    assert (body["generation"], body["parent_generation"], body["change"]) == (3, 2, "tag two")
    assert body["author"] == {"user": "ada", "host": "here", "pid": 1, "writer": "w1"}
    assert body["at"] == body["task"]["last_update"]
    assert metadata.read_latest(layout).tags == ("one", "two")


def test_an_intent_without_effect_commits_nothing(store: Store, layout: TaskLayout) -> None:
    """Returning the same record leaves the log as it is."""
    record = store.update(layout.folder, lambda r: r, AUTHOR, "nothing")

    assert record.generation == 3
    assert metadata.generations(layout) == [1, 2, 3]


def test_an_intent_that_raises_commits_nothing(store: Store, layout: TaskLayout) -> None:
    """The error comes out and the log stays."""

    def refuse(record: TaskRecord) -> TaskRecord:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.update(layout.folder, refuse, AUTHOR, "no")
    assert metadata.generations(layout) == [1, 2, 3]


def test_every_truncation_shows_the_generation_before(store: Store, layout: TaskLayout) -> None:
    """Cut at any byte, the newest generation hides nothing: the one before it is shown."""
    path = layout.generation(3)
    data = path.read_bytes()
    for size in range(0, len(data) - 1, 7):
        path.write_bytes(data[:size])
        (tags, generation) = _quick(layout)
        assert (tags, generation) == (("one",), 2)


def _quick(layout: TaskLayout) -> tuple[tuple[str, ...], int]:
    sleep = log.time.sleep
    log.time.sleep = lambda seconds: None
    try:
        record = metadata.read_latest(layout)
    finally:
        log.time.sleep = sleep
    return record.tags, record.generation


@pytest.mark.parametrize("kind", ["empty", "folder", "pipe", "link", "other generation", "other task", "huge number"])
def test_hostile_generations_hide_nothing(store: Store, layout: TaskLayout, kind: str) -> None:
    """What has a generation's name and is none is passed over by readers, and numbers go on behind it."""
    path = layout.generation(4)
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "other generation":
        path.write_bytes(layout.generation(2).read_bytes())
    elif kind == "other task":
        path.write_text('{"schema": "localtrack/queue/1"}')
    else:
        (layout.metadata / f"{123456789:d}.json").touch()

    assert metadata.read_latest(layout).tags == ("one", "two")
    assert _tag(store, layout, "three").tags == ("one", "two", "three")
    assert metadata.read_latest(layout).tags == ("one", "two", "three")


def test_the_last_number(store: Store, layout: TaskLayout) -> None:
    """Nobody commits a generation that no reader would see."""
    (layout.metadata / ("9" * 18 + ".json")).touch()

    with pytest.raises(StoreError, match="last number there is"):
        _tag(store, layout, "three")


def test_nothing_whole(layout: TaskLayout) -> None:
    """Metadata of which nothing is whole is damage; none at all is no task; both say where and what next."""
    for number in (1, 2, 3):
        layout.generation(number).write_bytes(b"{")
    with pytest.raises(CorruptFileError, match=r"000003\.json is no whole JSON"):
        metadata.read_latest(layout)
    for number in (1, 2, 3):
        layout.generation(number).unlink()
    with pytest.raises(TaskNotFoundError, match="localtrack restore"):
        metadata.read_latest(layout)


def test_foreign_names_do_not_count(layout: TaskLayout) -> None:
    """Only numbers of six digits and more are generations."""
    for name in ("1.json", "000004.json.bak", "x.json", ".nfs0001", "-00005.json", "０00006.json"):
        (layout.metadata / name).touch()

    assert [n for n in metadata.generations(layout) if n > 3] == []


def test_unknown_fields_survive_updates(store: Store, layout: TaskLayout) -> None:
    """Fields of a newer minor format go through an update of this version."""
    record = metadata.read_latest(layout)
    newer = replace(record, extra={"hologram": {"depth": 3}})
    store.update(layout.folder, lambda r: newer, AUTHOR, "newer")
    _tag(store, layout, "three")

    body = json.loads(layout.generation(5).read_bytes())
    assert body["task"]["hologram"] == {"depth": 3}


def test_lost_replies_do_not_repeat_an_intent(
    store: Store, layout: TaskLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that was made and answered with EEXIST is one commit, not two."""
    link = os.link

    def lying(*args: object, **kwargs: object) -> None:
        link(*args, **kwargs)  # type: ignore[arg-type]
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", lying)
    assert _tag(store, layout, "three").tags == ("one", "two", "three")
    assert metadata.generations(layout) == [1, 2, 3, 4]


def test_pruning_keeps_the_first_and_the_newest(
    store: Store, layout: TaskLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old generations go once they are an hour behind; the first one and the newest stay."""
    monkeypatch.setattr(metadata, "KEEP_GENERATIONS", 4)
    for number in range(10):
        _tag(store, layout, str(number))
    for number in metadata.generations(layout)[:-1]:
        os.utime(layout.generation(number), (1, 1))
    metadata.prune(layout)

    assert metadata.generations(layout) == [1, 10, 11, 12, 13]
    assert len(metadata.read_latest(layout).tags) == 12


def test_trouble_while_pruning_does_not_undo_a_commit(
    store: Store, layout: TaskLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that is on disk is reported as such, whatever the tidying does."""
    monkeypatch.setattr(metadata, "KEEP_GENERATIONS", 2)

    def fail(layout: TaskLayout) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(metadata, "prune", fail)
    assert _tag(store, layout, "three").generation == 4


def test_a_task_that_is_deleted_meanwhile(store: Store, layout: TaskLayout) -> None:
    """An update of a task that was moved away says so and makes no folder."""
    os.rename(layout.folder, store.root / "elsewhere")

    with pytest.raises(TaskNotFoundError, match="moved or deleted"):
        _tag(store, layout, "three")
    assert not layout.folder.exists()


def test_an_unreadable_generation_is_not_passed_over(
    store: Store, layout: TaskLayout, as_another_user: Callable[[Callable[[], None]], None]
) -> None:
    """A generation without permission is an error that says so: an old state must not pass for the newest."""
    for folder in (layout.folder, *layout.folder.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    layout.generation(3).chmod(0o600)

    def look() -> None:
        with pytest.raises(StoreError, match=r"000003\.json failed: Permission denied"):
            metadata.read_latest(layout)

    as_another_user(look)


def test_a_task_is_looked_for_afresh(layout: TaskLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder around a task is opened before its log is listed: else NFS may still show one that was moved away."""
    steps: list[tuple[str, str]] = []
    real_open, real_listdir = os.open, os.listdir
    monkeypatch.setattr(
        os, "open", lambda path, *args, **more: (steps.append(("open", str(path))), real_open(path, *args, **more))[1]
    )
    monkeypatch.setattr(os, "listdir", lambda path: (steps.append(("list", str(path))), real_listdir(path))[1])

    metadata.read_latest(layout)

    assert steps[:2] == [("open", str(layout.folder.parent)), ("list", str(layout.metadata))]
