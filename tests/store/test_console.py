"""What the processes of a task printed."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.fs.disk import Disk
from localtrack.store import console as console_module
from localtrack.store import console_reader
from localtrack.store.console import ConsoleLog
from localtrack.store.console_reader import ConsoleReader, read_console


@pytest.fixture
def trouble() -> list[OSError]:
    """Return a place for complaints."""
    return []


@pytest.fixture
def log(tmp_path: Path, trouble: list[OSError]) -> ConsoleLog:
    """Return a console in an empty folder."""
    return ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", "w", trouble.append)


def _texts(folder: Path) -> list[str]:
    return [line.text for line in read_console(folder)]


def test_a_line_is_in_the_file_at_once(log: ConsoleLog, tmp_path: Path) -> None:
    """A printed line can be read before any flush, with time, stream and writer."""
    log.write("o", ["hello", "  indented"])
    log.write("e", ["trouble"])

    lines = read_console(tmp_path / "console")
    assert [(line.stream, line.text, line.writer) for line in lines] == [
        ("o", "hello", "w"), ("o", "  indented", "w"), ("e", "trouble", "w"),
    ]  # fmt: skip
    assert all(line.at.endswith("Z") for line in lines)


def test_odd_texts_come_back(log: ConsoleLog, tmp_path: Path) -> None:
    """Empty lines, emoji, control characters and broken surrogates are kept."""
    texts = ["", "🚀 é", "tab\there", "\x1b[31mred\x1b[0m", "nul\0", "cr\rmore", "2026-01-01T00:00:00.000000Z o fake"]
    log.write("o", texts)
    log.write("o", ["\ud800"])

    assert _texts(tmp_path / "console") == [*texts, "\\ud800"]


def test_segments_roll(log: ConsoleLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full segment is followed by the next one, and reading keeps the order beyond nine."""
    monkeypatch.setattr(console_module, "SEGMENT_BYTES", 60)
    for number in range(30):
        log.write("o", [f"line {number}"])
    log.close()

    assert len(list((tmp_path / "console").iterdir())) > 10
    assert _texts(tmp_path / "console") == [f"line {number}" for number in range(30)]


def test_writers_are_merged_by_time(tmp_path: Path, trouble: list[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of several processes are in the order of their printing."""
    clock = iter(f"2026-01-01T00:00:00.{number:06d}Z" for number in range(100))
    monkeypatch.setattr(console_module, "_moment", lambda: next(clock))
    logs = [ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", name, trouble.append) for name in "ba"]
    for number in range(6):
        logs[number % 2].write("o", [str(number)])

    assert _texts(tmp_path / "console") == list("012345")


def test_threads_do_not_mix_lines(log: ConsoleLog, tmp_path: Path) -> None:
    """Every line of every thread arrives whole."""

    def work(name: str) -> None:
        for number in range(100):
            log.write("o", [f"{name}{number}" * 10])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(_texts(tmp_path / "console")) == sorted(f"{n}{i}" * 10 for n in "abcd" for i in range(100))


def test_full_disk(small_disk: Path, fill_up: Callable[[Path], Path], trouble: list[OSError]) -> None:
    """On a disk that fills up and gets room again nothing raises, nothing is lost, and one complaint is made."""
    log = ConsoleLog(Disk(small_disk / "tmp"), small_disk / "console", "w", trouble.append)
    log.write("o", ["before"])
    filler = fill_up(small_disk)
    texts = [f"during {number} " + "x" * 80 for number in range(300)]
    for text in texts:
        log.write("o", [text])
    assert not log.drain()

    filler.unlink()
    assert log.drain()
    log.write("o", ["after"])
    log.close()

    assert [error.errno for error in trouble] == [errno.ENOSPC]
    assert _texts(small_disk / "console") == ["before", *texts, "after"]


def test_waiting_text_is_bounded(tmp_path: Path, trouble: list[OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds so much text and counts what it could not hold."""
    log = ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", "w", trouble.append, pending_limit_bytes=200)

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        for number in range(20):
            log.write("o", [f"line {number:02d}"])
    log.close()

    assert len(trouble) == 1
    assert _texts(tmp_path / "console")[:4] == ["line 00", "line 01", "line 02", "line 03"]
    assert log.dropped_bytes + 200 == 20 * len("2026-01-01T00:00:00.000000Z o line 00\n")


def test_short_writes_are_continued(log: ConsoleLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that the disk took in pieces is whole."""
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        log.write("o", ["one"])
        log.write("o", ["two"])
    log.close()

    assert _texts(tmp_path / "console") == ["one", "two"]


def test_torn_and_foreign_text_is_shown(log: ConsoleLog, tmp_path: Path) -> None:
    """Nothing that was printed is hidden: cut at any byte, every whole line is there and the rest is text."""
    log.write("o", ["first", "second"])
    path = tmp_path / "console" / "w-1.txt"
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        texts = _texts(tmp_path / "console")
        assert texts[:1] == (["first"] if size >= data.index(b"\n") else texts[:1])
        assert len(texts) <= 2
    path.write_bytes(b"\xff\xfe no record\n" + data)
    assert _texts(tmp_path / "console")[1:] == ["first", "second"]


def test_hostile_files_hide_no_lines(log: ConsoleLog, tmp_path: Path) -> None:
    """Folders, pipes and links among the segments are named, and neither block nor hide the rest."""
    log.write("o", ["hello"])
    (tmp_path / "console" / "d-1.txt").mkdir()
    os.mkfifo(tmp_path / "console" / "f-1.txt")
    (tmp_path / "console" / "l-1.txt").symlink_to("/etc/passwd")

    texts = _texts(tmp_path / "console")
    assert texts[-1] == "hello"
    assert len([text for text in texts if "can't be read" in text]) == 3


def test_forget_leaves_the_parent_alone(log: ConsoleLog, tmp_path: Path) -> None:
    """A forked child that lets go writes nothing into its parent's segment."""
    log.write("o", ["parent"])
    pid = os.fork()
    if pid == 0:
        log.forget()
        log.close()
        os._exit(0)
    os.waitpid(pid, 0)
    log.write("o", ["still parent"])

    assert _texts(tmp_path / "console") == ["parent", "still parent"]


def test_a_long_log_keeps_head_and_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over its limit the middle goes, segment by segment; what is left is whole, and readers say what is missing."""
    monkeypatch.setattr(console_module, "SEGMENT_BYTES", 100)
    log = ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", "w", lambda error: None, limit_bytes=800)
    for number in range(200):
        log.write("o", [f"line {number:03d}"])
        assert len(list((tmp_path / "console").iterdir())) <= 8
    log.close()
    texts = _texts(tmp_path / "console")
    gap = next(number for number, text in enumerate(texts) if "left out" in text)
    numbers = [int(text.split()[1]) for text in texts if text.startswith("line")]
    assert numbers == [*range(gap), *range(200 - (len(numbers) - gap), 200)]
    assert 0 < gap < len(numbers) < 200
    assert numbers[-1] == 199


def test_without_a_limit_all_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero keeps every segment."""
    monkeypatch.setattr(console_module, "SEGMENT_BYTES", 100)
    log = ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", "w", lambda error: None)
    for number in range(200):
        log.write("o", [f"line {number}"])
    log.close()
    assert _texts(tmp_path / "console") == [f"line {number}" for number in range(200)]


def test_an_enormous_line_keeps_its_ends(log: ConsoleLog, tmp_path: Path) -> None:
    """Of a line of 20 MB a megabyte is kept, and it says so; lines beside it are whole."""
    log.write("o", ["before", "a" + "x" * (20 << 20) + "z", "after"])
    before, line, after = _texts(tmp_path / "console")
    assert (before, after) == ("before", "after")
    assert (line[:2], line[-2:]) == ("ax", "xz")
    assert "characters left out" in line
    assert len(line) < 2 << 20


def test_a_reader_goes_on_where_it_was(log: ConsoleLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again it gives what came since, over segments, from new writers, and a torn line once it is whole."""
    monkeypatch.setattr(console_module, "SEGMENT_BYTES", 60)
    monkeypatch.setattr(console_reader, "CHUNK_BYTES", 40)
    reader = ConsoleReader(tmp_path / "console")
    assert list(reader.read()) == []
    log.write("o", ["one", "two"])
    path = tmp_path / "console" / "w-1.txt"
    with open(path, "ab") as stream:
        stream.write(b"2026-01-01T00:00:00.000000Z o thr")
    assert [line.text for line in reader.read(torn=False)] == ["one", "two"]
    assert list(reader.read(torn=False)) == []
    with open(path, "ab") as stream:
        stream.write(b"ee\n")
    other = ConsoleLog(Disk(tmp_path / "tmp"), tmp_path / "console", "v", lambda error: None)
    log.write("o", ["four"])
    other.write("e", ["five", "x" * 100])
    assert sorted(line.text for line in reader.read()) == ["five", "four", "three", "x" * 100]
    assert list(reader.read()) == []
    for one in (log, other):
        one.close()


def test_many_writers_are_read_with_few_files_open(tmp_path: Path) -> None:
    """A task of more ranks than a process may open files can be read."""
    import resource

    disk = Disk(tmp_path / "tmp")
    for number in range(100):
        log = ConsoleLog(disk, tmp_path / "console", f"w{number:03d}", lambda error: None)
        log.write("o", [f"rank {number}"])
        log.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # what earlier tests left open
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    try:
        texts = _texts(tmp_path / "console")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(texts) == sorted(f"rank {number}" for number in range(100))
