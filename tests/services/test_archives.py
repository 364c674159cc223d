"""Archives: what anybody packed is unpacked below the target, or not at all."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localtrack.errors import CorruptFileError, StorageError
from localtrack.services.archives import TRUSTING, Limits, extract_archive, is_archive_name

Members = list[tuple[str, bytes]]


def _zip(path: Path, members: Members, mode: int = 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def _tar(path: Path, members: Members, mode: str = "w:gz", **fields: Any) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


PACKERS = {"zip": _zip, "tar": _tar}


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_each_kind_comes_out(tmp_path: Path, kind: str) -> None:
    """Files, folders and empty folders come back from every kind, whatever the archive is called."""
    source = tmp_path / "in"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "deep" / "ä 🚀.txt").write_text("x" * 3_000_000)
    (source / "run.sh").write_text("echo")
    (source / "run.sh").chmod(0o755)
    path = tmp_path / "named.anything"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for item in sorted(source.rglob("*")):
                archive.write(item, item.relative_to(source))
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as tar:  # type: ignore[call-overload]
            tar.add(source, ".")

    assert extract_archive(path, tmp_path / "a" / "out") == tmp_path / "a" / "out"

    assert _content(tmp_path / "a" / "out") == _content(source)
    assert (tmp_path / "a" / "out" / "deep" / "empty").is_dir()
    assert os.access(tmp_path / "a" / "out" / "run.sh", os.X_OK)
    assert is_archive_name(f"X.{kind.upper()}")


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "a/../../../evil", "C:evil", "..", "a\\..\\..\\evil"]
)
def test_names_that_lead_out(tmp_path: Path, pack: str, name: str) -> None:
    """A member that leads outside is refused by name; nothing is written, not even the good members before it."""
    path = PACKERS[pack](tmp_path / "x", [("good", b"1"), (name, b"evil")])

    with pytest.raises(CorruptFileError, match="nothing was unpacked") as error:
        extract_archive(path, tmp_path / "deep" / "target")
    assert repr(name) in str(error.value)
    assert not [found for found in tmp_path.rglob("*") if found.name not in ("x", "deep")]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    """Symbolic and hard links, devices and pipes are refused."""
    path = _tar(tmp_path / "x.tar", [("link", b"")], "w", type=kind, linkname="/etc/passwd")
    with pytest.raises(CorruptFileError, match="no regular file"):
        extract_archive(path, tmp_path / "out")
    mode = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO}.get(kind, stat.S_IFCHR)
    with pytest.raises(CorruptFileError, match="no regular file"):
        extract_archive(_zip(tmp_path / "x.zip", [("link", b"/etc/passwd")], mode | 0o777), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pack", PACKERS)
def test_limits(tmp_path: Path, pack: str) -> None:
    """Too much content, too many members, too long a name and a bomb are refused; just enough is not."""
    path = PACKERS[pack](tmp_path / "x", [("a", b"x" * 100), ("b", b"y" * 100)])
    for limits in (Limits(total_bytes=199), Limits(members=1)):
        with pytest.raises(CorruptFileError, match="too large"):
            extract_archive(path, tmp_path / "out", limits)
    extract_archive(path, tmp_path / "out", Limits(total_bytes=200, members=2))
    bomb = PACKERS[pack](tmp_path / "bomb", [("zeros", b"\0" * 5_000_000)])
    with pytest.raises(CorruptFileError, match="bomb"):
        extract_archive(bomb, tmp_path / "bombed", Limits(ratio_from_bytes=1_000_000))
    extract_archive(bomb, tmp_path / "trusted", TRUSTING)
    long_name = PACKERS[pack](tmp_path / "long", [("n" * 200, b"")])
    with pytest.raises(CorruptFileError, match="too long a name"):
        extract_archive(long_name, tmp_path / "long out", Limits(name_bytes=199))
    with pytest.raises(StorageError, match="unpacking"):
        extract_archive(PACKERS[pack](tmp_path / "longer", [("n" * 300, b"")]), tmp_path / "longer out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize(
    "names", [["a", "a"], ["a", "./a"], ["a", "a/b"], ["a/b", "a"], ["d//x", "d/x"], ["é", "e\u0301"], ["A/x", "a/y"]]
)
def test_names_that_meet(tmp_path: Path, pack: str, names: list[str]) -> None:
    """A name that comes twice, as a file and a folder, or in another case or Unicode form, is refused."""
    path = PACKERS[pack](tmp_path / "x", [(name, b"") for name in names])
    with pytest.raises(CorruptFileError, match=r"twice|case"):
        extract_archive(path, tmp_path / "out")
    if names in (["é", "e\u0301"], ["A/x", "a/y"]):
        extract_archive(path, tmp_path / "trusted", TRUSTING)
        assert sorted(_content(tmp_path / "trusted")) == sorted(names)


def test_damage(tmp_path: Path) -> None:
    """A flipped byte anywhere, and every cut, unpacks as the original or is refused with the archive's name."""
    members = [("a", os.urandom(300) + b"x" * 500), ("deep/b", b"text" * 50)]
    for pack in PACKERS:
        data = PACKERS[pack](tmp_path / "good", members).read_bytes()
        for position in range(0, len(data), 7):
            for bad in (data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :], data[:position]):
                (tmp_path / "bad").write_bytes(bad)
                target = tmp_path / "out" / f"{pack}{position}{len(bad)}"
                try:
                    extract_archive(tmp_path / "bad", target)
                except (CorruptFileError, StorageError) as error:
                    said = error.message
                    assert "bad" in said
                    assert not target.exists()
    for text in (b"", b"PK\3\4garbage", b"no archive at all"):
        (tmp_path / "bad").write_bytes(text)
        with pytest.raises(CorruptFileError, match=r"damaged|neither"):
            extract_archive(tmp_path / "bad", tmp_path / "none")


def test_a_zero_byte_in_a_name(tmp_path: Path) -> None:
    """A name that ends earlier for C than for Python is refused."""
    data = _zip(tmp_path / "x", [("goodXevil", b"1")]).read_bytes().replace(b"goodXevil", b"good\0evil")
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(CorruptFileError):
        extract_archive(tmp_path / "x", tmp_path / "out")


def test_a_header_that_asks_for_gigabytes(tmp_path: Path) -> None:
    """A long-name header of a tar is not read into memory because it says so."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    with pytest.raises(CorruptFileError):
        extract_archive(tmp_path / "x.tar", tmp_path / "out")


def test_a_taken_target_and_a_missing_archive(tmp_path: Path) -> None:
    """What lies in the target stays; both errors say what to check."""
    path = _zip(tmp_path / "x.zip", [("a", b"1")])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(StorageError, match="check the path"):
        extract_archive(path, tmp_path / "out")
    assert _content(tmp_path / "out") == {"mine": b"keep"}
    with pytest.raises(StorageError, match="unpacking"):
        extract_archive(tmp_path / "none.zip", tmp_path / "other")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["out", "x.zip"]


def test_several_at_once(tmp_path: Path) -> None:
    """Of many that unpack to one place one wins, and what is there is whole at every moment."""
    members = [(f"{i}", os.urandom(2000)) for i in range(50)]
    path = _zip(tmp_path / "x.zip", members)
    target, done = tmp_path / "out", []

    def unpack() -> None:
        try:
            done.append(extract_archive(path, target))
        except StorageError:
            assert _content(target) == dict(members)

    threads = [threading.Thread(target=unpack) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert _content(target) == dict(members)


_NAMES = st.text(alphabet="aA./\\é\0-:~ ", max_size=8) | st.sampled_from(["..", "../x", "/x", "a/../b", "a/b", "a"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_NAMES, st.binary(max_size=20)), max_size=4), st.sampled_from(sorted(PACKERS)))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, members: Members, pack: str) -> None:
    """Whatever the names are: either every file is there with its content, or nothing is anywhere."""
    members = [(name.partition("\0")[0], data) for name, data in members]  # so far the packers write them
    home = tmp_path_factory.mktemp("any")
    try:
        path = PACKERS[pack](home / "x", members)
    except (ValueError, IndexError):  # names that this packer can't write
        return
    try:
        extract_archive(path, home / "in" / "out")
    except (CorruptFileError, StorageError):
        assert not (home / "in" / "out").exists()
    else:
        is_tar = pack == "tar"  # where a file keeps its content whatever its name ends in
        folded = {name.rstrip("/"): data for name, data in members if is_tar or not name.endswith("/")}
        assert sum(map(len, _content(home / "in" / "out").values())) == sum(map(len, folded.values()))
    assert {found.name for found in home.iterdir()} <= {"x", "in"}
    assert {found.name for found in (home / "in").iterdir()} <= {"out"} if (home / "in").exists() else True
