"""Wake-up calls: a hint comes soon, and nothing rests on it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from localtrack.fs.watch import Waker


def _later(path: Path) -> threading.Timer:
    timer = threading.Timer(0.2, lambda: path.write_bytes(b"x"))
    timer.start()
    return timer


@pytest.mark.parametrize("use_events", [True, False])
def test_a_new_file_wakes(tmp_path: Path, use_events: bool) -> None:
    """A new name in a watched folder ends the wait long before its time is up."""
    with Waker([tmp_path], 0.05, use_events=use_events) as waker:
        assert waker.has_events is use_events
        timer = _later(tmp_path / "new")
        start = time.monotonic()
        assert waker.wait(30)
        assert time.monotonic() - start < 15
        timer.join()


@pytest.mark.parametrize("use_events", [True, False])
def test_quiet_folders_do_not_wake(tmp_path: Path, use_events: bool) -> None:
    """Without a change the time runs out, although the waiter itself lists the folder."""
    with Waker([tmp_path], 0.05, use_events=use_events) as waker:
        assert not waker.wait(0.4)
        assert not waker.wait(0.2)


def test_a_change_before_the_wait_is_not_missed(tmp_path: Path) -> None:
    """What happened between two waits ends the second at once."""
    with Waker([tmp_path], 0.05, use_events=False) as waker:
        (tmp_path / "new").write_bytes(b"")
        assert waker.wait(30)
        assert not waker.wait(0.1)


def test_wake_ends_a_wait(tmp_path: Path) -> None:
    """Another thread, or a signal handler, can end the wait."""
    with Waker([tmp_path], 60) as waker:
        threading.Timer(0.1, waker.wake).start()
        start = time.monotonic()
        assert waker.wait(60)
        assert time.monotonic() - start < 30


def test_no_room_for_a_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where inotify's limits are reached the waker polls, and still wakes."""
    import watchdog.observers

    class Full:
        daemon = False

        def schedule(self, *args: object, **named: object) -> None:
            raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watchdog.observers, "Observer", Full)
    with Waker([tmp_path], 0.05) as waker:
        assert not waker.has_events
        assert "limit" in waker.failure
        timer = _later(tmp_path / "new")
        assert waker.wait(30)
        timer.join()


def test_a_missing_folder_is_polled(tmp_path: Path) -> None:
    """A folder that does not exist yet is no error, and its appearance with a file wakes."""
    folder = tmp_path / "later"
    with Waker([folder], 0.05) as waker:
        folder.mkdir()
        (folder / "new").write_bytes(b"")
        assert waker.wait(30)


def test_a_network_folder_gets_no_observer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system names are compared and no event thread is started."""
    from localtrack.fs import watch
    from localtrack.fs.probe import Mount

    monkeypatch.setattr(watch, "find_mount", lambda path: Mount("/", "nfs4", "srv:/", frozenset(), True))
    before = threading.active_count()
    with Waker([tmp_path], 0.05) as waker:
        assert not waker.has_events
        assert threading.active_count() == before
        (tmp_path / "new").write_bytes(b"")
        assert waker.wait(30)
