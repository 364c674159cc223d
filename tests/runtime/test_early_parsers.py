"""The stubs before the parsers' entries, without any parser; with them: tests/frameworks/test_early_parsers.py."""

from __future__ import annotations

import threading

import pytest

from localtrack.runtime import early_parsers
from localtrack.runtime.early_parsers import EarlyParsers


def test_a_lock_that_nobody_gives_back_holds_no_parse_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a child that was forked while another thread put the bindings on: each of several threads goes on."""
    monkeypatch.setattr(early_parsers, "_WAIT_S", 0.1)
    put_on: list[int] = []
    watch = EarlyParsers(lambda: lambda: put_on.append(1))
    gone = threading.Thread(target=watch._lock.acquire)
    gone.start()
    gone.join()
    failed: list[BaseException] = []

    def parse() -> None:
        try:
            watch._begin()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=parse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not [thread for thread in threads if thread.is_alive()]
    assert failed == []
    assert put_on
    watch._begin()  # without a wait
    watch.remove()


def test_who_gives_up_on_a_lock_gives_back_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another thread has given up as well, and put its lock in place meanwhile."""
    monkeypatch.setattr(early_parsers, "_WAIT_S", 0.05)
    watch = EarlyParsers(lambda: lambda: None)
    gone = threading.Thread(target=watch._lock.acquire)
    gone.start()
    gone.join()
    others, own = threading.RLock(), threading.RLock()

    class Overtaken:
        def acquire(self) -> None:
            own.acquire()
            watch._lock = others

        def release(self) -> None:
            own.release()

    monkeypatch.setattr(early_parsers.threading, "RLock", Overtaken)
    watch._begin()
    assert watch._is_over
