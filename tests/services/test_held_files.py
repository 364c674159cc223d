"""Files held while the disk takes no writes."""

from __future__ import annotations

import os

import pytest

from localtrack.services import held_files
from localtrack.services.held_files import HeldFiles
from localtrack.services.recording import Place, Recorder


@pytest.fixture
def small(monkeypatch):
    """Bounds of 10 bytes a file and 25 in all."""
    monkeypatch.setattr(held_files, "FILE_BYTES", 10)
    monkeypatch.setattr(held_files, "TOTAL_BYTES", 25)


def test_small_files_are_held_whole(tmp_path):
    """A small file is held by its bytes, whatever becomes of it."""
    path = tmp_path / "a"
    path.write_bytes(b"then")
    held = HeldFiles().hold(path)
    path.unlink()
    assert held.source() == b"then"
    assert not held.is_unchanged()


@pytest.mark.parametrize("change", ["write", "replace", "remove", "touch"])
def test_large_files_are_held_by_reference(tmp_path, small, change):
    """A large file stays where it is; once it was written to, replaced, removed or touched, there is nothing to store."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 11)
    held = HeldFiles().hold(path)
    assert held.content is None
    assert held.source() == path
    if change == "write":
        path.write_bytes(b"y" * 12)
    elif change == "replace":
        (tmp_path / "b").write_bytes(b"x" * 11)
        os.replace(tmp_path / "b", path)
    elif change == "remove":
        path.unlink()
    else:
        os.utime(path, (1, 1))
    assert held.source() is None


def test_the_sum_is_bounded_and_given_back(tmp_path, small):
    """Beyond the bound in all, files are held by reference; what was stored makes room again."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    files = HeldFiles()
    first, second = files.hold(path), files.hold(path)
    assert first.content is not None
    assert second.content is not None
    assert files.hold(path).content is None
    files.release(first)
    assert files.hold(path).content is not None


def test_a_file_that_can_not_be_read_takes_no_room(tmp_path):
    """A folder, or a missing file, raises and leaves the room as it was."""
    files = HeldFiles()
    (tmp_path / "d").mkdir()
    with pytest.raises(OSError, match="d"):
        files.hold(tmp_path / "d")
    with pytest.raises(FileNotFoundError):
        files.hold(tmp_path / "missing")
    assert files._held_bytes == 0


class FullDisk:
    """A ``keep`` whose disk refuses the first writes and takes the others."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, action):
        try:
            action()
        except OSError:
            self.waiting.append(action)
            return False
        return True

    def retry(self):
        """Try all that waits again."""
        waiting, self.waiting = self.waiting, []
        for action in waiting:
            self(action)


@pytest.fixture
def recorder(ctx, tmp_path, monkeypatch):
    """A recorder over a disk that takes nothing until told, its ``keep``, and the way to tell it."""
    keep = FullDisk()
    folder = tmp_path / "task"
    folder.mkdir()
    recorder = Recorder(ctx.store.disk, lambda: folder, "w", keep, ctx.store.layout.projects)
    real = type(ctx.store.disk).write_tmp
    is_full = [True]

    def write_tmp(self, fill):
        if is_full[0]:
            raise OSError(28, "full")
        return real(self, fill)

    monkeypatch.setattr(type(ctx.store.disk), "write_tmp", write_tmp)
    return recorder, keep, is_full, folder


def test_a_large_file_that_changed_is_given_up_with_a_word(recorder, tmp_path, small, caplog):
    """A large file that changed while it waited is not stored as something that it was not, and does not block the others."""
    pen, keep, is_full, folder = recorder
    changed, kept = tmp_path / "changed.bin", tmp_path / "kept.bin"
    for path in (changed, kept):
        path.write_bytes(b"x" * 20)
        pen.media_file(Place("t", path.stem, 0), path, delete=True)
    changed.write_bytes(b"y" * 21)
    keep.retry()
    assert len(keep.waiting) == 1
    is_full[0] = False
    keep.retry()
    assert keep.waiting == []
    assert [path.read_bytes() for path in (folder / "media").glob("*.bin")] == [b"x" * 20]
    assert "changed.bin changed before the disk took it" in caplog.text
    assert changed.exists()
    assert not kept.exists()


def test_a_file_that_can_not_be_read_blocks_nobody(recorder, tmp_path, monkeypatch, caplog):
    """A file that vanishes within the report is given up at once: what waits behind it must not wait for ever."""
    pen, keep, _, _ = recorder
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    real = pen._store

    def vanish(*arguments):
        path.unlink(missing_ok=True)
        real(*arguments)

    monkeypatch.setattr(pen, "_store", vanish)
    pen.media_file(Place("t", "s", 0), path)
    assert keep.waiting == []
    assert "a.bin can't be read" in caplog.text
