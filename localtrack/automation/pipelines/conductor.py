"""What the engine asks of its pipeline, and tells it: the jobs of steps, callbacks, what is shown.

Source: ClearML's PipelineController: step callbacks, retries, references.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.drafts import Surroundings, make_job
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.references import PIPELINE, replace_references, split_reference, value_of
from localtrack.automation.pipelines.step import VALUES
from localtrack.errors import InvalidValueError, LocaltrackError

if TYPE_CHECKING:
    from localtrack.automation.job import BaseJob
    from localtrack.automation.pipelines.controller import PipelineController


class Conductor:
    """Speaks for a pipeline to its engine.

    Args:
        pipeline: the pipeline.
    """

    def __init__(self, pipeline: PipelineController) -> None:
        self._pipeline = pipeline

    def make_job(self, node: Node) -> BaseJob | None:
        """Return the job of a step; None when a callback says that it is to be skipped."""
        is_deep = node._plan is not None or node.recursively_parse_parameters
        parameters = {
            name: one
            if node._is_call and name.startswith(f"{VALUES}/")
            else replace_references(one, self.look_up, is_deep)
            for name, one in node.parameters.items()
        }
        for asked in (self._pipeline._on_created, self._pipeline._pre_callbacks.get(node.name)):
            if asked is not None and asked(self._pipeline, node, parameters) is False:
                return None
        ready = node.copy()
        ready.task_overrides = {
            name: replace_references(one, self.look_up) for name, one in node.task_overrides.items()
        }
        ready.configurations = {
            name: replace_references(one, self.look_up) for name, one in node.configurations.items()
        }
        ready.output_uri = node.output_uri if node.output_uri is not None else self._pipeline._output_uri
        tags = (f"pipe: {self._pipeline._name}",) if self._pipeline._add_pipeline_tags else ()
        around = Surroundings(
            self._pipeline._task,
            self._pipeline._local,
            self._pipeline._target_project,
            tags,
            self._pipeline._local_imports,
        )
        return make_job(ready, parameters, around)

    def look_up(self, reference: str) -> Any:
        """Return what a reference means, now that the steps before have ended.

        Raises:
            InvalidValueError: there is no such thing.
        """
        from localtrack.api.task import Task

        step, path = split_reference(reference, self._pipeline._nodes, "a reference")
        if step == PIPELINE:
            return self._pipeline._parameters[".".join(path)]
        task_id = self._pipeline._nodes[step].task_id() or self._pipeline._nodes[step].base_task_id
        found = Task.get_task(task_id=task_id) if task_id else None
        if found is None:
            raise InvalidValueError(f"${{{reference}}}: step {step!r} has no task")
        return value_of(found, path, reference)

    def queue_of(self, node: Node) -> str:
        """Return the queue of a step."""
        return self._pipeline._queue_of(node)

    def may_retry(self, node: Node) -> bool:
        """Tell whether a failed step is to be run once more."""
        wanted = self._pipeline._retries.get(node.name, self._pipeline._default_retry)
        again = (
            bool(wanted(self._pipeline, node, node._retries)) if callable(wanted) else node._retries < int(wanted or 0)
        )
        node._retries += 1
        return again

    def step_changed(self, node: Node, before: str) -> None:
        """Tell the step's callback."""
        callback = self._pipeline._status_callbacks.get(node.name)
        if callback is not None:
            callback(self._pipeline, node, before)
        if node.status == states.FAILED:
            _show_end(node)

    def step_reported(self, node: Node) -> None:
        """Repeat what a step has reported, before anybody who waits for it goes on."""
        self._pipeline._monitor.repeat_all(node)

    def step_ended(self, node: Node) -> None:
        """Tell the callbacks of ended steps."""
        for told in (self._pipeline._on_completed, self._pipeline._post_callbacks.get(node.name)):
            if told is not None:
                told(self._pipeline, node)

    def progressed(self) -> None:
        """Write the picture anew."""
        self._pipeline._report.write()
        ended = len(self._pipeline.get_processed_nodes())
        if self._pipeline._nodes:
            self._pipeline._task.set_progress(int(100 * ended / len(self._pipeline._nodes)))

    def steps_run(self, nodes: Sequence[Node]) -> None:
        """Repeat what steps have reported by now."""
        self._pipeline._monitor.repeat_some(nodes)


def _show_end(node: Node) -> None:
    """Show the last lines of a failed step, whose own console nobody may look at."""
    if node.job is None:
        return
    try:
        lines = "\n".join(node.job.get_console_output(20)).splitlines()[-12:]
    except (LocaltrackError, OSError):
        return
    for line in lines:
        say(f"[{node.name}] {line}")


def say(text: str) -> None:
    """Tell the user something, beside what the script prints."""
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
