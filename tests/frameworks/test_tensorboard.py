"""TensorBoard's writers, those of torch and tensorboardX, against what the task then holds."""

from __future__ import annotations

import json
import multiprocessing
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack import Logger
from localtrack.bindings.summaries.events import EventReader
from localtrack.bindings.summaries.names import Names
from localtrack.bindings.summaries.serialized import SerializedReader
from localtrack.runtime import explicit
from localtrack.services import reports
from localtrack.testing.bindings import BindingContract

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
WRITERS = ["torch.utils.tensorboard", "tensorboardX"]


@pytest.fixture(autouse=True)
def nothing_explicit(monkeypatch):
    """Let each test begin as a process does, in which no integration has been used yet."""
    monkeypatch.setattr(explicit, "is_used", False)
    monkeypatch.setattr(explicit, "_is_told", False)


def open_writer(package: str, folder: Path | str) -> Any:
    """Return a writer of one of the packages."""
    return pytest.importorskip(package).SummaryWriter(str(folder))


def points(task) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Return iterations and values of each series."""
    found = task.get_reported_scalars(max_samples=0)
    return {
        (title, series): list(zip(held["x"], held["y"], strict=True))
        for title, lines in found.items()
        for series, held in lines.items()
    }


def samples(task) -> dict[tuple[str, str], bytes]:
    """Return the content of each sample."""
    folder = task._where()
    return {
        (item["title"], item["series"]): (folder / "media" / item["file"]).read_bytes()
        for item in reports.media(folder)[0]
    }


class _Contract(BindingContract):
    binding = "localtrack.bindings.tensorboard"
    package = ""
    reports_fail_visibly = False  # scalars go to the journal itself

    def use(self, folder: Path) -> None:
        """Write one scalar."""
        with open_writer(self.package, folder) as writer:
            writer.add_scalar("loss", 0.5, 1)

    def count(self, task) -> int:
        """Count points."""
        return sum(map(len, points(task).values()))


class TestTorch(_Contract):
    """The contract, with torch's writer."""

    package = "torch.utils.tensorboard"


class TestTensorboardX(_Contract):
    """The contract, with tensorboardX."""

    package = "tensorboardX"


@pytest.mark.parametrize("package", WRITERS)
def test_scalars(start, tmp_path, package):
    """Points are recorded once, as they are, with the step of the script and the time that it gave."""
    task = start()
    with open_writer(package, tmp_path / "run") as writer:
        for step in range(50):
            writer.add_scalar("train/loss", 1 / (step + 1), step, walltime=1.5e9 + step)
        writer.add_scalar("plain", float("nan"), 3)
    found = points(task)
    assert [step for step, _ in found["train", "loss"]] == list(range(50))
    assert found["train", "loss"][4][1] == pytest.approx(0.2)
    assert np.isnan(found["plain", "plain"][0][1])
    times = task.get_reported_scalars(max_samples=0, x_axis="timestamp")["train"]["loss"]["x"]
    assert times[:2] == [1_500_000_000_000, 1_500_000_001_000]


@pytest.mark.parametrize("package", WRITERS)
def test_a_writer_made_before_the_task(start, tmp_path, package):
    """A writer that was there before Task.init is captured from then on, under the same names as a later one."""
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_scalar("loss", 0.25, 1)
        task = start()
        writer.add_scalar("loss", 0.5, 2)
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_scalar("loss", 0.75, 3)
    assert points(task) == {("loss", "loss"): [(2, 0.5), (3, 0.75)]}


@pytest.mark.parametrize("package", WRITERS)
@pytest.mark.parametrize("first", ["writer", "task"])
def test_import_order(run, package, first):
    """In a fresh process it is the same whether the writer or the task comes first."""
    task = "from localtrack import Task; task = Task.init('p', 'n', auto_resource_monitoring=False)"
    writer = f"from {package} import SummaryWriter; writer = SummaryWriter('runs/x')"
    lines = [writer, task] if first == "writer" else [task, writer]
    lines += ["writer.add_scalar('a/loss', 0.5, 3)", "print('GOT', task.get_reported_scalars(max_samples=0))"]
    ran = run("\n".join(lines), package=package.partition(".")[0])
    assert ran.lines == ["GOT {'a': {'loss': {'name': 'loss', 'x': [3], 'y': [0.5]}}}"]


@pytest.mark.parametrize("package", WRITERS)
def test_a_writer_outlives_its_task(start, tmp_path, package):
    """Each run has the points of its time, also from a writer that goes on; between two runs they are nobody's."""
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_scalar("loss", 0.0, 0)
        for first in (1, 1001):
            task = start(reuse_last_task_id=False)
            for step in range(first, first + 500):
                writer.add_scalar("loss", 0.5, step)
            task.close()
            writer.add_scalar("loss", 0.0, first + 500)
            assert points(task) == {("loss", "loss"): [(step, 0.5) for step in range(first, first + 500)]}


@pytest.mark.parametrize("package", WRITERS)
def test_threads_with_writers_of_their_own(start, tmp_path, package):
    """Several loops at full speed, longer than what is put by waits: each point is recorded once, in its order."""
    task = start()

    def log(name: str) -> None:
        with open_writer(package, tmp_path / name) as writer:
            for step in range(6000):
                writer.add_scalar(f"{name}/loss", step / 2, step)

    threads = [threading.Thread(target=log, args=(name,)) for name in ("one", "two", "three")]
    threads[0].start()  # alone for a while
    time.sleep(0.1)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = [(step, step / 2) for step in range(6000)]
    assert points(task) == {(name, "loss"): wanted for name in ("one", "two", "three")}


@pytest.mark.parametrize("package", WRITERS)
def test_several_writers(start, tmp_path, package):
    """Two runs of a script in one process, and the members of add_scalars, are told apart."""
    task = start()
    for name in ("one", "two"):
        with open_writer(package, tmp_path / name) as writer:
            writer.add_scalar("loss", 1.0, 1)
    with open_writer("torch.utils.tensorboard", tmp_path / "one") as writer:
        writer.add_scalars("group", {"x": 1.0, "y": 2.0}, 1)
    assert set(points(task)) == {("loss", "loss"), ("loss", "two: loss"), ("group", "x"), ("group", "y")}


def test_folds_are_told_apart(start, tmp_path):
    """A cross-validation that writes each fold to a folder of its own: members and precision-recall curves, too."""
    task = start()
    for fold in range(2):
        with open_writer("torch.utils.tensorboard", tmp_path / f"fold{fold}") as writer:
            for step in range(2):
                writer.add_scalars("loss", {"train": fold, "val": fold + 0.5}, step)
                writer.add_pr_curve("pr", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), step)
    assert points(task) == {
        ("loss", f"{'fold1: ' * fold}{name}"): [(step, fold + more) for step in range(2)]
        for fold in range(2)
        for name, more in (("train", 0), ("val", 0.5))
    }
    plots = [(plot["metric"], plot["variant"], plot["iter"]) for plot in task.get_reported_plots()]
    assert sorted(plots) == [("pr", "", 0), ("pr", "", 1), ("pr fold1", "", 0), ("pr fold1", "", 1)]


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_child_with_a_folder_of_its_own(start, tmp_path):
    """Its curves are not those of its parent's folder."""
    task = start()
    with open_writer("tensorboardX", tmp_path / "one") as writer:
        writer.add_scalar("loss", 1.0, 1)
        assert points(task) == {("loss", "loss"): [(1, 1.0)]}
        child = multiprocessing.get_context("fork").Process(target=_write_two, args=(tmp_path / "two",))
        child.start()
        child.join(60)
        assert child.exitcode == 0
    assert points(task) == {("loss", "loss"): [(1, 1.0)], ("loss", "two: loss"): [(1, 2.0)]}


def _write_two(folder: Path) -> None:
    with open_writer("tensorboardX", folder) as writer:
        writer.add_scalar("loss", 2.0, 1)


def _figure() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return figure


@pytest.mark.parametrize("package", WRITERS)
def test_samples(start, tmp_path, package):
    """Images, animations, texts and figures are kept as their writer encoded them."""
    task = start()
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_image("img/one", np.zeros((3, 4, 5)), 1)
        writer.add_images("img/batch", np.zeros((2, 3, 4, 5)), 1)
        writer.add_figure("figure", _figure(), 5)
        writer.add_text("note", "hello *world*", 2)
        if package == "tensorboardX":
            writer.add_video("clip", np.zeros((1, 3, 3, 8, 8), dtype="uint8"), 3)
        else:
            writer.add_audio("tone", np.zeros((1, 100)), 4)
    found = samples(task)
    for place in (("img", "one"), ("img", "batch"), ("Images", "figure")):
        assert found[place].startswith(b"\x89PNG"), place
    assert found["note", "text_summary"] == b"hello *world*"
    if package == "tensorboardX":
        assert found["Images", "clip"].startswith(b"GIF8")
    else:
        assert found["Audio", "tone"].startswith(b"RIFF")


@pytest.mark.parametrize("package", WRITERS)
def test_plots(start, tmp_path, package):
    """Histograms become one surface over the steps, which holds every value; a curve of precision keeps its points."""
    task = start()
    random = np.random.default_rng(0)
    with open_writer(package, tmp_path / "run") as writer:
        for step in range(6):
            writer.add_histogram("layer/weights", random.normal(step, 1, 1000), step)
        writer.add_pr_curve("pr", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), 3)
    task.close()
    plots = {(plot["title"], plot["series"]): plot for plot in reports.plots(task._where())[0]}
    surface = plots["layer", "weights"]["figure"]["data"][0]
    assert surface["y"] == list(range(6))
    assert np.array(surface["z"]).sum(axis=1) == pytest.approx([1000] * 6)
    curve = plots["pr", ""]
    assert curve["iteration"] == 3
    assert max(curve["figure"]["data"][0]["x"]) == 1.0


@pytest.mark.parametrize("package", WRITERS)
@pytest.mark.parametrize("wanted", [True, False])
def test_hyper_parameters(start, tmp_path, package, wanted):
    """add_hparams fills the section TB_hparams, unless it is switched off."""
    task = start(auto_connect_frameworks={"tensorboard": {"report_hparams": wanted}})
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_hparams({"lr": 0.5, "layers": 4, "name": "x"}, {"hparam/accuracy": 0.9})
    found = task.get_parameters(cast=True)
    assert points(task)["hparam", "accuracy"][0][1] == pytest.approx(0.9)
    if wanted:
        assert (found["TB_hparams/lr"], found["TB_hparams/layers"], found["TB_hparams/name"]) == (0.5, 4, "x")
    else:
        assert not [name for name in found if name.startswith("TB_hparams")]


@pytest.mark.parametrize("package", WRITERS)
def test_grouping(start, tmp_path, package):
    """The logger's choices about graphs hold for what is written from then on."""
    task = start()
    try:
        with open_writer(package, tmp_path / "one") as one, open_writer(package, tmp_path / "two") as two:
            Logger.tensorboard_auto_group_scalars(True)
            one.add_scalar("loss", 1.0, 1)
            one.add_scalar("a/loss", 1.0, 1)
            task.get_logger().flush(wait=True)
            points(task)
            Logger.tensorboard_auto_group_scalars(False)
            Logger.tensorboard_single_series_per_graph(True)
            one.add_scalar("loss", 1.0, 1)
            two.add_scalar("loss", 1.0, 1)
        assert set(points(task)) == {("Scalars", "loss"), ("a", "loss"), ("loss", "loss"), ("loss two", "loss")}
    finally:
        Logger.tensorboard_auto_group_scalars(False)
        Logger.tensorboard_single_series_per_graph(False)


def test_two_libraries_in_one_folder(start, tmp_path):
    """Their points of one tag are one curve, whose steps do not start anew with each of them."""
    task = start()
    with open_writer("torch.utils.tensorboard", tmp_path) as one, open_writer("tensorboardX", tmp_path) as two:
        for step in range(1500):
            one.add_scalar("loss", 1.0, 2 * step)
            two.add_scalar("loss", 2.0, 2 * step + 1)
    assert points(task) == {("loss", "loss"): [(step, 1.0 + step % 2) for step in range(3000)]}


def test_second_format(start, tmp_path):
    """Scalars that torch writes as tensors are scalars all the same."""
    task = start()
    with open_writer("torch.utils.tensorboard", tmp_path / "run") as writer:
        writer.add_scalar("new", 3.0, 1, new_style=True)
    assert points(task) == {("new", "new"): [(1, 3.0)]}


def test_forked_child(start, tmp_path):
    """A writer in a forked child reports to the same task, once."""
    task = start()
    writer = open_writer("torch.utils.tensorboard", tmp_path / "parent")
    for step in (0, 1):
        writer.add_scalar("parent", 1.0, step)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            writer.add_scalar("parent", 3.0, 2)
            open_writer("torch.utils.tensorboard", tmp_path / "child").add_scalar("child", 2.0, 1)
            from localtrack.runtime import current

            current.get().close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    writer.close()
    assert points(task) == {("parent", "parent"): [(0, 1.0), (1, 1.0), (2, 3.0)], ("child", "child"): [(1, 2.0)]}


@pytest.mark.parametrize("package", WRITERS)
@pytest.mark.parametrize("how", ["flush", "close"])
def test_what_was_flushed_survives_a_hard_end(start, tmp_path, package, how):
    """A process that ends without any notice after its writer was flushed has lost no point."""
    task = start()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            writer = open_writer(package, tmp_path / "child")
            for step in range(300):
                writer.add_scalar("child", step, step)
            getattr(writer, how)()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert points(task) == {("child", "child"): [(step, float(step)) for step in range(300)]}


@pytest.mark.parametrize("package", WRITERS)
def test_failures_at_the_end_are_recorded(start, tmp_path, package, monkeypatch):
    """What can't be recorded while the run ends is said once and kept in the task, as at any other time."""
    task = start()
    writer = open_writer(package, tmp_path / "run")
    writer.add_scalar("before", 1.0, 1)
    writer.flush()

    def refuse(*about) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr("localtrack.bindings.summaries.board.Board.scalar", refuse)
    monkeypatch.setattr("localtrack.bindings.summaries.backlog.DELAY_S", 60)
    for step in range(3):
        writer.add_scalar("after", 1.0, step)
    task.close()
    writer.close()
    assert len([text for text in task.capture_errors if "no room" in text]) == 1
    assert set(points(task)) == {("before", "before")}


VALUES = st.one_of(
    st.floats(width=32).map(lambda value: {"simple_value": value}),
    st.just({"image": {"encoded_image_string": b"GIF"}}),
)
SUMMARIES = st.lists(st.tuples(st.text(max_size=200), VALUES), max_size=2)
STEPS = st.one_of(st.none(), st.integers(0, 300), st.sampled_from([1 << 14, (1 << 14) - 1, -1, -(2**63), 2**63 - 1]))


class Noted:
    """A board that keeps what it is given."""

    def __init__(self) -> None:
        self.names = Names()
        self.found: list[Any] = []

    def scalar(self, graph, value, step, wall_time=0.0) -> None:
        """Keep a point."""
        self.found.append((graph.title, graph.series, struct.pack("<d", value), step, wall_time))

    def image(self, folder, tag, data, step) -> None:
        """Keep an image."""
        self.found.append((tag, data, step))


@given(st.lists(st.tuples(SUMMARIES, STEPS, st.one_of(st.none(), st.floats(0, 2e9))), max_size=8))
def test_serialized_events_are_read_as_parsed_ones(events):
    """Whatever an event holds, reading its bytes reports exactly what parsing it does, the second time as well."""
    event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    parsed, raw = Noted(), Noted()
    by_event: Any = EventReader(parsed, "r", takes_hparams=False)
    by_bytes = SerializedReader(EventReader(raw, "r", takes_hparams=False), event_pb2.Event.FromString)
    for values, step, wall_time in events * 2:
        summary = {"value": [{"tag": tag, **value} for tag, value in values]}
        event = event_pb2.Event(summary=summary, step=step, wall_time=wall_time)
        by_event.read(event)
        by_bytes.read(event.SerializeToString())
    assert raw.found == parsed.found


def test_points_of_one_tag_are_not_parsed_again():
    """After its first point a tag's others are read from the bytes; that is what makes the capture cheap."""
    event_pb2 = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    parsed = []

    def parse(data: bytes) -> Any:
        parsed.append(data)
        return event_pb2.Event.FromString(data)

    board = Noted()
    reader = SerializedReader(EventReader(board, "r", takes_hparams=False), parse)
    for step in (1, 127, 128, 16_383, 16_384, 1 << 40):
        value = {"tag": "a/b", "simple_value": step}
        reader.read(event_pb2.Event(summary={"value": [value]}, step=step, wall_time=2.0).SerializeToString())
    assert len(parsed) == 1
    assert [entry[3] for entry in board.found] == [1, 127, 128, 16_383, 16_384, 1 << 40]


@pytest.mark.parametrize("package", WRITERS)
def test_an_explicit_integration_stands_in(start, tmp_path, package):
    """What an explicit integration records meanwhile is not recorded a second time; what it does not, is."""
    task = start()
    with open_writer(package, tmp_path / "run") as writer:
        for kinds, tag in (((), "before"), (("scalars",), "scalars"), (("events",), "events"), ((), "after")):
            with explicit.leaving(frozenset(kinds)):
                for step in (1, 2):
                    writer.add_scalar(tag, 0.5, step)
                writer.add_text(f"note/{tag}/a/b", "text", 1)
    assert set(points(task)) == {("before", "before"), ("after", "after")}
    assert {title for title, _ in samples(task)} == {f"note_{tag}" for tag in ("before", "scalars", "after")}


@pytest.mark.parametrize("package", WRITERS)
def test_custom_scalars(start, tmp_path, package):
    """A layout of charts is a configuration of the task, and at its end each chart a plot of its curves."""
    layout = {
        "losses": {"both": ["Multiline", ["loss/train", "loss/(test|none)"]], "band": ["Margin", ["m", "low", "high"]]},
        "other": {"empty": ["Multiline", ["nowhere"]]},
    }
    task = start()
    with open_writer(package, tmp_path / "run") as writer:
        writer.add_custom_scalars(layout)
        for step in range(3000):
            writer.add_scalar("loss/train", 1 / (step + 1), step)
        for step in range(3):
            for tag in ("loss/test", "low", "m", "high"):
                writer.add_scalar(tag, step, step)
    task.close()
    assert json.loads(task.get_configuration_object("TensorBoard layout")) == layout
    plots = {(plot["metric"], plot["variant"]): plot["plot"] for plot in task.get_reported_plots()}
    assert set(plots) == {("both", "losses"), ("band", "losses")}
    train, test = plots["both", "losses"]["data"]
    assert (train["name"], test["name"]) == ("loss/train", "loss/test")
    assert len(train["x"]) <= 1000
    assert (train["x"][-1], test["x"]) == (2999, [0, 1, 2])
    assert [(line["name"], line.get("fill")) for line in plots["band", "losses"]["data"]] == [
        ("low", None), ("high", "tonexty"), ("m", None),
    ]  # fmt: skip
