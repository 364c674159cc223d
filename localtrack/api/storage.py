"""``StorageManager``: files at paths and URLs, uploaded, downloaded, listed and cached.

Source: ClearML's StorageManager; docs/how-to/models.md.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, InvalidValueError, StorageError
from localtrack.services import remote, storage, storage_cache, uploads
from localtrack.services.storage import LOG, FileInfo

DEFAULT_RETRIES = 3
Names = list[str | dict[str, Any]]


class StorageManager:
    """Files at local paths, ``file://``, ``http(s)://`` (reading) and every place that fsspec knows.

    Other places need ``pip install 'localtrack[remote]'`` and the client of that place (``s3fs``, ``gcsfs``,
    ``adlfs``); the error says which. What is local is used as it is and never copied to the cache.
    """

    storage_helper = staticmethod(storage.driver_for)

    @classmethod
    def get_local_copy(
        cls,
        remote_url: str,
        cache_context: str | None = None,
        extract_archive: bool = True,
        name: str | None = None,
        force_download: bool = False,
    ) -> str | None:
        """Return a local path of a file or folder: itself where it is local, else a copy in the user's cache.

        Args:
            remote_url: a path or URL.
            cache_context: which cache; each keeps 100 files unless told otherwise.
            extract_archive: return the folder with the content of a zip or tar archive.
            name: file name of the copy.
            force_download: download again although there is a copy.

        Returns:
            The path; None where there is no such file or it can't be read, which is logged.

        Source: ClearML's StorageManager.get_local_copy.
        """
        try:
            path = storage_cache.local_copy(remote_url, context=cache_context, name=name, force=force_download)
            if extract_archive and storage_cache.is_archive(path):
                path = storage_cache.extracted(path, context=cache_context, origin=_origin(remote_url))
        except (StorageError, CorruptFileError) as error:
            LOG.warning("no local copy of %s: %s", remote_url, error)
            return None
        return str(path)

    @classmethod
    def get_stream(cls, remote_url: str, chunk_size: int | None = None) -> Iterator[bytes] | None:
        """Return a file's content piece by piece, with nothing written to disk; None where it can't be read.

        Args:
            remote_url: a path or URL.
            chunk_size: bytes a piece; 1 MiB without one.

        Source: ClearML's StorageManager.get_stream.
        """
        try:
            return storage.chunks(remote_url, chunk_size or storage.CHUNK_BYTES)
        except StorageError as error:
            LOG.warning("%s", error)
            return None

    @classmethod
    def upload_file(
        cls, local_file: str, remote_url: str, wait_for_upload: bool = True, retries: int | None = None
    ) -> str:
        """Store a copy of a file at a path or URL, replacing what is there.

        Args:
            local_file: the file.
            remote_url: where to, with the file's name.
            wait_for_upload: False uploads in the background; the process does not end before it is done.
            retries: how often a failed upload is tried again; three times without one.

        Returns:
            ``remote_url``.

        Raises:
            StorageError: it can't be read or written.

        Source: ClearML's StorageManager.upload_file.
        """
        count = DEFAULT_RETRIES if retries is None else retries
        if wait_for_upload:
            return storage.put_file(local_file, remote_url, retries=count)
        storage.driver_for(remote_url)  # a missing package is said now, not in the background
        uploads.submit(lambda: storage.put_file(local_file, remote_url, retries=count), f"uploading {local_file}")
        return remote_url

    @classmethod
    def upload_folder(
        cls, local_folder: str, remote_url: str, match_wildcard: str | None = None, retries: int | None = None
    ) -> str | None:
        """Store copies of all files of a folder below a path or URL, in the same tree.

        Args:
            local_folder: the folder.
            remote_url: where to.
            match_wildcard: only files whose name fits, such as ``*.json``.
            retries: how often a failed upload is tried again; three times without one.

        Returns:
            ``remote_url``; None when the folder is missing or a file failed, which is logged.

        Source: ClearML's StorageManager.upload_folder.
        """
        folder = Path(local_folder).expanduser()
        if not folder.is_dir():
            LOG.error("no folder %s: nothing to upload to %s", folder, remote_url)
            return None
        count = DEFAULT_RETRIES if retries is None else retries
        files = [path for path in sorted(folder.rglob(match_wildcard or "*")) if path.is_file()]

        def upload(path: Path) -> bool:
            try:
                target = storage.join_url(remote_url, path.relative_to(folder).as_posix())
                storage.put_file(path, target, retries=count)
            except OSError as error:
                LOG.error("%s", error)
                return False
            return True

        with ThreadPoolExecutor(uploads.WORKERS) as pool:
            failed = sum(not done for done in pool.map(upload, files))
        if failed:
            LOG.error("%d of %d files of %s were not uploaded to %s", failed, len(files), folder, remote_url)
            return None
        return remote_url

    @classmethod
    def download_file(
        cls,
        remote_url: str,
        local_folder: str | None = None,
        overwrite: bool = False,
        skip_zero_size_check: bool = False,
        silence_errors: bool = False,
    ) -> str | None:
        """Download a file into a folder, under the path that it has in its bucket.

        ``s3://bucket/sub/file.ext`` becomes ``<local_folder>/sub/file.ext``; a local file keeps its name alone.

        Args:
            remote_url: a path or URL.
            local_folder: the folder; the user's cache without one.
            overwrite: download although the file is there.
            skip_zero_size_check: accept an empty file.
            silence_errors: log nothing.

        Returns:
            The path; None where the file can't be read or is empty, which is logged.

        Source: ClearML's StorageManager.download_file.
        """
        path = storage.local_path(remote_url)
        relative = path.name if path is not None else storage.below_bucket(remote_url)
        return _download(remote_url, _folder(local_folder) / relative, overwrite, skip_zero_size_check, silence_errors)

    @classmethod
    def download_folder(
        cls,
        remote_url: str,
        local_folder: str | None = None,
        match_wildcard: str | None = None,
        overwrite: bool = False,
        skip_zero_size_check: bool = False,
        silence_errors: bool = False,
        max_workers: int | None = None,
    ) -> str | None:
        """Download all files below a path or URL into a folder, under the paths that they have in their bucket.

        Args:
            remote_url: a path or URL.
            local_folder: the folder; the user's cache without one.
            match_wildcard: only files whose whole address fits, such as ``*.json``.
            overwrite: download although a file is there.
            skip_zero_size_check: accept empty files.
            silence_errors: log nothing.
            max_workers: how many threads; as Python chooses without one.

        Returns:
            The folder; None where the place can't be listed, which is logged.

        Source: ClearML's StorageManager.download_folder.
        """
        folder = _folder(local_folder)
        try:
            found = storage.list_files(remote_url)
        except (StorageError, InvalidValueError) as error:
            if not silence_errors:
                LOG.warning("%s", error)
            return None
        wanted = [one for one in found if match_wildcard is None or fnmatch.fnmatch(one.url, match_wildcard)]
        is_local = storage.local_path(remote_url) is not None

        def download(one: FileInfo) -> None:
            target = folder / (one.name if is_local else storage.below_bucket(one.url))
            _download(one.url, target, overwrite, skip_zero_size_check, silence_errors)

        with ThreadPoolExecutor(max_workers) as pool:
            list(pool.map(download, wanted))
        if not wanted and not silence_errors:
            LOG.warning("no file below %s fits: nothing was downloaded", remote_url)
        return str(local_folder or folder)

    @classmethod
    def exists_file(cls, remote_url: str) -> bool:
        """Tell whether there is a file (no folder) at a path or URL.

        Source: ClearML's StorageManager.exists_file.
        """
        try:
            return storage.exists(remote_url)
        except StorageError:
            return False

    @classmethod
    def get_file_size_bytes(cls, remote_url: str, silence_errors: bool = False) -> int | None:
        """Return a file's size in bytes; None where there is no such file, which is logged.

        Source: ClearML's StorageManager.get_file_size_bytes.
        """
        found = _info(remote_url, silence_errors)
        return None if found is None else found.size_bytes

    @classmethod
    def get_metadata(
        cls, remote_url: str, return_full_path: bool = False, read_hash: bool = False
    ) -> dict[str, Any] | None:
        """Return ``{"name", "size"}`` of a file, and ``hash`` of a local one when asked; None where there is none.

        Args:
            remote_url: a path or URL.
            return_full_path: the name is the whole address.
            read_hash: also the SHA-256, for a local file.

        Source: ClearML's StorageManager.get_metadata.
        """
        found = _info(remote_url, False)
        return None if found is None else _body(found, return_full_path, read_hash)

    @classmethod
    def list(
        cls,
        remote_url: str,
        return_full_path: bool = False,
        with_metadata: bool = False,
        read_hash: bool = False,
    ) -> Names | None:
        """Return the files below a path or URL, sorted: paths relative to it, or ``{"name", "size"}`` each.

        Args:
            remote_url: a folder.
            return_full_path: names are whole addresses.
            with_metadata: return dicts.
            read_hash: with ``hash``, the SHA-256, of local files.

        Returns:
            The list; None where the place can't be listed, which is logged.

        Source: ClearML's StorageManager.list.
        """
        try:
            found = storage.list_files(remote_url)
        except StorageError as error:
            LOG.warning("%s", error)
            return None
        if with_metadata:
            return [_body(one, return_full_path, read_hash) for one in found]
        return [one.url if return_full_path else one.name for one in found]

    @classmethod
    def set_cache_file_limit(cls, cache_file_limit: int, cache_context: str | None = None) -> int:
        """Set how many files a cache context keeps, those used longest ago going first; return the limit in force.

        Source: ClearML's StorageManager.set_cache_file_limit.
        """
        return storage_cache.set_file_limit(cache_file_limit, cache_context)

    @classmethod
    def set_report_upload_chunk_size(cls, chunk_size_mb: int) -> None:
        """Log the progress of remote uploads every so many megabytes; 0, the default, logs none.

        Source: ClearML's StorageManager.set_report_upload_chunk_size.
        """
        remote.upload_step_mb = int(chunk_size_mb)

    @classmethod
    def set_report_download_chunk_size(cls, chunk_size_mb: int) -> None:
        """Log the progress of remote downloads every so many megabytes; 0, the default, logs none.

        Source: ClearML's StorageManager.set_report_download_chunk_size.
        """
        remote.download_step_mb = int(chunk_size_mb)

    @classmethod
    def get_files_server(cls) -> str:
        """Return where files go when ``output_uri`` is True: the store in force, as a ``file://`` URL.

        Source: ClearML's StorageManager.get_files_server.
        """
        from localtrack.config import find_root

        return storage.normal_url(find_root()[0])


def _origin(url: str) -> str:
    return "" if storage.local_path(url) is not None else url


def _folder(local_folder: str | None) -> Path:
    return Path(local_folder).expanduser().absolute() if local_folder else storage_cache.cache_folder("downloads")


def _download(url: str, target: Path, overwrite: bool, accept_empty: bool, silent: bool) -> str | None:
    if target.is_file() and not overwrite and (accept_empty or target.stat().st_size):
        return str(target)
    try:
        storage.fetch(url, target)
        if not accept_empty and not target.stat().st_size:
            target.unlink()
            raise StorageError(f"{url} is empty; skip_zero_size_check=True accepts that", url=url)
    except OSError as error:
        if not silent:
            LOG.error("%s", error)
        return None
    return str(target)


def _info(url: str, silent: bool) -> FileInfo | None:
    try:
        found = storage.info(url)
        problem = f"no file at {url}"
    except StorageError as error:
        found, problem = None, str(error)
    if found is None and not silent:
        LOG.warning("%s", problem)
    return found


def _body(found: FileInfo, full: bool, read_hash: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"name": found.url if full else found.name, "size": found.size_bytes}
    path = storage.local_path(found.url)
    if read_hash and path is not None:
        body["hash"] = storage.sha256_of(path)
    return body
