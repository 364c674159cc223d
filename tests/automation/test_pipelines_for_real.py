"""Scripts with pipelines, run as a user runs them: what arrives in the store, and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack import Task
from localtrack.services.context import StoreContext

DECORATED_CALLS = """
from localtrack import PipelineDecorator

def add_one(func):
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs) + 1
    return wrapper

@PipelineDecorator.component()
@add_one
def step():
    return 1

@PipelineDecorator.pipeline(name="calls", project="lines")
def pipeline():
    result = step()
    assert result == 2

if __name__ == "__main__":
    PipelineDecorator.run_locally()
    pipeline()
"""
FUNCTIONS = """
from localtrack import PipelineController

def add_one(func):
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs) + 1
    return wrapper

@add_one
def step(first):
    return first

def check(given, wanted=2):
    assert given == wanted, given

if __name__ == "__main__":
    pipe = PipelineController(name="functions", project="lines", version="1.0")
    pipe.add_parameter("first", 1, "where it begins")
    pipe.add_function_step("step", step, {"first": "${pipeline.first}"}, ["out"])
    pipe.add_function_step("check", check, {"given": "${step.out}"})
    pipe.start_locally(run_pipeline_steps_locally=True)
    print("over")
"""
MANY_CALLS = """
import helpers_beside
from localtrack import PipelineDecorator
FACTOR = 10

def times(value):
    return value * FACTOR

@PipelineDecorator.component(return_values=["small", "large"], task_type="data_processing")
def split(value: int, *more, offset=0):
    return value + offset + sum(more), times(value)

@PipelineDecorator.component(return_values="total")
def total(values: list, label="x"):
    print("total of", values)
    open("seen.txt", "w").write(label)
    return helpers_beside.twice(sum(values))

@PipelineDecorator.component(return_values="frame")
def make(data):
    return {"data": data, 1: None}

@PipelineDecorator.pipeline(name="many", project="lines", return_value="answer", args_map={"Sizes": ["count"]})
def pipeline(count=2, base=5):
    found = []
    for number in range(count):
        small, large = split(base, number, offset=1)
        found.append(large)
    small_total = total(found, label="label")
    made = make({"a": (1, 2), 2: {3}})
    assert made == {"data": {"a": (1, 2), 2: {3}}, 1: None}
    assert isinstance(small, int) and small + 1 == 9 and 100 - small == 92 and f"{small:03d}" == "008"
    return small_total

if __name__ == "__main__":
    if DEBUG:
        PipelineDecorator.debug_pipeline()
    else:
        PipelineDecorator.run_locally()
    print("answer", pipeline(count=3))
"""
USED = """
from localtrack import PipelineDecorator

@PipelineDecorator.component()
def breaks():
    print("said before the end")
    raise RuntimeError("the disk is on fire")

@PipelineDecorator.component()
def after(value):
    return value

@PipelineDecorator.pipeline(name="broken", project="lines")
def pipeline():
    value = breaks()
    again = after(value)
    if USES:
        try:
            print(again + 1)
        except ValueError as error:
            print("caught", error)
            raise

if __name__ == "__main__":
    PipelineDecorator.run_locally()
    pipeline()
    print("not reached")
"""
FAILING = """
import sys
from localtrack import PipelineController

def breaks():
    sys.exit(7)

def after(value):
    return value

def aside():
    return 1

pipe = PipelineController("failing", "lines")
pipe.add_function_step("breaks", breaks, function_return=["x"])
pipe.add_function_step("after", after, {"value": "${breaks.x}"})
pipe.add_function_step("aside", aside)
pipe.start_locally(run_pipeline_steps_locally=True)
print("over", {name: node.status for name, node in pipe.get_pipeline_dag().items()})
"""

TEXTS = """
from localtrack import PipelineDecorator

@PipelineDecorator.component(return_values=["path"])
def writes():
    open("out.csv", "w").write("a")
    return "out.csv"

@PipelineDecorator.component()
def joins(*parts, text="${no.reference}"):
    return "|".join([*parts, text])

@PipelineDecorator.pipeline(name="texts", project="lines")
def pipeline(text):
    return str(joins("${x.y}", writes())), str(joins(text, text="b"))

if __name__ == "__main__":
    PipelineDecorator.run_locally()
    print(pipeline("first"))
    print(pipeline("second"))
"""
FORGOTTEN = FAILING.replace("start_locally(run_pipeline_steps_locally=True)", "start(queue=None, wait=False)").replace(
    'PipelineController("failing", "lines")', 'PipelineController("failing", "lines"); pipe._local = True'
)


@pytest.fixture
def folder(store_in_force: StoreContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's, outside of any repository."""
    place = tmp_path / "mine"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def run(folder: Path, code: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script."""
    (folder / "pipe.py").write_text(code)
    head = command or (sys.executable,)
    return subprocess.run(
        [*head, "pipe.py"], cwd=folder, capture_output=True, text=True, timeout=110, env={**os.environ}
    )


def named(name: str) -> Task:
    """Return the one task of that name."""
    (found,) = Task.get_tasks(task_name=f"^{name}$")
    return found


def test_calls_of_a_decorated_function_are_tasks(folder: Path) -> None:
    """The decorator below stays, the value comes back, and both tasks say what they are."""
    ran = run(folder, DECORATED_CALLS)
    assert ran.returncode == 0, ran.stderr
    pipeline, step = named("calls"), named("step")
    assert (pipeline.task_type, pipeline.status, pipeline.project) == (
        "controller",
        "completed",
        "lines/.pipelines/calls",
    )
    assert "pipeline" in pipeline.get_system_tags()
    assert (step.parent, step.status, step.artifacts["return_object"].get()) == (pipeline.id, "completed", 2)


def test_it_runs_unchanged_with_clearmls_names(folder: Path) -> None:
    """``localtrack run`` answers the import in the script and in its steps."""
    code = FUNCTIONS.replace("from localtrack", "from clearml").replace("return first", "import clearml; return first")
    ran = run(folder, code, sys.executable, "-m", "localtrack", "run")
    assert ran.returncode == 0, ran.stderr
    assert named("check").status == "completed"


def test_functions_are_steps_in_the_order_of_what_they_need(folder: Path) -> None:
    """Parents come from references, parameters keep their types, and the pipeline's task shows its steps."""
    ran = run(folder, FUNCTIONS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("over\n")
    pipeline, step, check = named("functions"), named("step"), named("check")
    assert pipeline.get_parameters(cast=True)["Args/first"] == 1
    assert pipeline.get_user_properties(value_only=True)["version"] == "1.0"
    assert step.get_parameters(cast=True) == {"kwargs/first": 1}
    assert check.get_parameters(cast=True) == {"kwargs/wanted": 2, "kwargs_artifacts/given": f"{step.id}.out"}
    dag = pipeline.get_configuration_object_as_dict("Pipeline")
    assert dag["check"]["parents"] == ["step"]
    assert {name: one["status"] for name, one in dag.items()} == {"step": "completed", "check": "completed"}
    assert {plot["variant"] for plot in pipeline.get_reported_plots()} == {"Execution Flow", "Execution Details"}
    assert pipeline.get_progress() == 100


@pytest.mark.parametrize("debug", [False, True])
def test_loops_several_values_and_objects_of_any_kind(folder: Path, debug: bool) -> None:
    """Calls in a loop are steps of their own; values come back as what they were; neighbours can be imported."""
    (folder / "helpers_beside.py").write_text("def twice(value):\n    return 2 * value\n")
    ran = run(folder, f"DEBUG = {debug}\n{MANY_CALLS}")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "answer 300"
    assert (folder / "seen.txt").read_text() == "label"
    pipeline = named("many")
    assert pipeline.artifacts["answer"].get() == 300
    assert pipeline.get_parameters(cast=True)["Sizes/count"] == 3
    dag = pipeline.get_configuration_object_as_dict("Pipeline")
    assert sorted(dag) == ["make", "split", "split_1", "split_2", "total"]
    if not debug:
        assert sorted(dag["total"]["parents"]) == ["split", "split_1", "split_2"]
        assert named("split").task_type == "data_processing"
        assert named("split_2").get_parameters(cast=True) == {"kwargs/value": 5, "kwargs/0": 2, "kwargs/offset": 1}


@pytest.mark.parametrize("uses", [True, False])
def test_a_step_that_fails_raises_where_its_value_is_used(folder: Path, uses: bool) -> None:
    """Used or not, the pipeline has failed, the script ends with 1, and what the step said last is shown."""
    ran = run(folder, f"USES = {uses}\n{USED}")
    assert ran.returncode == 1
    assert "not reached" not in ran.stdout
    assert ("caught" in ran.stdout) is uses
    assert "step breaks failed, task" in ran.stderr
    assert "RuntimeError: the disk is on fire" in ran.stderr
    assert "PipelineError" in ran.stderr
    pipeline = named("broken")
    assert pipeline.status == "failed"
    assert "breaks" in str(pipeline.get_status_message())
    assert named("breaks").status == "failed"
    assert Task.get_tasks(task_name="^after$") == []


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("print(pipe.is_successful())", 0),
        ("sys.exit(5)", 5),
        ("sys.exit(0)", 0),
        ("raise SystemExit(6)", 6),
        ("1 / 0", 1),
    ],
)
def test_a_failed_pipeline_leaves_the_exit_code_to_the_script(folder: Path, end: str, code: int) -> None:
    """As in ClearML nothing is raised; the task has failed, and a line on stderr says so."""
    ran = run(folder, f"{FAILING}\nprint('at the end')\n{end}\n")
    assert ran.returncode == code
    assert "over {'breaks': 'failed', 'after': 'skipped', 'aside': 'completed'}" in ran.stdout
    assert "at the end" in ran.stdout
    assert ("False" in ran.stdout) is ("is_successful" in end)
    assert ("ZeroDivisionError" in ran.stderr) is (end == "1 / 0")
    assert "pipeline failing failed: step breaks failed" in ran.stderr
    pipeline = named("failing")
    assert (pipeline.status, pipeline.status_history[-1]["reason"]) == ("failed", "Pipeline step failed")
    assert named("breaks").exit_info["code"] == 7


def test_texts_stay_what_they_are_and_a_script_may_run_several_pipelines(folder: Path) -> None:
    """Of a call no argument is a reference, no returned text a file; each run is a task of its own."""
    ran = run(folder, TEXTS)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "('${x.y}|out.csv|${no.reference}', 'first|b')", "('${x.y}|out.csv|${no.reference}', 'second|b')",
    ]  # fmt: skip
    assert [named(name).status for name in ("texts", "texts #2")] == ["completed", "completed"]


def test_a_pipeline_that_nobody_waits_for_ends_with_the_script(folder: Path) -> None:
    """Its steps are aborted, and it is not recorded as a good one."""
    ran = run(folder, FORGOTTEN)
    assert "over" in ran.stdout
    assert named("failing").status == "failed"
    assert "pipeline failing failed" in ran.stderr
