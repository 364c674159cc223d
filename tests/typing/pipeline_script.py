"""A user's pipelines, which type checkers accept at their strictest; checked, not run."""

from __future__ import annotations

from typing import Any

from localtrack import PipelineController, PipelineDecorator, TaskTypes
from localtrack.automation.pipelines.node import Node


@PipelineDecorator.component(return_values=["total"], cache=True, task_type=TaskTypes.data_processing)
def add(first: int, second: int = 1) -> int:
    """Add two numbers."""
    return first + second


@PipelineDecorator.pipeline(name="sums", project="examples", version="0.1", default_queue="default")
def sums(count: int = 3) -> int:
    """Add several numbers."""
    total = 0
    for number in range(count):
        total = add(total, second=number)
    return total


def before(pipeline: PipelineController, node: Node, parameters: dict[str, Any]) -> bool:
    """Hear of a step before it starts."""
    return bool(parameters) and node.name in pipeline.get_pipeline_dag()


def after(pipeline: PipelineController, node: Node) -> None:
    """Hear of a step's end."""
    print(pipeline.id, node.executed)


def plain(value: int) -> int:
    """Be a step."""
    return value


def of_tasks() -> None:
    """Define a pipeline before it starts."""
    pipe = PipelineController(name="tasks", project="examples", version="0.0.1", add_pipeline_tags=True)
    pipe.set_default_execution_queue("default")
    pipe.add_parameter("url", "s3://bucket/data", description="where the data are")
    pipe.add_step(
        name="stage", base_task_project="examples", base_task_name="base", parameter_override={"Args/url": "${pipeline.url}"},
        pre_execute_callback=before, post_execute_callback=after, retry_on_failure=2, time_limit=60.0,
        monitor_metrics=[("loss", "train")], monitor_artifacts=["data"],
    )  # fmt: skip
    pipe.add_function_step(
        name="plain", function=plain, function_kwargs={"value": "${stage.parameters.Args/n}"}, function_return=["value"],
        parents=["stage"], cache_executed_step=True, continue_behaviour={"continue_on_fail": True},
    )  # fmt: skip
    pipe.start_locally(run_pipeline_steps_locally=True)
    if pipe.is_successful() and pipe.wait(timeout=1.0):
        print(pipe.elapsed(), [node.status for node in pipe.get_pipeline_dag().values()])
    found = PipelineController.get(pipeline_project="examples", pipeline_name="tasks")
    PipelineController.enqueue(PipelineController.clone(found, version="0.0.2"), queue_name="services")


if __name__ == "__main__":
    PipelineDecorator.run_locally()
    sums(count=4)
    of_tasks()
