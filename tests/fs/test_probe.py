"""What a file system can do, and what follows."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from localtrack.fs import probe
from localtrack.fs.probe import BAD, GOOD, NOTE, find_mount, probe_file_system

LINE = "36 35 98:0 / {point} {mount} shared:1 - {kind} {source} {extra}\n"


def _mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: str) -> None:
    table = tmp_path / "mountinfo"
    point = str(tmp_path).replace(" ", "\\040")
    table.write_text(
        LINE.format(point="/", mount="rw", kind="ext4", source="/dev/a", extra="rw")
        + "garbage\n"
        + LINE.format(point=point, mount="rw,relatime", kind=kind, source="server:/export", extra=options)
    )
    monkeypatch.setattr(probe, "MOUNTS", table)
    monkeypatch.setattr(probe, "_statfs_magic", lambda path: 0)


def test_a_good_place_is_good(tmp_path: Path) -> None:
    """Everything that a store needs is tried and works here, and nothing is left behind."""
    facts = probe_file_system(tmp_path)
    assert facts.is_usable
    assert list(tmp_path.iterdir()) == []
    names = {verdict.name for verdict in facts.verdicts}
    assert names >= {
        "file system", "mount options", "free space", "file events", "writing", "exclusive creation", "hard links",
        "fsync", "folder fsync", "locks", "moving open folders", "letter case", "name length", "modes",
    }  # fmt: skip
    assert facts.verdict("exclusive creation").level == GOOD
    assert facts.free_bytes > 0
    assert facts.name_limit_bytes >= 143
    assert facts.mount.fs_type
    assert facts.mount.magic


def test_an_nfs_mount_is_known_by_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type, source and dangerous options of a network mount are told, with what follows."""
    _mounts(tmp_path, monkeypatch, "nfs4", "rw,vers=4.2,soft,nolock,nocto,lookupcache=pos")
    mount = find_mount(tmp_path / "not" / "there" / "yet")
    assert (mount.fs_type, mount.source, mount.is_network) == ("nfs4", "server:/export", True)
    facts = probe_file_system(tmp_path)
    verdict = facts.verdict("mount options")
    assert verdict.level == BAD
    assert [word in verdict.found for word in ("soft", "nolock", "nocto", "lookupcache=pos")] == [True] * 4
    assert "without nocto" in verdict.consequence
    assert "poll" in facts.verdict("file events").consequence
    assert not facts.is_usable


def test_a_plain_nfs_mount_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default options raise nothing."""
    _mounts(tmp_path, monkeypatch, "nfs", "rw,vers=3,hard")
    facts = probe_file_system(tmp_path)
    assert facts.is_usable
    assert facts.verdict("mount options").level == GOOD


def test_an_unknown_type_is_taken_for_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is not trusted to send events."""
    _mounts(tmp_path, monkeypatch, "fuse.novelty", "rw")
    facts = probe_file_system(tmp_path)
    assert facts.mount.is_network is None
    assert facts.verdict("file system").level == NOTE


def test_without_mountinfo_the_magic_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the mount table can't be read, statfs says what it is."""
    monkeypatch.setattr(probe, "MOUNTS", tmp_path / "none")
    monkeypatch.setattr(probe, "_statfs_magic", lambda path: 0x6969)
    mount = find_mount(tmp_path)
    assert (mount.fs_type, mount.is_network) == ("nfs", True)


def test_no_hard_links_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hard links a store serves one host at a time, and the verdict says so, what may go wrong, and the way out."""

    def refuse(*args: object, **named: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    facts = probe_file_system(tmp_path)
    assert facts.verdict("hard links").level == NOTE
    consequence = facts.verdict("hard links").consequence
    assert "one host at a time" in consequence
    assert "lose one of the two changes" in consequence
    assert "disk with hard links" in consequence
    assert (facts.verdict("hosts at once").level, facts.verdict("hosts at once").found) == (NOTE, "one")
    assert facts.is_usable


def test_a_failing_fsync_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that can't flush files is no place for a store."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "no flush")

    monkeypatch.setattr(os, "fsync", fail)
    facts = probe_file_system(tmp_path)
    assert facts.verdict("fsync").level == BAD
    assert facts.verdict("folder fsync").level == NOTE
    assert not facts.is_usable


def test_no_locks_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place where locks do not work is usable: nothing rests on them."""
    import fcntl

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", fail)
    facts = probe_file_system(tmp_path)
    assert facts.verdict("locks").level == NOTE
    assert facts.is_usable


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only place gives a verdict, not an exception."""

    def refuse(*args: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    facts = probe_file_system(tmp_path)
    assert facts.verdict("writing").level == BAD
    assert "Read-only" in facts.verdict("writing").found


def test_little_space_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk is a note."""
    monkeypatch.setattr(probe, "LOW_SPACE_BYTES", 1 << 60)
    assert probe_file_system(tmp_path).verdict("free space").level == NOTE
