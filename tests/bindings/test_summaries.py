"""What all front ends of TensorBoard share: names, steps, histograms, and the queue that keeps calls short."""

from __future__ import annotations

import itertools
import math
import os
import struct
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from localtrack import Logger
from localtrack.bindings.summaries.backlog import LOOK_EVERY, ROOM, ROOM_FOR_SMALL, Backlog, Runs, Source
from localtrack.bindings.summaries.board import Board
from localtrack.bindings.summaries.events import EventReader
from localtrack.bindings.summaries.histograms import COLUMNS, ROWS, HistogramHistory
from localtrack.bindings.summaries.names import Names
from localtrack.bindings.summaries.serialized import SerializedReader, _constant_part, _in_base_128
from localtrack.fs.disk import Disk
from localtrack.records.plain import replace
from localtrack.runtime import current
from localtrack.runtime.reporting import SessionReports
from localtrack.services import reports
from localtrack.store.journal import ScalarJournal
from localtrack.store.journal_records import read_journal


@pytest.fixture
def grouping():
    """Put the user's choices about graphs back."""
    yield
    Logger.tensorboard_auto_group_scalars(False)
    Logger.tensorboard_single_series_per_graph(False)


def scalars(*places):
    """Return title and series for each folder and tag, in turn."""
    names = Names()
    return [(g.title, g.series) for g in (names.of(folder).scalar(tag) for folder, tag in places)]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("loss", ("loss", "loss")), ("a/loss", ("a", "loss")), ("a/b/c", ("a_b", "c")), ("a//b", ("a_", "b"))],
)
def test_scalar_tags_are_divided_at_slashes(tag, expected):
    """The last part is the series, those before are the title; a tag without a slash is both."""
    assert scalars(("runs/x", tag)) == [expected]


@pytest.mark.parametrize(
    ("kind", "tag", "expected"),
    [
        ("Images", "test", ("Images", "test")),
        ("Text", "TEXT/text_summary", ("TEXT", "text_summary")),
        ("Audio", "a/b/c/d", ("a", "b_c_d")),
        ("Images", "a/b/c/d/e", ("a_b", "c_d_e")),
    ],
)
def test_sample_tags_keep_three_parts_in_the_series(kind, tag, expected):
    """Samples have up to three parts in the series, and go by their kind when nothing is left for the title."""
    graph = Names().of("runs/x").sample(kind, tag)
    assert (graph.title, graph.series) == expected


def test_writers_of_several_folders_are_told_apart():
    """The first folder has the plain name; others show what their path has and that one's has not."""
    assert scalars(("logs/1/train", "loss"), ("logs/1/test", "loss"), ("logs/1/train", "loss"), ("logs/2/test", "loss")) == [
        ("loss", "loss"), ("loss", "test: loss"), ("loss", "loss"), ("loss", "2/test: loss"),
    ]  # fmt: skip
    names = Names()
    found = [names.of(folder).histogram("w") for folder in ("a/x", "a/y")]
    assert [(graph.title, graph.series) for graph in found] == [("Histograms", "w"), ("Histograms", "w :y")]


def test_members_of_add_scalars_are_series():
    """Torch's add_scalars writes each member to a folder of its own; its name is the series."""
    assert scalars(("runs/grp_x", "grp"), ("runs/grp_y", "grp")) == [("grp", "x"), ("grp", "y")]


def test_members_of_several_folders_are_told_apart():
    """As other curves are: those of the first folder have the plain names."""
    found = scalars(*((f"runs/{fold}/loss_{name}", "loss") for fold in ("a", "b") for name in ("train", "val")))
    assert found == [("loss", "train"), ("loss", "val"), ("loss", "b: train"), ("loss", "b: val")]
    assert scalars(("runs/grp_x", "grp"), ("runs", "grp"), ("runs", "grp/x"))[1:] == [
        ("grp", "grp"),
        ("grp", "runs: x"),
    ]


def test_names_taken_before_a_fork():
    """A folder keeps its names in the child, and another one there gets its own."""
    before = Names()
    before.of("runs/one").scalar("loss")
    names = Names(before)
    found = [names.of(f"runs/{folder}").scalar("loss").series for folder in ("two", "one")]
    assert found == ["two: loss", "loss"]
    assert before.taken == {("loss", "loss"): "runs/one"}


def test_grouping_of_scalars(grouping):
    """Tags without a slash share one graph when asked; or each folder and member gets a graph of its own."""
    Logger.tensorboard_auto_group_scalars(True)
    assert scalars(("r", "loss"), ("r", "a/loss")) == [("Scalars", "loss"), ("a", "loss")]
    Logger.tensorboard_auto_group_scalars(False)
    Logger.tensorboard_single_series_per_graph(True)
    assert scalars(("r/1", "loss"), ("r/2", "loss")) == [("loss", "loss"), ("loss 2", "loss")]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([100, 95, 96], [100, 95, 96]),
        ([50, 100, 0, 1], [50, 100, 101, 102]),
        ([100, 110, 5, 6], [100, 110, 120, 121]),
        ([5, 5, 5], [5, 5, 5]),
    ],
)
def test_steps_that_begin_anew_go_on(steps, expected):
    """A step far below the one before counts on from there; small steps back are taken as they are."""
    counter = Names().of("r").scalar("loss").steps
    assert [counter.next(step) for step in steps] == expected


def test_histograms_share_their_counts_among_equal_bars():
    """No value is lost or invented when bars of any width become columns of one."""
    history = HistogramHistory("t", "s")
    history.add(0, [-1.0, 0.0, 0.001, 4.0], [10, 500, 40])
    history.add(1, [3.0, 3.0], [7])
    figure = history.figure()
    heights = np.array(figure["data"][0]["z"])
    assert heights.shape == (2, COLUMNS)
    assert heights.sum(axis=1) == pytest.approx([550, 7])
    assert figure["data"][0]["y"] == [0, 1]


@pytest.mark.parametrize("edges", [[0.0, float("inf")], [float("-inf"), 0.0, 1.0], [2.0, 2.0]])
def test_histograms_of_odd_ranges(edges):
    """Infinite borders and a single value make a figure of finite numbers."""
    history = HistogramHistory("t", "s")
    history.add(0, edges, [1] * (len(edges) - 1))
    trace = history.figure()["data"][0]
    assert np.isfinite(trace["x"]).all()
    assert np.isfinite(trace["z"]).all()
    assert not history.add(1, [0.0], [])


def test_long_histories_stay_small():
    """However long a run is, the surface has so many rows, spread evenly, with the last one, reported ever less often."""
    history = HistogramHistory("t", "s")
    reported = sum(history.add(step, [0.0, 1.0], [step + 1]) for step in range(5000))
    steps = history.figure()["data"][0]["y"]
    assert len(steps) <= ROWS
    assert steps[-1] == 4999
    assert max(np.diff(steps)) <= 3 * 5000 / len(steps)
    assert reported < 50


class Kept(Source):
    """A source that keeps what comes from it."""

    def __init__(self, size_bytes: int = 0) -> None:
        self.items: list[object] = []
        self.came = threading.Event()
        self._size_bytes = size_bytes

    def read(self, item: object) -> None:
        """Keep an item."""
        self.items.append(item)
        self.came.set()

    def size_of(self, item: object) -> int:
        """Return the same for all."""
        return self._size_bytes


def do_all(runs: Runs) -> None:
    """Let sources read their items."""
    for source, items in runs:
        for item in items:
            source.read(item)


def test_backlog_keeps_order_and_loses_nothing():
    """Items from many threads are all done, each with the source that it came from, each thread's in its order."""
    sources = [Kept() for _ in range(4)]
    backlog = Backlog(do_all)
    threads = [threading.Thread(target=lambda s=s: [backlog.put(s, i) for i in range(2000)]) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backlog.close()
    for source in sources:
        assert source.items == list(range(2000))


def test_backlog_is_done_within_a_moment():
    """An item is done soon without anybody asking for it, also after a pause."""
    source = Kept()
    backlog = Backlog(do_all)
    for _ in range(2):
        source.came.clear()
        backlog.put(source, 1)
        assert source.came.wait(10)
        time.sleep(0.1)
    backlog.close()


@pytest.mark.parametrize(("size_bytes", "limit"), [(1 << 20, ROOM + LOOK_EVERY), (10, ROOM_FOR_SMALL)])
def test_backlog_is_bounded(size_bytes, limit):
    """What waits takes a bounded room: beyond it, whoever puts something in does the work."""
    source = Kept(size_bytes)
    backlog = Backlog(do_all)
    most = 0
    backlog._is_awake = True  # no thread takes anything
    for number in range(2 * limit):
        backlog.put(source, number)
        most = max(most, backlog._waiting())
    assert most <= limit + 1
    other = Kept(size_bytes)
    for number in range(2 * limit):
        backlog.put(other, number)
        assert backlog._waiting() <= limit + 1
    backlog.drain()
    assert source.items == other.items == list(range(2 * limit))


def test_items_in_any_number_come_only_while_the_thread_is_about_to_do_them(monkeypatch):
    """The way that asks nothing is there from the first item until the thread takes them; who knew it then loses none."""
    monkeypatch.setattr("localtrack.bindings.summaries.backlog.DELAY_S", 0.02)
    shut, runs = [], []
    backlog = Backlog(lambda found: runs.extend(found))
    backlog.when_shut.append(lambda: shut.append(time.monotonic()))
    source = Kept()
    assert backlog.way_of(source) is None
    backlog.put(source, 0)
    way = backlog.way_of(source)
    assert way is not None
    for number in range(1, 1000):
        way(number)
    deadline = time.monotonic() + 10
    while not shut:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert backlog.way_of(source) is None or len(shut) > 1
    way(1000)  # a thread that had asked before, and was slow
    while sum(len(items) for _, items in runs) < 1001:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert [item for source, items in runs for item in items] == list(range(1001))
    backlog.close()


def test_a_thread_that_is_busy_leaves_no_way_open():
    """While what came before is being done, each new item is counted, so that not any number can wait."""
    may_go, begun = threading.Event(), threading.Event()

    def slow(runs: Runs) -> None:
        begun.set()
        assert may_go.wait(20)

    backlog = Backlog(slow)
    source = Kept(1 << 20)
    backlog.put(source, 0)
    assert begun.wait(20)
    for number in range(ROOM):
        backlog.put(source, number)
        assert backlog.way_of(source) is None
    may_go.set()
    backlog.close()


def test_without_a_thread_whoever_adds_does_what_waits(monkeypatch):
    """A process that may have no more threads: no way is open, and what waits is bounded."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    backlog, source = Backlog(do_all), Kept()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(ROOM_FOR_SMALL + 10):
        backlog.put(source, number)
        assert backlog.way_of(source) is None
    assert len(source.items) > ROOM_FOR_SMALL
    backlog.close()
    assert source.items == list(range(ROOM_FOR_SMALL + 10))


def test_the_thread_ends_with_the_backlog():
    """Also when that is closed while the thread sleeps its moment."""
    backlog = Backlog(do_all)
    backlog.put(Kept(), 1)
    thread = backlog._thread
    assert thread is not None
    backlog.close()
    thread.join(20)
    assert not thread.is_alive()


def test_sources_are_done_in_the_order_of_their_items():
    """As they came, also where the first source was alone for a while."""
    seen: list[tuple[str, int]] = []

    class Named(Kept):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def read(self, item) -> None:
            """Note it."""
            seen.append((self.name, item))

    backlog = Backlog(do_all)
    backlog._is_awake = True  # no thread takes anything
    sources = {name: Named(name) for name in ("one", "two", "three")}
    wanted = []
    for number in range(300):
        name = "one" if number < 5 else ("one", "two", "three", "two", "one")[number % 5]
        wanted.append((name, number))
        backlog.put(sources[name], number)
    backlog.drain()
    assert seen == wanted


TAGS = ("loss", "loss/loss", "train/loss/a", "train_loss/a", "lr", "x" * 130)


def event_of(tag: str, step: int, wall_time: float, value: float) -> bytes:
    """Return an event of one scalar as protobuf serializes it."""
    time_field = struct.pack("<Bd", 0x09, wall_time) if wall_time or math.copysign(1, wall_time) < 0 else b""
    step_field = b"\x10" + _in_base_128(step % (1 << 64)) if step else b""
    return time_field + step_field + _constant_part(tag) + struct.pack("<f", value)


WALL_TIMES = st.sampled_from([1.7e9 + 0.25] * 8 + [0.0, -1.0, 1e-9, math.nan, math.inf, 1e300])
STEPS = st.integers(0, 300) | st.sampled_from([0, 127, 128, 16_383, 16_384, (1 << 35) - 1, 1 << 35, -1, 2**63 - 1])
LOOPS = st.tuples(
    st.lists(st.sampled_from(TAGS), min_size=1, max_size=3), st.sampled_from([1, 40, 150, 400]), STEPS, st.integers(0, 3),
    WALL_TIMES, st.booleans(),
)  # fmt: skip


def events_of(loops) -> dict[int, tuple[bytes, Any]]:
    """Return events of loops that log some tags at growing steps: as bytes and as their classes would hold them."""
    found: list[tuple[bytes, Any]] = []
    for tags, count, first, by, wall_time, has_other in loops:
        for number in range(count):
            step = min(first + by * number, 2**63 - 1)
            for tag, value in zip(tags, (0.5, math.nan, -number), strict=False):
                data = event_of(tag, step, wall_time, value)
                held = SimpleNamespace(tag=tag, simple_value=value, WhichOneof=lambda of: "simple_value")
                summary = SimpleNamespace(value=[held])
                found.append((data, SimpleNamespace(summary=summary, step=step, wall_time=wall_time)))
        if has_other:
            found.append((b"", SimpleNamespace(summary=SimpleNamespace(value=[]), step=0, wall_time=0.0)))
    return found


def recorded(events, sizes, folder: Path) -> tuple[Any, ...]:
    """Return what a board makes of events that come in pieces of these sizes: series, states, failures."""
    folder.mkdir(exist_ok=True)
    journal = ScalarJournal(Disk(folder / "tmp"), folder / "scalars", "w", lambda error: None)
    told: list[str] = []
    session: Any = SimpleNamespace(writer=SimpleNamespace(scalars=journal))
    board = Board(session, None, lambda place, error: told.append(str(error)))  # type: ignore[arg-type]
    reader = SerializedReader(EventReader(board, "r", takes_hparams=False), dict(events).__getitem__)
    items = [data for data, _ in events]
    while items:
        size = next(sizes)
        board._do([(reader, items[:size])])
        items = items[size:]
    found: dict[Any, list[Any]] = {}
    for path in sorted((folder / "scalars").glob("*.journal")):
        names, points, _ = read_journal(path)
        for number, iteration, time_us, value in points:
            is_now = time_us > 1.75e15
            found.setdefault(names[number], []).append((iteration, "now" if is_now else time_us, value))
    states = {key: repr(replace(state, number=0)) for key, state in journal.series.items()}
    journal.close()
    return repr(sorted(found.items())), sorted(states.items()), bool(told)


@settings(max_examples=60, deadline=None)
@given(st.lists(LOOPS, max_size=5), st.integers(100, 1000))
@example([(["lr"], 400, first, 1, 1.7e9 + 0.25, False) for first in (0, 400, 500)], 400)
@example([(["lr"], 400, first, 1, 1.7e9 + 0.25, False) for first in (0, 2**63 - 401, 0)], 400)
def test_many_events_are_recorded_as_one_by_one(loops, size):
    """Whatever tags, steps and times they have, and where two tags are one curve: the same points in the same order."""
    events = events_of(loops)
    with tempfile.TemporaryDirectory() as folder:
        one = recorded(events, itertools.repeat(1), Path(folder) / "one")
        many = recorded(events, itertools.repeat(size), Path(folder) / "many")
    assert many == one


@pytest.mark.parametrize(
    "start",
    [
        struct.pack("<Bd", 0x0A, 1.7e9) + b"\x10\x07",  # another field than the time
        struct.pack("<Bd", 0x09, 1.7e9) + b"\x12\x07",  # another than the step
        struct.pack("<Bd", 0x09, 1.7e9) + b"\x10\x87",  # a step that has no end
        struct.pack("<Bd", 0x09, 1.7e9) + b"\x10\x07\x07",  # one that ends before its last byte
        b"",
    ],
)  # fmt: skip
def test_what_only_ends_like_a_scalar_is_parsed(tmp_path, start):
    """One event among many that is not built like them: all are read one by one, and this one by protobuf."""
    good, bad = event_of("lr", 7, 1.7e9, 0.5), start + _constant_part("lr") + struct.pack("<f", 0.5)
    parsed: list[bytes] = []
    held = SimpleNamespace(tag="lr", simple_value=0.5, WhichOneof=lambda of: "simple_value")

    def parse(data: bytes) -> Any:
        parsed.append(data)
        return SimpleNamespace(summary=SimpleNamespace(value=[held]), step=7, wall_time=1.7e9)

    board: Any = SimpleNamespace(names=Names(), scalar=lambda *about: None, scalars=lambda curves: len(curves) > 0)
    reader = SerializedReader(EventReader(board, "r", takes_hparams=False), parse)
    reader.read(good)
    assert reader.read_all([good] * 300)
    assert not reader.read_all([good] * 150 + [bad] * 150)
    assert not reader.read_all([bad] * 300)


@pytest.mark.parametrize("tags", [("loss",), ("train/loss", "valid/loss", "lr"), ("loss", "loss/loss")])
def test_many_events_are_recorded_at_once(tmp_path, monkeypatch, tags):
    """From 0 on and over the borders of a step's bytes: none is looked at by itself but the first, and shared curves."""
    alone = []
    scalar = Board.scalar
    monkeypatch.setattr(Board, "scalar", lambda *about: (alone.append(about), scalar(*about)))
    loop = (tags, 20_000 // len(tags), 0, 1, 1.7e9 + 0.25, False)
    series, states, told = recorded(events_of([loop]), itertools.chain([1], itertools.repeat(2000)), tmp_path)
    assert not told
    if len(tags) == 2:
        assert len(alone) == 20_000
        assert "last_iteration=9999," in states[0][1]
    else:
        assert len(alone) <= 2001  # the first points of its second and third tag come together with others
        assert len(states) == len(tags)
        assert series.count("1700000000250000") == 20_000 // len(tags) * len(tags)


def test_one_bad_item_costs_no_other(start):
    """What can't be reported is told of, and the points before and after it are recorded."""
    task = start()
    session = current.get()
    told = []
    board = Board(session, SessionReports(session), lambda place, error: told.append(str(error)))

    class Refusing(Kept):
        def read(self, item) -> None:
            """Report a point; refuse one of them."""
            if item == 3:
                raise RuntimeError("a bad item")
            graph = board.names.of("r").scalar("loss" if item < 6 else "after")
            board.scalar(graph, float(item), 2**63 - 1 if item == 5 else item)

    source = Refusing()
    for number in range(5):
        board.backlog.put(source, number)
    board.names.of("r").scalar("loss").steps.added = 1
    board.backlog.put(source, 5)
    board.backlog.put(source, 6)
    board.finish()
    found = task.get_reported_scalars(max_samples=0)
    assert found["loss"]["loss"]["y"] == [0.0, 1.0, 2.0, 4.0]
    assert found["after"]["after"]["y"] == [6.0]
    assert told[0] == "a bad item"
    assert "beyond 64 bits" in told[1]


def test_board_shows_what_waits_at_the_end(start):
    """Closing the task reports the surfaces that have grown since, and the task knows the script's own steps."""
    task = start()
    task.set_initial_iteration(100)
    session = current.get()
    board = Board(session, SessionReports(session), lambda place, error: None)
    for step in range(6):
        board.histogram("r", "w", [0.0, 1.0], [step + 1], step)
    EventReader(board, "r", takes_hparams=True).scalar("loss", 0.5, 103, 0.0)
    board.image("r", "img", b"GIF89a...", 104)
    before = len(task.get_reported_plots())
    board.finish()
    assert len(task.get_reported_plots()) == before + 1
    assert task.get_reported_scalars()["loss"]["loss"]["x"] == [103]
    (item,) = reports.media(session.folder)[0]
    assert (item["title"], item["series"], item["iteration"], item["content_type"]) == (
        "Images",
        "img",
        104,
        "image/gif",
    )
    assert os.path.getsize(session.folder / "media" / item["file"]) == 9
