"""Local copies of remote files, and archives that were unpacked: one folder a user, no locks.

``<context>/<hash of address and version>/<sortable id>/<name>``: each download gets a folder of its own under a fresh name, so
two processes that fetch the same file at once make two copies, both whole, of which the newest counts.

Source: ClearML's cache contexts.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from localtrack.errors import StorageError
from localtrack.fs.disk import list_names
from localtrack.records.digests import hex_sha256
from localtrack.records.ids import new_sortable_id, slug
from localtrack.services import storage
from localtrack.store.blobs import safe_file_name

DEFAULT_CONTEXT = "global"
DEFAULT_FILE_LIMIT = 100
PUBLISH_TRIES = 20
STALE_S = 24 * 3600.0
_LIMITS: dict[str, int] = {}
_LOCK = threading.Lock()


def cache_folder(context: str | None = None) -> Path:
    """Return the folder of a cache context, which need not exist."""
    import platformdirs

    root = Path(platformdirs.user_cache_dir("localtrack", appauthor=False))
    return root / "storage" / slug(context or DEFAULT_CONTEXT)


def set_file_limit(limit: int, context: str | None = None) -> int:
    """Set how many files a context keeps; return the limit in force."""
    with _LOCK:
        _LIMITS[context or DEFAULT_CONTEXT] = max(1, int(limit))
    return file_limit(context)


def file_limit(context: str | None = None) -> int:
    """Return how many files a context keeps."""
    return _LIMITS.get(context or DEFAULT_CONTEXT, DEFAULT_FILE_LIMIT)


def local_copy(
    url: str, *, context: str | None = None, name: str | None = None, force: bool = False, version: str = ""
) -> Path:
    """Return a local path of a file: the file itself where it is local, else a copy in the cache.

    Args:
        url: a path or URL.
        context: which cache.
        name: the copy's file name; that of the address without one.
        force: download again although there is a copy.
        version: what is known of the content, such as its hash: a copy of another version does not count.

    Raises:
        StorageError: no such file, or it can't be read.
    """
    path = storage.local_path(url)
    if path is not None:
        if not path.exists():
            raise StorageError(f"no file {path}", path=str(path))
        return path
    file_name = safe_file_name(name or storage.base_name(url))

    def fill(folder: Path) -> None:
        storage.fetch(url, folder / file_name)

    folder = _entry(f"{url}\n{name or ''}" + (f"\n{version}" if version else ""), context, force, fill)
    return folder / file_name


def extracted(archive: Path, *, context: str | None = None, origin: str = "") -> Path:
    """Return the folder with the content of an archive, unpacked once.

    Args:
        archive: a zip or tar file.
        context: which cache.
        origin: where it came from; its path, size and time stand for it without that.

    Raises:
        CorruptFileError: it is damaged or hostile.
    """
    info = archive.stat()
    key = f"{origin or archive}\n{info.st_size}\n{info.st_mtime_ns}\nextracted"
    return _entry(key, context, False, lambda folder: _extract(archive, folder / "content")) / "content"


def is_archive(path: Path) -> bool:
    """Tell whether a file's name says that it can be unpacked."""
    from localtrack.services.archives import is_archive_name  # it loads every compression of the standard library

    return is_archive_name(path.name) and path.is_file()


def _extract(archive: Path, target: Path) -> None:
    from localtrack.services.archives import extract_archive

    extract_archive(archive, target)


def _entry(key: str, context: str | None, force: bool, fill: Callable[[Path], None]) -> Path:
    """Return the newest folder of an address, made by ``fill`` where there is none."""
    home = cache_folder(context)
    entry = home / hex_sha256(key.encode("utf-8", "surrogatepass"))[:32]
    if not force:
        known = sorted(list_names(entry))
        if known:
            _touch(entry)
            return entry / known[-1]
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = home / f"tmp-{os.getpid()}-{os.urandom(6).hex()}"
    temporary.mkdir(mode=0o700)
    try:
        fill(temporary)
        final = _publish(temporary, entry)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _touch(entry)
    _evict(home, file_limit(context))
    return final


def _publish(temporary: Path, entry: Path) -> Path:
    """Give a filled folder its name; another process may evict the entry around it meanwhile."""
    for attempt in range(PUBLISH_TRIES):
        final = entry / new_sortable_id()
        try:
            entry.mkdir(exist_ok=True, mode=0o700)
            os.rename(temporary, final)
        except (FileExistsError, FileNotFoundError):  # evicted before mkdir could look what is there, or after it
            if attempt == PUBLISH_TRIES - 1 or not temporary.is_dir():
                raise
            continue
        return final
    raise AssertionError("unreachable")


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        pass


def _evict(home: Path, limit: int) -> None:
    """Remove the entries that were used longest ago; what can't be removed is left to the next one."""
    entries = []
    for name in list_names(home):
        path = home / name
        try:
            used = path.stat().st_mtime
        except OSError:
            continue
        if not name.startswith("tmp-"):
            entries.append((used, path))
        elif time.time() - used > STALE_S:
            shutil.rmtree(path, ignore_errors=True)
    for _, path in sorted(entries, reverse=True)[limit:]:
        doomed = home / f"tmp-{os.getpid()}-{os.urandom(6).hex()}"
        try:
            os.rename(path, doomed)
        except OSError:
            continue
        shutil.rmtree(doomed, ignore_errors=True)
