"""Figures that matplotlib shows and saves, as plots of the task."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import matplotlib as mpl
import pytest

from localtrack.testing.bindings import BindingContract

mpl.use("agg")
from matplotlib import pyplot

pytestmark = pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
SHOWN = "untitled 00"


@pytest.fixture(autouse=True)
def no_figures():
    """Begin and end without open figures."""
    pyplot.close("all")
    yield
    pyplot.close("all")


class TestContract(BindingContract):
    """The contract of every binding."""

    binding = "localtrack.bindings.matplotlib"
    calls = 0

    def use(self, folder: Path) -> None:
        """Show one figure and save another."""
        TestContract.calls += 1
        pyplot.plot([1, 2, TestContract.calls])
        pyplot.show()
        figure, axes = pyplot.subplots()
        axes.plot([3, 1, TestContract.calls])
        figure.savefig(folder / "figure.png")

    def count(self, task) -> int:
        """Count plots."""
        return len(task.get_reported_plots())


def names(task) -> list[tuple[str, str]]:
    """Return title and series of each plot, in order."""
    return [(plot["metric"], plot["variant"]) for plot in task.get_reported_plots()]


def titles(task) -> list[str]:
    """Return the titles of the plots, in order."""
    return [title for title, _ in names(task)]


def test_shown_figures_are_numbered_or_named(start):
    """A shown figure goes by its title, one without by a number; the same title again in an iteration gets one too."""
    task = start()
    for title in ("", "Loss", "", "Loss"):
        pyplot.figure()
        pyplot.plot([1, 2, len(titles(task))])
        pyplot.title(title)
        pyplot.show()
        pyplot.close()
    assert titles(task) == ["untitled 00", "Loss", "untitled 01", "Loss/1"]


def shown(task) -> list[tuple[str, list[list[float]], list[str]]]:
    """Return title, curves and names in the legend of each plot."""
    return [
        (plot["metric"], [trace["y"] for trace in data], [trace["name"] for trace in data if trace["showlegend"]])
        for plot in task.get_reported_plots()
        for data in (plot["plot"]["data"],)
    ]


def test_consecutive_figures_are_not_merged(start):
    """Without windows, what follows a show is a figure of its own in the task, as it would be after a window was closed."""
    task = start()
    for number in range(3):
        pyplot.plot([number, number + 2], label=f"run {number}")
        pyplot.legend()
        pyplot.title(f"figure {number}")
        pyplot.show()
    assert shown(task) == [(f"figure {n}", [[n, n + 2]], [f"run {n}"]) for n in range(3)]
    assert task.get_reported_plots()[0]["plot"]["layout"]["yaxis"]["range"] == pytest.approx([-0.1, 2.1])
    assert task.get_reported_plots()[2]["plot"]["layout"]["yaxis"]["range"] == pytest.approx([1.9, 4.1])


def test_a_title_is_that_of_the_figure_that_it_was_given_to(start):
    """Left standing from before a show it names no other figure; given anew it does, though it is the same."""
    task = start()
    for number, (title, above) in enumerate([("loss", ""), ("loss", ""), ("", ""), ("", "all"), ("next", "")]):
        pyplot.plot([number, number + 2])
        if title:
            pyplot.title(title)
        if above:
            pyplot.suptitle(above)
        pyplot.show()
    assert [metric for metric, _ in names(task)] == ["loss", "loss/1", "untitled 00", "all", "next"]
    assert pyplot.gcf().get_suptitle() == "all"


def test_the_figure_of_the_script_stays_what_it_is(start, tmp_path):
    """What is drawn after a show goes where it went without localtrack, and a file has all of it, as has its plot."""
    task = start()
    figure = pyplot.figure()
    pyplot.plot([1, 2, 3])
    pyplot.show()
    pyplot.title("loss")
    figure.savefig(tmp_path / "loss.png")
    pyplot.plot([3, 2, 1])
    pyplot.show()
    pyplot.title("both")
    pyplot.savefig(tmp_path / "both.png")
    assert pyplot.gcf() is figure
    assert pyplot.get_fignums() == [figure.number]
    assert len(figure.axes[0].lines) == 2
    first, second = [1, 2, 3], [3, 2, 1]
    assert [(title, lines) for title, lines, _ in shown(task)] == [
        (SHOWN, [first]), ("loss", [first]), ("loss/1", [second]), ("both", [first, second])
    ]  # fmt: skip


def test_figures_that_are_saved_and_shown(start, tmp_path):
    """A figure that was saved and is then shown as it is, is one plot."""
    task = start()
    for number in range(2):
        pyplot.plot([number, 2])
        pyplot.savefig(tmp_path / "figure.png")
        pyplot.show()
    assert [lines for _, lines, _ in shown(task)] == [[[0, 2]], [[0, 2], [1, 2]]]


def test_figures_left_open_are_not_reported_at_each_show(start):
    """A show is of all open figures; those that nothing was drawn into since their last one are told once."""
    task = start()
    for step in range(4):
        task.get_logger().report_scalar("loss", "train", 1.0, step)
        if step != 1:  # the second goes on in the first one's figure
            pyplot.figure()
        pyplot.plot([step, 1])
        pyplot.show()
    assert [lines for _, lines, _ in shown(task)] == [[[step, 1]] for step in range(4)]


def test_bars_points_and_images_apart(start):
    """Whatever is drawn: what was there at the last show is left out, with axes that nothing was drawn into since."""
    task = start()
    for number in range(2):
        pyplot.subplot(1, 2, 1)
        pyplot.bar([0, 1], [number, 2], label="bars")
        pyplot.errorbar([0, 1], [1, 2], yerr=1)
        pyplot.subplot(1, 2, 2)
        pyplot.colorbar(pyplot.scatter([0, 1], [number, 2], c=[0, 1]))
        pyplot.text(0, 0, "here")
        pyplot.show()
    one, two = (plot["plot"] for plot in task.get_reported_plots())
    assert [trace["type"] for trace in one["data"]] == [trace["type"] for trace in two["data"]]
    assert len(one["layout"]["annotations"]) == len(two["layout"]["annotations"])


def test_a_figure_that_can_not_be_copied_is_reported_whole(start):
    """What the script has hung on its axes may be anything."""
    task = start()
    for number in range(2):
        pyplot.plot([number, 2])
        pyplot.gca().format_coord = lambda x, y: ""
        pyplot.show()
    assert [len(lines) for _, lines, _ in shown(task)] == [1, 2]


def test_a_shown_figure_can_still_be_saved(start, tmp_path):
    """Saving after the show writes the figure that was shown, and does not report it twice."""
    task = start()
    pyplot.plot([1, 2])
    pyplot.show()
    pyplot.savefig(tmp_path / "shown.png")
    assert len(pyplot.gcf().axes) == 1
    assert titles(task) == [SHOWN]


def test_a_figure_that_changes_is_reported_again(start):
    """The same figure is reported once for each look that it had when it was shown."""
    task = start()
    _, axes = pyplot.subplots()
    axes.plot([1, 2])
    pyplot.show()
    pyplot.show()
    axes.plot([2, 1])
    pyplot.show()
    assert titles(task) == [SHOWN, "untitled 01"]


def test_images_are_samples(start):
    """What pyplot.imshow shows is a sample with the figure's title."""
    task = start()
    pyplot.imshow([[1, 2], [3, 4]])
    pyplot.title("Eye")
    pyplot.show()
    assert titles(task) == []
    (sample,) = task.get_debug_samples("Eye", "plot image")
    assert Path(sample["url"]).read_bytes().startswith(b"\x89PNG")


def test_figures_carry_the_iteration(start):
    """A figure belongs to the last iteration that was reported, and its title may come again in the next one."""
    task = start()
    for step in range(3):
        task.get_logger().report_scalar("loss", "train", 1.0, step)
        pyplot.plot([step, 2])
        pyplot.title("Curve")
        pyplot.show()
    plots = task.get_reported_plots()
    assert [(plot["metric"], plot["iter"]) for plot in plots] == [("Curve", 0), ("Curve", 1), ("Curve", 2)]


def test_buffers_are_not_reported(start):
    """A figure that a library draws into a buffer of its own is none of the task's."""
    import io

    task = start()
    figure, axes = pyplot.subplots()
    axes.plot([1, 2])
    figure.savefig(io.BytesIO())
    assert titles(task) == []


@pytest.mark.parametrize("choice", [False, {}, {"matplotlib": False}])
def test_it_can_be_switched_off(start, choice):
    """Nothing is hooked when auto_connect_frameworks says so."""
    before = pyplot.show
    task = start(auto_connect_frameworks=choice)
    assert pyplot.show is before
    pyplot.plot([1, 2])
    pyplot.show()
    assert titles(task) == []


def test_pandas_and_pylab_come_along(start):
    """Plots of pandas, and those shown through pylab, are reported like any."""
    import pandas
    from matplotlib import pylab

    task = start()
    pandas.DataFrame({"a": [1, 3, 2]}).plot(title="Frame")
    pylab.show()
    assert titles(task) == ["Frame"]
    task.close()
    assert pylab.show is pyplot.show


def test_import_after_init_in_a_fresh_process(tmp_path):
    """A script that imports matplotlib after Task.init is captured just so, and the import leaves no trace of us."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            from localtrack import Task
            task = Task.init("p", "n", auto_resource_monitoring=False)
            import sys
            assert "matplotlib" not in sys.modules
            from matplotlib import pyplot
            assert type(pyplot.__spec__.loader).__name__ == type(pyplot.__loader__).__name__ == "SourceFileLoader"
            pyplot.plot([1, 2])
            pyplot.show()
            import pickle
            assert pickle.loads(pickle.dumps(pyplot.show)) is pyplot.show
            print([plot["metric"] for plot in task.get_reported_plots()])
            """
        )
    )
    shown = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={"LOCALTRACK_ROOT": str(tmp_path / "store"), "MPLBACKEND": "agg", "HOME": str(tmp_path), "PATH": ""},
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip().endswith("['untitled 00']")


def test_a_client_switches_it_off(start):
    """ClearML's `PatchedMatplotlib.update_current_task(None)` ends the capture; a task given instead changes nothing."""
    from localtrack.compat.frameworks import PatchedMatplotlib

    task = start()
    PatchedMatplotlib.update_current_task(task)
    pyplot.plot([1, 2])
    pyplot.show()
    assert titles(task) == [SHOWN]
    PatchedMatplotlib.update_current_task(None)
    pyplot.plot([3, 1])
    pyplot.show()
    assert titles(task) == [SHOWN]


def test_figures_reported_by_hand_are_not_reported_again(start):
    """Showing what the script has reported itself adds nothing; what is drawn after that show is new."""
    task = start()
    for _ in range(2):
        pyplot.plot([1, 2])
        task.get_logger().report_matplotlib_figure("Mine", "figure", pyplot, iteration=10)
        pyplot.show()
    pyplot.plot([2, 1])
    pyplot.show()
    assert names(task) == [("Mine", "figure"), ("Mine", "figure"), (SHOWN, "plot")]


def test_a_figure_reported_by_hand_is_reported_when_it_has_changed(start, tmp_path):
    """The mark is how it looked then, also where one figure is drawn anew again and again."""
    task = start()
    figure, axes = pyplot.subplots()
    for step in range(2):
        axes.clear()
        axes.plot([step, 1])
        task.get_logger().report_matplotlib_figure("mine", "figure", figure, iteration=step)
        figure.savefig(tmp_path / "figure.png")
        pyplot.show()
    axes.clear()
    axes.set_title("last")
    figure.savefig(tmp_path / "figure.png")
    assert names(task) == [("mine", "figure"), ("mine", "figure"), ("last", "plot")]


def test_pictures_only_when_asked(start):
    """matplotlib_force_report_non_interactive keeps shown figures as pictures alone, under the series for these."""
    from localtrack import Logger

    task = start()
    try:
        Logger.matplotlib_force_report_non_interactive(True)
        pyplot.plot([1, 2])
        pyplot.show()
    finally:
        Logger.matplotlib_force_report_non_interactive(False)
    (plot,) = task.get_reported_plots()
    assert (plot["metric"], plot["variant"]) == (SHOWN, "plot image")
