"""The monitor measures what ClearML's does, under the same names, and never fails a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from localtrack.capture import resources
from localtrack.capture.resources import ResourceSampler, machine_facts, tree_io_bytes, tree_rss_bytes

GB = 1 << 30


class FakeError(Exception):
    """What the fake library raises."""


def fake_pynvml(count: int = 2, **changes: Any) -> ModuleType:
    """Return a stand-in for the library, with cards whose numbers tell them apart."""

    def not_supported(handle: int) -> int:
        if handle == 1:
            raise FakeError("Not Supported")
        return 123_456

    module: Any = ModuleType("pynvml")
    module.inits = 0
    module.NVML_TEMPERATURE_GPU = 0

    def init() -> None:
        module.inits += 1

    module.nvmlInit = init
    module.nvmlDeviceGetCount = lambda: count
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetUUID = lambda handle: f"GPU-{handle}a".encode()
    module.nvmlDeviceGetName = lambda handle: b"Fake 9000"
    module.nvmlSystemGetDriverVersion = lambda: "555.1"
    module.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=10 + handle, memory=1)
    module.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(total=8 * GB, used=2 * GB, free=6 * GB)
    module.nvmlDeviceGetTemperature = lambda handle, sensor: 50 + handle
    module.nvmlDeviceGetPowerUsage = not_supported
    vars(module).update(changes)
    return module


def fake_amdsmi(count: int = 2, **changes: Any) -> ModuleType:
    """Return a stand-in for AMD's library: card 0 has all sensors, the others what an Instinct card has."""

    def temperature(card: str, sensor: str, metric: str) -> int:
        module.asked.append((card, sensor))
        if metric != "current" or (sensor == "edge" and card != "card0"):
            raise FakeError("AMDSMI_STATUS_NOT_SUPPORTED")
        return 40 if sensor == "edge" else 60

    module: Any = ModuleType("amdsmi")
    module.asked = []
    module.AmdSmiTemperatureType = SimpleNamespace(EDGE="edge", HOTSPOT="hotspot")
    module.AmdSmiTemperatureMetric = SimpleNamespace(CURRENT="current")
    module.amdsmi_init = lambda: None
    module.amdsmi_get_processor_handles = lambda: [f"card{index}" for index in range(count)]
    module.amdsmi_get_gpu_device_uuid = lambda card: f"GPU-{card}"
    module.amdsmi_get_gpu_activity = lambda card: {"gfx_activity": 70, "umc_activity": 5, "mm_activity": "N/A"}
    module.amdsmi_get_gpu_vram_usage = lambda card: {"vram_total": 64 * 1024, "vram_used": 16 * 1024}
    module.amdsmi_get_temp_metric = temperature
    module.amdsmi_get_power_info = lambda card: {"current_socket_power": "N/A", "average_socket_power": 250}
    module.amdsmi_get_gpu_asic_info = lambda card: {"market_name": "Fake Instinct"}
    module.amdsmi_get_gpu_driver_info = lambda card: {"driver_name": "amdgpu", "driver_version": "6.8"}
    vars(module).update(changes)
    return module


@pytest.fixture
def amd_cards(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install AMD's stand-in with two cards, all of them visible, and no NVIDIA library."""
    module = fake_amdsmi()
    monkeypatch.setitem(sys.modules, "amdsmi", module)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return module


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install the stand-in with two cards, all of them visible."""
    module = fake_pynvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return module


def test_the_series_of_the_machine_have_clearmls_names() -> None:
    """Each series is there with a sane value, and a second interval starts afresh."""
    sampler = ResourceSampler()
    sampler.sample()
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        sum(range(1000))
    sampler.sample()
    means = sampler.mean()
    assert 0 <= means["cpu_usage"] <= 100
    assert 0.001 < means["memory_used_gb"] < 100
    assert means["memory_free_gb"] > 0
    assert 0 <= means["disk_free_percent"] <= 100
    rates = {
        "network_tx_mbs", "network_rx_mbs", "io_read_mbs", "io_write_mbs", "process_io_read_mbs", "process_io_write_mbs",
    }  # fmt: skip
    assert set(means) - rates - {"cpu_temperature"} == {
        "cpu_usage",
        "memory_used_gb",
        "memory_free_gb",
        "disk_free_percent",
    }
    assert all(means[name] >= 0 for name in rates & set(means))
    assert sampler.mean()["memory_used_gb"] > 0
    assert sampler.errors == ()


def test_means_and_rates_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """With known readings the mean, the share and the rate are the numbers one expects."""
    memory = iter([1 * GB, 3 * GB])
    clock = iter([100.0, 110.0])
    sent = iter([0, 50 << 20])
    cpu = iter([(0.0, 0.0), (30.0, 70.0)])
    monkeypatch.setattr(resources, "tree_rss_bytes", lambda pid: next(memory))
    monkeypatch.setattr(resources.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(
        psutil, "net_io_counters", lambda: SimpleNamespace(bytes_sent=next(sent), bytes_recv=7), raising=True
    )
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    times = [SimpleNamespace(_asdict=lambda user=user, idle=idle: {"user": user, "idle": idle}) for user, idle in cpu]
    monkeypatch.setattr(psutil, "cpu_times", lambda: times.pop(0))
    sampler = ResourceSampler(1)
    sampler.sample()
    sampler.sample()
    means = sampler.mean()
    assert means["memory_used_gb"] == pytest.approx(2.0)
    assert means["network_tx_mbs"] == pytest.approx(5.0)
    assert means["network_rx_mbs"] == 0.0
    assert means["cpu_usage"] == pytest.approx(30.0)
    assert "io_read_mbs" not in means


def test_the_users_own_cpu_percent_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler keeps its own state and never calls psutil's shared one."""

    def forbidden(*args: object, **kwargs: object) -> float:
        raise AssertionError("shared state")

    monkeypatch.setattr(psutil, "cpu_percent", forbidden)
    sampler = ResourceSampler()
    sampler.sample()
    sampler.mean()
    assert sampler.errors == ()


def test_memory_counts_the_descendants() -> None:
    """A child's and a grandchild's memory are in the sum, and a gone process counts nothing."""
    hold = "import sys; data = bytearray(40 << 20); print('up', flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {hold!r}]))"
    before = tree_rss_bytes(psutil.Process().pid)
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        grown = tree_rss_bytes(psutil.Process().pid) - before
        assert grown > 40 << 20
        assert tree_rss_bytes(child.pid) > 40 << 20
    finally:
        child.communicate(b"")
    assert tree_rss_bytes(child.pid) == 0


def test_disk_traffic_counts_the_descendants(tmp_path: Path) -> None:
    """What a child writes to a disk is in the sum while it lives, and after it was waited for."""
    if tree_io_bytes(psutil.Process().pid) is None:
        pytest.skip("this kernel keeps no count of it")
    code = (
        "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT); os.write(f, os.urandom(4 << 20)); os.fsync(f)\n"
        "print('up', flush=True); sys.stdin.read()\n"
    )
    folder = Path(__file__).parent if _is_in_memory(tmp_path) else tmp_path
    before = tree_io_bytes(psutil.Process().pid)
    path = folder / "written.bin"
    child = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        during = tree_io_bytes(psutil.Process().pid)
    finally:
        child.communicate(b"")
        path.unlink()
    after = tree_io_bytes(psutil.Process().pid)
    assert before is not None
    assert during is not None
    assert after is not None
    assert during[1] - before[1] >= 4 << 20
    assert after[1] - before[1] >= 4 << 20


def _is_in_memory(folder: Path) -> bool:
    kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    mount = next(parent for parent in (folder, *folder.parents) if str(parent) in kinds)
    return kinds[str(mount)] == "tmpfs"


def test_a_process_without_count_of_its_traffic_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no such file, the two series are left out and nothing is an error."""
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    assert tree_io_bytes(psutil.Process().pid) is None
    sampler = ResourceSampler()
    assert not any(name.startswith("process_io") for name in sampler.mean())
    assert sampler.errors == ()


def test_without_proc_psutil_sums_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux the same number comes from psutil."""
    ours = tree_rss_bytes(psutil.Process().pid)
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    assert tree_rss_bytes(psutil.Process().pid) == pytest.approx(ours, rel=0.2)


def test_cards_are_measured(two_cards: Any) -> None:
    """Each card gives its series; one that lacks a sensor gives the others and one error."""
    sampler = ResourceSampler()
    assert sampler.gpu_means() == {
        "gpu_0_utilization": 10.0,
        "gpu_0_mem_usage": 25.0,
        "gpu_0_mem_used_gb": 2.0,
        "gpu_0_mem_free_gb": 6.0,
        "gpu_0_temperature": 50.0,
        "gpu_0_power_draw": 123.456,
        "gpu_1_utilization": 11.0,
        "gpu_1_mem_usage": 25.0,
        "gpu_1_mem_used_gb": 2.0,
        "gpu_1_mem_free_gb": 6.0,
        "gpu_1_temperature": 51.0,
    }
    sampler.gpu_means()
    assert two_cards.inits == 1
    assert len(sampler.errors) == 1
    assert "Not Supported" in sampler.errors[0]


def test_samples_of_cards_are_averaged(two_cards: Any) -> None:
    """Between two questions the mean of the samples is given, then a new interval starts."""
    loads = iter([10, 30, 90])
    two_cards.nvmlDeviceGetCount = lambda: 1
    two_cards.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=next(loads))
    sampler = ResourceSampler()
    sampler.sample_gpu()
    sampler.sample_gpu()
    assert sampler.gpu_means()["gpu_0_utilization"] == 20.0
    assert sampler.gpu_means()["gpu_0_utilization"] == 90.0


@pytest.mark.parametrize(
    ("setting", "cards"), [("1", {1}), ("GPU-0", {0}), ("", set()), ("-1", set()), ("1,7,0", {1}), ("1, 0", {0, 1})]
)
def test_only_visible_cards_are_measured(
    two_cards: Any, monkeypatch: pytest.MonkeyPatch, setting: str, cards: set[int]
) -> None:
    """CUDA_VISIBLE_DEVICES chooses by number or by name, the way CUDA reads it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert {int(name.split("_")[1]) for name in ResourceSampler().gpu_means()} == cards


def test_amd_cards_are_measured(amd_cards: Any) -> None:
    """The same series as of other cards; the sensor that a card lacks is asked once, and what it calls N/A left out."""
    sampler = ResourceSampler()
    expected = {
        "utilization": 70.0, "mem_usage": 25.0, "mem_used_gb": 16.0, "mem_free_gb": 48.0, "power_draw": 250.0,
    }  # fmt: skip
    assert sampler.gpu_means() == {
        **{f"gpu_{number}_{name}": value for number in (0, 1) for name, value in expected.items()},
        "gpu_0_temperature": 40.0,
        "gpu_1_temperature": 60.0,
    }
    sampler.gpu_means()
    assert amd_cards.asked.count(("card1", "edge")) == 1
    assert sampler.errors == ()


@pytest.mark.parametrize(
    ("variables", "cards"),
    [
        ({"HIP_VISIBLE_DEVICES": "1"}, {1}),
        ({"CUDA_VISIBLE_DEVICES": "0"}, {0}),
        ({"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "1"}, {1}),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "0"}, {2}),
        ({"ROCR_VISIBLE_DEVICES": "GPU-card1"}, {1}),
        ({"HIP_VISIBLE_DEVICES": ""}, set()),
    ],
)
def test_only_visible_amd_cards_are_measured(
    amd_cards: Any, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], cards: set[int]
) -> None:
    """ROCm's variables choose as ROCm reads them: the runtime's first, HIP's among what that left."""
    amd_cards.amdsmi_get_processor_handles = lambda: ["card0", "card1", "card2"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert {int(name.split("_")[1]) for name in ResourceSampler().gpu_means()} == cards


def test_cards_of_two_makers_have_numbers_of_their_own(two_cards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """AMD's cards come after NVIDIA's, and the facts name all of them."""
    monkeypatch.setitem(sys.modules, "amdsmi", fake_amdsmi(1))
    assert {name.split("_")[1] for name in ResourceSampler().gpu_means()} == {"0", "1", "2"}
    facts = machine_facts()
    assert facts["gpu_count"] == 3
    assert facts["gpu_type"] == "Fake 9000, Fake 9000, Fake Instinct"
    assert facts["gpu_memory"] == "8GB, 8GB, 64GB"
    assert facts["gpu_driver_version"] == "555.1, 6.8"


def test_an_amd_card_that_answers_nothing_gives_errors_not_exceptions(amd_cards: Any) -> None:
    """Each question that fails is told once; the run goes on without that series."""

    def fail(*args: object) -> Any:
        raise FakeError("AMDSMI_STATUS_API_FAILED")

    for name in ("gpu_activity", "gpu_vram_usage", "temp_metric", "power_info"):
        setattr(amd_cards, f"amdsmi_get_{name}", fail)
    sampler = ResourceSampler()
    assert sampler.gpu_means() == {}
    assert len(sampler.errors) == 4


def test_without_cards_there_are_no_series_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library, and one without a driver, are ordinary."""

    def fail() -> None:
        raise FakeError("Driver Not Loaded")

    pairs = [
        (None, None),
        (fake_pynvml(nvmlInit=fail), fake_amdsmi(amdsmi_init=fail)),
        (fake_pynvml(0), fake_amdsmi(0)),
    ]
    for module, other in pairs:
        monkeypatch.setitem(sys.modules, "pynvml", module)
        monkeypatch.setitem(sys.modules, "amdsmi", other)
        sampler = ResourceSampler()
        assert sampler.gpu_means() == {}
        assert sampler.errors == ()
        assert "gpu_count" not in machine_facts()


def test_a_failing_host_gives_errors_not_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where psutil cannot read, the series is left out and the reason told once."""

    def fail(*args: object, **kwargs: object) -> Any:
        raise PermissionError("no /proc for you")

    for name in ("net_io_counters", "disk_io_counters", "virtual_memory", "cpu_times", "sensors_temperatures"):
        monkeypatch.setattr(psutil, name, fail, raising=False)
    sampler = ResourceSampler()
    sampler.sample()
    sampler.sample()
    means = sampler.mean()
    assert "memory_used_gb" in means
    assert not {"cpu_usage", "memory_free_gb", "network_tx_mbs"} & set(means)
    assert any("memory_free_gb" in error for error in sampler.errors)
    assert len(set(sampler.errors)) == len(sampler.errors)


def test_importing_and_constructing_loads_no_psutil() -> None:
    """Psutil comes with the first sample, so that it can load in the monitor's own thread."""
    code = (
        "import sys; from localtrack.capture.resources import ResourceSampler; s = ResourceSampler()\n"
        "assert 'psutil' not in sys.modules; s.sample(); assert 'psutil' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_facts_of_the_machine_can_be_stored(two_cards: Any) -> None:
    """The facts are JSON and name the cards."""
    facts = json.loads(json.dumps(machine_facts()))
    assert facts["cpu_cores"] >= 1
    assert facts["python_version"].count(".") == 2
    assert facts["gpu_count"] == 2
    assert facts["gpu_type"] == "Fake 9000, Fake 9000"
    assert facts["gpu_memory"] == "8GB, 8GB"
    assert facts["gpu_driver_version"] == "555.1"
