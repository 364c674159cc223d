"""Files outside the store: read, written, listed and cached, wherever they lie."""

from __future__ import annotations

import http.server
import io
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from localtrack.errors import CorruptFileError, InvalidValueError, MissingExtraError, StorageError
from localtrack.services import remote, storage, storage_cache, uploads


class _Quiet(http.server.SimpleHTTPRequestHandler):
    requests: list[str] = []

    def log_message(self, format: str, *args: Any) -> None:
        self.requests.append(format % args)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Return the address of a local HTTP server, the folder that it serves, and the requests that it answered."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Handler", (_Quiet,), {"requests": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder, handler.requests  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def memory() -> Iterator[str]:
    """Return the address of an empty folder in fsspec's memory."""
    import fsspec

    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_local_spellings() -> None:
    """A path, a file URL with and without escapes, and ~ mean the same file; other schemes mean none."""
    here = Path.cwd()
    spaced = here / "a b"
    spaced.touch()
    percent = here / "50%25"
    percent.touch()
    assert storage.local_path("a b") == spaced
    assert storage.local_path(f"file://{here}/a%20b") == spaced
    assert storage.local_path(f"file://localhost{here}/a b") == spaced
    assert storage.local_path(f"file://{here}/50%25") == percent, "a literal name counts before its unescaped one"
    assert storage.local_path("~/x") == Path.home() / "x"
    assert storage.local_path("s3://bucket/x") is None
    assert storage.normal_url("a b") == storage.normal_url(f"file://{here}/./a b") == f"file://{spaced}"
    with pytest.raises(InvalidValueError):
        storage.normal_url("")


def test_local_put_is_whole_or_absent(tmp_path: Path, small_disk: Path) -> None:
    """A full disk leaves the old file as it was, and no temporary one."""
    target = small_disk / "sub" / "weights.bin"
    small = tmp_path / "few-bytes"
    small.write_bytes(b"old")
    storage.put_file(small, str(target))
    large = tmp_path / "large"
    large.write_bytes(b"x" * (1 << 20))
    with pytest.raises(StorageError, match="failed"):
        storage.put_file(large, f"file://{target}")
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["weights.bin"]


def test_put_names_what_is_missing(tmp_path: Path) -> None:
    """A file that is not there, and a folder in place of the target, are said with their paths."""
    with pytest.raises(StorageError, match="no file"):
        storage.put_file(tmp_path / "none", str(tmp_path / "x"))
    source = tmp_path / "source"
    source.write_text("x")
    with pytest.raises(StorageError, match="is a folder"):
        storage.put_file(source, str(tmp_path))


def test_memory_round_trip(memory: str, tmp_path: Path) -> None:
    """Whatever fsspec knows is written, listed, measured, streamed, fetched and removed through the same functions."""
    source = tmp_path / "weights.bin"
    source.write_bytes(bytes(range(256)) * 5000)
    url = f"{memory}/deep/er/weights.bin"
    assert storage.put_file(source, url) == url
    storage.put_file(source, f"{memory}/other.bin")
    assert storage.exists(url)
    assert not storage.exists(f"{memory}/deep")
    assert not storage.exists(f"{memory}/nothing")
    found = storage.info(url)
    assert found is not None
    assert found.size_bytes == source.stat().st_size
    assert [one.name for one in storage.list_files(memory)] == ["deep/er/weights.bin", "other.bin"]
    assert storage.list_files(memory)[0].url == url
    assert b"".join(storage.chunks(url, 1000)) == source.read_bytes()
    assert storage.fetch(url, tmp_path / "new" / "copy").read_bytes() == source.read_bytes()
    storage.remove(url)
    storage.remove(url)
    assert not storage.exists(url)
    with pytest.raises(StorageError, match=r"memory://bucket/deep/er/weights\.bin"):
        storage.fetch(url, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_http_reads_without_an_extra(served: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    """HTTP is read with the standard library; a missing file is None or an error, and writing is refused."""
    url, folder, _ = served
    (folder / "a b.bin").write_bytes(b"x" * 3_000_000)
    address = f"{url}/a%20b.bin?token=1"
    found = storage.info(address)
    assert found is not None
    assert (found.name, found.size_bytes) == ("a b.bin", 3_000_000)
    assert len(b"".join(storage.chunks(address, 777))) == 3_000_000
    assert storage.fetch(address, tmp_path / "x").stat().st_size == 3_000_000
    assert storage.info(f"{url}/none") is None
    with pytest.raises(StorageError, match="404"):
        storage.fetch(f"{url}/none", tmp_path / "y")
    with pytest.raises(StorageError, match="not possible over HTTP"):
        storage.put_file(tmp_path / "x", f"{url}/up")
    with pytest.raises(StorageError, match="no listing"):
        storage.list_files(url)
    with pytest.raises(StorageError, match="failed"):
        storage.fetch("http://127.0.0.1:1/x", tmp_path / "z")


def test_short_download_is_no_file(tmp_path: Path) -> None:
    """A connection that ends early leaves nothing under the target's name."""

    class Short(_Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(OSError):
            storage.fetch(f"http://127.0.0.1:{server.server_port}/x", tmp_path / "x")
        server.shutdown()
    assert list(tmp_path.iterdir()) == []


def test_cache_downloads_once(served: tuple[str, Path, list[str]]) -> None:
    """A second look takes the copy; force downloads again and keeps the old path readable; local files stay put."""
    url, folder, requests = served
    (folder / "w.bin").write_text("one")
    first = storage_cache.local_copy(f"{url}/w.bin")
    assert storage_cache.local_copy(f"{url}/w.bin") == first
    assert len(requests) == 1
    (folder / "w.bin").write_text("two")
    assert first.read_text() == storage_cache.local_copy(f"{url}/w.bin").read_text() == "one"
    again = storage_cache.local_copy(f"{url}/w.bin", force=True)
    assert again.read_text() == storage_cache.local_copy(f"{url}/w.bin").read_text() == "two"
    assert first.read_text() == "one", "another process may still read it"
    assert storage_cache.local_copy(f"{url}/w.bin", name="other").name == "other"
    assert storage_cache.local_copy(str(folder / "w.bin")) == folder / "w.bin"
    with pytest.raises(StorageError):
        storage_cache.local_copy(str(folder / "none"))


def test_cache_limit(served: tuple[str, Path, list[str]]) -> None:
    """Over the limit the copies used longest ago go, and nothing else."""
    url, folder, _ = served
    for name in "abcd":
        (folder / name).write_text(name)
    assert storage_cache.set_file_limit(2, "small") == 2
    paths = {}
    for name in "abc":
        paths[name] = storage_cache.local_copy(f"{url}/{name}", context="small")
        time.sleep(0.02)
        storage_cache.local_copy(f"{url}/a", context="small")
        time.sleep(0.02)
    assert paths["a"].exists()
    assert not paths["b"].exists()
    assert paths["c"].exists()
    assert storage_cache.file_limit() == storage_cache.DEFAULT_FILE_LIMIT


def test_failed_download_leaves_no_entry(served: tuple[str, Path, list[str]]) -> None:
    """A download that failed is tried again by the next caller."""
    url, folder, _ = served
    with pytest.raises(StorageError):
        storage_cache.local_copy(f"{url}/late")
    assert [path for path in storage_cache.cache_folder().rglob("*") if path.name.startswith("tmp-")] == []
    (folder / "late").write_text("here")
    assert storage_cache.local_copy(f"{url}/late").read_text() == "here"


def test_processes_share_the_cache(served: tuple[str, Path, list[str]]) -> None:
    """Six processes that fetch the same files and evict each other's all read whole files."""
    url, folder, _ = served
    for name in "abcdef":
        (folder / name).write_bytes(name.encode() * 300_000)
    code = (
        "import sys\nfrom localtrack.services import storage_cache\nstorage_cache.set_file_limit(3)\n"
        "for turn in range(6):\n"
        "    for name in 'abcdef':\n"
        "        for attempt in range(20):\n"
        "            try:\n"
        "                data = storage_cache.local_copy(sys.argv[1] + '/' + name).read_bytes()\n"
        "            except FileNotFoundError:\n"
        "                continue\n"
        "            break\n"
        "        assert data == name.encode() * 300_000, (name, len(data))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(6)]
    assert [one.wait(60) for one in running] == [0] * 6


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_extracted_once_and_anew_when_changed(tmp_path: Path, kind: str) -> None:
    """An archive is unpacked once; when it changes, again."""
    archive = tmp_path / f"pack.{kind}"

    def write(text: str) -> None:
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as pack:
                pack.writestr("sub/a.txt", text)
        else:
            with tarfile.open(archive, "w:gz") as pack:
                info = tarfile.TarInfo("sub/a.txt")
                info.size = len(text)
                pack.addfile(info, io.BytesIO(text.encode()))

    write("one")
    first = storage_cache.extracted(archive)
    assert (first / "sub" / "a.txt").read_text() == "one"
    assert storage_cache.extracted(archive) == first
    write("three")
    assert (storage_cache.extracted(archive) / "sub" / "a.txt").read_text() == "three"


def test_hostile_archive_leaves_nothing(tmp_path: Path) -> None:
    """A member that leads outside is refused, and no half-unpacked folder counts as the archive's content."""
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("fine", "x")
        pack.writestr("../outside", "x")
    for _ in range(2):
        with pytest.raises(CorruptFileError):
            storage_cache.extracted(archive)
    assert not list(storage_cache.cache_folder().rglob("outside"))


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without fsspec, or without the client of a place, the error says what to install."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"localtrack\[remote\]' s3fs"):
        storage.info("s3://bucket/x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'localtrack\[remote\]'"):
        storage.info("memory://bucket/x")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="no kind of storage"):
        storage.info("nonsense://bucket/x")


def test_credentials_stay_in_the_process() -> None:
    """Options are found by the longest prefix, never by a bucket whose name only begins alike."""
    try:
        remote.configure("s3://bucket", key="k", secret="s", token=None)
        remote.configure("s3://bucket/deep", key="other")
        assert remote._options_for("s3://bucket/x") == {"key": "k", "secret": "s"}
        assert remote._options_for("s3://bucket/deep/x") == {"key": "other"}
        assert remote._options_for("s3://bucket2/x") == {}
    finally:
        remote.forget_configuration()


def test_clearml_spellings() -> None:
    """ClearML's azure:// and s3://host:port addresses mean what they mean there."""
    assert remote._spelling("azure://acc.blob.core.windows.net/box/a/b") == ("az://box/a/b", {"account_name": "acc"})
    assert remote._spelling("azure://box/a") == ("az://box/a", {})
    assert remote._spelling("s3://minio:9000/box/a") == (
        "s3://box/a", {"client_kwargs": {"endpoint_url": "http://minio:9000"}},
    )  # fmt: skip
    assert remote._spelling("gs://box/a") == ("gs://box/a", {})


def test_background_uploads_are_waited_for(tmp_path: Path) -> None:
    """Waiting covers what was started; a timeout ends it; a failure stays the upload's own."""
    gate = threading.Event()
    first = uploads.submit(gate.wait, "waiting")
    assert uploads.pending() == 1
    assert uploads.wait_for_uploads(0.05) is False
    gate.set()
    assert uploads.wait_for_uploads(5) is True
    assert first.result() is True

    def fail() -> None:
        raise StorageError("no room")

    failed = uploads.submit(fail, "failing")
    assert uploads.wait_for_uploads(5) is True
    assert isinstance(failed.exception(), StorageError)


def test_background_upload_survives_the_end_of_the_script(tmp_path: Path) -> None:
    """An upload that was started is finished although the script ends at once."""
    source = tmp_path / "source"
    source.write_bytes(b"x" * 5_000_000)
    code = (
        "import sys\nfrom localtrack import StorageManager\n"
        "StorageManager.upload_file(sys.argv[1], sys.argv[2], wait_for_upload=False)\n"
    )
    target = tmp_path / "out" / "copy"
    subprocess.run([sys.executable, "-c", code, str(source), str(target)], check=True, timeout=60)
    assert target.read_bytes() == source.read_bytes()


def test_paths_of_buckets_stay_inside() -> None:
    """A remote name never leads out of the folder that it is downloaded to."""
    assert storage.below_bucket("s3://bucket//a/./b%20c") == "a/b c"
    with pytest.raises(InvalidValueError):
        storage.below_bucket("s3://bucket/a/%2e%2e/%2e%2e/etc/passwd")
