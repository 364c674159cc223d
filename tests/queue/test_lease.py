"""Leases by a heartbeat that changes, timed by the observer's own clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.queue.lease import BEAT_BYTES, Heartbeat, LeaseObserver, Verdict
from localtrack.store.root import Store

LEASE_S = 60.0
FAR = {"host": "far"}


class Clock:
    """A clock that goes forward only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A stopped clock."""
    return Clock()


@pytest.fixture
def watch(store: Store, clock: Clock) -> Callable[..., Verdict]:
    """Return a function that advances the clock and looks at a heartbeat of another host."""
    observer = LeaseObserver(store.disk, LEASE_S, clock=clock)

    def look(path: Path, after_s: float = 10.0) -> Verdict:
        clock.now += after_s
        return observer.judge("owner", FAR, path)

    return look


def test_a_beat_is_24_bytes_in_place(store: Store, tmp_path: Path) -> None:
    """Every beat overwrites the same 24 bytes with others."""
    heartbeat = Heartbeat(store.disk, tmp_path / "hb", LEASE_S)
    seen = set()
    for _ in range(3):
        assert heartbeat.beat()
        seen.add((tmp_path / "hb").read_bytes())
    heartbeat.close()
    assert len(seen) == 3
    assert {len(data) for data in seen} == {BEAT_BYTES}


def test_a_changing_heartbeat_lives(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """However long one looks, an owner whose bytes change is never dead."""
    path = tmp_path / "hb"
    verdicts = []
    for turn in range(40):
        path.write_bytes(str(turn // 5).encode())
        verdicts.append(watch(path))
    assert Verdict.DEAD not in verdicts
    assert verdicts[-1] is Verdict.ALIVE


def test_a_still_heartbeat_dies_after_the_lease(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """Bytes that stand still for the lease over five reads mean a dead owner, and not earlier."""
    path = tmp_path / "hb"
    path.write_bytes(b"x")
    verdicts = [watch(path) for _ in range(7)]
    assert verdicts == [Verdict.UNKNOWN] * 6 + [Verdict.DEAD]


def test_a_missing_heartbeat_dies_after_the_lease(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """A heartbeat that is not there stands still as well."""
    assert [watch(tmp_path / "none") for _ in range(7)][-1] is Verdict.DEAD


def test_few_looks_prove_nothing(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """Two looks more than a lease apart are no proof: the observer may have slept or been cut off."""
    (tmp_path / "hb").write_bytes(b"x")
    assert {watch(tmp_path / "hb", after_s=200) for _ in range(10)} == {Verdict.UNKNOWN}


def test_an_observer_that_slept_starts_again(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """A long gap between two looks restarts the count."""
    path = tmp_path / "hb"
    path.write_bytes(b"x")
    for _ in range(6):
        watch(path)
    assert watch(path, after_s=3600) is Verdict.UNKNOWN
    assert [watch(path) for _ in range(6)][-1] is Verdict.DEAD


def test_an_observer_that_cannot_write_buries_nobody(
    watch: Callable[..., Verdict], tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can't write to the store itself may be the one who is cut off."""
    (tmp_path / "hb").write_bytes(b"x")

    def fail(fill: object) -> Path:
        raise OSError(5, "cut off")

    monkeypatch.setattr(store.disk, "write_tmp", fail)
    assert {watch(tmp_path / "hb") for _ in range(12)} == {Verdict.UNKNOWN}
    monkeypatch.undo()
    assert watch(tmp_path / "hb") is Verdict.DEAD


def test_an_unreadable_heartbeat_is_no_proof(watch: Callable[..., Verdict], tmp_path: Path) -> None:
    """A heartbeat that can't be read tells nothing, however long."""
    (tmp_path / "hb").mkdir()
    assert {watch(tmp_path / "hb") for _ in range(12)} == {Verdict.UNKNOWN}


def test_on_its_own_host_the_process_tells(store: Store, tmp_path: Path, clock: Clock) -> None:
    """A process that is gone is dead at once; one that is there lives although its heartbeat stands still."""
    here = LeaseObserver(store.disk, LEASE_S, lambda owner: owner["pid"] == 1, clock=clock)
    assert here.judge("a", {"pid": 2}, tmp_path / "hb") is Verdict.DEAD
    for _ in range(12):
        clock.now += 10
        assert here.judge("b", {"pid": 1}, tmp_path / "hb") is Verdict.ALIVE


def test_an_owner_stops_itself_before_its_lease_ends(store: Store, tmp_path: Path, clock: Clock) -> None:
    """Two thirds of a lease without a successful beat, and the owner must stop; a beat mends it."""
    heartbeat = Heartbeat(store.disk, tmp_path / "hb", LEASE_S, clock=clock)
    assert heartbeat.beat()
    clock.now += LEASE_S * 0.6
    assert not heartbeat.is_expired()
    clock.now += LEASE_S * 0.1
    assert heartbeat.is_expired()
    assert heartbeat.beat()
    assert not heartbeat.is_expired()
    heartbeat.close()


def test_a_beat_that_fails_is_told(store: Store, tmp_path: Path, clock: Clock) -> None:
    """A store that takes no beat is no success, and raises nothing."""
    heartbeat = Heartbeat(store.disk, tmp_path / "gone" / "hb", LEASE_S, clock=clock)
    before = heartbeat.last_success
    clock.now += 5
    assert not heartbeat.beat()
    assert heartbeat.last_success == before


def test_the_thread_beats(store: Store, tmp_path: Path) -> None:
    """Started, a heartbeat goes on by itself six times a lease."""
    import time

    heartbeat = Heartbeat(store.disk, tmp_path / "hb", 0.3)
    heartbeat.start()
    first = (tmp_path / "hb").read_bytes()
    deadline = time.monotonic() + 10
    while (tmp_path / "hb").read_bytes() == first and time.monotonic() < deadline:
        time.sleep(0.01)
    heartbeat.close()
    assert (tmp_path / "hb").read_bytes() != first
