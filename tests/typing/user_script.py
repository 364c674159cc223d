"""A user's script, which type checkers accept at their strictest; it is checked, not run."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

from localtrack import Logger, Task, TaskTypes


@dataclass
class Settings:
    """What the script is given."""

    lr: float = 0.1
    depth: int = 3


def train() -> float:
    """Track a run."""
    Task.add_requirements("torch", ">=2.4")
    Task.set_random_seed(7)
    task = Task.init("vision/digits", "baseline", TaskTypes.training, tags=["a"], auto_connect_streams={"stdout": True})
    assert_type(task, Task)
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    epochs: int = parser.parse_args().epochs
    settings = Settings()
    task.connect(settings, name="Settings")
    values: dict[str, Any] = task.connect({"batch": 32})
    config: Path = task.connect_configuration(Path("config.yaml"), name="file")
    logger = task.get_logger()
    assert_type(logger, Logger)
    loss = 1.0
    for step in range(epochs * int(values["batch"])):
        loss *= 1 - settings.lr
        logger.report_scalar("loss", "train", loss, iteration=step)
    logger.report_single_value("final", loss)
    logger.report_text(f"read {config}")
    assert_type(task.upload_artifact("result", {"loss": loss}, metadata={"unit": "1"}), bool)
    task.set_user_properties(note="done", loss=loss)
    task.register_abort_callback(lambda: None, 5)
    task.set_progress(50)
    assert_type(task.get_last_iteration(), int)
    assert_type(task.id, str)
    task.close()
    return loss


def look() -> list[str]:
    """Find and read tasks."""
    found = Task.get_task(project_name="vision/digits", task_name="baseline")
    if found is None:
        return []
    assert_type(found, Task)
    assert_type(found.get_status(), str)
    parameters = found.get_parameters(cast=True)
    assert_type(parameters, dict[str, Any])
    artifact = found.artifacts["result"]
    local: str | None = artifact.get_local_copy()
    name: str = artifact.name
    scalars = found.get_reported_scalars()
    first: Any = scalars["loss"]["train"]["y"]
    tasks = Task.get_tasks(project_name="vision", tags=["a", "-b"], task_filter={"status": ["completed"]})
    assert_type(tasks, list[Task])
    for task in tasks:
        task.wait_for_status([Task.TaskStatusEnum.completed], timeout_s=1.0)
    return [name, local or "", str(first), found.data.to_dict()["name"], *(task.name for task in tasks)]


def rerun(task: Task) -> Task:
    """Clone, change, queue."""
    draft = Task.clone(task, name="again")
    draft.set_parameters({"Args/lr": 0.01})
    draft.set_script(entry_point="train.py", branch="main")
    draft.set_base_docker(docker_image="image", docker_arguments=["-e", "A=1"])
    if not Task.enqueue(draft, "default"):
        raise RuntimeError(draft.id)
    copy = Task.import_task(draft.export_task())
    if copy is None:
        raise RuntimeError("nothing imported")
    assert_type(copy, Task)
    assert_type(task.execute_remotely("default", clone=True, exit_process=False), "Task | None")
    assert_type(task.create_function_task(train, func_name="train"), "Task | None")
    return copy


if __name__ == "__main__":
    train()
    print(look())
