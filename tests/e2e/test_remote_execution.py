"""Scripts that go on in a queue, whole or as one function, and that have a last word when they are aborted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task

QUIET = "auto_resource_monitoring=False"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a script folder beside it."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    (tmp_path / "code").mkdir()
    return tmp_path


def write(store: Path, text: str) -> Path:
    """Write a script that is in no repository."""
    path = store / "code" / "train.py"
    path.write_text(f"import os, sys, time\nfrom pathlib import Path\nfrom localtrack import Task\n{text}")
    return path


def run(*words: object, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python and check how it ends."""
    answer = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=100, env={**os.environ, **env}
    )
    assert answer.returncode == code, answer.stderr
    return answer


def drain() -> None:
    """Run everything that is queued."""
    run("-m", "localtrack", "agent", "start", "--drain")


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def only(**query: Any) -> Task:
    """Return the only task that fits."""
    (found,) = Task.get_tasks(**query)
    return found


def test_a_script_goes_on_under_an_agent(store: Path) -> None:
    """execute_remotely ends the local run with code 0; the agent runs the same task on, with its parameters."""
    script = write(
        store,
        f"""
import argparse
task = Task.init("p", "far", {QUIET})
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
values = parser.parse_args()
connected = task.connect({{"depth": 3}})
task.get_logger().report_scalar("loss", "train", 1.0, 0)
answer = task.execute_remotely("default")
print("here:", "local" if Task.running_locally() else "remote", answer, values.lr, connected["depth"])
Path({str(store / "ran")!r}).write_text("remote")
""",
    )
    run(script, "--lr", "0.5")
    task = only(project_name="p")
    assert task.status == "queued"
    assert not (store / "ran").exists()
    assert [change["to"] for change in task.status_history] == ["in_progress", "stopped", "queued"]
    drain()
    assert task.status == "completed"
    assert "here: remote None 0.5 3" in task.get_reported_console_output(0)
    assert task.get_all_reported_scalars()["loss"]["train"]["y"] == [1.0, 1.0]


def test_a_copy_goes_on_and_the_script_too(store: Path) -> None:
    """With clone=True and exit_process=False the copy runs in the queue and the original completes here."""
    script = write(
        store,
        f"""
task = Task.init("p", "here", {QUIET})
copy = task.execute_remotely("default", clone=True, exit_process=False)
print("copy:", copy.id if copy else None)
""",
    )
    answer = run(script)
    original = only(task_name="^here$")
    copy = only(task_name="^Clone Of here$")
    assert f"copy: {copy.id}" in answer.stdout
    assert (original.status, copy.status, copy.parent) == ("completed", "queued", original.id)
    drain()
    assert copy.status == "completed"
    assert "copy: None" in copy.get_reported_console_output(0)


def test_without_a_queue_it_is_a_draft(store: Path) -> None:
    """execute_remotely() leaves an editable draft with code and parameters, and ends the process."""
    script = write(
        store,
        f"""
task = Task.init("p", "later", {QUIET})
task.connect({{"x": 1}})
task.execute_remotely()
raise SystemExit("never reached")
""",
    )
    run(script)
    task = only(project_name="p")
    assert task.status == "created"
    assert task.get_system_tags() == []
    task.set_parameter("General/x", 2)
    Task.enqueue(task, "default")
    drain()
    assert task.status == "failed"
    assert "never reached" in "".join(task.get_reported_console_output(0))


def test_an_unknown_queue_is_said_while_the_run_goes_on(store: Path) -> None:
    """A queue that is not there raises before anything ends."""
    script = write(
        store,
        f"""
task = Task.init("p", "n", {QUIET})
try:
    task.execute_remotely("nowhere")
except ValueError as error:
    print("refused:", error)
""",
    )
    answer = run(script)
    assert "refused: " in answer.stdout
    assert "nowhere" in answer.stdout
    assert only(project_name="p").status == "completed"


def test_functions_run_as_tasks_of_their_own(store: Path) -> None:
    """Each function task runs its own function with its own, edited, arguments, and nothing behind its call."""
    script = write(
        store,
        f"""
task = Task.init("p", "main", {QUIET})
def square(x, unit=None):
    Path({str(store)!r}, f"square-{{x * x}}").write_text(str(type(unit)))
def shout(text):
    Path({str(store)!r}, text.upper()).write_text("")
one = task.create_function_task(square, x=3, unit=object())
two = task.create_function_task(shout, func_name="loud", task_name="loud one", text="hey")
if Task.running_locally():
    one.set_parameter("Function/x", 5)
    for made in (one, two):
        Task.enqueue(made, "default")
Path({str(store)!r}, "end-" + ("here" if Task.running_locally() else "there")).write_text("")
""",
    )
    run(script)
    drain()
    main = only(task_name="^main$")
    drafts = {task.name: task for task in Task.get_tasks(project_name="p") if task.parent == main.id}
    assert sorted(drafts) == ["loud one", "main <square>"]
    assert [(t.status, t.get_system_tags()) for t in drafts.values()] == [("completed", ["func"])] * 2
    assert (store / "square-25").read_text() == "<class 'object'>"
    assert (store / "HEY").exists()
    assert ((store / "end-here").exists(), (store / "end-there").exists()) == (True, False)


ABORTED = f"""
task = Task.init("p", "long", {QUIET})
def last_word():
    time.sleep(0.5)
    task.set_user_properties(saved="yes")
    if HANG:
        time.sleep(600)
task.register_abort_callback(last_word, callback_execution_timeout=3)
Path(FLAG).write_text("")
time.sleep(90)
"""


@pytest.mark.parametrize("hang", [False, True])
def test_the_last_word_before_an_abort(store: Path, hang: bool) -> None:
    """On `localtrack abort` the callback runs before the process is stopped, and no longer than its timeout."""
    flag = store / "flag"
    script = write(store, f"HANG, FLAG = {hang}, {str(flag)!r}\n{ABORTED}")
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)
    wait_for(flag.exists)
    task = only(project_name="p")
    started = time.monotonic()
    run("-m", "localtrack", "abort", task.id, "--message", "wrong data")
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == -15
    assert task.status == "stopped"
    assert "wrong data" in (task.get_status_message() or "")
    assert task.get_user_properties(value_only=True) == {"saved": "yes"}
    assert ("took longer than 3 s" in said) is hang


def test_the_last_word_under_an_agent(store: Path) -> None:
    """An agent waits for the callback of the run that it stops."""
    flag = store / "flag"
    slow = ABORTED.replace("time.sleep(0.5)", "time.sleep(7)").replace("timeout=3", "timeout=20")
    script = write(store, f"HANG, FLAG = False, {str(flag)!r}\n{slow}")
    script.write_text(script.read_text().replace("def last_word", "task.execute_remotely('default')\ndef last_word"))
    run(script)
    task = only(project_name="p")
    agent = subprocess.Popen(
        [sys.executable, "-m", "localtrack", "agent", "start", "--drain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(flag.exists)
    task.stop_request(status_message="enough")
    agent.communicate(timeout=100)
    assert task.status == "stopped"
    assert task.get_user_properties(value_only=True) == {"saved": "yes"}


def test_a_process_as_if_an_agent_ran_it(store: Path) -> None:
    """debug_simulate_remote_task: the stored parameters go into the script, and the task stays the same."""
    script = write(
        store,
        f"""
import argparse
if len(sys.argv) > 1:
    Task.debug_simulate_remote_task(sys.argv.pop())
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
values = parser.parse_args()
task = Task.init("p", "n", {QUIET})
print("seen:", values.lr, task.connect({{"depth": 3}})["depth"], Task.running_locally(), task.id)
""",
    )
    first = run(script)
    task = only(project_name="p")
    assert f"seen: 0.1 3 True {task.id}" in first.stdout
    draft = Task.clone(task)
    draft.update_parameters({"Args/lr": 0.5, "General/depth": 9})
    again = run(script, draft.id)
    assert f"seen: 0.5 9 False {draft.id}" in again.stdout
    assert draft.status == "completed"
    refused = run(
        "-c", f"from localtrack import Task; Task.init('p', 'x'); Task.debug_simulate_remote_task('{task.id}')", code=1
    )
    assert "must come before Task.init" in refused.stderr


def test_publishing_on_completion(store: Path) -> None:
    """A run that wished it is published when it completes, and is not when it fails."""
    script = write(
        store,
        f"task = Task.init('p', 'n', reuse_last_task_id=False, {QUIET})\ntask.publish_on_completion()\n"
        "task.set_user_properties(code=sys.argv[1])\nsys.exit(int(sys.argv[1]))\n",
    )
    run(script, 0)
    run(script, 3, code=3)
    states = {
        task.get_user_properties(value_only=True)["code"]: task.status for task in Task.get_tasks(project_name="p")
    }
    assert states == {"0": "published", "3": "failed"}


def test_several_nodes(store: Path) -> None:
    """launch_multi_node under an agent queues the other nodes; each gets its rank, and the number can be edited."""
    script = write(
        store,
        f"""
task = Task.init("p", "n", {QUIET})
told = task.launch_multi_node(2, port=1234, addr="10.0.0.1", devices=2)
line = " ".join(os.environ.get(name, "-") for name in ("RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
Path({str(store)!r}, f"node-{{told['node_rank']}}").write_text(line)
""",
    )
    run(script)
    assert (store / "node-0").read_text() == "- - - - -"
    draft = Task.clone(only(project_name="p"), name="many")
    draft.set_parameter("launch_multi_node/total_num_nodes", 3)
    Task.enqueue(draft, "default")
    drain()
    assert [(store / f"node-{rank}").read_text() for rank in range(3)] == [
        "0 0 6 10.0.0.1 1234",
        "2 1 6 10.0.0.1 1234",
        "4 2 6 10.0.0.1 1234",
    ]
    nodes = [task for task in Task.get_tasks(project_name="p") if task.parent == draft.id]
    assert sorted((task.name, task.status) for task in nodes) == [
        ("many <node 1>", "completed"),
        ("many <node 2>", "completed"),
    ]


def test_agents_that_srun_started_are_ranks_and_their_tasks_are_not(store: Path) -> None:
    """A task that the second agent of a step runs is its own owner, records what it connects, and says how it ended."""
    script = write(
        store,
        f"""
task = Task.init("p", "far", {QUIET})
task.execute_remotely("default")
task.connect({{"depth": 2}})
sys.exit(4)
""",
    )
    run(script)
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
    run("-m", "localtrack", "agent", "start", "--drain", **step)
    task = only(task_name="far")
    assert task.get_status() == "failed"
    assert task.get_parameter("General/depth") == "2"
    record = task._read()
    assert record.exit["code"] == 4
    assert (record.owner or {})["role"] == "owner"
    assert (record.owner or {})["rank"] == ""
