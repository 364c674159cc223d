"""A scheduler in a process of its own and under an agent, whose tasks agents run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.services import lifecycle
from localtrack.services.context import StoreContext
from tests.agent.conftest import wait_for
from tests.automation.conftest import make_script

WORK = """
from localtrack import Task
task = Task.init("search", "work", auto_resource_monitoring=False)
print("VALUE", task.connect({"value": 1})["value"])
"""
SCHEDULER = """
from {package} import Task
from {package}.automation import TaskScheduler

def call():
    print("called in a thread")

scheduler = TaskScheduler()
scheduler.add_task(schedule_task_id="{base}", queue="work", name="job", hour=1, execute_immediately=True,
                   task_parameters={{"General/value": 7}})
scheduler.add_task(schedule_function=call, name="call", hour=1, execute_immediately=True)
scheduler.start_remotely(queue="services") if {remotely} else scheduler.start()
"""
TRIGGER = """
from {package} import Dataset, Task
from {package}.automation import TriggerScheduler

def work_done(task_id):
    print("DONE", task_id, Task.get_task(task_id=task_id).status)
    Dataset.get(dataset_id=task_id)

trigger = TriggerScheduler(pooling_frequency_minutes=0.01)
trigger.add_task_trigger(schedule_function=work_done, name="done", trigger_project="search", trigger_on_status=["completed"])
trigger.start()
"""


def lines(task: Task) -> str:
    """Return the console of a task."""
    return "\n".join(task.get_reported_console_output(0))


def stop(process: subprocess.Popen[str]) -> str:
    """End a scheduler as Ctrl-C would not: by SIGTERM; return what it said."""
    process.terminate()
    return process.communicate(timeout=60)[0]


def started(*command: str, cwd: Path) -> subprocess.Popen[str]:
    """Start a program."""
    return subprocess.Popen(
        [sys.executable, *command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # what a thread printed is not flushed for a process that is stopped
    )  # fmt: skip


@pytest.mark.parametrize("package", ["localtrack", "clearml"])
def test_a_script_of_clearmls_schedules_for_real(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path, package: str
) -> None:
    """With its import changed, and unchanged: the agent runs the clone, the function is called, a restart repeats nothing."""
    base = make_script(store_in_force, WORK, name="work", value=1)
    script = tmp_path / "scheduler.py"
    script.write_text(SCHEDULER.format(package=package, base=base, remotely=False))
    command = ["-m", "localtrack", "run", str(script)] if package == "clearml" else [str(script)]
    process = started(*command, cwd=tmp_path)
    try:
        wait_for(lambda: Task.get_tasks(task_name="Clone Of work", task_filter={"status": ["completed"]}))
    finally:
        said = stop(process)
    assert "called in a thread" in said
    (task,) = Task.get_tasks(task_name="Clone Of work")
    assert "VALUE 7" in lines(task)
    process = started(*command, cwd=tmp_path)
    try:
        (scheduler,) = Task.get_tasks(project_name="DevOps")
        wait_for(lambda: scheduler.status == "in_progress")
    finally:
        said = stop(process)
    assert "called in a thread" not in said
    assert len(Task.get_tasks(task_name="Clone Of work")) == 1
    assert len(Task.get_tasks(project_name="DevOps")) == 1


def test_a_scheduler_goes_on_under_an_agent_as_it_was_edited(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """start_remotely ends this process; the schedule's stored form can be edited while it waits in a clone."""
    base = make_script(store_in_force, WORK, name="work", value=1)
    store_in_force.queues.create("services")
    script = tmp_path / "scheduler.py"
    script.write_text(SCHEDULER.format(package="localtrack", base=base, remotely=True))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=True
    )
    assert "goes on in queue services" in done.stderr
    (scheduler,) = Task.get_tasks(project_name="DevOps")
    clone = Task.clone(scheduler)
    job = {"name": "job", "base_task_id": base, "queue": "work", "hour": 1, "task_parameters": {"General/value": 9}}
    clone.set_configuration_object("schedule", config_dict=[job])
    Task.enqueue(clone, "work")
    wait_for(lambda: Task.get_tasks(task_name="Clone Of work"))
    (task,) = Task.get_tasks(task_name="Clone Of work")
    wait_for(lambda: task.get_parameter("General/value", cast=True) == 9)  # which is set after the clone was made
    wait_for(lambda: "called in a thread" in lines(clone))
    lifecycle.request_stop(store_in_force, clone.id)
    wait_for(lambda: clone.status == "stopped")
    wait_for(lambda: "VALUE 9" in lines(task))


def test_a_trigger_of_clearmls_calls_its_function(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """A name that is only imported does no harm; one that is used says what to do, and the trigger goes on."""
    base = make_script(store_in_force, WORK, name="work", value=1)
    script = tmp_path / "trigger.py"
    script.write_text(TRIGGER.format(package="clearml"))
    process = started("-m", "localtrack", "run", str(script), cwd=tmp_path)
    try:
        wait_for(lambda: any(task.status == "in_progress" for task in Task.get_tasks(task_name="Scheduler")))
        (scheduler,) = Task.get_tasks(project_name="DevOps")
        wait_for(
            lambda: scheduler._read().runtime.get("scheduler", {}).get("triggers", {}).get("done", {}).get("since")
        )
        for _ in range(2):
            Task.enqueue(Task.clone(base), "work")
        wait_for(lambda: lines(scheduler).count("DONE") == 2)
    finally:
        said = stop(process)
    assert said.count("completed") == 2
    assert "Dataset.get is not supported" in said
