"""What all front ends of TensorBoard share: names, steps, histograms, and the queue that keeps calls short."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from localtrack import Logger
from localtrack.bindings.summaries.backlog import LOOK_EVERY, ROOM, ROOM_FOR_SMALL, Backlog
from localtrack.bindings.summaries.board import Board
from localtrack.bindings.summaries.events import EventReader
from localtrack.bindings.summaries.histograms import COLUMNS, ROWS, HistogramHistory
from localtrack.bindings.summaries.names import Names
from localtrack.runtime import current
from localtrack.runtime.reporting import SessionReports
from localtrack.services import reports


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


class Kept:
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


def do_all(take, items) -> None:
    """Let sources read their items."""
    while items:
        source, item = take(), take()
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
        most = max(most, len(backlog.items) // 2)
    assert most <= limit + 1
    backlog.drain()
    assert source.items == list(range(2 * limit))


def test_one_bad_item_costs_no_other(start):
    """What can't be reported is told of, and the points before and after it are recorded."""
    task = start()
    session = current.get()
    told = []
    board = Board(session, SessionReports(session), lambda place, error: told.append(str(error)))

    class Source(Kept):
        def read(self, item) -> None:
            """Report a point; refuse one of them."""
            if item == 3:
                raise RuntimeError("a bad item")
            graph = board.names.of("r").scalar("loss" if item < 6 else "after")
            board.scalar(graph, float(item), 2**63 - 1 if item == 5 else item)

    source = Source()
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
