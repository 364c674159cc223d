"""Pipelines whose steps are clones of tasks: run by agents and on this machine, aborted, killed, gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.automation.pipelines.controller import PipelineController
from localtrack.services.context import StoreContext
from tests.agent.conftest import wait_for
from tests.automation.conftest import make_script

PRODUCER = """
from localtrack import OutputModel, Task
task = Task.init("data", "producer", auto_resource_monitoring=False)
values = task.connect({"size": 1, "url": ""})
task.upload_artifact("data.raw", {"size": values["size"], "url": values["url"]})
task.get_logger().report_scalar("loss", "train", 0.5, 3)
open("weights.bin", "w").write("w" * values["size"])
OutputModel(task=task, name="net").update_weights("weights.bin")
"""
CONSUMER = """
import json
from localtrack import Task
task = Task.init("data", "consumer", auto_resource_monitoring=False)
values = task.connect({"data": "", "source": "", "size": 0, "model": "", "note": ""})
assert type(values["size"]) is int, values
config = task.connect_configuration({"depth": 1}, name="net")
task.upload_artifact("seen", {**values, "depth": config["depth"], "data": json.load(open(values["data"]))})
"""
ENDLESS = """
import time
from localtrack import Task
task = Task.init("data", "endless", auto_resource_monitoring=False)
while True:
    task.get_logger().report_scalar("alive", "yes", 1.0, 1)
    time.sleep(0.1)
"""
BROKEN = """
import sys
from localtrack import Task
task = Task.init("data", "broken", auto_resource_monitoring=False)
sys.exit(3)
"""
CONTROLLER = """
import sys
from localtrack import PipelineController
pipe = PipelineController("waits", "lines")
pipe.add_step("endless", sys.argv[1], execution_queue="work")
print("started", flush=True)
pipe.start_locally(run_pipeline_steps_locally=LOCAL)
"""
QUEUED = """
from localtrack import PipelineController

def double(value):
    return 2 * value

def check(value):
    assert value == 42, value

pipe = PipelineController("queued", "lines", add_run_number=False)
pipe.set_default_execution_queue("work")
pipe.add_parameter("value", 1)
pipe.add_function_step("double", double, {"value": "${pipeline.value}"}, ["twice"])
pipe.add_function_step("check", check, {"value": "${double.twice}"})
pipe.HOW
"""


def start(code: str, folder: Path, *args: str) -> subprocess.Popen[str]:
    """Start a script."""
    script = folder / "pipe.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )  # fmt: skip


def named(name: str) -> Task:
    """Return the newest task of exactly that name that is no base task."""
    found = Task.get_tasks(task_name=f"^{name}$", task_filter={"order_by": ["-created"]})
    return found[0]


@pytest.mark.parametrize("local", [True, False])
def test_clones_get_what_others_made(
    store_in_force: StoreContext, agent: list[str], own_task: Task, local: bool
) -> None:
    """References become paths, ids and typed values; overrides arrive; what is watched is in the pipeline's task."""
    producer = make_script(store_in_force, PRODUCER, "producer", "data", size=1, url="")
    consumer = make_script(store_in_force, CONSUMER, "consumer", "data")
    pipe = PipelineController("of tasks", "lines", add_pipeline_tags=True)
    pipe.set_default_execution_queue("work")
    pipe.add_parameter("url", "s3://bucket/${x}")
    pipe.add_step(
        "make", base_task_project="data", base_task_name="producer",
        parameter_override={"General/size": 4, "General/url": "${pipeline.url}"},
        monitor_metrics=[("loss", "train"), (("loss", "train"), ("make", "loss"))],
        monitor_artifacts=["data.raw", ("data.raw", "renamed")], monitor_models=[("net", "the net")],
    )  # fmt: skip
    told: list[object] = []
    pipe.add_step(
        "use", consumer,
        parameter_override={
            "General/data": "${make.artifacts.data.raw.url}", "General/source": "${make.id}",
            "General/size": "${make.parameters.General/size}", "General/model": "${make.models.output.-1.url}",
            "General/note": "of ${make.id}!",
        },
        configuration_overrides={"net": {"depth": 7}}, task_overrides={"comment": "after ${make.id}"},
        pre_execute_callback=lambda a_pipe, node, values: told.append((node.name, values["General/size"])) or True,
        post_execute_callback=lambda a_pipe, node: told.append((node.name, node.status)),
        status_change_callback=lambda a_pipe, node, before: told.append((before, node.status)),
    )  # fmt: skip
    pipe.start_locally(run_pipeline_steps_locally=local)
    assert pipe.is_successful(), pipe.problem()
    nodes = pipe.get_pipeline_dag()
    make, use = (Task.get_task(task_id=str(nodes[name].executed)) for name in ("make", "use"))
    assert make is not None
    assert use is not None
    assert nodes["use"].parents == ["make"]
    seen = use.artifacts["seen"].get()
    assert seen["data"] == {"size": 4, "url": "s3://bucket/${x}"}
    assert (seen["source"], seen["size"], seen["depth"], seen["note"]) == (make.id, 4, 7, f"of {make.id}!")
    assert seen["model"] == make.models["output"][-1].url
    assert (use.comment, use.parent, use.get_tags()) == (f"after {make.id}", own_task.id, ["pipe: of tasks"])
    assert told[0] == ("use", 4)
    assert told[1:] in (
        [("pending", "queued"), ("queued", "running"), ("running", "completed"), ("use", "completed")],
        [("pending", "queued"), ("queued", "completed"), ("use", "completed")],
    )
    own_task.flush()
    assert own_task.get_reported_scalars()["make"]["loss"] == {"name": "loss", "x": [3], "y": [0.5]}
    assert own_task.artifacts["renamed"].get() == own_task.artifacts["data.raw"].get() == seen["data"]
    assert own_task.models["output"].get("the net").id == make.models["output"][-1].id
    assert producer != make.id
    assert own_task.get_configuration_object_as_dict("Pipeline")["use"]["status"] == "completed"


def test_a_pipeline_goes_on_in_a_queue(store_in_force: StoreContext, agent: list[str], tmp_path: Path) -> None:
    """``start`` ends the process; an agent runs the pipeline, with the parameters that its task holds then."""
    store_in_force.queues.create("pipelines")
    ran = start(QUEUED.replace("HOW", "start('pipelines')"), tmp_path)
    _, errors = ran.communicate(timeout=60)
    assert ran.returncode == 0, errors
    pipeline = Task.get_task(project_name="lines/.pipelines/queued", task_name="queued")
    assert pipeline is not None
    assert pipeline.status == "queued"
    found = PipelineController.get(pipeline_project="lines", pipeline_name="queued")
    assert found.id == pipeline.id
    copy = PipelineController.clone(found, name="again")
    copy.task.set_parameter("Args/value", 21)
    PipelineController.enqueue(copy, "pipelines")
    command = [sys.executable, "-m", "localtrack", "agent", "start", "--queue", "pipelines", "--drain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env={**os.environ})
    assert copy.task.status == "completed", done.stdout + done.stderr
    steps = {task.parent: task for task in Task.get_tasks(task_name="^check$")}
    assert steps[copy.id].status == "completed"
    assert steps[pipeline.id].status == "failed"
    assert pipeline.status == "failed"
    assert "check failed: AssertionError: 2" in str(pipeline.get_status_message())


@pytest.mark.parametrize("local", [True, False])
def test_an_abort_of_the_pipeline_aborts_its_steps(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path, local: bool
) -> None:
    """On this machine and in a queue the steps end, and both tasks say that they were stopped."""
    base = make_script(store_in_force, ENDLESS, "endless base", "data")
    ran = start(CONTROLLER.replace("LOCAL", str(local)), tmp_path, base)
    try:
        wait_for(
            lambda: [
                one
                for one in Task.get_tasks(task_name="^endless$")
                if one.get_last_iteration() >= 0 and one.status == "in_progress"
            ]
        )
        pipeline = named("waits")
        pipeline.mark_stop_request()
        ran.communicate(timeout=60)
    finally:
        ran.kill()
        ran.communicate()
    wait_for(lambda: named("endless").status == "stopped")
    assert named("waits").status == "stopped"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_local_steps_end_with_the_pipelines_process(
    store_in_force: StoreContext, tmp_path: Path, number: signal.Signals
) -> None:
    """However it ends: no step is left running, and nothing is said to run that does not."""
    base = make_script(store_in_force, ENDLESS, "endless base", "data")
    ran = start(CONTROLLER.replace("LOCAL", "True"), tmp_path, base)
    try:
        wait_for(lambda: [one for one in Task.get_tasks(task_name="^endless$") if one.status == "in_progress"])
        ran.send_signal(number)
        ran.communicate(timeout=60)
    finally:
        ran.kill()
        ran.communicate()
    assert ran.returncode != 0
    wait_for(lambda: named("endless").status == "stopped")
    assert named("waits").status == ("failed" if number is signal.SIGKILL else "stopped")


def test_a_failed_step_is_run_again(store_in_force: StoreContext, own_task: Task) -> None:
    """As often as it is allowed; each try is a task; a function is asked with the tries so far."""
    base = make_script(store_in_force, BROKEN, "broken base", "data")
    asked: list[int] = []
    pipe = PipelineController("retried", "lines", retry_on_failure=1)
    pipe.add_step("twice", base)
    pipe.add_step("asked", base, retry_on_failure=lambda a_pipe, node, tries: asked.append(tries) or tries < 2)
    pipe.add_step("excused", base, retry_on_failure=0, continue_on_fail=True)
    pipe.add_step("left", base, parents=["excused"])
    pipe.start_locally(run_pipeline_steps_locally=True)
    assert not pipe.is_successful()
    assert pipe.is_successful(fail_on_step_fail=False)
    counts = {name: len(Task.get_tasks(task_name=f"^{name}$")) for name in ("twice", "asked", "excused", "left")}
    assert counts == {"twice": 2, "asked": 3, "excused": 1, "left": 0}
    assert asked == [0, 1, 2]
    assert "excused" not in pipe.problem()


def test_a_step_that_takes_too_long_is_aborted_and_has_failed(store_in_force: StoreContext, own_task: Task) -> None:
    """The limit counts from the step's start; with ``abort_on_failure`` the others go, too."""
    base = make_script(store_in_force, ENDLESS, "endless base", "data")
    pipe = PipelineController("limited", "lines", abort_on_failure=True)
    pipe.add_step("limited", base, time_limit=1.0)
    pipe.add_step("other", base)
    pipe.start_locally(run_pipeline_steps_locally=True)
    nodes = pipe.get_pipeline_dag()
    assert {name: node.status for name, node in nodes.items()} == {"limited": "failed", "other": "aborted"}
    assert "time limit of 1 s" in pipe.problem()
    assert not pipe.is_successful()
    assert not pipe.is_running()
    assert pipe.elapsed() > 0
    assert len(pipe.get_processed_nodes()) == 2
    assert named("other").status == "stopped"


def test_the_pipelines_own_time_limit_ends_it(store_in_force: StoreContext, own_task: Task) -> None:
    """What runs is aborted, what waits is skipped, and the pipeline has failed."""
    base = make_script(store_in_force, ENDLESS, "endless base", "data")
    pipe = PipelineController("short", "lines")
    pipe.set_pipeline_execution_time_limit(1.0 / 60.0)
    pipe.add_step("runs", base)
    pipe.add_step("waits", base, parents=["runs"])
    pipe.start_locally(run_pipeline_steps_locally=True)
    assert {node.status for node in pipe.get_pipeline_dag().values()} == {"aborted", "skipped"}
    assert not pipe.is_successful()
    assert "runs aborted" in pipe.problem()
