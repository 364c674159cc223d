"""What a file system can do, found out by trying, and what follows from it: the facts of ``localtrack doctor``.

Source: docs/format/v1.md, "What the file system must offer"; nfs(5), statfs(2), proc(5).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.records.plain import dataclass

GOOD, NOTE, BAD = "good", "note", "bad"
LOW_SPACE_BYTES = 1 << 30
ONE_HOST = (
    "this store is for one host at a time: files are created by name and then filled, so that a reader can meet a torn one "
    "(its checksum tells, and the one before counts), and two hosts that commit to one task in the same moment can lose one of "
    "the two changes. Run agents and scripts on one host only, or keep the store on a disk with hard links (NFS has them)"
)
NAME_NEED_BYTES = 160
MOUNTS = Path("/proc/self/mountinfo")
WATCH_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")

_NETWORK = frozenset([
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p",
    "glusterfs", "ocfs2", "gfs2", "pvfs2", "orangefs", "panfs", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs",
    "fuse.ceph", "fuse.rclone", "fuse.gcsfuse", "fuse.juicefs", "fuse.cvmfs2", "davfs", "webdav", "virtiofs",
    "prl_fs", "vboxsf",
])  # fmt: skip
_LOCAL = frozenset([
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "overlay", "f2fs", "jfs", "reiserfs",
    "bcachefs", "vfat", "exfat", "msdos", "ntfs", "ntfs3", "apfs", "hfs", "hfsplus", "ufs", "squashfs",
    "iso9660", "erofs", "rootfs",
])  # fmt: skip
_MAGIC = {
    0x6969: "nfs", 0x0BD00BD0: "lustre", 0x47504653: "gpfs", 0x19830326: "beegfs", 0xFE534D42: "smb2",
    0xFF534D42: "cifs", 0x517B: "smbfs", 0x00C36400: "ceph", 0x01021997: "9p", 0x65735546: "fuse", 0xEF53: "ext4",
    0x58465342: "xfs", 0x9123683E: "btrfs", 0x01021994: "tmpfs", 0x794C7630: "overlay", 0x2FC12FC1: "zfs",
}  # fmt: skip
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path is mounted.

    Attributes:
        fs_type: such as ``ext4`` or ``nfs4``; ``""`` when unknown.
        options: of the mount and of its superblock.
        is_network: whether other hosts may write there; None when the type is not known.
        magic: the type by ``statfs``; 0 when unknown.
    """

    point: str
    fs_type: str
    source: str
    options: frozenset[str]
    is_network: bool | None
    magic: int = 0


@dataclass(frozen=True, slots=True)
class FsVerdict:
    """One thing tried.

    Attributes:
        name: such as ``hard links``.
        level: ``good``, ``note`` or ``bad``.
        found: what was found.
        consequence: what follows; ``""`` when nothing does.
    """

    name: str
    level: str
    found: str
    consequence: str = ""


@dataclass(frozen=True, slots=True)
class FsFacts:
    """What was found out about one folder's file system."""

    path: str
    mount: Mount
    free_bytes: int
    name_limit_bytes: int
    verdicts: tuple[FsVerdict, ...]

    @property
    def is_usable(self) -> bool:
        """Whether a store can be kept there safely."""
        return all(verdict.level != BAD for verdict in self.verdicts)

    def verdict(self, name: str) -> FsVerdict:
        """Return the verdict called ``name``."""
        return next(verdict for verdict in self.verdicts if verdict.name == name)


def find_mount(path: Path) -> Mount:
    """Return the mount on which ``path``, or its nearest parent that exists, lies."""
    where = path.absolute()
    while not where.exists() and where != where.parent:
        where = where.parent
    where = Path(os.path.realpath(where))
    best = Mount("/", "", "", frozenset(), None)
    for mount in _read_mounts():
        inside = str(where) == mount.point or str(where).startswith(mount.point.rstrip("/") + "/")
        if inside and len(mount.point) >= len(best.point):
            best = mount
    magic = _statfs_magic(where)
    fs_type = best.fs_type or _MAGIC.get(magic, "")
    return Mount(best.point, fs_type, best.source, best.options, _is_network(fs_type, magic), magic)


def probe_file_system(path: Path) -> FsFacts:
    """Try in a folder of its own below ``path`` what a store needs, and clean up.

    Args:
        path: an existing folder, such as the store's ``tmp``.
    """
    mount = find_mount(path)
    info = os.statvfs(path)
    free_bytes = info.f_bavail * info.f_frsize
    verdicts = [_judge_mount(mount), _judge_options(mount), _judge_space(free_bytes), _judge_inotify(mount)]
    place = path / f"probe-{os.getpid()}-{os.urandom(6).hex()}"
    try:
        place.mkdir()
    except OSError as error:
        verdicts.append(
            FsVerdict("writing", BAD, error.strerror or str(error), "nothing can be stored here; reading still works")
        )
        return FsFacts(str(path), mount, free_bytes, info.f_namemax, tuple(verdicts))
    try:
        verdicts.append(FsVerdict("writing", GOOD, "a folder could be made"))
        verdicts += [_attempt(name, test, place) for name, test in _TESTS]
        verdicts.append(_judge_hosts(mount, verdicts))
    finally:
        _remove(place)
    return FsFacts(str(path), mount, free_bytes, info.f_namemax, tuple(verdicts))


def _read_mounts() -> list[Mount]:
    try:
        text = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        left, right = head.split(), tail.split()
        if len(left) < 6 or len(right) < 2:
            continue
        options = frozenset(left[5].split(",")) | frozenset(right[2].split(",") if len(right) > 2 else ())
        mounts.append(Mount(_unescape(left[4]), right[0], _unescape(right[1]), options, None))
    return mounts


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def _statfs_magic(path: Path) -> int:
    """Return the type number of a file system; 0 where the C library can't be asked."""
    import ctypes

    try:
        libc = ctypes.CDLL(None, use_errno=True)
        buffer = ctypes.create_string_buffer(512)
        if libc.statfs(os.fsencode(path), buffer) != 0:
            return 0
    except (OSError, AttributeError, TypeError):
        return 0
    return int.from_bytes(buffer.raw[:4], "little")


def _is_network(fs_type: str, magic: int) -> bool | None:
    if fs_type in _NETWORK or _MAGIC.get(magic) in _NETWORK:
        return True
    return False if fs_type in _LOCAL else None


def _judge_hosts(mount: Mount, verdicts: list[FsVerdict]) -> FsVerdict:
    """Say how many hosts may use a store at once: that needs files that appear whole, under a name that is refused twice."""
    level = {verdict.name: verdict.level for verdict in verdicts}
    if level["exclusive creation"] == BAD or level["hard links"] == BAD:
        return FsVerdict("hosts at once", BAD, "none", "two processes could decide the same thing twice")
    if level["hard links"] != GOOD:
        return FsVerdict("hosts at once", NOTE, "one", 'see "hard links"')
    if mount.is_network is False:
        return FsVerdict("hosts at once", GOOD, "one: a local disk")
    return FsVerdict("hosts at once", GOOD, "any number")


def _judge_mount(mount: Mount) -> FsVerdict:
    kind = mount.fs_type or "unknown"
    if mount.is_network is None:
        return FsVerdict(
            "file system", NOTE, kind, "not known here: treated as a network file system, folders are polled"
        )
    if mount.is_network:
        return FsVerdict("file system", GOOD, f"{kind} (network)", "agents poll; events of other hosts do not arrive")
    return FsVerdict("file system", GOOD, f"{kind} (local)")


def _judge_options(mount: Mount) -> FsVerdict:
    names = {option.partition("=")[0]: option for option in mount.options}
    found, follows, level = [], [], GOOD
    for name, follow, severity in (
        ("nocto", "another host may see old contents for a minute: mount without nocto", BAD),
        ("soft", "a pause of the server loses writes: mount with hard", NOTE),
        ("nolock", "locks hold on this host only; localtrack does not rest on them", NOTE),
        ("ro", "the mount is read-only: tasks can be read, not written", BAD),
    ):
        if name in names and (name in ("ro",) or mount.is_network):
            found.append(name)
            follows.append(follow)
            level = BAD if BAD in (level, severity) else NOTE
    if "lookupcache" in names:
        found.append(names["lookupcache"])
    return FsVerdict("mount options", level, ", ".join(found) or "nothing unusual", "; ".join(follows))


def _judge_space(free_bytes: int) -> FsVerdict:
    found = f"{free_bytes / (1 << 30):.1f} GiB free"
    if free_bytes < LOW_SPACE_BYTES:
        return FsVerdict("free space", NOTE, found, "little room: reports are kept in memory while the disk is full")
    return FsVerdict("free space", GOOD, found)


def _judge_inotify(mount: Mount) -> FsVerdict:
    try:
        limit = int(WATCH_LIMIT.read_text())
    except (OSError, ValueError):
        return FsVerdict("file events", NOTE, "none on this system", "agents poll their queues every few seconds")
    if mount.is_network is not False:
        return FsVerdict("file events", NOTE, "local ones only", "agents poll their queues every few seconds")
    return FsVerdict("file events", GOOD, f"inotify, {limit} watches a user")


def _attempt(name: str, test: Callable[[Path], FsVerdict], place: Path) -> FsVerdict:
    try:
        return test(place)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "?")
        return FsVerdict(name, BAD, f"failed: {code} {error.strerror}", "a store can't be kept here safely")


def _try_exclusive(place: Path) -> FsVerdict:
    path = place / "exclusive"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(path, flags, 0o666))
    try:
        os.close(os.open(path, flags, 0o666))
    except FileExistsError:
        return FsVerdict("exclusive creation", GOOD, "a second creation is refused")
    return FsVerdict(
        "exclusive creation", BAD, "a second creation succeeds", "two agents could claim one task: use another place"
    )


def _try_links(place: Path) -> FsVerdict:
    source, target = place / "source", place / "target"
    source.write_bytes(b"x")
    try:
        os.link(source, target)
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "?")
        return FsVerdict(
            "hard links",
            NOTE,
            f"refused: {code}",
            ONE_HOST,
        )
    if os.stat(source).st_ino != os.stat(target).st_ino:
        return FsVerdict("hard links", NOTE, "link and file have different inodes", ONE_HOST)
    try:
        os.link(source, target)
    except FileExistsError:
        return FsVerdict("hard links", GOOD, "work, and refuse a name that is taken")
    return FsVerdict(
        "hard links", BAD, "replace a name that is taken", "two agents could claim one task: use another place"
    )


def _try_fsync(place: Path) -> FsVerdict:
    start = time.perf_counter()
    with open(place / "synced", "wb") as stream:
        stream.write(b"x" * 4096)
        stream.flush()
        os.fsync(stream.fileno())
    took_ms = (time.perf_counter() - start) * 1000
    if took_ms > 200:
        return FsVerdict("fsync", NOTE, f"{took_ms:.0f} ms", "every commit waits so long")
    return FsVerdict("fsync", GOOD, f"{took_ms:.1f} ms")


def _try_dir_fsync(place: Path) -> FsVerdict:
    try:
        fd = os.open(place, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        return FsVerdict(
            "folder fsync", NOTE, error.strerror or "refused", "a power cut may take back the newest names"
        )
    return FsVerdict("folder fsync", GOOD, "works")


def _try_flock(place: Path) -> FsVerdict:
    import fcntl

    follow = "work may be done twice; nothing goes wrong, as locks only save work"
    with open(place / "lock", "wb") as first, open(place / "lock", "wb") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return FsVerdict("locks", NOTE, f"refused: {error.strerror}", follow)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return FsVerdict("locks", GOOD, "flock works")
    return FsVerdict("locks", NOTE, "two hold one lock", follow)


def _try_rename_open(place: Path) -> FsVerdict:
    folder = place / "folder"
    folder.mkdir()
    with open(folder / "file", "wb") as stream:
        stream.write(b"a")
        stream.flush()
        try:
            os.rename(folder, place / "moved")
        except OSError as error:
            return FsVerdict(
                "moving open folders",
                NOTE,
                error.strerror or "refused",
                "a running task keeps its folder when it is renamed",
            )
        stream.write(b"b")
    content = (place / "moved" / "file").read_bytes()
    if content != b"ab":
        return FsVerdict("moving open folders", BAD, "writes after it are lost", "never rename a running task here")
    return FsVerdict("moving open folders", GOOD, "writers keep writing")


def _try_case(place: Path) -> FsVerdict:
    (place / "Case").write_bytes(b"")
    if (place / "cASE").exists():
        return FsVerdict(
            "letter case", NOTE, "not told apart", "all names of the store are lower case: nothing follows"
        )
    return FsVerdict("letter case", GOOD, "told apart")


def _try_names(place: Path) -> FsVerdict:
    limit = os.statvfs(place).f_namemax
    try:
        (place / ("n" * NAME_NEED_BYTES)).write_bytes(b"")
    except OSError:
        return FsVerdict("name length", BAD, f"{limit} bytes", f"a store needs names of {NAME_NEED_BYTES} bytes")
    return FsVerdict("name length", GOOD, f"{limit} bytes")


def _try_modes(place: Path) -> FsVerdict:
    file, folder = place / "mode", place / "mode-folder"
    file.write_bytes(b"")
    folder.mkdir()
    file_mode, dir_mode = stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)
    has_setgid = bool(stat.S_IMODE(place.parent.stat().st_mode) & stat.S_ISGID)
    found = f"files {file_mode:04o}, folders {dir_mode:04o}, setgid {'on' if has_setgid else 'off'}"
    if has_setgid and not dir_mode & stat.S_ISGID:
        return FsVerdict("modes", NOTE, found, "setgid is not passed on: team members may lose access to new folders")
    return FsVerdict("modes", GOOD, found)


_TESTS: tuple[tuple[str, Callable[[Path], FsVerdict]], ...] = (
    ("exclusive creation", _try_exclusive),
    ("hard links", _try_links),
    ("fsync", _try_fsync),
    ("folder fsync", _try_dir_fsync),
    ("locks", _try_flock),
    ("moving open folders", _try_rename_open),
    ("letter case", _try_case),
    ("name length", _try_names),
    ("modes", _try_modes),
)


def _remove(place: Path) -> None:
    from localtrack.fs.disk import remove_tree

    try:
        remove_tree(place)
    except OSError:
        pass
