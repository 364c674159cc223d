"""What a pipeline shows in its own task: its steps as a configuration object, a picture of them, and a table.

Source: the plots of ClearML's PipelineController.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.node import Node
from localtrack.errors import LocaltrackError
from localtrack.records.values import encode

if TYPE_CHECKING:
    from localtrack.api.task import Task

LOG = logging.getLogger("localtrack.pipeline")
CONFIGURATION = "Pipeline"
PERIOD_S = 5.0
TITLE, PICTURE, TABLE = "Pipeline", "Execution Flow", "Execution Details"
COLOURS = {
    states.PENDING: "#c8ccd2", states.QUEUED: "#b0b7c3", states.RUNNING: "#4c8dd9", states.COMPLETED: "#3f9c5a",
    states.CACHED: "#8fbf9b", states.FAILED: "#c8443c", states.ABORTED: "#d98a3d", states.SKIPPED: "#e5d9b8",
}  # fmt: skip
HEADER = ["step", "status", "task id", "seconds", "parents", "stage", "parameters"]


class Report:
    """Writes the state of a pipeline to its task; what was written and has not changed is not written again.

    Args:
        task: the pipeline's task.
        nodes: its steps by name.
    """

    def __init__(self, task: Task, nodes: Mapping[str, Node]) -> None:
        self._task = task
        self._nodes = nodes
        self._written = ""
        self._next_at = 0.0

    def write(self, at_once: bool = False) -> None:
        """Write what has changed, every few seconds at most; a full disk ends no pipeline.

        Args:
            at_once: however little time has passed.
        """
        if not at_once and time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + PERIOD_S
        nodes = list(self._nodes.values())
        described = {node.name: describe(node) for node in nodes}
        text = json.dumps(described, sort_keys=True, indent=1)
        if text == self._written or not nodes:
            return
        self._written = text
        try:
            self._task.set_configuration_object(CONFIGURATION, config_text=text, config_type="json")
            logger = self._task.get_logger()
            logger.report_plotly(TITLE, PICTURE, picture(nodes), iteration=0)
            logger.report_table(TITLE, TABLE, iteration=0, table_plot=[HEADER, *(_row(node) for node in nodes)])
        except (LocaltrackError, OSError) as error:
            LOG.warning("the picture of the pipeline was not written: %s", error)


def describe(node: Node) -> dict[str, Any]:
    """Return a step as JSON."""
    names = (
        "name", "base_task_id", "queue", "parents", "timeout", "parameters", "configurations", "task_overrides",
        "executed", "status", "clone_task", "job_type", "job_started", "job_ended", "job_code_section", "skip_job",
        "cache_executed_step", "return_artifacts", "monitor_metrics", "monitor_artifacts", "monitor_models",
        "continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort", "stage",
    )  # fmt: skip
    body = {name: encode(getattr(node, name), other_as_text=True) for name in names}
    return {**body, "job_id": node.task_id() or None, "problem": node._problem or None}


def picture(nodes: list[Node]) -> dict[str, Any]:
    """Return a plotly figure: a column for each distance from the start, an arrow from each parent."""
    depth = depths(nodes)
    rows: dict[int, int] = {}
    places: dict[str, tuple[float, float]] = {}
    for node in nodes:
        column = depth[node.name]
        places[node.name] = (float(column), float(-rows.setdefault(column, 0)))
        rows[column] += 1
    arrows = [
        {"x": places[node.name][0], "y": places[node.name][1], "ax": places[parent][0], "ay": places[parent][1],
         "xref": "x", "yref": "y", "axref": "x", "ayref": "y", "showarrow": True, "arrowhead": 2, "standoff": 14,
         "startstandoff": 14, "arrowcolor": "#8a919c", "text": ""}
        for node in nodes for parent in node.parents if parent in places
    ]  # fmt: skip
    marks = {
        "type": "scatter", "mode": "markers+text", "textposition": "bottom center", "hoverinfo": "text",
        "x": [places[node.name][0] for node in nodes], "y": [places[node.name][1] for node in nodes],
        "text": [node.name for node in nodes], "hovertext": [_hover(node) for node in nodes],
        "marker": {"size": 22, "symbol": "square", "color": [COLOURS[node.status] for node in nodes]},
    }  # fmt: skip
    hidden = {"visible": False}
    return {"data": [marks], "layout": {"annotations": arrows, "xaxis": hidden, "yaxis": hidden, "showlegend": False}}


def depths(nodes: list[Node]) -> dict[str, int]:
    """Return how many steps come one after the other before each step."""
    found: dict[str, int] = {}
    for _ in nodes:  # once, where steps stand after their parents; a circle, which can't be started, ends as well
        before = dict(found)
        for node in nodes:
            found[node.name] = max((1 + found[parent] for parent in node.parents if parent in found), default=0)
        if found == before:
            break
    return found


def _hover(node: Node) -> str:
    lines = [node.name, node.status, node.task_id()]
    lines += [f"{name} = {_short(value)}" for name, value in node.parameters.items()]
    return "<br>".join(line for line in lines if line)


def _row(node: Node) -> list[Any]:
    end = node.job_ended or (time.time() if node.status == states.RUNNING else None)
    taken = round(end - node.job_started, 1) if node.job_started and end else ""
    parameters = ", ".join(f"{name}={_short(value)}" for name, value in node.parameters.items())
    return [node.name, node.status, node.task_id(), taken, ", ".join(node.parents), node.stage or "", parameters]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
