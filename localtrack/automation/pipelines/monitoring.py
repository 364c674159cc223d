"""What steps have reported, once more in their pipeline's task.

Source: ``monitor_metrics``, ``monitor_artifacts`` and ``monitor_models`` of ClearML's PipelineController.add_step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.node import Node
from localtrack.errors import LocaltrackError

if TYPE_CHECKING:
    from localtrack.api.task import Task

LOG = logging.getLogger("localtrack.pipeline")
PERIOD_S = 5.0


class Monitor:
    """Repeats scalars while a step runs, artifacts and models when it has ended.

    Args:
        task: the pipeline's task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._told: dict[tuple[str, str, str], int] = {}
        self._next_at = 0.0

    def repeat_some(self, nodes: Sequence[Node]) -> None:
        """Repeat what steps that run have reported by now, every few seconds at most: all their points are read for it."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + PERIOD_S
        for node in nodes:
            if node.job is not None and node.monitor_metrics:
                self._attempt(node, self._metrics)

    def repeat_all(self, node: Node) -> None:
        """Repeat what is new of a step that has ended."""
        if node.job is not None:
            for repeat in (self._metrics, self._artifacts, self._models):
                self._attempt(node, repeat)

    @staticmethod
    def _attempt(node: Node, repeat: Callable[[Node], None]) -> None:
        """Repeat something; what can't be read ends no pipeline."""
        try:
            repeat(node)
        except (LocaltrackError, OSError) as error:
            LOG.warning("step %s: what is to be repeated was not: %s", node.name, error)

    def _metrics(self, node: Node) -> None:
        assert node.job is not None
        if not node.monitor_metrics:
            return
        scalars = node.job.task.get_reported_scalars()
        for given in node.monitor_metrics:
            (title, series), (new_title, new_series) = _pair(given) if _is_nested(given) else (given, given)
            line = scalars.get(title, {}).get(series, {})
            done = self._told.get((node.name, new_title, new_series), -1)
            for step, value in zip(line.get("x", ()), line.get("y", ()), strict=True):
                if step > done:
                    self._task.get_logger().report_scalar(new_title, new_series, value, int(step))
                    self._told[node.name, new_title, new_series] = int(step)

    def _artifacts(self, node: Node) -> None:
        assert node.job is not None
        for given in node.monitor_artifacts:
            name, new_name = _pair(given)
            found = node.job.task.artifacts.get(name)
            if found is None:
                if node.status != states.FAILED:
                    LOG.warning("step %s has no artifact %s to repeat", node.name, name)
                continue
            self._task.set_artifacts([_renamed(found, new_name)])

    def _models(self, node: Node) -> None:
        from localtrack.api.model import OutputModel

        assert node.job is not None
        for given in node.monitor_models:
            name, new_name = _pair(given)
            found = node.job.task.models.output.get(name)
            if found is None:
                LOG.warning("step %s has no output model %s to repeat", node.name, name)
                continue
            OutputModel(base_model_id=found.id).connect(task=self._task, name=new_name)


def _is_nested(given: Any) -> bool:
    return len(given) == 2 and not isinstance(given[0], str)


def _pair(given: Any) -> tuple[Any, Any]:
    """Return the name in the step and the one in the pipeline."""
    return (given, given) if isinstance(given, str) else (given[0], given[1])


def _renamed(found: Any, name: str) -> Any:
    from localtrack.api.task.artifacts import Artifact

    return found if found.name == name else Artifact(found._section, {**found._entry, "name": name})
