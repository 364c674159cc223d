"""Files that appear whole: the primitives that every room above writes with.

Source: docs/format/v1.md, "Publishing a file"; open(2) and nfs(5) for exclusive creation.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

from localtrack.records.plain import dataclass

_T = TypeVar("_T")
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL})
_RETRY = frozenset({errno.ESTALE, errno.EINTR, errno.EAGAIN})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
COPY_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Modes:
    """Permission bits of what is created; ``None`` leaves them to the process's umask."""

    file_mode: int | None = None
    dir_mode: int | None = None


def retrying(action: Callable[[], _T], attempts: int = 6) -> _T:
    """Run ``action`` again while the file server answers with a stale handle; about three seconds in all.

    Raises:
        OSError: the last error, when it is of another kind or stays.
    """
    delay_s = 0.05
    for attempt in range(attempts):
        try:
            return action()
        except OSError as error:
            if error.errno not in _RETRY or attempt == attempts - 1:
                raise
            time.sleep(delay_s)
            delay_s *= 2
    raise AssertionError("unreachable")


def read_bytes(path: Path, limit_bytes: int | None = None) -> bytes:
    """Return the content of a regular file; never follows a link at the last component, never blocks on a pipe.

    Raises:
        OSError: it is missing, unreadable, no regular file, or longer than ``limit_bytes``.
    """

    def once() -> bytes:
        fd = _open_regular(path)
        try:
            if limit_bytes is not None and os.fstat(fd).st_size > limit_bytes:
                raise OSError(errno.EFBIG, f"longer than {limit_bytes} bytes", str(path))
            with os.fdopen(fd, "rb", closefd=False) as stream:
                return stream.read()
        finally:
            os.close(fd)

    return _seeing(path, once)


def open_regular(path: Path) -> int:
    """Return a descriptor for reading a regular file, as careful as :func:`read_bytes`; the caller closes it.

    Raises:
        OSError: it is missing, unreadable, or no regular file.
    """
    return _seeing(path, lambda: _open_regular(path))


def _open_regular(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY | _NOFOLLOW | _CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    except OSError:
        os.close(fd)
        raise
    return fd


def _seeing(path: Path, action: Callable[[], _T]) -> _T:
    """Run what opens a file; a name that is listed and not found is looked for once more."""
    try:
        return retrying(action)
    except FileNotFoundError:
        if not is_listed(path):
            raise
        return retrying(action)


def list_names(path: Path) -> list[str]:
    """Return the names in a folder, in no order; ``[]`` when there is none. A listing is never stale for names."""
    for _ in range(2):
        try:
            return [name for name in retrying(lambda: os.listdir(path)) if not name.startswith(".nfs")]
        except NotADirectoryError:
            return []
        except FileNotFoundError:
            if not is_listed(path):
                return []
    return []


def refresh_names(folder: Path) -> None:
    """Make this host look again at what the names in a folder stand for.

    A path that was once walked leads to the same file or folder for half a minute on NFS, also after another host
    renamed that: what lies in the trash by now is still read at its old place. Opening the folder around it is what
    makes a client ask the server again (close-to-open); locally it costs microseconds.
    """
    try:
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC))
    except OSError:
        pass  # then the next look fails by itself


def is_listed(path: Path) -> bool:
    """Tell whether a name is in its folder's listing.

    A host that once looked for a name in vain goes on missing it for half a minute on NFS; listing the folder around
    it makes the host look again. The folder itself may be missed so, and then the one around that is listed first.
    """
    parent = path.parent
    if parent == path:
        return False
    try:
        return path.name in os.listdir(parent)
    except FileNotFoundError:
        try:
            return is_listed(parent) and path.name in os.listdir(parent)
        except OSError:
            return False
    except OSError:
        return False


class Disk:
    """Writes into one store: knows its private ``tmp`` folder and its permission bits.

    Args:
        tmp: folder on the store's own file system for files that have no name yet.
        modes: permission bits of new files and folders.
        sync: whether published files are flushed to the medium before they get their name.
    """

    def __init__(self, tmp: Path, modes: Modes = Modes(), *, sync: bool = True) -> None:
        self.tmp = tmp
        self.modes = modes
        self.sync = sync

    def make_dirs(self, path: Path) -> None:
        """Make a folder and its parents, with the store's modes."""
        if path.is_dir():
            return
        self.make_dirs(path.parent)
        try:
            self._mkdir(path)
        except FileExistsError:
            if not path.is_dir():
                raise
            self._mend_mode(path)

    def make_dir(self, path: Path) -> None:
        """Make one folder in a folder that must be there, so that what was deleted is not brought back in pieces.

        Raises:
            FileNotFoundError: the folder around it is gone.
        """
        try:
            self._mkdir(path)
        except FileExistsError:
            if not path.is_dir():
                raise

    def _mend_mode(self, path: Path) -> None:
        """Set the mode of a folder that was reported as taken, if it is one's own: the reply may have been lost."""
        mode = self.modes.dir_mode
        info = os.stat(path)
        if mode is not None and info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) != mode:
            os.chmod(path, mode)

    def make_dir_exclusive(self, path: Path) -> bool:
        """Make a folder that must be new; False when the name is taken.

        After a lost reply the folder may be one's own and still be reported as taken: callers use names with random
        parts, so that a refusal costs them one more try.
        """
        try:
            self._mkdir(path)
        except FileExistsError:
            return False
        return True

    def _mkdir(self, path: Path) -> None:
        retrying(lambda: os.mkdir(path))
        if self.modes.dir_mode is not None:
            os.chmod(path, self.modes.dir_mode)

    def new_tmp_name(self) -> Path:
        """Return a fresh random path under ``tmp``, whose folder exists."""
        if not self.tmp.is_dir():
            self.make_dir(self.tmp)
        return self.tmp / f"{os.getpid()}-{os.urandom(8).hex()}"

    def open_new(self, path: Path) -> int:
        """Create a file that must be new and return its descriptor, with the store's mode whatever the umask is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC
        fd = os.open(path, flags, 0o666 if self.modes.file_mode is None else self.modes.file_mode)
        if self.modes.file_mode is not None:
            os.fchmod(fd, self.modes.file_mode)
        return fd

    def open_append(self, path: Path) -> int:
        """Create a new file for appending by this process alone and return its descriptor."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _NOFOLLOW | _CLOEXEC
        fd = os.open(path, flags, 0o666 if self.modes.file_mode is None else self.modes.file_mode)
        if self.modes.file_mode is not None:
            os.fchmod(fd, self.modes.file_mode)
        return fd

    def publish(self, data: bytes, final: Path) -> bool:
        """Give ``data`` the name ``final``, whole or not at all; False when the name already stands for other bytes.

        Raises:
            OSError: the disk is full or read-only, or the folder is missing. Nothing has the final name then.
        """
        temporary = self.new_tmp_name()
        try:
            self._write_new(temporary, data)
            return self._link(temporary, final, lambda: self._same_bytes(final, data))
        finally:
            _unlink_quietly(temporary)

    def publish_file(self, temporary: Path, final: Path) -> bool:
        """Give a finished file under ``tmp`` its final name; the temporary name goes. False when it is taken."""
        try:
            return self._link(temporary, final, lambda: False)
        finally:
            _unlink_quietly(temporary)

    def create_small(self, data: bytes, final: Path) -> bool:
        """Create a small file by its own name at once; False when it exists. Readers must bear a torn one.

        Raises:
            OSError: the disk takes no more; the name is free again then.
        """
        try:
            fd = self.open_new(final)
        except FileExistsError:
            return False
        try:
            try:
                _write_whole(fd, data)
            finally:
                os.close(fd)
        except OSError:
            _unlink_quietly(final)
            raise
        return True

    def write_tmp(self, fill: Callable[[BinaryIO], None]) -> Path:
        """Write a file under ``tmp`` by ``fill`` and flush it; return its path."""
        temporary = self.new_tmp_name()
        try:
            fd = self.open_new(temporary)
            with os.fdopen(fd, "wb") as stream:
                fill(stream)
                stream.flush()
                if self.sync:
                    os.fsync(stream.fileno())
        except BaseException:
            _unlink_quietly(temporary)
            raise
        return temporary

    def move(self, source: Path, target: Path) -> bool:
        """Rename a folder or file to a name that must be free; False when the source is gone or the target taken.

        A lost reply makes one's own rename look like ENOENT, so the outcome is read from the disk.
        """
        if target.exists() or target.is_symlink():
            return False
        identity = _identity(source)
        if identity is None:
            return False
        try:
            os.rename(source, target)
        except OSError as error:
            if _identity(target) != identity:
                if _identity(source) is None or error.errno in _TAKEN:
                    return False
                raise
        self.sync_dir(target.parent)
        self.sync_dir(source.parent)
        return True

    def sync_dir(self, path: Path) -> None:
        """Flush a folder's names to the medium, where the system can."""
        if not self.sync:
            return
        try:
            fd = os.open(path, os.O_RDONLY | _CLOEXEC)
        except OSError:
            return
        try:
            os.fsync(fd)
        except OSError:
            pass
        finally:
            os.close(fd)

    def _write_new(self, path: Path, data: bytes) -> None:
        fd = self.open_new(path)
        try:
            _write_whole(fd, data)
            if self.sync:
                os.fsync(fd)
        finally:
            os.close(fd)  # NFSv3 reports a full disk only here

    def _link(self, temporary: Path, final: Path, same: Callable[[], bool]) -> bool:
        try:
            os.link(temporary, final, follow_symlinks=False)
        except FileNotFoundError:
            if _identity(final) != _identity(temporary) or _identity(final) is None:
                raise
        except FileExistsError:
            return _is_linked(temporary, final) or same()
        except OSError as error:
            if error.errno not in _NO_LINKS:
                if _is_linked(temporary, final):
                    return True
                raise
            return self._create_by_copy(temporary, final, same)
        self.sync_dir(final.parent)
        return True

    def _create_by_copy(self, temporary: Path, final: Path, same: Callable[[], bool]) -> bool:
        """Where no hard links are (FAT, some SMB): exclusive creation, then the bytes; readers check the checksum."""
        try:
            fd = self.open_new(final)
        except FileExistsError:
            return same()
        from shutil import copyfileobj

        try:
            with os.fdopen(fd, "wb") as stream, open(temporary, "rb") as source:
                copyfileobj(source, stream, COPY_CHUNK_BYTES)
                stream.flush()
                if self.sync:
                    os.fsync(stream.fileno())
        except BaseException:
            _unlink_quietly(final)
            raise
        self.sync_dir(final.parent)
        return True

    @staticmethod
    def _same_bytes(final: Path, data: bytes) -> bool:
        try:
            return read_bytes(final) == data
        except OSError:
            return False


def remove_tree(path: Path, attempts: int = 5) -> None:
    """Remove a folder with all in it; silly-renamed files of open readers are tried again, then left.

    Raises:
        OSError: something in it can't be removed.
    """
    from shutil import rmtree  # it loads what unpacks archives, which importing Task shall not wait for

    for attempt in range(attempts):
        try:
            rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.ESTALE) or attempt == attempts - 1:
                raise
            time.sleep(0.05 * 2**attempt)
        else:
            return


def remove_files(paths: Iterable[Path]) -> None:
    """Unlink files; one that is already gone is fine."""
    for path in paths:
        _unlink_quietly(path)


def _write_whole(fd: int, data: bytes) -> None:
    """Write all of ``data``; a short write is followed by another, which says why it was short."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _is_linked(temporary: Path, final: Path) -> bool:
    identity = _identity(temporary)
    return identity is not None and identity == _identity(final)


def _unlink_quietly(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
