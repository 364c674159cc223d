"""Reports the machine's load as scalars: the mean of each period under ``:monitor:machine`` and ``:monitor:gpu``.

Source: ClearML's resource monitor, measured.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.capture.resources import ResourceSampler
    from localtrack.runtime.writer import TaskWriter

MACHINE_TITLE = ":monitor:machine"
GPU_TITLE = ":monitor:gpu"
FIRST_SAMPLE_S = 3.0
SAMPLE_S = 2.0


class ResourceMonitor:
    """Samples on the writer's own thread; a failure ends the monitor and nothing else.

    Args:
        writer: where the values go.
    """

    def __init__(self, writer: TaskWriter) -> None:
        self._writer = writer
        self._start = self._reported = self._sampled = time.monotonic()
        self._sampler: ResourceSampler | None = None
        self._broken = False

    def tick(self) -> None:
        """Sample when it is time to, report when a period is over."""
        moment = time.monotonic()
        if self._broken or moment - self._start < FIRST_SAMPLE_S or moment - self._sampled < SAMPLE_S:
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

            self._sampler = ResourceSampler(os.getpid())
        self._sampler.sample()
        if moment - self._reported < self._writer.ctx.settings.monitor_interval_s:
            return
        self._reported = moment
        iteration = self._writer.last_iteration() or int(moment - self._start)
        values: list[tuple[str, dict[str, Any]]] = [
            (MACHINE_TITLE, self._sampler.mean()),
            (GPU_TITLE, self._sampler.gpu_means()),
        ]
        for title, series in values:
            for name, value in series.items():
                self._writer.scalars.report(title, name, round(float(value), 3), iteration)
