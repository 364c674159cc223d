"""Searches whose jobs are processes: run by an agent of a queue, and on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from localtrack import Task
from localtrack.agent.loop import Agent, AgentOptions
from localtrack.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
from localtrack.automation.job import BaseJob, ClearmlJob, LocalClearmlJob, RunningJob
from localtrack.errors import InvalidValueError
from localtrack.services.context import StoreContext
from tests.agent.conftest import World, wait_for
from tests.automation.conftest import make_script

TRAINING = """
import sys, time
from localtrack import Task
task = Task.init("search", "base", auto_resource_monitoring=False)
values = task.connect({"lr": 0.1, "layers": 2, "mode": "good"})
assert type(values["layers"]) is int and type(values["lr"]) is float, values
if values["mode"] == "broken":
    sys.exit(3)
step = 0
while True:
    task.get_logger().report_scalar("loss", "valid", values["lr"] * values["layers"] / (step + 1), step)
    step += 1
    if values["mode"] == "good" and step == 3:
        break
    if values["mode"] == "endless":
        time.sleep(0.1)
"""
RESUMED = """
import sys
from localtrack import Task
from localtrack.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
task = Task.init("search", "optimizer", continue_last_task=True, auto_resource_monitoring=False)
one = HyperParameterOptimizer(sys.argv[1], [DiscreteParameterRange("lr", [0.1, 0.2, 0.3])], "loss", "valid", "min", GridSearch,
                              execution_queue="work", max_number_of_concurrent_tasks=1, pool_period_min=0.002)
one.start()
one.wait()
print("DONE", len(one.get_optimizer().get_created_jobs_ids()), one.get_top_experiments_details(1)[0]["hyper_parameters"])
"""
REMOTE = """
from localtrack import Task
from localtrack.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
task = Task.init("search", "optimizer", auto_resource_monitoring=False)
one = HyperParameterOptimizer("BASE", [DiscreteParameterRange("General/lr", [0.1])], "loss", "valid", "min", GridSearch,
                              execution_queue="nowhere", total_max_jobs=1, pool_period_min=0.002)
one.start()
one.wait()
"""
SEARCH = """
import sys
from localtrack import Task
from localtrack.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
Task.init("search", "optimizer", auto_resource_monitoring=False)
one = HyperParameterOptimizer(sys.argv[1], [DiscreteParameterRange("mode", ["endless"])], "loss", "valid", "min", GridSearch,
                              pool_period_min=0.002)
one.start_locally()
print("started", flush=True)
one.wait()
"""


def search(base: str, **options: object) -> HyperParameterOptimizer:
    """Return a search over the modes of the training script."""
    space = [DiscreteParameterRange("General/mode", options.pop("modes", ["good", "broken"]))]  # type: ignore[arg-type]
    return HyperParameterOptimizer(
        base, space, "loss", "valid", "min_global", GridSearch, execution_queue="work", pool_period_min=0.005, **options
    )


def test_an_agent_of_the_queue_runs_the_jobs(store_in_force: StoreContext, agent: list[str]) -> None:
    """Clones wait in the queue, the agent runs them with native values, the failed one is told as failed."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    heard: list[object] = []
    one = search(base)
    one.start(lambda *told: heard.append(told[1:4]))
    assert one.wait(1.5)
    jobs = one.get_optimizer().get_created_jobs_tasks()
    assert sorted(job.status() for job in jobs.values()) == ["completed", "failed"]
    assert heard == [(0.1 * 2 / 3, 2, {"General/mode": "good"})]
    (best,) = one.get_top_experiments(5)
    assert best.get_parameter("General/mode") == "good"


def test_a_job_past_its_iterations_is_aborted_by_its_agent(store_in_force: StoreContext, agent: list[str]) -> None:
    """The request goes the way of any abort: the process ends, the task is stopped, its value counts."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    one = search(base, modes=["endless"], max_iteration_per_job=3)
    one.start()
    assert one.wait(1.5)
    (best,) = one.get_top_experiments(5)
    assert best.status == "stopped"
    details = one.get_top_experiments_details(1)[0]["metrics"]["loss/valid"]
    assert details["max_value"] == 0.2
    assert details["value"] <= 0.2 / 4
    wait_for(lambda: best.get_last_iteration() >= 3)  # the end's last word comes after its status


def test_this_machine_can_run_the_jobs(store_in_force: StoreContext) -> None:
    """No agent and no queue is needed, and none is left behind."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    one = search(base)
    one.start_locally()
    assert one.wait(1.5)
    one.stop()
    jobs = list(one.get_optimizer().get_created_jobs_tasks().values())
    assert [job.status() for job in jobs] == ["completed", "failed"]
    assert [job.wait_for_process(10) for job in jobs if isinstance(job, LocalClearmlJob)] == [0, 1]
    assert store_in_force.queues.names() == []


def test_local_jobs_end_when_the_search_is_killed(store_in_force: StoreContext, tmp_path: Path) -> None:
    """SIGKILL leaves nobody to stop them: their agent sees that the search is gone, and ends them truthfully."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    process = subprocess.Popen([sys.executable, str(script), base], stdout=subprocess.PIPE, env={**os.environ})
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        found: list[Task] = []

        def runs() -> bool:
            found[:] = Task.get_tasks(task_filter={"status": ["in_progress"]}, task_name="mode=endless")
            return bool(found) and found[0].get_last_iteration() > 0

        wait_for(runs)
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: found[0].status == "stopped")
    assert found[0].exit_info["signal"] == "SIGTERM"
    wait_for(lambda: store_in_force.queues.names() == [])


def test_a_search_that_was_killed_goes_on_in_another_process(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """SIGKILL after the first job: the next run of the script starts the others, and none twice."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    script = tmp_path / "search.py"
    script.write_text(RESUMED)
    command = [sys.executable, str(script), base]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: Task.get_tasks(task_name="^base: lr=0.1", task_filter={"status": ["-created"]}))
    finally:
        process.kill()
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert "DONE 3 {'lr': 0.1}" in done.stdout
    jobs = Task.get_tasks(task_name="^base: lr=")
    assert sorted(job.name for job in jobs) == ["base: lr=0.1", "base: lr=0.2", "base: lr=0.3"]
    assert {job.status for job in jobs} == {"completed"}


def test_a_search_that_was_killed_between_the_status_and_the_queue_starts_that_job_again(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """A job that says that it is queued, and lies in no queue, is waited for by nobody."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    script = tmp_path / "search.py"
    killing = "import os, signal\nfrom localtrack.queue.folder import Queue\n"
    killing += "Queue.enqueue = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)\n"
    script.write_text(killing + RESUMED)
    command = [sys.executable, str(script), base]
    assert subprocess.run(command, capture_output=True, timeout=100, check=False).returncode == -9
    assert [job.status for job in Task.get_tasks(task_name="^base: lr=")] == ["queued"]
    script.write_text(RESUMED)
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert "DONE 3 {'lr': 0.1}" in done.stdout
    assert {job.status for job in Task.get_tasks(task_name="^base: lr=")} == {"completed"}


def test_an_agent_runs_a_search_as_it_was_edited(
    store_in_force: StoreContext, agent: list[str], tmp_path: Path
) -> None:
    """Arguments and space are read back from the search's task, with their types: a clone of it can be edited first."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    edited = make_script(store_in_force, REMOTE.replace("BASE", base), name="optimizer")
    task = Task.get_task(task_id=edited)
    task.set_parameters({"General/opt/execution_queue": "aside", "General/opt/optimizer_kwargs/total_max_jobs": 2})
    space = [{"type": "UniformIntegerParameterRange", "name": "General/layers", "min_value": 3, "max_value": 9, "step_size": 1,
              "include_max": True}]  # fmt: skip
    task.set_configuration_object("General", config_dict={"parameter_optimization_space": space})
    store_in_force.queues.create("aside")
    aside = Agent(
        store_in_force, AgentOptions(queues=("aside",), workdir=tmp_path / "aside", grace_s=5.0), lambda text: None
    )
    thread = threading.Thread(target=aside.run, daemon=True)
    thread.start()
    try:
        Task.enqueue(edited, "work")
        wait_for(lambda: task.status in ("completed", "failed"), 100)
    finally:
        aside.stop("the test is over")
        thread.join(60)
    assert task.status == "completed"
    jobs = Task.get_tasks(task_filter={"parent": edited})
    assert sorted(job.get_parameter("General/layers", cast=True) for job in jobs) == [3, 4]
    assert {job.get_executed_queue() for job in jobs} == {"aside"}


def test_the_same_run_of_before_stands_in(store_in_force: StoreContext, agent: list[str]) -> None:
    """With caching a job whose code, parameters and configuration completed already is not run again."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    first = ClearmlJob(base, {"General/lr": 0.5}, allow_caching=True)
    assert not first.is_cached_task()
    first.launch("work")
    assert first.wait(1.0)
    other = ClearmlJob(base, {"General/lr": 0.6}, allow_caching=True)
    again = ClearmlJob(base, {"General/lr": 0.5}, allow_caching=True)
    fresh = ClearmlJob(base, {"General/lr": 0.5})
    assert [job.is_cached_task() for job in (other, again, fresh)] == [False, True, False]
    assert again.task_id() == first.task_id()
    assert not again.launch("work")
    ClearmlJob.register_hashing_callback(lambda body: {**body, "hyper_params": {}})
    try:
        assert not ClearmlJob(base, {"General/lr": 0.5}, allow_caching=True).is_cached_task()
    finally:
        BaseJob._hashing_callback = None


def test_an_agent_that_can_not_start_is_told(
    store_in_force: StoreContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The job fails with what the agent said last, and does not wait for ever."""
    base = make_script(store_in_force, TRAINING)
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such thing here' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    job = LocalClearmlJob(base)
    assert job.launch()
    assert job.wait(timeout=1.0, pool_period=0.1)
    assert job.is_failed()
    assert "no such thing here" in job.status_message()


def test_a_branch_without_a_commit_means_its_last_one(store_in_force: StoreContext, tmp_path: Path) -> None:
    """Found when the job is made, without the uncommitted changes of the run that is cloned."""
    world = World(store_in_force, tmp_path)
    first = world.commit({"main.py": "print(1)\n"})
    (world.repo / "main.py").write_text("print('changed')\n")
    base = world.task(enqueue=False, branch="main")
    last = world.commit({"main.py": "print(2)\n"})
    job = ClearmlJob(base, task_overrides={"script.version_num": None, "script.branch": "main"})
    script = job.record().script
    assert (script["commit"], script["branch"], script["diff"]) == (last, "main", None)
    assert ClearmlJob(base).record().script["commit"] == first
    with pytest.raises(InvalidValueError, match="nowhere"):
        ClearmlJob(base, task_overrides={"script.branch": "nowhere"})


def test_a_job_by_itself(store_in_force: StoreContext, agent: list[str]) -> None:
    """One clone with other parameters, fields and configuration, watched to its end."""
    base = make_script(store_in_force, TRAINING, lr=0.1, layers=2, mode="good")
    job = ClearmlJob(
        base, parameter_override={"General/layers": "4"}, task_overrides={"container.image": "python:3.12"},
        configuration_overrides={"net": {"depth": 3}, "notes": "as text"}, tags=["single"], target_project="elsewhere",
    )  # fmt: skip
    assert (job.is_pending(), job.elapsed(), job.iterations(), job.worker()) == (True, -1.0, -1, None)
    assert job.get_metric("loss", "valid") == (None, None, None)
    assert job.launch("work")
    assert not job.launch("work")
    assert job.wait(timeout=1.0, pool_period=0.1)
    assert job.is_completed()
    assert not job.is_failed()
    assert job.task.get_parameter("General/layers", cast=True) == 4
    assert job.task.get_configuration_object_as_dict("net") == {"depth": 3}
    assert job.task.get_project_name() == "elsewhere"
    assert "single" in job.task.get_tags()
    assert job.task.data.container["image"] == "python:3.12"
    low, high, last = job.get_metric("loss", "valid")
    assert low == last == 0.1 * 4 / 3
    assert high == 0.4
    assert job.iterations() == 2
    assert job.elapsed() > 0
    assert not job.delete()
    same = RunningJob(job.task_id())
    assert same.is_stopped()
    assert isinstance(same.get_console_output(), list)


def test_a_draft_that_is_not_needed_goes(store_in_force: StoreContext) -> None:
    """Only before it was started, and its agent is never asked."""
    base = make_script(store_in_force, TRAINING)
    job = ClearmlJob(base)
    assert job.task.parent == base
    assert job.delete()
    assert job.status() == "failed"
    assert job.is_stopped()
    start = time.monotonic()
    job.abort()
    assert time.monotonic() - start < 30


LOCAL_SEARCH = """
import sys
from localtrack import Task
from localtrack.automation import DiscreteParameterRange, GridSearch, HyperParameterOptimizer
task = Task.init("search", "optimizer", continue_last_task=True, auto_resource_monitoring=False)
one = HyperParameterOptimizer(sys.argv[1], [DiscreteParameterRange("lr", [0.1, 0.2])], "loss", "valid", "min", GridSearch,
                              max_number_of_concurrent_tasks=1, pool_period_min=0.002)
one.start_locally()
print("started", flush=True)
one.wait()
print("DONE", [(body["hyper_parameters"]["lr"]) for body in one.get_top_experiments_details(5)])
"""


@pytest.mark.parametrize("victims", ["the search", "the search and its agent"])
def test_a_local_search_that_was_killed_tries_again_what_was_cut_short(
    store_in_force: StoreContext, tmp_path: Path, victims: str
) -> None:
    """As after the machine went down: the job of then is told as it ended, its combination is run anew, no queue stays."""
    base = make_script(
        store_in_force, TRAINING.replace('values["mode"] == "good" and step == 3', "step == 30"), lr=0.1, layers=2,
        mode="endless",
    )  # fmt: skip
    script = tmp_path / "search.py"
    script.write_text(LOCAL_SEARCH)
    command = [sys.executable, str(script), base]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    agents: list[int] = []
    try:
        wait_for(lambda: Task.get_tasks(task_name="^base: lr=0.1", task_filter={"status": ["in_progress"]}))
        (cut_short,) = Task.get_tasks(task_name="^base: lr=0.1")
        wait_for(lambda: cut_short.get_last_scalar_metrics() or cut_short.get_reported_scalars())
        agents = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    finally:
        process.kill()
        process.wait()
    if victims != "the search":
        for pid in agents:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    wait_for(lambda: cut_short.status in ("stopped", "failed"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
    assert "DONE [0.1, 0.2]" in done.stdout
    jobs = Task.get_tasks(task_name="^base: lr=")
    assert sorted(job.status for job in jobs) == sorted(["completed", "completed", cut_short.status])
    wait_for(lambda: store_in_force.queues.names() == [])
