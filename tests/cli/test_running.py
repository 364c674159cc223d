"""run, abort, agent ls and stop."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from localtrack.records.status import Status
from localtrack.services import tasks
from localtrack.store.layout import TaskLayout


def run_script(store_root, *arguments):
    """Run the verb as a process: it becomes the script."""
    command = [sys.executable, "-m", "localtrack.cli", "run", "--root", str(store_root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_run_becomes_the_script(store_root, tmp_path):
    """`run` hands all arguments over untouched, sets the store, and leaves with the script's exit code."""
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nprint(__name__, sys.argv[1:], os.environ['LOCALTRACK_ROOT'])\nsys.exit(7)\n")
    done = run_script(store_root, str(script), "--lr", "0.1", "--help", "-y")
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"__main__ ['--lr', '0.1', '--help', '-y'] {store_root}\n"


def test_run_takes_a_module(store_root):
    """`run -m module` runs a module."""
    done = run_script(store_root, "-m", "json.tool", "--help")
    assert done.returncode == 0, done.stderr
    assert "json.tool" in done.stdout


TRACKED = """
import sys
from localtrack import Task
task = Task.init(project_name="p", task_name="t", auto_resource_monitoring=False)
print("printed by the script")
if "--die" in sys.argv:
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit(3)
"""


def test_run_as_json_tells_what_ran(store_root, tmp_path):
    """`run --json` leaves stdout to one object with the exit code and the task; the script's output is on stderr."""
    script = tmp_path / "script.py"
    script.write_text(TRACKED)
    done = run_script(store_root, "--json", str(script))
    body = json.loads(done.stdout)
    assert (done.returncode, body["exit_code"], body["signal"]) == (3, 3, "")
    (task,) = body["tasks"]
    assert (task["name"], task["status"]) == ("t", "failed")
    assert "printed by the script" in done.stderr


def test_run_as_json_dies_as_the_script_died(store_root, tmp_path):
    """A script that a signal ends makes `run --json` end by that signal, after the object is printed."""
    script = tmp_path / "script.py"
    script.write_text(TRACKED)
    done = run_script(store_root, "--json", str(script), "--die")
    assert done.returncode == -15
    body = json.loads(done.stdout)
    assert (body["exit_code"], body["signal"], body["tasks"][0]["status"]) == (143, "SIGTERM", "stopped")


def test_run_as_json_of_an_untracked_script(store_root, tmp_path):
    """A script that never calls Task.init has an empty list of tasks, and no store is made for it."""
    script = tmp_path / "script.py"
    script.write_text("print('hello')\n")
    done = run_script(store_root, "--json", str(script))
    assert json.loads(done.stdout) == {"exit_code": 0, "signal": "", "tasks": []}
    assert done.stderr == "hello\n"
    assert not store_root.exists()


def test_agent_start_as_json_tells_what_it_ran(cli, make, store):
    """`agent start --json` ends with one object on stdout; what happens meanwhile is said on stderr."""
    broken = make()
    cli("enqueue", broken.id)
    ran = cli("agent", "start", "--drain", "--json")
    assert ran.code == 0, ran.err
    (task,) = ran.json["tasks"]
    assert task["id"] == broken.id
    assert ran.json["outcomes"] == {task["outcome"]: 1}
    assert f"agent {ran.json['id']} leaves" in ran.err


@pytest.mark.parametrize("arguments", [["missing.py"], ["-m"], []])
def test_run_without_a_script_is_a_usage_error(cli, arguments):
    """A missing script, module or file is exit code 2."""
    assert cli("run", *arguments).code == 2


def test_abort_asks_a_running_task(cli, ctx, make):
    """`abort` files a request for the running owner, with the message; the status is the owner's to change."""
    task = make(status=Status.IN_PROGRESS)
    (item,) = cli("abort", task.id, "--message", "too slow", "--json").json
    assert item["status"] == "in_progress"
    (request,) = TaskLayout(tasks.folder_of(ctx, task.id)).requests.iterdir()
    body = json.loads(request.read_text())
    assert (body["kind"], body["message"]) == ("stop", "too slow")


def test_abort_stops_a_queued_task(cli, ctx, make):
    """A queued task leaves its queue, stopped."""
    task = make()
    cli("enqueue", task.id)
    cli("abort", task.id)
    assert tasks.read(ctx, task.id).status == "stopped"
    assert ctx.queues.get("default").count() == 0


def test_abort_of_what_does_not_run_is_refused(cli, make):
    """Aborting a draft names its status."""
    ran = cli("abort", make().id)
    assert ran.code == 1
    assert "nothing to stop" in ran.err


def test_agents_are_listed_and_asked_to_stop(cli, ctx):
    """`agent ls` shows a registered agent that lives; `agent stop` files the request that it looks for."""
    from localtrack.capture.host import capture_host
    from localtrack.queue.agents import Agents

    host = capture_host()
    owner = {
        "host": "h", "machine": host.machine_id, "boot": host.boot_id, "pid": __import__("os").getpid(),
        "start": host.start_token,
    }  # fmt: skip
    agents = Agents(ctx.store)
    agent_id, heartbeat = agents.register("worker", ["default"], owner, 60.0)
    try:
        (listed,) = cli("agent", "ls", "--json").json
        assert (listed["id"], listed["verdict"], listed["queues"]) == (agent_id, "alive", ["default"])
        assert agent_id in cli("agent", "list").out
        assert cli("agent", "stop", agent_id).code == 0
        assert agents.stop_requested(agent_id) == "after-task"
    finally:
        heartbeat.close()
    assert cli("agent", "stop", "nobody").code == 1


def test_no_agents(cli, store):
    """Without agents, the listing says how one is started."""
    assert "agent start" in cli("agent", "ls").err
