"""Measure graphics cards: NVIDIA's through nvidia-ml-py, AMD's through amdsmi, where those are installed.

Source: https://docs.nvidia.com/deploy/nvml-api/; https://rocm.docs.amd.com/projects/amdsmi (Python API).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

_GB = 1 << 30
_MB_A_GB = 1 << 10
_AMD_POWER_FIELDS = ("socket_power", "current_socket_power", "average_socket_power")
_AMD_SENSORS = ("EDGE", "HOTSPOT")  # Instinct cards have no sensor at the edge

Counters = dict[str, float]
Note = Callable[[str, Exception], None]


class Maker(Protocol):
    """What the cards of one maker are asked; a question that a card can't answer raises, or has None for an answer."""

    def open(self) -> dict[int, Any]:
        """Return the cards that the process may use, by their number."""

    def read(self, card: Any) -> Counters:
        """Return what a card does now, by the series' endings."""

    def name(self, card: Any) -> object:
        """Return the card's name."""

    def memory_gb(self, card: Any) -> float | None:
        """Return the size of its memory."""

    def driver(self, card: Any) -> object:
        """Return the driver's version."""


class Gpus:
    """The graphics cards that the makers' libraries show and this process may use; AMD's are numbered after NVIDIA's."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._pid: int | None = None
        self._cards: list[tuple[int, Maker, Any]] = []
        self._sums: Counters = {}
        self._counts: dict[str, int] = {}

    def sample(self) -> None:
        """Take one sample of each card."""
        for number, maker, card in self._open():
            for name, value in maker.read(card).items():
                series = f"gpu_{number}_{name}"
                self._sums[series] = self._sums.get(series, 0.0) + value
                self._counts[series] = self._counts.get(series, 0) + 1

    def means(self) -> Counters:
        """Return the means of the samples since the last call, the present state where there is none."""
        if not self._counts:
            self.sample()
        means = {series: self._sums[series] / self._counts[series] for series in self._sums}
        self._sums, self._counts = {}, {}
        return means

    def facts(self) -> dict[str, Any]:
        """Return count, names, memory and driver of the cards, {} where there is none."""
        cards = self._open()
        if not cards:
            return {}
        names = [_ask(self._note, "gpu_type", maker.name, card) for _, maker, card in cards]
        memory = [_ask(self._note, "gpu_memory", maker.memory_gb, card) for _, maker, card in cards]
        drivers = [_ask(self._note, "gpu_driver_version", maker.driver, card) for _, maker, card in cards]
        facts: dict[str, Any] = {
            "gpu_count": len(cards),
            "gpu_type": ", ".join(_to_text(name) for name in names if name is not None),
            "gpu_memory": ", ".join(f"{size:.0f}GB" for size in memory if size is not None),
        }
        known = list(dict.fromkeys(_to_text(driver) for driver in drivers if driver is not None))
        if known:
            facts["gpu_driver_version"] = ", ".join(known)
        return facts

    def _open(self) -> list[tuple[int, Maker, Any]]:
        """Return the visible cards; the libraries are opened once, and again in a forked child."""
        if self._pid == os.getpid():
            return self._cards
        self._pid, self._cards = os.getpid(), []
        first = 0
        for maker in (_Nvidia(self._note), _Amd(self._note)):
            cards = maker.open()
            self._cards += [(first + number, maker, card) for number, card in cards.items()]
            first = max((number + 1 for number, _, _ in self._cards), default=0)
        return self._cards


class _Nvidia:
    def __init__(self, note: Note) -> None:
        self._note = note
        self._library: Any = None

    def open(self) -> dict[int, Any]:
        try:
            import pynvml
        except Exception:  # not installed, or broken: the run has no cards to show, which is no error
            return {}
        try:
            pynvml.nvmlInit()
            count = int(pynvml.nvmlDeviceGetCount())
            cards = {index: pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)}
        except Exception:  # the library is there and no driver or card is: a login node, a laptop
            return {}
        self._library = pynvml
        uuids = {index: _to_text(self._ask("uuid", pynvml.nvmlDeviceGetUUID, card)) for index, card in cards.items()}
        visible = _choose_visible(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        return {index: cards[index] for index in visible}

    def read(self, card: Any) -> Counters:
        library = self._library
        found: Counters = {}
        utilization = self._ask("gpu utilization", library.nvmlDeviceGetUtilizationRates, card)
        if utilization is not None:
            found["utilization"] = float(utilization.gpu)
        memory = self._ask("gpu memory", library.nvmlDeviceGetMemoryInfo, card)
        if memory is not None:
            found.update(_memory_series(memory.used / _GB, memory.free / _GB, memory.total / _GB))
        sensor = getattr(library, "NVML_TEMPERATURE_GPU", 0)
        temperature = self._ask("gpu temperature", library.nvmlDeviceGetTemperature, card, sensor)
        if temperature is not None:
            found["temperature"] = float(temperature)
        power_mw = self._ask("gpu power", library.nvmlDeviceGetPowerUsage, card)
        if power_mw is not None:
            found["power_draw"] = power_mw / 1000.0
        return found

    def name(self, card: Any) -> object:
        return self._library.nvmlDeviceGetName(card)

    def memory_gb(self, card: Any) -> float | None:
        return float(self._library.nvmlDeviceGetMemoryInfo(card).total / _GB)

    def driver(self, card: Any) -> object:
        return self._library.nvmlSystemGetDriverVersion()

    def _ask(self, name: str, question: Callable[..., Any], *args: Any) -> Any:
        return _ask(self._note, name, question, *args)


class _Amd:
    """Cards by amdsmi, whose answers are dicts in which "N/A" stands for what a card does not know."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._library: Any = None
        self._sensors: dict[int, str] = {}

    def open(self) -> dict[int, Any]:
        try:
            import amdsmi
        except (Exception, SystemExit):  # not installed, or its C library is missing: no error either
            return {}
        try:
            amdsmi.amdsmi_init()
            cards = dict(enumerate(amdsmi.amdsmi_get_processor_handles()))
        except Exception:  # as for NVIDIA's
            return {}
        self._library = amdsmi
        uuids = {
            index: _to_text(self._ask("uuid", "amdsmi_get_gpu_device_uuid", card)) for index, card in cards.items()
        }
        # ROCm's runtime hides cards first; HIP counts what is left, and takes CUDA's variable for its own
        shown = _choose_visible(os.environ.get("ROCR_VISIBLE_DEVICES"), uuids)
        setting = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
        visible = _choose_visible(setting, {place: uuids[index] for place, index in enumerate(shown)})
        return {shown[place]: cards[shown[place]] for place in visible}

    def read(self, card: Any) -> Counters:
        found: Counters = {}
        activity = self._ask("gpu utilization", "amdsmi_get_gpu_activity", card) or {}
        utilization = _to_number(activity.get("gfx_activity"))
        if utilization is not None:
            found["utilization"] = utilization
        memory = self._ask("gpu memory", "amdsmi_get_gpu_vram_usage", card) or {}
        used, total = _to_number(memory.get("vram_used")), _to_number(memory.get("vram_total"))
        if used is not None and total is not None:  # in MiB
            found.update(_memory_series(used / _MB_A_GB, (total - used) / _MB_A_GB, total / _MB_A_GB))
        temperature = _ask(self._note, "gpu temperature", self._temperature, card)
        if temperature is not None:
            found["temperature"] = temperature
        power = self._ask("gpu power", "amdsmi_get_power_info", card) or {}
        watts = next((w for w in (_to_number(power.get(name)) for name in _AMD_POWER_FIELDS) if w is not None), None)
        if watts is not None:
            found["power_draw"] = watts
        return found

    def _temperature(self, card: Any) -> float | None:
        """Ask the sensor that this card has; which one that is shows at the first question."""
        library = self._library
        known = self._sensors.get(id(card))
        failure: Exception | None = None
        for sensor in _AMD_SENSORS if known is None else (known,):
            try:
                value = library.amdsmi_get_temp_metric(
                    card, getattr(library.AmdSmiTemperatureType, sensor), library.AmdSmiTemperatureMetric.CURRENT
                )
            except Exception as error:  # amdsmi's errors need its import to be named
                failure = error
                continue
            number = _to_number(value)
            if number is not None:
                self._sensors[id(card)] = sensor
                return number
        if failure is not None:
            raise failure
        return None

    def name(self, card: Any) -> object:
        return self._library.amdsmi_get_gpu_asic_info(card).get("market_name")

    def memory_gb(self, card: Any) -> float | None:
        total = _to_number(self._library.amdsmi_get_gpu_vram_usage(card).get("vram_total"))
        return None if total is None else total / _MB_A_GB

    def driver(self, card: Any) -> object:
        return self._library.amdsmi_get_gpu_driver_info(card).get("driver_version")

    def _ask(self, name: str, function: str, card: Any) -> Any:
        return _ask(self._note, name, lambda: getattr(self._library, function)(card))  # an older one may lack it


def _ask(note: Note, name: str, question: Callable[..., Any], *args: Any) -> Any:
    """Return the answer, None where a card does not know: many lack one sensor or another."""
    try:
        return question(*args)
    except Exception as error:  # the libraries' errors need their imports to be named
        note(name, error)
        return None


def _memory_series(used_gb: float, free_gb: float, total_gb: float) -> Counters:
    if not total_gb:
        return {}
    return {"mem_usage": 100.0 * used_gb / total_gb, "mem_used_gb": used_gb, "mem_free_gb": free_gb}


def _to_number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _to_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _choose_visible(setting: str | None, uuids: dict[int, str]) -> list[int]:
    """Return the cards that such a variable lets a program use; like CUDA, stop at the first unknown one."""
    if setting is None:
        return list(uuids)
    chosen: list[int] = []
    for item in (part.strip() for part in setting.split(",")):
        matching = [index for index, uuid in uuids.items() if item and (item == str(index) or uuid.startswith(item))]
        if len(matching) != 1 or matching[0] in chosen:
            break
        chosen.append(matching[0])
    return chosen
