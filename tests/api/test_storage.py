"""``StorageManager`` as ClearML's users call it."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import pytest

from localtrack import StorageManager
from localtrack.services import remote


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three files, one empty."""
    place = tmp_path / "folder"
    (place / "sub").mkdir(parents=True)
    (place / "a.txt").write_text("a\n")
    (place / "sub" / "b.json").write_text("{}")
    (place / "z.txt").touch()
    return place


def test_local_listing_is_clearmls(folder: Path) -> None:
    """Names are relative or whole, in the spelling that was asked, with sizes when wanted; no folder is None."""
    assert StorageManager.list(str(folder)) == ["a.txt", "sub/b.json", "z.txt"]
    assert StorageManager.list(f"file://{folder}", return_full_path=True) == [
        f"file://{folder}/a.txt", f"file://{folder}/sub/b.json", f"file://{folder}/z.txt",
    ]  # fmt: skip
    sizes = StorageManager.list(f"{folder}/", with_metadata=True)
    assert sizes == [{"name": "a.txt", "size": 2}, {"name": "sub/b.json", "size": 2}, {"name": "z.txt", "size": 0}]
    assert StorageManager.list(str(folder / "none")) is None


def test_local_files_are_not_copied(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A local file and folder are their own local copy; a missing one is None and logged."""
    assert StorageManager.get_local_copy(str(folder / "a.txt")) == str(folder / "a.txt")
    assert StorageManager.get_local_copy(f"file://{folder}") == str(folder)
    with caplog.at_level(logging.WARNING):
        assert StorageManager.get_local_copy(str(folder / "none")) is None
    assert "no file" in caplog.text


def test_archives_are_unpacked_when_wanted(folder: Path, tmp_path: Path) -> None:
    """A zip comes as a folder with its content, as itself with ``extract_archive=False``, a broken one as None."""
    pack = tmp_path / "pack.zip"
    with zipfile.ZipFile(pack, "w") as archive:
        archive.write(folder / "a.txt", "inner/a.txt")
    place = StorageManager.get_local_copy(str(pack))
    assert place is not None
    assert (Path(place) / "inner" / "a.txt").read_text() == "a\n"
    assert StorageManager.get_local_copy(str(pack), extract_archive=False) == str(pack)
    pack.write_bytes(b"PK broken")
    assert StorageManager.get_local_copy(str(pack)) is None


def test_files_up_and_down(folder: Path, tmp_path: Path) -> None:
    """Files and folders are copied with their tree; wildcards, overwriting and empty files behave as documented."""
    up = tmp_path / "up"
    assert StorageManager.upload_file(str(folder / "a.txt"), f"file://{up}/x/a.txt") == f"file://{up}/x/a.txt"
    assert (up / "x" / "a.txt").read_text() == "a\n"
    assert StorageManager.upload_folder(str(folder), str(up / "all")) == str(up / "all")
    assert StorageManager.list(str(up / "all")) == ["a.txt", "sub/b.json", "z.txt"]
    assert StorageManager.upload_folder(str(folder), str(up / "some"), match_wildcard="*.json") == str(up / "some")
    assert StorageManager.list(str(up / "some")) == ["sub/b.json"]
    assert StorageManager.upload_folder(str(tmp_path / "none"), str(up)) is None
    with pytest.raises(OSError):
        StorageManager.upload_file(str(tmp_path / "none"), str(up / "none"))

    down = tmp_path / "down"
    path = StorageManager.download_file(str(folder / "a.txt"), str(down))
    assert path == str(down / "a.txt")
    (down / "a.txt").write_text("mine")
    StorageManager.download_file(str(folder / "a.txt"), str(down))
    assert (down / "a.txt").read_text() == "mine"
    StorageManager.download_file(str(folder / "a.txt"), str(down), overwrite=True)
    assert (down / "a.txt").read_text() == "a\n"
    assert StorageManager.download_file(str(folder / "z.txt"), str(down)) is None
    assert StorageManager.download_file(str(folder / "z.txt"), str(down), skip_zero_size_check=True)
    assert StorageManager.download_file(str(folder / "none"), str(down)) is None

    tree = tmp_path / "tree"
    assert StorageManager.download_folder(str(folder), str(tree), skip_zero_size_check=True) == str(tree)
    assert StorageManager.list(str(tree)) == ["a.txt", "sub/b.json", "z.txt"]
    some = tmp_path / "some"
    StorageManager.download_folder(str(folder), str(some), match_wildcard="*.json")
    assert StorageManager.list(str(some)) == ["sub/b.json"]
    assert StorageManager.download_folder(str(tmp_path / "none"), str(tree)) is None


def test_remote_paths_follow_the_bucket(folder: Path, tmp_path: Path) -> None:
    """What lies in a bucket is downloaded under the path that it has there; progress is logged when asked."""
    base = "memory://bucket-of-this-test"
    assert StorageManager.upload_folder(str(folder), f"{base}/data") == f"{base}/data"
    assert StorageManager.list(f"{base}/data") == ["a.txt", "sub/b.json", "z.txt"]
    down = tmp_path / "down"
    assert StorageManager.download_file(f"{base}/data/sub/b.json", str(down)) == str(down / "data" / "sub" / "b.json")
    StorageManager.download_folder(f"{base}/data/sub", str(tmp_path / "tree"))
    assert (tmp_path / "tree" / "data" / "sub" / "b.json").read_text() == "{}"
    copy = StorageManager.get_local_copy(f"{base}/data/a.txt")
    assert copy is not None
    assert Path(copy).read_text() == "a\n"
    stream = StorageManager.get_stream(f"{base}/data/a.txt", chunk_size=1)
    assert stream is not None
    assert list(stream) == [b"a", b"\n"]


def test_progress_is_logged_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a chunk size, remote transfers say how far they are."""
    source = tmp_path / "big"
    source.write_bytes(b"x" * (3 << 20))
    try:
        StorageManager.set_report_upload_chunk_size(1)
        with caplog.at_level(logging.INFO, "localtrack.storage"):
            StorageManager.upload_file(str(source), "memory://bucket-of-progress/big")
    finally:
        StorageManager.set_report_upload_chunk_size(0)
        remote.upload_step_mb = 0
    assert "uploading memory://bucket-of-progress/big" in caplog.text


def test_facts_of_one_file(folder: Path) -> None:
    """Existence, size, metadata and hash of a file; None and False for what is none."""
    path = str(folder / "a.txt")
    assert StorageManager.exists_file(path)
    assert not StorageManager.exists_file(str(folder))
    assert not StorageManager.exists_file(str(folder / "none"))
    assert StorageManager.get_file_size_bytes(path) == 2
    assert StorageManager.get_file_size_bytes(str(folder / "none"), silence_errors=True) is None
    assert StorageManager.get_metadata(path, return_full_path=True) == {"name": path, "size": 2}
    found = StorageManager.get_metadata(path, read_hash=True)
    assert found is not None
    assert found["hash"] == "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7"
    assert StorageManager.get_metadata(str(folder / "none")) is None
    assert StorageManager.get_stream(str(folder / "none")) is None
    assert StorageManager.get_files_server().startswith("file:///")
