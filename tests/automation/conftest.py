"""Searches and schedules with jobs that need no process, and with an agent that runs them for real."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from localtrack import Task
from localtrack.agent.loop import Agent, AgentOptions
from localtrack.automation.job import ClearmlJob
from localtrack.capture.host import capture_host
from localtrack.records.status import Status
from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext, host_name
from localtrack.store.blobs import put_content
from tests.agent.conftest import _with_script

TITLE, SERIES = "loss", "valid"
Outcome = Callable[[dict[str, Any]], Any]


def let_go(task: Task) -> None:
    """Close what this process opened to report to a task that it does not run, so that no thread of it stays."""
    session = task._session
    if session is not None:
        session.close()
        atexit.unregister(session.close)
        task._session = None
        task._logger = None


class FakeJob(ClearmlJob):
    """A job that ends as soon as it is launched, as its parameters say; or that runs until it is aborted."""

    outcome: ClassVar[Outcome] = lambda parameters: 0.0
    stays: ClassVar[bool] = False
    launched: ClassVar[list[str]] = []
    most_at_once: ClassVar[int] = 0
    alive: ClassVar[set[str]] = set()

    def launch(self, queue_name: str | None = None) -> bool:
        """Report the value, and end."""
        FakeJob.launched.append(self.task_id())
        FakeJob.alive.add(self.task_id())
        FakeJob.most_at_once = max(FakeJob.most_at_once, len(FakeJob.alive))
        self.task.mark_started()
        if not FakeJob.stays:
            self.end()
        return True

    def report(self, value: float, iteration: int = 0) -> None:
        """Report a value of the objective."""
        self.task.get_logger().report_scalar(TITLE, SERIES, value, iteration)
        self.task.flush()

    def end(self) -> None:
        """End the job as the outcome says: a number, a list of numbers, or a status without one."""
        found = FakeJob.outcome(self.task_parameter_override)
        if isinstance(found, Status):
            self.report(-1e9)  # the best there is, if only it counted
            let_go(self.task)
            self.task.mark_failed(force=True) if found is Status.FAILED else self.task.mark_stopped(force=True)
        elif found is not None:
            for iteration, value in enumerate(found if isinstance(found, list) else [found]):
                self.report(value, iteration)
        let_go(self.task)
        FakeJob.alive.discard(self.task_id())
        folder = self.task._where()
        self.task._edit(lambda record: reports.with_reported_metrics(record, folder), "metrics", checked=False)
        if self.task.status == Status.IN_PROGRESS:
            self.task.mark_completed(force=True)

    def abort(self) -> None:
        """Stop at once."""
        FakeJob.alive.discard(self.task_id())
        if self.task.status == Status.IN_PROGRESS:
            self.task.mark_stopped(force=True, status_message="aborted")


def lose(ctx: StoreContext, task_id: str) -> None:
    """Let a task be one that a process of this host ran, which is gone without a word."""
    known = capture_host()
    owner = {
        "pid": 2**22 + 1, "start": "1", "writer": "w", "host": host_name(), "machine": known.machine_id,
        "boot": known.boot_id, "pidns": known.pid_namespace,
    }  # fmt: skip
    tasks.edit(
        ctx, task_id, lambda record: replace(record, owner=owner, status=Status.IN_PROGRESS.value), "lost", checked=False
    )  # fmt: skip


@pytest.fixture
def store_in_force(ctx: StoreContext, monkeypatch: pytest.MonkeyPatch) -> StoreContext:
    """The test's store as the one that the facade finds."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(ctx.store.root))
    return ctx


@pytest.fixture
def own_task(store_in_force: StoreContext, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A task that pipelines of the test's own process belong to."""
    task = Task.create("lines", "own", task_type="controller")
    monkeypatch.setattr(Task, "current_task", classmethod(lambda cls: task))
    return task


@pytest.fixture
def fake_job(store_in_force: StoreContext, monkeypatch: pytest.MonkeyPatch) -> type[FakeJob]:
    """The class of jobs that need no process, as new."""
    monkeypatch.setattr(FakeJob, "outcome", staticmethod(lambda parameters: 0.0))
    monkeypatch.setattr(FakeJob, "stays", False)
    monkeypatch.setattr(FakeJob, "launched", [])
    monkeypatch.setattr(FakeJob, "alive", set())
    monkeypatch.setattr(FakeJob, "most_at_once", 0)
    return FakeJob


@pytest.fixture
def base(store_in_force: StoreContext) -> Task:
    """A draft with parameters of several types to clone."""
    task = Task.create("search", "base")
    task.set_parameters({"General/lr": 0.1, "General/layers": 2, "Args/optimizer": "sgd", "General/dropout": None})
    return task


def make_script(ctx: StoreContext, code: str, name: str = "base", project: str = "search", **parameters: Any) -> str:
    """Make a draft that runs a stored script."""
    folder, record = tasks.create(ctx, name=name, project=project)
    stored = put_content(ctx.store.disk, folder, "code", "script", ".py", code.encode()).to_json()
    body = {
        "entry_point": "main.py", "working_dir": ".", "repository": "", "root": "", "commit": "", "source": stored,
    }  # fmt: skip
    tasks.edit(ctx, record.id, lambda one: _with_script(one, body), "script")
    task = Task.get_task(task_id=record.id)
    assert task is not None
    if parameters:
        task.set_parameters({f"General/{key}": value for key, value in parameters.items()})
    return record.id


@pytest.fixture
def agent(store_in_force: StoreContext, tmp_path: Path) -> Iterator[list[str]]:
    """An agent that takes what comes into the queue ``work``; what it says."""
    said: list[str] = []
    options = AgentOptions(queues=("work",), workdir=tmp_path / "workspaces", grace_s=5.0, create_queues=True)
    one = Agent(store_in_force, options, said.append)
    store_in_force.queues.create("work")
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    yield said
    one.stop("the test is over")
    thread.join(60)
    assert not thread.is_alive()
