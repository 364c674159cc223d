"""A step of a pipeline: what it runs, after which others, and how far it is.

Source: ClearML's PipelineController.Node.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.automation.job import BaseJob
    from localtrack.automation.pipelines.drafts import FunctionPlan

PENDING, QUEUED, RUNNING = "pending", "queued", "running"
COMPLETED, CACHED, FAILED, ABORTED, SKIPPED = "completed", "cached", "failed", "aborted", "skipped"
ENDED = frozenset({COMPLETED, CACHED, FAILED, ABORTED, SKIPPED})
CONTINUE_FIELDS = ("continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort")


@dataclass(eq=False)
class Node:
    """A step, with ClearML's names; what begins with an underscore is this library's own.

    Attributes:
        name: the step's name, once in a pipeline.
        base_task_id: the task that is cloned.
        task_factory_func: makes the task instead.
        queue: where the step waits; the pipeline's default without one.
        parents: steps that must have ended before.
        timeout: seconds that the step may run.
        parameters: values by ``Section/name``, with references.
        configurations: configuration objects by name.
        task_overrides: other fields by dotted name.
        executed: the task's id once the step has ended and its children may start; False when they may not.
        status: ``pending``, ``queued``, ``running``, ``completed``, ``cached``, ``failed``, ``aborted``, ``skipped``.
        clone_task: whether the base task is cloned, or run itself.
        job: the step's task, watched.
        job_type: the step's task type.
        job_started: when it started, in seconds since the epoch.
        job_ended: when it ended.
        job_code_section: name of the function that the step runs.
        skip_job: whether the step is passed over.
        cache_executed_step: whether an earlier run with the same code and inputs stands in.
        return_artifacts: names of what the function returns.
        monitor_metrics: scalars to repeat in the pipeline's task.
        monitor_artifacts: artifacts to repeat there.
        monitor_models: models to repeat there.
        explicit_docker_image: recorded with the step's task.
        recursively_parse_parameters: whether references inside lists and dicts count.
        output_uri: where the step's models go.
        draft: whether the step's task is left for somebody else to start.
        continue_behaviour: the following four, as a dict.
        continue_on_fail: whether the pipeline may succeed though the step failed.
        continue_on_abort: likewise for an aborted step.
        skip_children_on_abort: whether steps after an aborted one are skipped.
        skip_children_on_fail: likewise after a failed one.
        stage: a name of a group of steps.
    """

    name: str
    base_task_id: str | None = None
    task_factory_func: Callable[[Node], Task] | None = None
    queue: str | None = None
    parents: list[str] = field(default_factory=list)
    timeout: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    configurations: dict[str, Any] = field(default_factory=dict)
    task_overrides: dict[str, Any] = field(default_factory=dict)
    executed: str | bool | None = None
    status: str = PENDING
    clone_task: bool = True
    job: BaseJob | None = None
    job_type: str | None = None
    job_started: float | None = None
    job_ended: float | None = None
    job_code_section: str | None = None
    skip_job: bool = False
    cache_executed_step: bool = False
    return_artifacts: list[str] = field(default_factory=list)
    monitor_metrics: list[Any] = field(default_factory=list)
    monitor_artifacts: list[Any] = field(default_factory=list)
    monitor_models: list[Any] = field(default_factory=list)
    explicit_docker_image: str | None = None
    recursively_parse_parameters: bool = False
    output_uri: str | bool | None = None
    draft: bool = False
    continue_behaviour: dict[str, bool] | None = None
    continue_on_fail: bool = False
    continue_on_abort: bool = False
    skip_children_on_abort: bool = True
    skip_children_on_fail: bool = True
    stage: str | None = None
    _plan: FunctionPlan | None = None
    _retries: int = 0
    _problem: str = ""
    _is_call: bool = False  # the values are those of a call: what looks like a reference in them is none

    def __post_init__(self) -> None:
        """Take ``continue_behaviour`` apart, as ClearML does: what it leaves out is True."""
        if self.continue_behaviour is None:
            return
        unknown = sorted(set(self.continue_behaviour) - set(CONTINUE_FIELDS))
        if unknown:
            raise InvalidValueError(
                f"step {self.name!r}: continue_behaviour has no {unknown[0]!r}; it takes {', '.join(CONTINUE_FIELDS)}"
            )
        for name in CONTINUE_FIELDS:
            setattr(self, name, bool(self.continue_behaviour.get(name, True)))
        self.continue_behaviour = None

    def copy(self) -> Node:
        """Return the same step as one that has not run yet."""
        twin = copy.copy(self)
        for name in ("parents", "return_artifacts", "monitor_metrics", "monitor_artifacts", "monitor_models"):
            setattr(twin, name, list(getattr(self, name)))
        for name in ("parameters", "configurations", "task_overrides"):
            setattr(twin, name, dict(getattr(self, name)))
        twin.job = twin.executed = twin.job_started = twin.job_ended = None
        twin.status, twin.skip_job, twin._retries, twin._problem = PENDING, False, 0, ""
        return twin

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to the step."""
        return self.status in ENDED

    @property
    def fails_pipeline(self) -> bool:
        """Whether the pipeline can't succeed any more because of this step."""
        return (self.status == FAILED and not self.continue_on_fail) or (
            self.status == ABORTED and not self.continue_on_abort
        )

    def task_id(self) -> str:
        """Return the id of the step's task; ``""`` before there is one."""
        return self.job.task_id() if self.job is not None else ""
