"""Steps that earlier runs stand in for, steps that are passed over, and what steps tell their pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from localtrack import PipelineController, Task
from localtrack.services.context import StoreContext
from tests.automation.conftest import make_script

CACHED = """
import sys
from localtrack import PipelineDecorator

@PipelineDecorator.component(return_values=["made"], cache=True)
def make(size):
    return list(range(size))

@PipelineDecorator.component(return_values=["total"], cache=True)
def total(items, factor=1):
    import os
    if os.path.exists("broken"):
        os.abort()
    return sum(items) * factor

@PipelineDecorator.pipeline(name="cached", project="lines")
def pipeline(size, factor=1):
    print("total", total(make(size), factor) + 0)

if __name__ == "__main__":
    PipelineDecorator.run_locally()
    pipeline(*map(int, sys.argv[1:]))
"""
EXCUSED = """
from localtrack import PipelineController, PipelineDecorator

def passes_over(pipeline, node, parameters):
    return False

@PipelineDecorator.component(continue_on_fail=True)
def breaks():
    raise RuntimeError("never mind")

@PipelineDecorator.component(pre_execute_callback=passes_over)
def passed():
    return 1

@PipelineDecorator.component(return_values=["a", "b"])
def tells():
    from localtrack import OutputModel, PipelineController
    PipelineController.upload_artifact("from a step", {"a": 1})
    PipelineController.get_logger().report_scalar("from", "a step", 2.0, 5)
    open("w.bin", "w").write("weights")
    PipelineController.upload_model("of a step", "w.bin")
    return 1, 2

@PipelineDecorator.pipeline(name="excused", project="lines")
def pipeline():
    a, b = tells()
    assert PipelineDecorator.get_current_pipeline().get_parameters() == {}
    return breaks() is None, str(breaks()), str(passed()), a + b

if __name__ == "__main__":
    PipelineDecorator.run_locally()
    print(pipeline())
"""
QUEUED = """
from localtrack import PipelineDecorator

@PipelineDecorator.component(execution_queue="work")
def double(value: int):
    return 2 * value

@PipelineDecorator.pipeline(name="queued", project="lines", pipeline_execution_queue="pipelines", return_value="result")
def pipeline(value=1):
    return double(double(value))

if __name__ == "__main__":
    pipeline(value=3)
    print("only under the agent")
"""
STEP = """
from localtrack import Task
task = Task.init("data", "base", auto_resource_monitoring=False)
values = task.connect({"size": 1})
task.upload_artifact("size", values["size"])
"""


def run(folder: Path, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script."""
    (folder / "pipe.py").write_text(code)
    command = [sys.executable, "pipe.py", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, env={**os.environ})


def count(name: str) -> int:
    """Return how many tasks have exactly that name."""
    return len(Task.get_tasks(task_name=f"^{name}$"))


def test_an_earlier_step_stands_in_where_code_and_inputs_are_the_same(
    store_in_force: StoreContext, tmp_path: Path
) -> None:
    """Another argument, another content of an input or other code runs it; a step that failed never stands in."""
    (tmp_path / "broken").touch()
    assert run(tmp_path, CACHED, "4").returncode == 1
    (tmp_path / "broken").unlink()
    again = run(tmp_path, CACHED, "4")
    assert (again.returncode, again.stdout) == (0, "total 6\n")
    assert (count("make"), count("total")) == (1, 2)
    assert run(tmp_path, CACHED, "4").stdout == "total 6\n"
    assert (count("make"), count("total")) == (1, 2)
    assert run(tmp_path, CACHED, "4", "2").stdout == "total 12\n"
    assert (count("make"), count("total")) == (1, 3)
    assert run(tmp_path, CACHED.replace("range(size)", "range(0, size)"), "4").stdout == "total 6\n"
    assert (count("make"), count("total")) == (2, 3)  # made anew, to the same content
    pipeline = Task.get_task(project_name="lines/.pipelines/cached", task_name="cached #5")
    assert pipeline is not None
    dag = pipeline.get_configuration_object_as_dict("Pipeline")
    assert {name: node["status"] for name, node in dag.items()} == {"make": "completed", "total": "cached"}


def test_clones_are_cached_by_their_base_and_what_is_changed(store_in_force: StoreContext, own_task: Task) -> None:
    """And a draft that is run itself, or comes from a factory, is not cloned."""
    base = make_script(store_in_force, STEP, "base", "data", size=1)
    itself = make_script(store_in_force, STEP, "itself", "data", size=7)
    for size, cached in ((2, False), (2, True), (3, False)):
        pipe = PipelineController("of clones", "lines")
        pipe.add_step("clone", base, parameter_override={"General/size": size}, cache_executed_step=True)
        if not cached:
            pipe.add_step("made", base_task_factory=lambda node: Task.clone(base, name=f"{node.name} by hand"))
        if size == 3:
            pipe.add_step("itself", itself, clone_base_task=False)
        pipe.start_locally(run_pipeline_steps_locally=True)
        assert pipe.is_successful(), pipe.problem()
        node = pipe.get_pipeline_dag()["clone"]
        assert node.status == ("cached" if cached else "completed")
        step = Task.get_task(task_id=str(node.executed))
        assert step is not None
        assert step.artifacts["size"].get() == size
    assert count("clone") == 2
    assert count("made by hand") == 2
    assert pipe.get_pipeline_dag()["itself"].executed == itself


def test_what_is_excused_or_passed_over_is_none_and_steps_reach_their_pipeline(
    store_in_force: StoreContext, tmp_path: Path
) -> None:
    """The pipeline succeeds, and shows what became of each step."""
    ran = run(tmp_path, EXCUSED)
    assert (ran.returncode, ran.stdout) == (0, "(False, 'None', 'None', 3)\n"), ran.stderr
    pipeline = Task.get_task(project_name="lines/.pipelines/excused", task_name="excused")
    assert pipeline is not None
    assert pipeline.status == "completed"
    assert pipeline.artifacts["from a step"].get() == {"a": 1}
    assert pipeline.get_reported_scalars()["from"]["a step"]["y"] == [2.0]
    assert [model.name for model in pipeline.models["output"]] == ["of a step"]
    dag = pipeline.get_configuration_object_as_dict("Pipeline")
    assert {name: node["status"] for name, node in dag.items()} == {
        "tells": "completed", "breaks": "failed", "breaks_1": "failed", "passed": "skipped",
    }  # fmt: skip
    assert count("passed") == 0


def test_a_decorated_pipeline_goes_on_in_its_queue(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """The call ends the process; under the agent the stored argument counts."""
    store_in_force.queues.create("pipelines")
    ran = run(tmp_path, QUEUED)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    pipeline = Task.get_task(project_name="lines/.pipelines/queued", task_name="queued")
    assert pipeline is not None
    assert (pipeline.status, pipeline.get_parameters(cast=True)["Args/value"]) == ("queued", 3)
    copy = Task.clone(pipeline, name="copy")
    copy.set_parameter("Args/value", 5)
    Task.enqueue(copy, "pipelines")
    command = [sys.executable, "-m", "localtrack", "agent", "start", "--queue", "pipelines", "--drain"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env={**os.environ})
    found: list[Any] = [(task.status, task.artifacts["result"].get()) for task in (pipeline, copy)]
    assert found == [("completed", 12), ("completed", 20)], done.stdout + done.stderr


def test_a_decorated_pipeline_without_queues_says_so(store_in_force: StoreContext, tmp_path: Path) -> None:
    """A step that nobody would ever run is refused where it is called."""
    code = EXCUSED.replace("PipelineDecorator.run_locally()", "pass").replace(
        'project="lines")', 'project="lines", start_controller_locally=True)'
    )
    ran = run(tmp_path, code)
    assert ran.returncode == 1
    assert "step 'tells' has no queue" in ran.stderr
    assert "run_locally()" in ran.stderr
