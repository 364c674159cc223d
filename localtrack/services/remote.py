"""Files behind URLs: ``http(s)`` with the standard library, everything else through fsspec.

Credentials come from where each client library looks for them (environment, its own files), or from
:func:`configure`, which keeps them in this process and writes them nowhere.

Source: fsspec's documentation; ClearML's StorageManager and its ``azure://`` and ``s3://host:port`` spellings.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localtrack.errors import MissingExtraError, StorageError
from localtrack.services import storage
from localtrack.services.storage import FileInfo

TIMEOUT_S = 60.0
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "azure": "adlfs", "az": "adlfs", "abfs": "adlfs",
    "abfss": "adlfs", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hdfs": "pyarrow", "hf": "huggingface_hub",
}  # fmt: skip
upload_step_mb = 0
download_step_mb = 0
_OPTIONS: dict[str, dict[str, Any]] = {}


def configure(prefix: str, **options: Any) -> None:
    """Set what fsspec is told for addresses that begin with ``prefix``, in this process only.

    Args:
        prefix: such as ``s3://bucket``; the longest that fits counts.
        **options: the file system's own, such as ``key`` and ``secret``.
    """
    _OPTIONS[prefix.rstrip("/")] = {name: value for name, value in options.items() if value is not None}


def forget_configuration() -> None:
    """Drop all that :func:`configure` was told."""
    _OPTIONS.clear()


def _options_for(url: str) -> dict[str, Any]:
    fitting = [prefix for prefix in _OPTIONS if url == prefix or url.startswith(prefix + "/")]
    return dict(_OPTIONS[max(fitting, key=len)]) if fitting else {}


class HttpFiles:
    """``http`` and ``https``: read only."""

    def put(self, source: Path, url: str) -> None:
        """Refuse: there is no one way to upload over HTTP.

        Raises:
            StorageError: always.
        """
        raise StorageError(
            f"uploading {source} to {url} is not possible over HTTP; use a folder, s3://, gs:// or another writable place",
            url=url,
        )

    def fetch(self, url: str, target: Path) -> None:
        """Download."""
        with self._open(url) as answer, open(target, "xb") as writer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            moved = storage.reporting(f"downloading {url}", total, download_step_mb)
            size = 0
            while chunk := answer.read(storage.CHUNK_BYTES):
                writer.write(chunk)
                size += len(chunk)
                moved(len(chunk))
        if total is not None and size != total:
            raise StorageError(f"reading {url} ended after {size} of {total} bytes; try again", url=url)

    def info(self, url: str) -> FileInfo | None:
        """Ask with HEAD, and with GET where the server knows no HEAD."""
        for method in ("HEAD", "GET"):
            try:
                with self._open(url, method) as answer:
                    length = answer.headers.get("Content-Length")
                    size = int(length) if length and length.isdigit() else None
                    return FileInfo(storage.base_name(url), url, size)
            except StorageError as error:
                status = getattr(error, "status", 0)
                if status in (404, 410):
                    return None
                if method == "GET" or status not in (400, 403, 405, 501):
                    raise
        raise AssertionError("unreachable")

    def list(self, url: str) -> list[FileInfo]:
        """Refuse: HTTP has no listing.

        Raises:
            StorageError: always.
        """
        raise StorageError(f"{url} can't be listed: HTTP has no listing; name the files", url=url)

    def chunks(self, url: str, chunk_bytes: int) -> Iterator[bytes]:
        """Open now, read piece by piece."""
        return storage.read_chunks(self._open(url), chunk_bytes)

    def remove(self, url: str) -> None:
        """Refuse: nothing of ours lies behind HTTP.

        Raises:
            StorageError: always.
        """
        raise StorageError(f"{url} can't be removed over HTTP; remove it on its server", url=url)

    def _open(self, url: str, method: str = "GET") -> Any:
        request = urllib.request.Request(url, method=method, headers={"User-Agent": "localtrack"})
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise StorageError(
                f"reading {url} failed: the server says {error.code} {error.reason}", url=url, status=error.code
            ) from None
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise StorageError(f"reading {url} failed: {reason}; check the address and the network", url=url) from error


class RemoteFiles:
    """Everything that fsspec knows."""

    def put(self, source: Path, url: str) -> None:
        """Upload; what was there is replaced."""
        files, path = _file_system(url)
        try:
            parent = path.rpartition("/")[0]
            if parent:
                files.makedirs(parent, exist_ok=True)
        except Exception as error:  # object stores need no folders, and often allow none to be made
            storage.LOG.debug("no folder was made for %s: %s", url, error)
        try:
            files.put_file(str(source), path, callback=_callback(f"uploading {url}", upload_step_mb))
        except Exception as error:
            raise _failed("writing", url, error) from error

    def fetch(self, url: str, target: Path) -> None:
        """Download."""
        files, path = _file_system(url)
        try:
            files.get_file(path, str(target), callback=_callback(f"downloading {url}", download_step_mb))
        except Exception as error:
            raise _failed("reading", url, error) from error

    def info(self, url: str) -> FileInfo | None:
        """Return name and size; None for a folder and for nothing."""
        files, path = _file_system(url)
        try:
            found = files.info(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _failed("reading", url, error) from error
        return FileInfo(storage.base_name(url), url, found.get("size")) if found.get("type") != "directory" else None

    def list(self, url: str) -> list[FileInfo]:
        """List everything below."""
        files, path = _file_system(url)
        try:
            found = files.find(path, detail=True)
        except Exception as error:
            raise _failed("listing", url, error) from error
        top = path.rstrip("/")
        if not found:
            raise StorageError(f"nothing below {url}", url=url)
        return sorted(
            (
                FileInfo(name, storage.join_url(url, name), body.get("size"))
                for place, body in found.items()
                if (name := place.removeprefix(top).lstrip("/"))
            ),
            key=lambda one: one.name,
        )

    def chunks(self, url: str, chunk_bytes: int) -> Iterator[bytes]:
        """Open now, read piece by piece."""
        files, path = _file_system(url)
        try:
            stream = files.open(path, "rb")
        except Exception as error:
            raise _failed("reading", url, error) from error
        return storage.read_chunks(stream, chunk_bytes)

    def remove(self, url: str) -> None:
        """Remove one file."""
        files, path = _file_system(url)
        try:
            files.rm_file(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _failed("removing", url, error) from error


def require(url: str) -> None:
    """Look whether the packages for an address are here, without reaching for it.

    Raises:
        MissingExtraError: a package is missing.
        StorageError: fsspec does not know the scheme.
    """
    scheme = storage.scheme_of(url)
    try:
        import fsspec
    except ImportError:
        extra = f" {PACKAGES[scheme]}" if scheme in PACKAGES else ""
        raise MissingExtraError(
            f"{url} needs the package fsspec: pip install 'localtrack[remote]'{extra}", url=url
        ) from None
    try:
        fsspec.get_filesystem_class(storage.scheme_of(_spelling(url)[0]))
    except ImportError as error:
        package = PACKAGES.get(scheme, "a client for it")
        raise MissingExtraError(
            f"{url} needs the package {package}: pip install 'localtrack[remote]' {package} ({error})", url=url
        ) from error
    except ValueError as error:
        raise StorageError(f"{url} is no kind of storage that fsspec knows: {error}", url=url) from error


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system and the path in it that a URL means."""
    import fsspec

    address, options = _spelling(url)
    try:
        files, path = fsspec.core.url_to_fs(address, **_merged(options, _options_for(url)))
    except Exception as error:
        raise _failed("opening", url, error) from error
    return files, str(path)


def _merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return options with others over them, those of the client merged one by one."""
    client = {**base.get("client_kwargs", {}), **more.get("client_kwargs", {})}
    return {**base, **more, **({"client_kwargs": client} if client else {})}


def _spelling(url: str) -> tuple[str, dict[str, Any]]:
    """Return fsspec's spelling of ClearML's addresses: ``azure://account.host/container`` and ``s3://host:port/bucket``."""
    parts = urlsplit(url)
    rest = parts.path.lstrip("/")
    if parts.scheme == "azure":
        account, dot, _ = parts.netloc.partition(".")
        return (f"az://{rest}", {"account_name": account}) if dot else (f"az://{parts.netloc}/{rest}", {})
    if parts.scheme == "s3" and ":" in parts.netloc:
        return f"s3://{rest}", {"client_kwargs": {"endpoint_url": f"http://{parts.netloc}"}}
    return url, {}


def _callback(label: str, step_mb: int) -> Any:
    from fsspec.callbacks import DEFAULT_CALLBACK, Callback

    if step_mb <= 0:
        return DEFAULT_CALLBACK

    class Progress(Callback):  # type: ignore[misc]
        moved = staticmethod(storage.reporting(label, None, step_mb))

        def relative_update(self, inc: int = 1) -> None:
            self.moved(inc)

    return Progress()


def _failed(what: str, url: str, error: Exception) -> StorageError:
    text = str(error) or type(error).__name__
    return StorageError(f"{what} {url} failed: {text}; check the address, the credentials and the network", url=url)
