"""What is printed in a flood is copied below the stream: nothing of it is lost, moved or recorded twice, and the output is the same."""

from __future__ import annotations

import gc
import io
import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from localtrack.runtime import buffer_copy, line_collector
from localtrack.runtime.buffer_copy import BufferCopy, fan_out
from localtrack.runtime.tee import ConsoleTee
from tests.runtime.printed import Printed, wait_until

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="prints are copied one by one there")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no time for recording beside the prints, so that the first line begins the copy."""
    monkeypatch.setattr(line_collector, "BUDGET_S", 0.0)


@pytest.fixture(params=["file", "pipe", "terminal"])
def put_in_place(request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a stream of each kind in place, in the test itself: pytest puts its own there between a fixture and the test."""
    return lambda: Printed(monkeypatch, tmp_path / "out.txt", request.param)


def let_the_flood_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all the time for recording, so that copying ends as soon as it is looked at."""
    monkeypatch.setattr(line_collector, "BUDGET_S", 0.004)
    monkeypatch.setattr(line_collector, "SHARE", 1.0)


def test_a_fan_gives_to_each_and_fails_with_the_first() -> None:
    """Each callee gets the argument once, in their order; an exception is the caller's and ends it."""
    first: list[object] = []
    second = io.BytesIO()
    fan = fan_out(first.append, second.write)
    fan(b"a")
    fan(b"bc")
    assert (first, second.getvalue()) == ([b"a", b"bc"], b"abc")
    second.close()
    with pytest.raises(ValueError, match="closed"):
        fan(b"d")
    assert first[-1] == b"d"


def test_a_flood_is_recorded_whole(put_in_place) -> None:
    """All lines are in the output and in the record, once and in order, with characters of all sizes."""
    printed = put_in_place()
    printed.begin()
    expected = ["first"] + [f"{number} äöü 漢 🙂 {'x' * (number % 300)}" for number in range(20_000)]
    for line in expected[1:]:
        print(line)
    assert sys.stdout.write.__self__ is printed.stream  # the interpreter's own
    assert printed.end().splitlines() == expected
    assert printed.seen == expected


def test_what_the_stream_holds_back_is_recorded_within_a_moment(put_in_place) -> None:
    """A line for a file that Python has not flushed yet is in the record soon, one for a pipe when it goes there."""
    printed = put_in_place()
    printed.begin()
    print("held back")
    print("unfinished", end="")
    if printed.copy.is_file or printed.stream.line_buffering:
        wait_until(lambda: printed.seen == ["first", "held back"])
    assert printed.copy.is_open
    print(", finished", flush=True)
    assert printed.end() == "first\nheld back\nunfinished, finished\n"
    assert printed.seen == ["first", "held back", "unfinished, finished"]


def test_after_a_flood_the_stream_is_as_before(put_in_place, monkeypatch: pytest.MonkeyPatch) -> None:
    """When prints are rare again each is recorded as it returns, and nothing stands in the buffer's place."""
    printed = put_in_place()
    recording = sys.stdout.write
    printed.begin()
    print("second")
    let_the_flood_be_over(monkeypatch)
    wait_until(lambda: printed.copy.is_ending or not printed.copy.is_busy)
    wait_until(lambda: not printed.tee._collectors["stdout"].is_paced)
    assert sys.stdout.write is recording
    print("third")
    assert "write" not in vars(printed.stream.buffer)
    assert printed.seen[-1] == "third"
    assert printed.end() == "first\nsecond\nthird\n"
    assert printed.seen == ["first", "second", "third"]


def test_a_write_that_somebody_keeps_stays_recorded(put_in_place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever took ``sys.stdout.write`` before, in or after the flood is recorded ever after."""
    printed = put_in_place()
    before = sys.stdout.write
    printed.begin()
    within = sys.stdout.write
    before("before\n")
    within("within\n")
    let_the_flood_be_over(monkeypatch)
    time.sleep(0.3)  # time to end
    assert printed.copy.is_open
    within("later\n")
    before("later still\n")
    del within
    wait_until(lambda: printed.copy.is_ending or not printed.copy.is_open)
    before("last\n")
    assert not printed.copy.is_open
    expected = ["first", "before", "within", "later", "later still", "last"]
    assert printed.end().splitlines() == expected
    assert printed.seen == expected


def test_the_stream_that_somebody_holds_is_recorded_in_a_flood(put_in_place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints by the stream that stood there, before, in and after the flood, are recorded once and in their order."""
    printed = put_in_place()
    held = printed.stream
    print("zero", file=held)
    printed.copy.begin()
    expected = ["zero"]
    for number in range(3000):
        expected += [f"by the tee {number}", f"by the stream {number}"]
        print(expected[-2])
        print(expected[-1], file=held)
    assert printed.copy.is_open
    let_the_flood_be_over(monkeypatch)
    wait_until(lambda: printed.copy.is_ending or not printed.copy.is_busy)
    print("after", file=held)
    print("at last")
    wait_until(lambda: not printed.copy.is_open)
    assert printed.end().splitlines() == [*expected, "after", "at last"]
    assert printed.seen == [*expected, "after", "at last"]
    assert "write" not in vars(held)


def test_a_write_that_somebody_put_in_place_stays(put_in_place) -> None:
    """A patch of ``sys.stdout.write`` made before or in the flood is called for each text."""
    printed = put_in_place()
    calls: list[str] = []
    ours = sys.stdout.write

    def theirs(text: str) -> int:
        calls.append(text)
        return ours(text)

    sys.stdout.write = theirs
    printed.begin()
    print("second")
    assert sys.stdout.write is theirs
    assert printed.end() == "first\nsecond\n"
    assert calls == ["first", "\n", "second", "\n"]
    assert printed.seen == ["first", "second"]


def test_any_mixture_of_writes_of_one_thread_keeps_its_order(put_in_place) -> None:
    """Prints, parts of lines, flushes, kept writes and pauses: output and record are the same text."""
    printed = put_in_place()
    dice = random.Random(7)
    kept = [sys.stdout.write]
    expected = ""
    for number in range(3000):
        text = f"{number}" + dice.choice(["", "\n", "\n\n", " é\n", "x" * 9000 + "\n"])
        expected += text
        dice.choice(
            [
                lambda t: print(t, end=""),
                lambda t: print(t, end="", flush=True),
                lambda t: dice.choice(kept)(t),
                lambda t: sys.stdout.writelines([t[:2], t[2:]]),
            ]
        )(text)
        if number % 500 == 100:
            kept.append(sys.stdout.write)
            time.sleep(0.07)
    kept.clear()
    assert printed.end() == expected
    assert "\n".join(printed.seen).rstrip("\n") == expected.rstrip("\n")


def test_threads_that_print_at_once_lose_nothing(put_in_place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While copying begins and ends again and again, every line of four threads is recorded, each thread's in its order."""
    printed = put_in_place()
    monkeypatch.setattr(line_collector, "PACE_S", 0.002)
    monkeypatch.setattr(line_collector, "TRY_PARTS", 1)
    began: list[bool] = []
    begin = BufferCopy._begin

    def counted(copy: BufferCopy) -> None:
        begin(copy)
        began.append(copy.is_open)

    monkeypatch.setattr(BufferCopy, "_begin", counted)

    def work(name: str) -> None:
        for number in range(3000):
            print(f"{name} {number}\n", end="")
            if number % 100 == 0:
                time.sleep(0.01)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        printed.tee._collectors["stdout"].end_copy()
        time.sleep(0.02)
    out = printed.end().splitlines()
    assert sum(began) > 3
    for name in "abcd":
        expected = [line for line in out if line.startswith(name)]  # CPython 3.11 itself may lose one: gh-119506
        assert len(expected) > 2900
        recorded = [line for line in printed.seen if line.startswith(name)]
        assert recorded == expected


def test_bytes_that_the_program_writes_are_no_lines(put_in_place) -> None:
    """Whoever asks for the buffer has it for himself: what he writes is not recorded, and prints still are."""
    printed = put_in_place()
    printed.begin()
    print("second", flush=True)
    sys.stdout.buffer.write(b"bytes\n")
    sys.stdout.buffer.flush()
    assert not printed.copy.is_open
    print("third", flush=True)
    print("fourth")
    assert not printed.copy.is_open
    assert printed.end() == "first\nsecond\nbytes\nthird\nfourth\n"
    assert printed.seen == ["first", "second", "third", "fourth"]


def test_what_does_not_suit_is_recorded_as_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kept buffer or file, another encoding, a file below a text buffer, no blocking, a subclass: no copy, all recorded."""

    class Own(io.TextIOWrapper):
        pass

    def plain(fd: int) -> io.BufferedWriter:
        return io.BufferedWriter(io.FileIO(fd, "w", closefd=False))

    kept: list[io.BufferedIOBase | io.RawIOBase] = []

    def keeping(fd: int) -> io.TextIOWrapper:
        kept.append(plain(fd))
        return io.TextIOWrapper(kept[-1], "utf-8")

    def keeping_the_file(fd: int) -> io.TextIOWrapper:
        kept.append(io.FileIO(fd, "w", closefd=False))
        return io.TextIOWrapper(kept[-1], "utf-8", write_through=True)

    def unblocked(fd: int) -> io.TextIOWrapper:
        os.set_blocking(fd, False)
        return io.TextIOWrapper(plain(fd), "utf-8")

    makers = [
        keeping,
        keeping_the_file,
        unblocked,
        lambda fd: io.TextIOWrapper(plain(fd), "latin-1"),
        lambda fd: io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), "utf-8", line_buffering=True),
        lambda fd: Own(plain(fd), "utf-8"),
    ]
    for number, maker in enumerate(makers):
        fd = os.open(tmp_path / f"{number}.txt", os.O_WRONLY | os.O_CREAT)
        stream = maker(fd)
        monkeypatch.setattr(sys, "stdout", stream)
        seen: list[str] = []
        tee = ConsoleTee(lambda code, texts, seen=seen: seen.extend("\n".join(texts).split("\n")), stderr=False)
        tee.install()
        for line in range(100):
            print(line)
        assert not tee._collectors["stdout"].is_copied, number
        tee.remove()
        stream.flush()
        os.close(fd)
        assert seen == [str(line) for line in range(100)], number
        assert (tmp_path / f"{number}.txt").read_text().splitlines() == seen, number


def test_a_pipe_without_a_reader_is_the_prints_own_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The print that meets a broken pipe raises, as it does without a copy."""
    reading, writing = os.pipe()
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(writing, "w")), "utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    seen: list[str] = []
    tee = ConsoleTee(lambda code, texts: seen.extend("\n".join(texts).split("\n")), stderr=False)
    tee.install()
    print("first")
    copy = tee._collectors["stdout"].copy
    assert copy is not None
    assert copy.is_open
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        print("second", flush=True)
    tee.remove()
    assert seen == ["first", "second"]
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_an_error_of_the_stream_is_the_next_prints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the stream can't hand on for the copy is no secret: the print that comes next raises it."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    flush = io.TextIOWrapper.flush
    full = [True]

    def failing() -> None:
        if full.pop() if full else False:
            raise OSError(28, "No space left on device")
        flush(printed.stream)

    print("second")
    printed.stream.flush = failing
    wait_until(lambda: printed.copy._failed is not None)
    with pytest.raises(OSError, match="No space left"):
        print("third")
    print("fourth")
    del printed.stream.flush
    assert printed.end() == "first\nsecond\nfourth\n"
    assert printed.seen == ["first", "second", "fourth"]


def test_an_interrupt_while_copying_ends_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C may come at any moment: the buffer's own write is back, and later lines are recorded once."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    print("second")

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(buffer_copy.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            printed.tee._collectors["stdout"].end_copy(for_good=True)
    assert "write" not in vars(printed.stream.buffer)
    print("third")
    assert printed.end() == "first\nsecond\nthird\n"
    assert printed.seen == ["first", "second", "third"]


def test_another_encoding_in_a_flood_is_recorded_as_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``reconfigure`` in a flood changes the output's bytes, not the record."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    sys.stdout.reconfigure(encoding="latin-1")
    print("grün")
    printed.tee.remove()
    printed.stream.flush()
    assert (tmp_path / "out.txt").read_bytes() == "first\ngrün\n".encode("latin-1")
    assert printed.seen == ["first", "grün"]
    os.close(printed.fd)


def test_one_stream_for_both_is_copied_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where stderr is stdout, each line is recorded once, with the stream that it was printed to."""
    fd = os.open(tmp_path / "out.txt", os.O_WRONLY | os.O_CREAT)
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), "utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    seen: list[tuple[str, str]] = []
    tee = ConsoleTee(lambda code, texts: seen.extend((code, line) for line in "\n".join(texts).split("\n")))
    tee.install()
    for number in range(100):
        print(number, file=sys.stderr)
    tee.remove()
    stream.flush()
    os.close(fd)
    assert seen == [("e", str(number)) for number in range(100)]


@pytest.mark.parametrize("how", ["close", "detach"])
def test_a_stream_that_goes_away_in_a_flood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    """A script may close its stdout, or take its buffer for a stream of its own; what it printed is whole."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    print("second")
    if how == "detach":
        buffer = sys.stdout.detach()
        buffer.write(b"third\n")
        buffer.flush()
    else:
        sys.stdout.close()
    printed.tee.remove()
    assert (tmp_path / "out.txt").read_text() == "first\nsecond\n" + "third\n" * (how == "detach")
    assert printed.seen == ["first", "second"]
    os.close(printed.fd)


def test_the_next_run_of_a_process_is_copied_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What holds the buffer from an earlier run is no reason against it, whether or not garbage was collected since."""
    gc.disable()
    try:
        printed = Printed(monkeypatch, tmp_path / "out.txt")
        printed.begin()
        print("of the first run")
        old = sys.stdout
        printed.tee.remove()
        seen: list[str] = []
        tee = ConsoleTee(lambda code, texts: seen.extend("\n".join(texts).split("\n")), stderr=False)
        tee.install()
        print("of the second run")
        copy = tee._collectors["stdout"].copy
        assert copy is not None
        assert copy.is_open
        print("by a stream of the first", file=old)
        tee.remove()
        assert printed.seen == ["first", "of the first run"]
        assert seen == ["of the second run", "by a stream of the first"]
    finally:
        gc.enable()
    os.close(printed.fd)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A child that is forked in a flood records its own lines, and none of its parent's."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    print("of the parent", flush=True)
    child = os.fork()
    if child == 0:
        try:
            printed.tee.rebind(
                lambda code, texts: Path(tmp_path / "child.txt").open("a").write("\n".join(texts) + "\n")
            )
            recording = not printed.copy.is_open and "write" not in vars(printed.stream.buffer)
            print("of the child")
            printed.tee.remove()
            os._exit(0 if recording else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    print("of the parent again")
    assert printed.end().splitlines() == ["first", "of the parent", "of the child", "of the parent again"]
    assert printed.seen == ["first", "of the parent", "of the parent again"]
    assert (tmp_path / "child.txt").read_text() == "of the child\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_no_fork_comes_while_text_is_handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The child would inherit the buffer's lock, held by a thread that it does not have: a fork waits for an end."""
    printed = Printed(monkeypatch, tmp_path / "out.txt")
    printed.begin()
    ending, go_on = threading.Event(), threading.Event()

    def slowly(seconds: float) -> None:
        ending.set()
        go_on.wait(10)

    with monkeypatch.context() as patch:
        patch.setattr(buffer_copy.time, "sleep", slowly)
        thread = threading.Thread(target=printed.copy.end)
        thread.start()
        assert ending.wait(10)
        threading.Timer(0.2, go_on.set).start()
        child = os.fork()
        if child == 0:
            os._exit(0 if go_on.is_set() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        thread.join()
    assert not printed.copy._switching.locked()
    assert printed.end() == "first\n"
