"""Files that appear whole, on file systems that lie, fill up and forbid."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from localtrack.fs import disk as disk_module
from localtrack.fs.disk import Disk, Modes, list_names, read_bytes, refresh_names, remove_files, remove_tree, retrying


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk whose tmp folder is not there yet."""
    return Disk(tmp_path / "tmp")


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """Where files get published."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "file.json"


def _left_over(disk: Disk) -> list[str]:
    return os.listdir(disk.tmp) if disk.tmp.exists() else []


def _always(number: int) -> Callable[..., Any]:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def test_publish_gives_the_whole_content_its_name(disk: Disk, final: Path) -> None:
    """What is published has all its bytes, one link, and leaves nothing in tmp."""
    assert disk.publish(b"abc", final)

    assert final.read_bytes() == b"abc"
    assert final.stat().st_nlink == 1
    assert _left_over(disk) == []


def test_publish_never_replaces(disk: Disk, final: Path) -> None:
    """A taken name keeps its bytes and the second publisher learns it."""
    disk.publish(b"first", final)

    assert not disk.publish(b"second", final)
    assert final.read_bytes() == b"first"
    assert _left_over(disk) == []


def test_publish_of_the_same_bytes_succeeds(disk: Disk, final: Path) -> None:
    """Content that is there already need not be stored again."""
    disk.publish(b"same", final)

    assert disk.publish(b"same", final)


def test_publish_into_a_missing_folder_says_so(disk: Disk, tmp_path: Path) -> None:
    """A deleted store is an error, not a silent loss, and tmp stays clean."""
    with pytest.raises(FileNotFoundError):
        disk.publish(b"x", tmp_path / "gone" / "file")

    assert _left_over(disk) == []


@pytest.mark.parametrize("number", [errno.EEXIST, errno.ENOENT, errno.EIO])
def test_publish_survives_a_lost_reply(disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A link that was made and answered with an error is a success."""
    link = os.link

    def lying(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", lying)

    assert disk.publish(b"abc", final)
    assert disk.publish_file(disk.write_tmp(lambda stream: _put(stream, b"x")), final.with_name("other"))
    assert final.read_bytes() == b"abc"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL])
def test_publish_without_hard_links(disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where links are refused, creation by name is still exclusive."""
    monkeypatch.setattr(os, "link", _always(number))

    assert disk.publish(b"first", final)
    assert not disk.publish(b"second", final)
    assert disk.publish(b"first", final)
    assert final.read_bytes() == b"first"


def test_full_disk_without_hard_links_leaves_no_torn_name(
    disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that does not fit gives its name back, so that the next try can have it."""
    monkeypatch.setattr(os, "link", _always(errno.EPERM))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", _always(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            disk.publish(b"abc", final)
        assert not final.exists()

    assert disk.publish(b"abc", final)


def test_publish_completes_short_writes(disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes only some bytes is continued."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))

    assert disk.publish(b"0123456789", final)
    assert disk.create_small(b"0123456789", final.with_name("small"))
    assert final.read_bytes() == final.with_name("small").read_bytes() == b"0123456789"


@pytest.mark.parametrize("call", ["write", "fsync", "close"])
def test_full_disk_never_leaves_a_name(disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A disk that is full at write, at fsync or only at close raises, and nothing has the final name."""
    real = getattr(os, call)

    def full(fd: int, *args: Any) -> Any:
        if call == "close":
            real(fd)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            disk.publish(b"abc", final)

    assert not final.exists()
    assert _left_over(disk) == []


def test_full_disk_for_small_files_gives_the_name_back(
    disk: Disk, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file that does not fit leaves no empty one behind."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _always(errno.ENOSPC))
        with pytest.raises(OSError, match="No space"):
            disk.create_small(b"abc", final)

    assert disk.create_small(b"abc", final)
    assert not disk.create_small(b"other", final)
    assert final.read_bytes() == b"abc"


def test_really_full_disk(small_disk: Path, fill_up: Callable[[Path], Path]) -> None:
    """On a file system with no room publish raises ENOSPC and leaves nothing, and works again when there is room."""
    disk = Disk(small_disk / "tmp")
    disk.publish(b"small", small_disk / "before")
    filler = fill_up(small_disk)

    with pytest.raises(OSError, match="No space"):
        disk.publish(b"y" * 20_000, small_disk / "after")
    assert not (small_disk / "after").exists()

    filler.unlink()
    assert disk.publish(b"y" * 20_000, small_disk / "after")
    assert (small_disk / "before").read_bytes() == b"small"


def test_failed_fill_leaves_nothing(disk: Disk) -> None:
    """A filler that raises leaves no temporary file."""

    def fill(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        disk.write_tmp(fill)

    assert _left_over(disk) == []


def test_publish_file_never_replaces(disk: Disk, final: Path) -> None:
    """A finished file whose name is taken goes, and the name keeps its bytes."""
    final.write_bytes(b"first")

    assert not disk.publish_file(disk.write_tmp(lambda stream: _put(stream, b"second")), final)
    assert final.read_bytes() == b"first"
    assert _left_over(disk) == []


def test_missing_tmp_is_made_again(disk: Disk, final: Path) -> None:
    """Somebody who tidies tmp away does no harm."""
    disk.publish(b"1", final)
    disk.tmp.rmdir()

    assert disk.publish(b"2", final.with_name("second"))


def test_modes_ignore_the_umask(tmp_path: Path) -> None:
    """A shared store's files and folders are the group's, whatever the umask of the writer is."""
    disk = Disk(tmp_path / "tmp", Modes(0o660, 0o2770))
    before = os.umask(0o077)
    try:
        disk.make_dirs(tmp_path / "a" / "b")
        disk.publish(b"x", tmp_path / "a" / "b" / "file")
        os.close(disk.open_append(tmp_path / "a" / "log"))
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o2770
    assert stat.S_IMODE((tmp_path / "a" / "b" / "file").stat().st_mode) == 0o660
    assert stat.S_IMODE((tmp_path / "a" / "log").stat().st_mode) == 0o660


def test_modes_follow_the_umask_where_none_are_set(disk: Disk, final: Path) -> None:
    """A private store's files are what any program of the user makes, not 0600 by accident."""
    before = os.umask(0o027)
    try:
        disk.publish(b"x", final)
    finally:
        os.umask(before)

    assert stat.S_IMODE(final.stat().st_mode) == 0o640


def test_lost_reply_of_mkdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was made and answered with EEXIST is there, with the store's mode."""
    disk = Disk(tmp_path / "tmp", Modes(0o660, 0o2770))
    mkdir = os.mkdir

    def lying(*args: Any, **kwargs: Any) -> None:
        mkdir(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "mkdir", lying)
    disk.make_dirs(tmp_path / "a")

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o2770
    assert not disk.make_dir_exclusive(tmp_path / "b")


def test_make_dirs_on_a_file(disk: Disk, final: Path) -> None:
    """A file where a folder should be is an error."""
    final.write_bytes(b"")

    with pytest.raises(FileExistsError):
        disk.make_dirs(final)


def test_exclusive_folder(disk: Disk, tmp_path: Path) -> None:
    """Only one maker gets a folder."""
    assert disk.make_dir_exclusive(tmp_path / "a")
    assert not disk.make_dir_exclusive(tmp_path / "a")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.EEXIST])
def test_move_survives_a_lost_reply(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A rename that happened and was answered with an error is a success."""
    (tmp_path / "source").mkdir()
    rename = os.rename

    def lying(*args: Any) -> None:
        rename(*args)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "rename", lying)

    assert disk.move(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").is_dir()


def test_move_never_replaces(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A taken target, also one that was taken after the look, keeps what it has."""
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "what").write_text(name)

    assert not disk.move(tmp_path / "source", tmp_path / "target")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert not disk.move(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target" / "what").read_text() == "target"
    assert (tmp_path / "source" / "what").read_text() == "source"


def test_move_of_what_is_gone(disk: Disk, tmp_path: Path) -> None:
    """A source that another moved first is no error."""
    assert not disk.move(tmp_path / "source", tmp_path / "target")


def test_move_without_permission(
    disk: Disk, tmp_path: Path, as_another_user: Callable[[Callable[[], None]], None]
) -> None:
    """A move that is not allowed raises and moves nothing."""
    (tmp_path / "source").mkdir()

    def attempt() -> None:
        with pytest.raises(PermissionError):
            disk.move(tmp_path / "source", tmp_path / "target")

    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        folder.chmod(0o755)
    as_another_user(attempt)
    assert (tmp_path / "source").is_dir()


def test_read_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    """A folder, a pipe, a socket and a link raise at once: no read blocks, none leaves the folder."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real").write_bytes(b"secret")
    (tmp_path / "link").symlink_to("real")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in ("folder", "pipe", "link", "socket"):
            with pytest.raises(OSError, match=r"regular|links|address|device"):
                read_bytes(tmp_path / name)

    assert read_bytes(tmp_path / "real") == b"secret"


def test_read_limit(tmp_path: Path) -> None:
    """A file longer than the limit is refused before it is read."""
    (tmp_path / "big").write_bytes(b"12345")

    with pytest.raises(OSError, match="longer than 4 bytes"):
        read_bytes(tmp_path / "big", 4)
    assert read_bytes(tmp_path / "big", 5) == b"12345"


def test_writers_refuse_planted_links(disk: Disk, tmp_path: Path) -> None:
    """A link planted at a name that gets written is not followed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "planted").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")

    for name in ("planted", "dangling"):
        assert not disk.publish(b"evil", tmp_path / name)
        assert not disk.create_small(b"evil", tmp_path / name)
        with pytest.raises(FileExistsError):
            disk.open_append(tmp_path / name)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "nothing").exists()


def test_stale_handles_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """ESTALE goes away by itself; another error, and one that stays, is raised."""
    monkeypatch.setattr(disk_module.time, "sleep", lambda seconds: None)
    answers = [errno.ESTALE, errno.ESTALE, 0]

    def once() -> str:
        number = answers.pop(0)
        if number:
            raise OSError(number, os.strerror(number))
        return "there"

    assert retrying(once) == "there"
    with pytest.raises(OSError, match="Stale"):
        retrying(_always(errno.ESTALE))
    calls: list[int] = []
    with pytest.raises(PermissionError):
        retrying(lambda: calls.append(1) or _always(errno.EACCES)())
    assert len(calls) == 1


def test_listing(tmp_path: Path) -> None:
    """A missing folder lists empty, and names of silly-renamed files are left out."""
    (tmp_path / ".nfs0001").touch()
    (tmp_path / "a").touch()

    assert list_names(tmp_path) == ["a"]
    assert list_names(tmp_path / "missing") == []
    assert list_names(tmp_path / "a") == []


def test_remove_tree_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is still in use for a moment is removed at last; one that is gone is fine."""
    monkeypatch.setattr(disk_module.time, "sleep", lambda seconds: None)
    (tmp_path / "a" / "b").mkdir(parents=True)
    rmtree = shutil.rmtree
    busy = [1, 2]

    def slow(path: Path) -> None:
        if busy:
            busy.pop()
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", slow)
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    remove_files([tmp_path / "nothing"])

    assert list(tmp_path.iterdir()) == []


def _put(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)


def test_refreshing_names_opens_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder itself is opened and closed, which makes a client ask its server; a missing one is no error."""
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *args: (opened.append(str(path)), real(path, *args))[1])
    before = len(os.listdir("/proc/self/fd"))

    refresh_names(tmp_path)
    refresh_names(tmp_path / "missing")

    assert opened == [str(tmp_path), str(tmp_path / "missing")]
    assert len(os.listdir("/proc/self/fd")) == before
