"""Measure what a run uses: processor, memory, disk, network and graphics cards.

Names and units follow ClearML's resource monitor; ``process_io_read_mbs`` and ``process_io_write_mbs`` are our own. psutil
and the libraries for graphics cards are loaded at the first sample.

Source: https://clear.ml/docs/latest/docs/fundamentals/task (resource monitoring)
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from localtrack.capture.gpus import Gpus
from localtrack.capture.redaction import storable_text

_GB = 1 << 30
_MB = 1 << 20
_PROC = Path("/proc")
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz", "soc_thermal")
_IDLE_FIELDS = ("idle", "iowait")
#: Linux counts these within user and nice already.
_DOUBLE_FIELDS = ("guest", "guest_nice")

Counters = dict[str, float]


class ResourceSampler:
    """Samples a process tree and its host, and gives means and rates between two questions.

    It raises nothing: what cannot be measured on a host is left out, and ``errors`` says why.
    """

    def __init__(self, pid: int | None = None, *, is_global: bool = False) -> None:
        """Watch the process ``pid`` (this one when None) and all its descendants; ``is_global``: all of the machine."""
        self._pid = os.getpid() if pid is None else pid
        self._read_used = _read_used_memory_gb if is_global else lambda: tree_rss_bytes(self._pid) / _GB
        self._errors: dict[str, str] = {}
        self._sums: Counters = {}
        self._counts: dict[str, int] = {}
        self._cpu_times: tuple[float, float] | None = None
        self._counters: Counters | None = None
        self._counted_at_s = 0.0
        self._gpu = Gpus(self._note)

    @property
    def errors(self) -> tuple[str, ...]:
        """What could not be measured, each kind once."""
        return tuple(self._errors.values())

    def sample(self) -> None:
        """Take one sample of what has a mean, in about a millisecond; the first one loads psutil and starts the rates."""
        if self._counters is None:
            self._counters, self._counted_at_s = self._read_all_counters(), time.monotonic()
        self._add("cpu_usage", self._read_cpu)
        self._add("memory_used_gb", self._read_used)
        self._add("memory_free_gb", _read_free_memory_gb)
        self._add("cpu_temperature", _read_cpu_temperature)

    def mean(self) -> dict[str, float]:
        """Return the means of the samples, and the rates per second, since the last call.

        Percentages are of 100, memory in GiB, rates in MiB per second, temperatures in degrees Celsius. ``io_...`` is what
        all of the machine moves to and from its disks, ``process_io_...`` what the process tree does.
        """
        if not self._counts.get("memory_used_gb"):
            self.sample()
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        self._sums, self._counts = {}, {}
        disk = self._try("disk_free_percent", _read_free_disk_percent)
        if disk is not None:
            means["disk_free_percent"] = disk
        before, counters, now_s = self._counters or {}, self._read_all_counters(), time.monotonic()
        elapsed_s = now_s - self._counted_at_s
        if elapsed_s > 0:
            for name, value in counters.items():
                if name in before:  # a counter that went back belongs to a device that went away
                    means[name] = max(0.0, value - before[name]) / _MB / elapsed_s
        self._counters, self._counted_at_s = counters, now_s
        return means

    def gpu_means(self) -> dict[str, float]:
        """Return the means of the ``sample_gpu`` calls since the last call, else the present state; {} without cards.

        For card N: ``gpu_N_utilization`` and ``gpu_N_mem_usage`` in percent, ``gpu_N_mem_used_gb`` and
        ``gpu_N_mem_free_gb`` in GiB, ``gpu_N_temperature`` in degrees Celsius, ``gpu_N_power_draw`` in watts.
        """
        return self._gpu.means()

    def sample_gpu(self) -> None:
        """Take one sample of each visible card."""
        self._gpu.sample()

    def _add(self, name: str, read: Callable[[], float | None]) -> None:
        value = self._try(name, read)
        if value is not None:
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def _try(self, name: str, read: Callable[[], float | None]) -> float | None:
        try:
            return read()
        except Exception as error:  # psutil raises whatever the host's files make it raise
            self._note(name, error)
            return None

    def _note(self, name: str, error: Exception) -> None:
        self._errors.setdefault(name, storable_text(f"measuring {name}: {type(error).__name__}: {error}"))

    def _read_cpu(self) -> float | None:
        """Return the share of the host's processor time in use since the last call, in percent."""
        # psutil.cpu_percent() keeps one state for the whole process: calling it would falsify the user's own use.
        times = self._try_cpu_times()
        previous, self._cpu_times = self._cpu_times, times
        if times is None or previous is None or times[1] <= previous[1]:
            return None
        share = (times[0] - previous[0]) / (times[1] - previous[1])
        return 100.0 * min(1.0, max(0.0, share))

    def _try_cpu_times(self) -> tuple[float, float] | None:
        try:
            import psutil

            fields = psutil.cpu_times()._asdict()
        except Exception as error:  # as in _try
            self._note("cpu_usage", error)
            return None
        total = sum(value for name, value in fields.items() if name not in _DOUBLE_FIELDS)
        return total - sum(fields.get(name, 0.0) for name in _IDLE_FIELDS), total

    def _read_counters(self) -> Counters:
        """Return bytes since boot by series."""
        found: Counters = {}
        try:
            import psutil

            network, disk = psutil.net_io_counters(), psutil.disk_io_counters()
        except Exception as error:  # as in _try
            self._note("network and disk", error)
            return found
        if network is not None:
            found.update(network_tx_mbs=network.bytes_sent, network_rx_mbs=network.bytes_recv)
        if disk is not None:
            found.update(io_read_mbs=disk.read_bytes, io_write_mbs=disk.write_bytes)
        return found

    def _read_all_counters(self) -> Counters:
        try:
            own = tree_io_bytes(self._pid)
        except Exception as error:  # as in _try
            self._note("process_io", error)
            own = None
        counters = self._read_counters()
        if own is not None:
            counters.update(process_io_read_mbs=own[0], process_io_write_mbs=own[1])
        return counters


def tree_rss_bytes(pid: int) -> int:
    """Return the resident memory of ``pid`` and its descendants in bytes; memory they share counts for each."""
    if not (_PROC / "self" / "statm").exists():
        return _ask_psutil_rss(pid)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    return page_bytes * sum(_read_resident_pages(each) for each in _list_tree(pid))


def tree_io_bytes(pid: int) -> tuple[int, int] | None:
    """Return what ``pid`` and its descendants read from and wrote to disks, in bytes; None where the kernel keeps no count.

    The kernel counts a child that was waited for with its parent, so the sum goes on growing when children end.
    """
    if not (_PROC / str(pid) / "io").exists():
        return None
    read = written = 0
    for each in _list_tree(pid):
        try:
            with open(_PROC / str(each) / "io", "rb") as file:
                fields = dict(line.split(b": ", 1) for line in file.read().splitlines())
            read += int(fields[b"read_bytes"])
            written += int(fields[b"write_bytes"])
        except (OSError, ValueError, KeyError):
            continue  # it ended meanwhile, or belongs to another user
    return read, written


def _list_tree(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants."""
    found, queue = {pid}, [pid]
    while queue:
        for child in _read_children(queue.pop()):
            if child not in found:
                found.add(child)
                queue.append(child)
    return list(found)


def _read_resident_pages(pid: int) -> int:
    try:
        with open(_PROC / str(pid) / "statm", "rb") as file:
            return int(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0  # it ended meanwhile


def _read_children(pid: int) -> list[int]:
    """Return the children of all threads of ``pid``."""
    children: list[int] = []
    tasks = _PROC / str(pid) / "task"
    try:
        threads = os.listdir(tasks)
    except OSError:
        return children
    for thread in threads:
        try:
            with open(tasks / thread / "children", "rb") as file:
                children.extend(int(child) for child in file.read().split())
        except FileNotFoundError:
            if (tasks / thread).exists():  # a kernel without this list
                return _ask_psutil_children(pid)
        except (OSError, ValueError):
            continue
    return children


def _ask_psutil_children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.Error:
        return []


def _ask_psutil_rss(pid: int) -> int:
    import psutil

    total = 0
    top = psutil.Process(pid)
    for process in [top, *top.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _read_used_memory_gb() -> float:
    import psutil

    return float(psutil.virtual_memory().used) / _GB


def _read_free_memory_gb() -> float:
    import psutil

    return float(psutil.virtual_memory().available) / _GB


def _read_free_disk_percent() -> float:
    usage = shutil.disk_usage(Path.home())
    return 100.0 * usage.free / usage.total


def _read_cpu_temperature() -> float | None:
    import psutil

    read = getattr(psutil, "sensors_temperatures", None)
    sensors: dict[str, Any] = read() if read is not None else {}
    for name in _CPU_SENSORS:
        values = [float(sensor.current) for sensor in sensors.get(name, ()) if sensor.current]
        if values:
            return sum(values) / len(values)
    return None


def machine_facts() -> dict[str, Any]:
    """Describe the machine, for the record of a run; what is unknown is left out."""
    errors: list[Exception] = []
    facts: dict[str, Any] = {
        "platform": sys.platform,
        "python_version": ".".join(str(part) for part in sys.version_info[:3]),
        "python_exec": storable_text(sys.executable or ""),
        "cpu_cores": os.cpu_count() or 1,
        "processor": _read_processor(),
    }
    if hasattr(os, "uname"):
        name = os.uname()
        facts.update(OS=f"{name.sysname} {name.release}", hostname=storable_text(name.nodename))
    try:
        facts["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GB, 1)
    except (AttributeError, OSError, ValueError):
        pass
    facts.update(Gpus(lambda name, error: errors.append(error)).facts())
    return {key: value for key, value in facts.items() if value != ""}


def _read_processor() -> str:
    try:
        with open(_PROC / "cpuinfo", encoding="utf-8", errors="replace") as file:
            return _find_model(file) or (os.uname().machine if hasattr(os, "uname") else "")
    except OSError:
        return os.uname().machine if hasattr(os, "uname") else ""


def _find_model(lines: Iterable[str]) -> str:
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return ""
