"""The agent from end to end: real repositories, real children, real signals."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import QueueNotFoundError, UsageError
from localtrack.queue.agents import STOP_AFTER_TASK, STOP_NOW, Agents
from localtrack.queue.claims import read_end
from localtrack.records.status import Status
from localtrack.services import dead_letters, lifecycle, tasks

from .conftest import World, git, wait_for

TRACKED = """
import sys, time
print("before init", flush=True)
from localtrack import Task
task = Task.init("other", "name")
task.get_logger().report_scalar("loss", "train", 0.5, 1)
print("inside", flush=True)
"""
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(120)\n"
MARKER = "import os, time\nopen({path!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep({seconds})\n"


def _is_gone(pid: int) -> bool:
    """Tell whether a process has ended, noticed by its parent or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class TestRuns:
    def test_a_script_runs_as_recorded(self, world: World) -> None:
        """The recorded commit and diff run in a checkout of their own; console, code and status are in the task."""
        world.commit({"main.py": "print('old')\n", "sub/keep.txt": "kept"})
        (world.repo / "main.py").write_text(
            "import os\nprint('new', os.getcwd().endswith('sub'), os.path.exists('keep.txt'))\n"
        )
        task = world.task(working_dir="sub")
        git(world.repo, "checkout", "-q", "--", ".")
        assert world.agent().run() == {"completed": 1}
        record = world.record(task)
        assert (record.status, record.exit) == ("completed", {"code": 0, "signal": "", "failure_class": ""})
        assert [entry["to"] for entry in record.history] == ["queued", "in_progress", "completed"]
        assert world.console(task) == ["new True True"]
        assert git(world.repo, "status", "--porcelain") == ""
        assert not world.workdir.exists() or not any(world.workdir.rglob("main.py"))

    def test_no_such_place_for_the_outputs(self, world: World) -> None:
        """Where this machine can't write the task's output_uri, the run fails at its start, and the task says why."""
        task = world.script(
            "from localtrack import Task\nTask.init('other', 'name')\nprint('hours of work')\n", enqueue=False
        )
        blocked = world.tmp_path / "file" / "models"
        blocked.parent.write_text("")
        tasks.edit(world.ctx, task, lambda old: replace(old, output_uri=str(blocked)), "output_uri")
        lifecycle.enqueue(world.ctx, task, "default")
        assert world.agent().run() == {"failed": 1}
        record, said = world.record(task), "\n".join(world.console(task))
        assert f"{blocked} can't take uploads on this machine: Not a directory" in said
        assert "choose another output_uri" in said
        assert "hours of work" not in said
        assert (record.status, record.exit["code"]) == ("failed", 1)

    def test_the_child_knows_where_it_is(self, world: World) -> None:
        """Root, task, claim and agent are in the child's environment; the parent of another run is not."""
        code = "import os\nfor n in ('ROOT', 'TASK_ID', 'CLAIM', 'AGENT', 'PARENT'): print(os.environ.get(f'LOCALTRACK_{n}'))\n"
        os.environ["LOCALTRACK_PARENT"] = "1:x:y"
        try:
            task = world.script(code)
            agent = world.agent(name="robo")
            agent.run()
        finally:
            del os.environ["LOCALTRACK_PARENT"]
        root, task_id, claim, name, parent = world.console(task)
        assert (root, task_id, parent) == (str(world.ctx.store.root), task, "None")
        assert claim == world.record(task).runtime["claim"]
        assert claim.startswith("default/")
        assert claim.endswith(f"{task}.1")
        assert name == agent.id == world.record(task).runtime["agent"]
        assert name.startswith("robo-")

    def test_a_tracked_script_adopts_the_task(self, world: World) -> None:
        """Task.init in the child runs the claimed task; each line of its output is there once."""
        world.commit({"main.py": TRACKED})
        task = world.task()
        assert world.agent().run() == {"completed": 1}
        record = world.record(task)
        assert (record.status, record.name) == ("completed", "a task")
        assert record.last_metrics["loss"]["train"]["last"] == 0.5
        lines = world.console(task)
        assert [lines.count("before init"), lines.count("inside")] == [1, 1]

    def test_priority_and_order_of_queues(self, world: World) -> None:
        """The first queue comes first, in it the higher priority."""
        order = world.tmp_path / "order"
        world.ctx.queues.create("fast")
        made = [world.script(f"open({str(order)!r}, 'a').write('{n}\\n')\n", enqueue=False) for n in range(4)]
        for number, (queue, priority) in enumerate((("default", 0), ("default", 5), ("fast", 0), ("fast", 1))):
            lifecycle.enqueue(world.ctx, made[number], queue, priority=priority)
        assert world.agent(queues=("fast", "default")).run() == {"completed": 4}
        assert order.read_text().split() == ["3", "2", "1", "0"]

    def test_once_runs_one(self, world: World) -> None:
        """With once the second task stays queued."""
        first, second = world.script(""), world.script("")
        assert world.agent(drain=False, once=True).run() == {"completed": 1}
        assert [world.record(task).status for task in (first, second)] == ["completed", "queued"]
        assert world.agent(drain=False, once=True).run() == {"completed": 1}
        assert world.agent(drain=False, once=True).run() == {}

    def test_an_agent_leaves_no_trace_of_itself(self, world: World) -> None:
        """After a drain no agent is registered, the entry is done, and temporary files are gone."""
        world.script("")
        world.agent().run()
        assert Agents(world.ctx.store).list() == []
        queue = world.ctx.queues.get("default")
        assert queue.entries() == []
        assert len(list(queue.paths.done.iterdir())) == 1
        assert list(world.ctx.store.layout.tmp.iterdir()) == []


class TestFailures:
    def test_an_exit_code_is_a_users_error(self, world: World) -> None:
        """A script that fails is failed by user_error with its code, and its last words are in the console."""
        task = world.script("import sys\nprint('dying')\nsys.exit(3)\n")
        assert world.agent().run() == {"failed": 1}
        record = world.record(task)
        assert record.exit == {"code": 3, "signal": "", "failure_class": "user_error"}
        assert "exit code 3" in record.status_message
        assert world.console(task) == ["dying"]

    def test_a_signal_is_told(self, world: World) -> None:
        """A child that is killed is failed by killed, with the signal, tracked or not."""
        die = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
        plain, tracked = world.script(die), world.script(TRACKED + die)
        assert world.agent().run() == {"failed": 2}
        for task in (plain, tracked):
            assert world.record(task).exit == {"code": None, "signal": "SIGKILL", "failure_class": "killed"}

    def test_a_script_that_closes_and_then_fails(self, world: World) -> None:
        """A task that its script closed as completed is failed when the process then fails."""
        task = world.script(TRACKED + "task.close()\nraise SystemExit(4)\n")
        assert world.agent().run() == {"failed": 1}
        assert (world.record(task).status, world.record(task).exit["code"]) == ("failed", 4)

    def test_code_that_is_gone_is_the_infrastructures_fault(self, world: World) -> None:
        """A task whose code can't be had fails as infrastructure, with the reason in its message and console."""
        world.commit({"main.py": ""})
        task = world.task(commit="b" * 40)
        after = world.script("")
        assert world.agent().run() == {"failed": 1, "completed": 1}
        record = world.record(task)
        assert (record.status, record.exit["failure_class"]) == ("failed", "infrastructure")
        assert "bbbbbbbbbbbb" in record.status_message
        assert any("bbbbbbbbbbbb" in line for line in world.console(task))
        assert world.record(after).status == "completed"

    def test_a_launch_that_fails_is_the_infrastructures_fault(self, world: World) -> None:
        """An interpreter that is missing is told, and the agent goes on."""
        task = world.script("")
        assert world.agent(python="/no/such/python").run() == {"failed": 1}
        record = world.record(task)
        assert record.exit["failure_class"] == "infrastructure"
        assert "/no/such/python" in record.status_message

    def test_a_fault_of_the_agent_leaves_nothing_running(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error in the agent's own code fails the task, not the agent."""
        from localtrack.agent import job

        def explode(*args: object) -> None:
            raise ZeroDivisionError("a bug")

        task = world.script("")
        monkeypatch.setattr(job, "prepare_workspace", explode)
        assert world.agent().run() == {"failed": 1}
        assert "ZeroDivisionError: a bug" in world.record(task).status_message

    def test_entries_that_must_not_run_are_dropped(self, world: World) -> None:
        """A task that was deleted, or given another state, is skipped and its entry finished."""
        deleted, drafted, good = world.script(""), world.script(""), world.script("")
        tasks.delete(world.ctx, deleted)
        lifecycle.change_status(world.ctx, drafted, Status.CREATED, force=True)
        assert world.agent().run() == {"skipped": 2, "completed": 1}
        assert world.record(drafted).status == "created"
        assert world.record(good).status == "completed"
        assert world.ctx.queues.get("default").entries() == []

    def test_an_unknown_queue_is_told(self, world: World) -> None:
        """An agent for a queue that is not there says which there are; it can be told to make it."""
        with pytest.raises(QueueNotFoundError, match="nope"):
            world.agent(queues=("nope",)).run()
        assert world.agent(queues=("nope",), create_queues=True).run() == {}
        with pytest.raises(UsageError, match="needs a queue"):
            world.agent(queues=()).run()


class TestStopping:
    def test_an_abort_stops_the_child(self, world: World) -> None:
        """A request to stop ends the child and the task is stopped; the agent goes on with the next."""
        task = world.script(SLEEPER)
        agent = world.start_agent("drain")
        wait_for(lambda: world.is_running(task) and "up" in world.console(task))
        after = world.script("")
        lifecycle.request_stop(world.ctx, task, "enough")
        assert agent.wait(60) == 0
        record = world.record(task)
        assert (record.status, record.status_reason) == ("stopped", "aborted")
        assert "enough" in record.status_message
        assert world.record(after).status == "completed"

    def test_a_tracked_child_ends_itself(self, world: World) -> None:
        """A child that reads the request itself is stopped in its own way, and says so itself."""
        task = world.script(TRACKED + "time.sleep(120)\n")
        agent = world.start_agent("drain")
        wait_for(lambda: "inside" in world.console(task))
        lifecycle.request_stop(world.ctx, task, "enough")
        assert agent.wait(60) == 0
        record = world.record(task)
        assert record.status == "stopped"
        assert "enough" in record.status_message

    def test_a_status_set_to_stopped_stops(self, world: World) -> None:
        """Marking the task stopped from outside stops the child as well."""
        task = world.script(SLEEPER)
        agent = world.start_agent("drain")
        wait_for(lambda: world.is_running(task) and "up" in world.console(task))
        lifecycle.change_status(world.ctx, task, Status.STOPPED, message="by hand")
        assert agent.wait(60) == 0
        record = world.record(task)
        assert (record.status, record.status_message) == ("stopped", "by hand")
        assert record.exit["signal"] == "SIGTERM"

    def test_a_deleted_task_stops(self, world: World) -> None:
        """When the task goes to the trash its child is stopped and the agent goes on."""
        task = world.script(SLEEPER)
        agent = world.start_agent("drain")
        wait_for(lambda: world.is_running(task) and "up" in world.console(task))
        tasks.delete(world.ctx, task, force=True)
        assert agent.wait(60) == 0
        assert world.ctx.queues.get("default").entries() == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_to_the_agent_stops_the_task(self, world: World, number: signal.Signals) -> None:
        """SIGTERM and SIGINT stop the child; the task is stopped, not completed, and its entry is finished."""
        marker = world.tmp_path / "pid"
        task = world.script(MARKER.format(path=str(marker), seconds=120))
        agent = world.start_agent()
        wait_for(lambda: world.is_running(task) and marker.exists() and marker.read_text().endswith("\n"))
        child = int(marker.read_text())
        agent.send_signal(number)
        assert agent.wait(60) == 0
        record = world.record(task)
        assert (record.status, record.status_reason) == ("stopped", "agent stopped")
        assert number.name in record.status_message
        assert _is_gone(child)
        queue = world.ctx.queues.get("default")
        assert queue.entries() == []
        (done,) = queue.paths.done.iterdir()
        assert (read_end(done) or {})["outcome"] == "stopped"

    def test_an_idle_agent_leaves_at_once(self, world: World) -> None:
        """An agent that waits for tasks ends on SIGTERM, and its register entry goes."""
        agent = world.start_agent()
        wait_for(lambda: Agents(world.ctx.store).list())
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
        assert Agents(world.ctx.store).list() == []

    @pytest.mark.parametrize(("mode", "status"), [(STOP_AFTER_TASK, "completed"), (STOP_NOW, "stopped")])
    def test_an_agent_is_stopped_by_request(self, world: World, mode: str, status: str) -> None:
        """A request in the agent's folder stops it, after its task or with it; the next task stays queued."""
        gate = world.tmp_path / "gate"
        task = world.script(
            f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)\n"
        )
        agent = world.start_agent()
        wait_for(lambda: world.is_running(task))
        after = world.script("")
        (info,) = Agents(world.ctx.store).list()
        Agents(world.ctx.store).request_stop(info.id, mode)
        if mode == STOP_AFTER_TASK:
            time.sleep(1.5)
            gate.write_text("")
        assert agent.wait(60) == 0
        assert world.record(task).status == status
        assert world.record(after).status == "queued"

    def test_a_waiting_agent_takes_a_new_task_soon(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent that waits is woken by a new entry, long before its next look."""
        monkeypatch.setenv("LOCALTRACK_POLL_INTERVAL_S", "600")
        agent = world.start_agent()
        wait_for(lambda: Agents(world.ctx.store).list())
        time.sleep(0.5)
        task = world.script("")
        wait_for(lambda: world.record(task).status == "completed")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0


class TestDeath:
    def test_a_killed_agents_task_is_taken_over(self, world: World) -> None:
        """After kill -9 of the agent the next one ends what it left running and runs the task once more."""
        marker = world.tmp_path / "pids"
        seconds = f"120 if len(open({str(marker)!r}).readlines()) == 1 else 0"
        task = world.script(MARKER.format(path=str(marker), seconds=seconds))
        first = world.start_agent()
        wait_for(lambda: marker.exists() and marker.read_text().endswith("\n") and world.is_running(task))
        child = int(marker.read_text())
        first.kill()
        first.wait(30)
        assert not _is_gone(child)
        assert world.agent().run() == {"completed": 1}
        assert len(marker.read_text().split()) == 2
        assert _is_gone(child)
        record = world.record(task)
        assert (record.status, record.runtime["claim"][-2:]) == ("completed", ".2")
        assert "taken over" in [entry["reason"] for entry in record.history]

    def test_processes_of_another_kernel_are_left_alone(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent ends no process for a dead one that ran under another boot: its numbers mean others there."""
        marker = world.tmp_path / "pids"
        seconds = f"120 if len(open({str(marker)!r}).readlines()) == 1 else 0"
        task = world.script(MARKER.format(path=str(marker), seconds=seconds))
        first = world.start_agent()
        wait_for(lambda: marker.exists() and marker.read_text().endswith("\n") and world.is_running(task))
        child = int(marker.read_text())
        first.kill()
        first.wait(30)
        second = world.agent()
        identity = second._identify()
        monkeypatch.setattr(second, "_identify", lambda: {**identity, "boot": "another"})
        try:
            assert second.run() == {"completed": 1}
            assert not _is_gone(child)
            assert "left running" not in " ".join(world.said)
        finally:
            os.kill(child, signal.SIGKILL)

    def test_a_task_that_kills_its_agents_is_a_dead_letter(self, world: World) -> None:
        """Past the limit of attempts a task fails as lost and is not run again, unless it is put back."""
        task = world.script("import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(120)\n")
        for _ in range(3):
            assert world.start_agent().wait(60) == -signal.SIGKILL
        assert world.agent().run() == {"failed": 1}
        record = world.record(task)
        assert (record.status, record.status_reason, record.exit["failure_class"]) == ("failed", "lost", "lost")
        (letter,) = world.ctx.queues.get("default").dead_letters()
        assert letter["task_id"] == task
        assert world.agent().run() == {}
        (letter,) = dead_letters.open_letters(world.ctx)
        assert "3 agents died" in letter.why
        assert len({attempt.agent for attempt in letter.attempts}) == 3
        dead_letters.put_back(world.ctx, "default", [task])
        assert world.start_agent().wait(60) == -signal.SIGKILL
        assert world.is_running(task)

    def test_a_superseded_agent_stops_and_tells_nothing(self, world: World) -> None:
        """An agent whose claim was taken over stops its child and does not touch the task's status."""
        task = world.script(SLEEPER)
        agent = world.start_agent("drain")
        wait_for(lambda: world.is_running(task) and "up" in world.console(task))
        queue = world.ctx.queues.get("default")
        (ref,) = queue.entries()
        owner = {"machine": "another", "host": "far", "pid": 1}
        claim = queue.claims.take(ref.name, 2, agent="far-1", owner=owner)
        assert claim is not None
        assert agent.stdout is not None
        while "no longer this agent's" not in (line := agent.stdout.readline()):
            assert line, "the agent ended without a word"
        assert world.record(task).state is Status.IN_PROGRESS
        assert [entry["to"] for entry in world.record(task).history] == ["queued", "in_progress"]
        queue.claims.check_owned(claim)

    def test_an_agent_without_a_heartbeat_stops_itself(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the store takes no heartbeat for two thirds of the lease the child is stopped before another starts it."""
        from localtrack.queue.lease import Heartbeat

        task = world.script(SLEEPER)
        monkeypatch.setattr(
            Heartbeat, "is_expired", lambda self: world.is_running(task) and "up" in world.console(task)
        )
        assert world.agent().run()["failed"] == 1
        record = world.record(task)
        assert (record.status, record.exit["failure_class"]) == ("failed", "infrastructure")


class TestFencing:
    def test_a_late_end_is_refused(self, world: World) -> None:
        """Of an agent thought dead and its successor only the successor tells how the task ended."""
        from localtrack.agent.gateway import NotRunnableError, RunEnd, StoreGateway
        from localtrack.errors import LostClaimError

        task = world.script("")
        queue, gateway = world.ctx.queues.get("default"), StoreGateway(world.ctx)
        (ref,) = queue.entries()
        old = queue.claims.take(ref.name, 1, agent="a", owner={})
        assert old is not None
        gateway.start(task, old, {"writer": "a"})
        new = queue.claims.take(ref.name, 2, agent="b", owner={})
        assert new is not None
        gateway.start(task, new, {"writer": "b"})
        with pytest.raises(LostClaimError):
            gateway.finish(task, old, RunEnd(Status.FAILED, 1))
        with pytest.raises(LostClaimError):
            gateway.start(task, old, {"writer": "a"})
        gateway.finish(task, new, RunEnd(Status.COMPLETED, 0))
        assert world.record(task).status == "completed"
        with pytest.raises(NotRunnableError, match="completed"):
            gateway.start(task, new, {"writer": "b"})

    def test_root_does_not_run_another_users_store(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent of root refuses a store that belongs to somebody else."""
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(world.ctx.store.root, 65534, -1)
        with pytest.raises(UsageError, match="must not run as root"):
            world.agent().run()
        os.chown(world.ctx.store.root, 0, -1)


def test_two_agents_share_a_queue(world: World) -> None:
    """Two agents at once run every task once."""
    marker = world.tmp_path / "ran"
    made = [world.script(f"open({str(marker)!r}, 'a').write('{n}\\n')\n") for n in range(8)]
    agents = [world.start_agent("drain") for _ in range(2)]
    assert [agent.wait(100) for agent in agents] == [0, 0]
    wait_for(lambda: all(world.record(task).status == "completed" for task in made))
    assert sorted(marker.read_text().split()) == [str(n) for n in range(8)]
    assert Path(marker).exists()


def test_a_wish_to_be_published_is_honoured(world: World) -> None:
    """A task whose script never starts tracking is published on completion as well, when that was wished for."""
    task_id = world.script("print(1)\n", enqueue=False)
    tasks.edit(world.ctx, task_id, lambda record: lifecycle.with_publication(record, True), "wish", checked=False)
    lifecycle.enqueue(world.ctx, task_id, "default")
    world.agent().run()
    assert world.record(task_id).status == "published"
