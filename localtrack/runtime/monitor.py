"""Reports the machine's load as scalars: the mean of each period under ``:monitor:machine`` and ``:monitor:gpu``.

Rank 1 of a distributed run reports under ``:monitor:machine:rank1`` and ``:monitor:gpu:rank1``, as ClearML names them.

Source: ClearML's resource monitor, measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError
from localtrack.records.plain import dataclass, replace

if TYPE_CHECKING:
    from localtrack.capture.resources import ResourceSampler
    from localtrack.runtime.session import Session
    from localtrack.runtime.writer import TaskWriter

MACHINE_TITLE = ":monitor:machine"
GPU_TITLE = ":monitor:gpu"
FIRST_SAMPLE_S = 3.0
SAMPLE_S = 2.0
_FIRST_REPORT = ("first_report_sec", "report_start_sec", "seconds_from_start")
_GLOBAL, _OWN = "report_global_mem_used", "report_mem_used_per_process"
_NUMBERS = (
    "report_frequency_sec", "sample_frequency_per_sec", "wait_for_first_iteration_to_start_sec",
    "max_wait_for_first_iteration_to_start_sec",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """How the machine's load is reported.

    Attributes:
        first_report_s: seconds from the start to the first report; None for one period.
        period_s: seconds between two reports; None for the setting ``monitor_interval_s``.
        sample_s: seconds between two samples; the writer's thread looks once a second.
        wait_for_iteration_s: so many seconds nothing is reported before the script has reported an iteration; later,
            the seconds since the start stand in for it.
        until_iteration_s: after so many seconds without an iteration, seconds stay what reports are numbered by.
        is_global: memory in use is that of the machine instead of that of this process and its descendants.
    """

    first_report_s: float | None = None
    period_s: float | None = None
    sample_s: float = SAMPLE_S
    wait_for_iteration_s: float = 0.0
    until_iteration_s: float = float("inf")
    is_global: bool = False


def monitor_options(asked: Mapping[str, Any]) -> MonitorOptions:
    """Return what a dict for ClearML's ``auto_resource_monitoring`` asks for; ClearML's own names are the keys.

    Raises:
        InvalidValueError: an unknown key, or a value that is no number above zero.
    """
    unknown = sorted(set(asked) - {*_FIRST_REPORT, *_NUMBERS, _GLOBAL, _OWN})
    if unknown:
        known = ", ".join((*_FIRST_REPORT, *_NUMBERS, _GLOBAL, _OWN))
        raise InvalidValueError(f"auto_resource_monitoring has no option {unknown[0]!r}; there are {known}")
    first = [_seconds(name, asked[name]) for name in _FIRST_REPORT if asked.get(name) is not None]
    period, frequency, wait, until = (
        None if asked.get(name) is None else _seconds(name, asked[name]) for name in _NUMBERS
    )
    is_global = bool(asked[_GLOBAL]) if _GLOBAL in asked else not asked.get(_OWN, True)
    return MonitorOptions(
        first_report_s=first[-1] if first else None,
        period_s=period,
        sample_s=SAMPLE_S if not frequency else 1.0 / frequency,
        wait_for_iteration_s=wait or 0.0,
        until_iteration_s=float("inf") if until is None else until,
        is_global=is_global,
    )


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not number >= 0.0:
        raise InvalidValueError(f"auto_resource_monitoring: {name} must be a number of at least 0, not {value!r}")
    return number


class ResourceMonitor:
    """Samples on the writer's own thread; a failure ends the monitor and nothing else.

    Args:
        writer: where the values go.
        options: how often, and what.
        rank: the rank that reports, with leading zeros; empty for the process that owns the task.
    """

    def __init__(self, writer: TaskWriter, options: MonitorOptions | None = None, rank: str = "") -> None:
        self._writer = writer
        self._ending = f":rank{rank}" if rank else ""
        self._options = options or MonitorOptions()
        self._start = self._sampled = time.monotonic()
        period_s = self._options.period_s
        self._period_s = writer.ctx.settings.monitor_interval_s if period_s is None else period_s
        first_s = self._options.first_report_s
        self._next_report = self._start + (self._period_s if first_s is None else first_s)
        self._first_sample = min(self._start + FIRST_SAMPLE_S, self._next_report)
        self._counts_seconds = False
        self._sampler: ResourceSampler | None = None
        self._broken = False

    def wait(self, *, first_report_s: float, wait_for_iteration_s: float, until_iteration_s: float) -> None:
        """Change when it reports first and how long it waits for an iteration; see :class:`MonitorOptions`."""
        self._options = replace(
            self._options,
            first_report_s=first_report_s,
            wait_for_iteration_s=wait_for_iteration_s,
            until_iteration_s=until_iteration_s,
        )
        self._next_report = max(time.monotonic(), self._start + first_report_s)

    def tick(self) -> None:
        """Sample when it is time to, report when a period is over."""
        moment = time.monotonic()
        if self._broken or moment < self._first_sample:
            return
        if moment - self._sampled < self._options.sample_s and moment < self._next_report:
            return
        self._sampled = moment
        try:
            self._sample(moment)
        except Exception as error:  # the capture border: a sensor may raise anything
            self._broken = True
            self._writer.say_once("monitor", f"the resource monitor ended: {type(error).__name__}: {error}")

    def _sample(self, moment: float) -> None:
        if self._sampler is None:
            from localtrack.capture.resources import ResourceSampler

            self._sampler = ResourceSampler(os.getpid(), is_global=self._options.is_global)
        self._sampler.sample()
        self._sampler.sample_gpu()
        if moment < self._next_report:
            return
        iteration = self._iteration(moment - self._start)
        if iteration is None:
            return
        self._next_report = moment + self._period_s
        values: list[tuple[str, dict[str, Any]]] = [
            (MACHINE_TITLE + self._ending, self._sampler.mean()),
            (GPU_TITLE + self._ending, self._sampler.gpu_means()),
        ]
        for title, series in values:
            for name, value in series.items():
                self._writer.scalars.report(title, name, round(float(value), 3), iteration)

    def _iteration(self, elapsed_s: float) -> int | None:
        """Return the script's iteration, or the seconds since the start; None while the iteration is waited for."""
        iteration = 0 if self._counts_seconds else self._writer.last_iteration()
        if iteration:
            return iteration
        if elapsed_s < self._options.wait_for_iteration_s:
            return None
        self._counts_seconds = elapsed_s >= self._options.until_iteration_s
        return int(elapsed_s)


def check_monitor_class(kind: type) -> None:
    """Refuse a class that can't be a monitor.

    Raises:
        InvalidValueError: it has no ``start``.
    """
    if not callable(getattr(kind, "start", None)):
        raise InvalidValueError(
            f"auto_resource_monitoring: {kind.__name__} is no monitor: it is called with the task and ClearML's options "
            "by name, and needs a method start(), which must not block; stop() is called at the end where there is one"
        )


def start_own_monitor(kind: type, session: Session, task: object) -> None:
    """Start a monitor of the user's own in place of ours, as ClearML does; what fails in it is said once.

    Args:
        kind: called with the task, and ClearML's options by name, all at their defaults.
        session: the run.
        task: the facade, which is what such a class is written for.
    """
    options = {
        _OWN: True, "first_report_sec": None, "wait_for_first_iteration_to_start_sec": None,
        "max_wait_for_first_iteration_to_start_sec": None,
    }  # fmt: skip
    try:
        monitor: Any = kind(task, **options)
        monitor.start()
    except Exception as error:  # the capture border: the user's training goes on without its monitor
        session.writer.say_once("monitor", f"{kind.__name__} did not start: {type(error).__name__}: {error}")
        return
    stop = getattr(monitor, "stop", None)
    if callable(stop):
        session.on_close.append(lambda: session.bounded(stop))
