"""Lines that are printed faster than they can be recorded wait a moment, and none is lost or moved."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

from localtrack.runtime import line_collector
from localtrack.runtime.line_collector import LineCollector
from localtrack.runtime.tee import ConsoleTee


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no time for recording beside the prints, so that from the second line on they wait."""
    monkeypatch.setattr(line_collector, "BUDGET_S", 0.0)


def install(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> tuple[ConsoleTee, io.StringIO]:
    """Put a tee before a stream of the test's own."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    console = ConsoleTee(lambda code, texts: seen.extend("\n".join(texts).split("\n")), stderr=False)
    console.install()
    return console, out


def wait_until(condition) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_line_is_recorded_before_its_print_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is time for it, nothing waits."""
    seen: list[str] = []
    console, _ = install(monkeypatch, seen)
    for number in range(20):
        print(number)
        assert seen[-1:] == [str(number)]
    console.remove()


@pytest.mark.usefixtures("hurried")
def test_lines_that_wait_are_recorded_without_another_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits comes in order a moment later, while the script does something else."""
    seen: list[str] = []
    console, out = install(monkeypatch, seen)
    expected = [str(number) for number in range(5000)]
    for line in expected:
        print(line)
    assert out.getvalue().splitlines() == expected
    wait_until(lambda: len(seen) == 5000)
    assert seen == expected
    console.remove()


@pytest.mark.usefixtures("hurried")
def test_the_end_records_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the tee is taken off, the last lines are there, the unfinished one too."""
    seen: list[str] = []
    console, _ = install(monkeypatch, seen)
    for number in range(1000):
        print(number)
    print("unfinished", end="")
    console.remove()
    assert seen == [*map(str, range(1000)), "unfinished"]


def test_after_a_flood_lines_are_recorded_at_once_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was paced is not for ever: once printing has paused, a line waits no more."""
    seen: list[str] = []
    console, _ = install(monkeypatch, seen)
    collector = console._collectors["stdout"]
    monkeypatch.setattr(line_collector, "SHARE", 1.0)  # so that the pause may be short
    collector._budget_s = 0.0
    print("first")
    print("waits")
    wait_until(lambda: seen == ["first", "waits"] and not collector.is_paced)
    print("again")
    assert seen[-1] == "again"
    console.remove()


def test_a_forked_child_pays_no_debt_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool's worker may be ended at any moment: after a flood of the parent's its first lines wait no more than ever."""
    console, _ = install(monkeypatch, [])
    collector = console._collectors["stdout"]
    collector._budget_s, collector._counted = -1.0, time.monotonic()
    print("of the parent")
    assert collector.is_paced
    seen: list[str] = []
    console.rebind(lambda code, texts: seen.extend(texts))
    print("of the child")
    assert seen == ["of the child"]
    console.remove()


@pytest.mark.parametrize("is_hurried", [False, True])
def test_threads_that_print_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch, is_hurried: bool) -> None:
    """Every line of four threads is there once, each thread's in its order."""
    if is_hurried:
        monkeypatch.setattr(line_collector, "BUDGET_S", 0.0)
    seen: list[str] = []
    console, out = install(monkeypatch, seen)

    def work(name: str) -> None:
        for number in range(3000):
            sys.stdout.write(f"{name} {number}\n")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    console.remove()
    assert len(out.getvalue().splitlines()) == 12000
    for name in "abcd":
        assert [line for line in seen if line.startswith(name)] == [f"{name} {number}" for number in range(3000)]


def test_a_print_while_recording_is_no_deadlock() -> None:
    """What a signal handler prints while a line is being recorded is recorded after it."""
    seen: list[str] = []

    def sink(code: str, texts: list[str]) -> None:
        if texts == ["outer"]:
            collector.feed("inner\n")
        seen.extend(texts)

    collector = LineCollector("o", sink)
    collector.feed("outer\n")
    assert seen == ["outer", "inner"]


def test_what_an_interrupt_leaves_waits_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come while many lines are being recorded: those that are not yet are so afterwards, in their order."""
    monkeypatch.setattr(line_collector, "PARTS_LIMIT", 10)
    monkeypatch.setattr(line_collector, "GROUPS_LIMIT", 1)
    seen: list[str] = []

    def sink(code: str, texts: list[str]) -> None:
        seen.extend("\n".join(texts).split("\n"))
        if len(seen) == 20:
            raise KeyboardInterrupt

    collector = LineCollector("o", sink)
    collector.waiting.extend(f"line {number}\n" for number in range(55))
    with pytest.raises(KeyboardInterrupt):
        collector.settle()
    collector.feed("last\n")
    assert seen == [f"line {number}" for number in range(55)] + ["last"]


def test_a_line_without_end_is_recorded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output without newlines is bounded in memory and whole in the log; a bar that draws over itself is neither."""
    monkeypatch.setattr(line_collector, "PARTIAL_LIMIT", 1000)
    seen: list[str] = []
    collector = LineCollector("o", lambda code, texts: seen.extend("\n".join(texts).split("\n")))
    for number in range(100):
        collector.feed(f"{number:04d}" * 300)
    collector.flush_partial()
    assert "".join(seen) == "".join(f"{number:04d}" * 300 for number in range(100))
    seen.clear()
    for number in range(5000):
        collector.feed(f"\r{number} of 5000")
    collector.flush_partial()
    assert seen == ["4999 of 5000"]


def test_settling_waits_for_what_another_thread_is_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to be sure that all is recorded waits for it; of a store that hangs, only the first does."""
    monkeypatch.setattr("localtrack.runtime.line_collector.FLUSH_WAIT_S", 0.5)
    begun, may_end, written = threading.Event(), threading.Event(), []

    def sink(code, texts):
        begun.set()
        assert may_end.wait(20)
        written.extend(texts)

    collector = LineCollector("o", sink)
    thread = threading.Thread(target=collector.feed, args=("a line\n",))
    thread.start()
    assert begun.wait(20)
    start = time.monotonic()
    collector.settle_whole()
    waited = time.monotonic() - start
    collector.settle_whole()
    assert waited >= 0.5 > time.monotonic() - start - waited
    threading.Timer(0.1, may_end.set).start()
    monkeypatch.setattr("localtrack.runtime.line_collector.FLUSH_WAIT_S", 20)
    thread.join()
    collector.settle_whole()
    assert written == ["a line"]
    may_end.clear()
    begun.clear()
    thread = threading.Thread(target=collector.feed, args=("another\n",))
    thread.start()
    assert begun.wait(20)
    threading.Timer(0.1, may_end.set).start()
    collector.settle_whole()
    assert written == ["a line", "another"]
    thread.join()
