"""What ``auto_resource_monitoring`` asks for, and what the monitor does with it."""

from __future__ import annotations

import itertools
import math
import sys
from types import ModuleType

import pytest

from localtrack.errors import InvalidValueError
from localtrack.runtime import monitor
from localtrack.runtime.monitor import MonitorOptions, ResourceMonitor, monitor_options
from localtrack.runtime.writer import TaskWriter
from localtrack.services import reports, tasks


class Clock:
    """A monotonic clock that the test moves."""

    now_s = 1000.0

    def monotonic(self) -> float:
        """Return the time of now."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The monitor's clock."""
    clock = Clock()
    monkeypatch.setattr(monitor, "time", clock)
    return clock


@pytest.fixture
def writer(ctx):
    """A task's writer without its thread."""
    folder, record = tasks.create(ctx, name="n", project="p")
    writer = TaskWriter(ctx, record.id, folder, "owner")
    yield writer
    writer.close()


def watch(watched, clock, seconds):
    """Tick once a second, as the writer's thread does; return the seconds at which something was reported."""
    at, start_s = [], clock.now_s
    for _ in range(seconds):
        clock.now_s += 1.0
        before = watched._writer.scalars.series.get((":monitor:machine", "memory_used_gb"))
        count = before.count if before else 0
        watched.tick()
        state = watched._writer.scalars.series.get((":monitor:machine", "memory_used_gb"))
        if state is not None and state.count > count:
            at.append(int(clock.now_s - start_s))
    return at


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"seconds_from_start": 5}, MonitorOptions(first_report_s=5.0)),
        ({"report_start_sec": 7.5}, MonitorOptions(first_report_s=7.5)),
        ({"first_report_sec": None}, MonitorOptions()),
        ({"report_frequency_sec": 4, "sample_frequency_per_sec": 0.5}, MonitorOptions(period_s=4.0, sample_s=2.0)),
        ({"report_global_mem_used": True}, MonitorOptions(is_global=True)),
        ({"report_mem_used_per_process": False}, MonitorOptions(is_global=True)),
        (
            {"wait_for_first_iteration_to_start_sec": 9, "max_wait_for_first_iteration_to_start_sec": 20},
            MonitorOptions(wait_for_iteration_s=9.0, until_iteration_s=20.0),
        ),
    ],
)
def test_clearmls_options_by_their_names(asked, expected):
    """Each of ClearML's keys sets what it says, and the caller's dict stays as it was."""
    before = dict(asked)
    assert monitor_options(asked) == expected
    assert asked == before


@pytest.mark.parametrize("asked", [{"frequency": 1}, {"report_frequency_sec": "often"}, {"seconds_from_start": -1},
                                   {"seconds_from_start": math.nan}])  # fmt: skip
def test_what_is_no_option_is_refused(asked):
    """An unknown key or a value that is no time is refused, and the message names the key."""
    with pytest.raises(InvalidValueError, match=next(iter(asked))):
        monitor_options(asked)


def test_the_first_report_and_the_period(writer, clock):
    """The first report comes after ``seconds_from_start``, the next ones after a period each."""
    watched = ResourceMonitor(writer, monitor_options({"seconds_from_start": 6, "report_frequency_sec": 10}))
    assert watch(watched, clock, 40) == [6, 16, 26, 36]


def test_waiting_for_the_first_iteration(writer, clock):
    """While the first iteration is waited for nothing is reported; then seconds stand in, and go when one comes."""
    asked = {"report_frequency_sec": 2, "wait_for_first_iteration_to_start_sec": 8}
    watched = ResourceMonitor(writer, monitor_options(asked))
    assert watch(watched, clock, 9) == [8]
    state = writer.scalars.series[":monitor:machine", "memory_used_gb"]
    assert state.last_iteration == 8
    writer.scalars.report("loss", "train", 1.0, 500)
    watch(watched, clock, 3)
    assert state.last_iteration == 500


def test_after_the_last_wait_seconds_stay(writer, clock):
    """An iteration that comes after ``max_wait_...`` changes nothing: reports go on to be numbered by seconds."""
    asked = {"report_frequency_sec": 2, "max_wait_for_first_iteration_to_start_sec": 4}
    watched = ResourceMonitor(writer, monitor_options(asked))
    watch(watched, clock, 8)
    writer.scalars.report("loss", "train", 1.0, 500)
    watch(watched, clock, 4)
    assert writer.scalars.series[":monitor:machine", "memory_used_gb"].last_iteration == 12


def test_memory_of_the_machine(writer, clock, monkeypatch):
    """With ``report_global_mem_used`` the memory in use is the machine's, not what this process has."""
    psutil = pytest.importorskip("psutil")
    memory = psutil.virtual_memory()._replace(used=5 * 2**40)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    watched = ResourceMonitor(writer, monitor_options({"report_frequency_sec": 1, "report_global_mem_used": True}))
    watch(watched, clock, 5)
    found = reports.scalars(writer.folder, ":monitor:machine", "memory_used_gb").of(
        ":monitor:machine", "memory_used_gb"
    )
    assert found.values[-1] == pytest.approx(5 * 2**10)


def test_another_rank_reports_under_a_title_of_its_own(writer, clock):
    """The load of rank 1 stands beside that of the process that owns the task, as ClearML names it."""
    watched = ResourceMonitor(writer, monitor_options({"seconds_from_start": 4}), "01")
    watch(watched, clock, 6)
    titles = {title for title, _ in writer.scalars.series}
    assert ":monitor:machine:rank01" in titles
    assert {title.partition(":rank")[2] for title in titles} == {"01"}
    assert writer.last_iteration() == 0


def test_a_card_is_reported_by_its_mean(writer, clock, monkeypatch):
    """What a card did between two reports counts, and not only what it does at the moment of the report."""
    loads = itertools.cycle([0, 100])
    library = ModuleType("amdsmi")
    library.amdsmi_init = lambda: None
    library.amdsmi_get_processor_handles = lambda: ["card"]
    library.amdsmi_get_gpu_device_uuid = lambda card: "GPU-0"
    library.amdsmi_get_gpu_activity = lambda card: {"gfx_activity": next(loads)}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setitem(sys.modules, "amdsmi", library)
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    watched = ResourceMonitor(writer, monitor_options({"seconds_from_start": 20, "report_frequency_sec": 20}))
    watch(watched, clock, 21)
    found = reports.scalars(writer.folder, ":monitor:gpu", "gpu_0_utilization").of(":monitor:gpu", "gpu_0_utilization")
    assert list(found.values) == pytest.approx([50.0], abs=10.0)
