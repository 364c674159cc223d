"""Task.init and the ways to find, create and clone tasks."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task, TaskTypes
from localtrack.errors import InvalidValueError, StorageError, TaskNotFoundError, UsageError

Start = Callable[..., Task]


def test_same_init_twice_is_the_same_task(start: Start) -> None:
    """The same call returns the same object, also without names."""
    task = start()
    assert start() is task
    assert Task.init() is task
    assert Task.current_task() is task


def test_other_name_without_close_is_refused(start: Start) -> None:
    """Another name, project or type needs a close() first; the message names both."""
    start()
    for other in ({"name": "m"}, {"project": "q"}, {"task_type": "testing"}):
        with pytest.raises(UsageError, match=r"close\(\)"):
            start(**other)


def test_several_tasks_one_after_another(start: Start) -> None:
    """After close() the next task starts, and each has its own values."""
    ids = []
    for number in range(3):
        task = start(name=f"n{number}")
        task.get_logger().report_scalar("t", "s", number, 0)
        task.close()
        assert Task.current_task() is None
        ids.append(task.id)
    assert len(set(ids)) == 3
    for number, task_id in enumerate(ids):
        found = Task.get_task(task_id=task_id)
        assert found is not None
        assert found.get_reported_scalars()["t"]["s"]["y"] == [float(number)]
        assert found.status == "completed"


def test_reuse_moves_the_old_run_to_the_trash(start: Start, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run of the same name takes the same id; what the first one left can be restored."""
    from localtrack.services import tasks
    from localtrack.services.context import open_context

    first = start()
    first.get_logger().report_scalar("t", "s", 1.0, 0)
    first.close()
    second = start()
    assert second.id == first.id
    second.get_logger().report_scalar("t", "s", 2.0, 0)
    second.close()
    assert second.get_reported_scalars()["t"]["s"]["y"] == [2.0]
    restored = tasks.restore(open_context(), first.id[:8])
    old = Task.get_task(task_id=restored.id)
    assert old is not None
    assert old.id != first.id
    assert old.get_reported_scalars()["t"]["s"]["y"] == [1.0]


@pytest.mark.parametrize("keeper", ["artifact", "model", "archived", "published", "off", "agent"])
def test_no_reuse(start: Start, tmp_path: Path, keeper: str) -> None:
    """A run with an artifact or a model, archived, published, or not asked for, is left alone."""
    first = start()
    if keeper == "artifact":
        first.upload_artifact("a", {"x": 1})
    if keeper == "model":
        (tmp_path / "m.pt").write_bytes(b"weights")
        first.update_output_model(str(tmp_path / "m.pt"))
    first.close()
    if keeper == "archived":
        first.set_archived(True)
    if keeper == "published":
        first.publish()
    if keeper == "agent":
        first.set_system_tags([])
    second = start(reuse_last_task_id=keeper != "off")
    assert second.id != first.id
    assert Task.get_task(task_id=first.id) is not None


def test_reuse_window(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run older than the window is left alone; the window is a setting."""
    first = start()
    first.close()
    monkeypatch.setenv("LOCALTRACK_REUSE_HOURS", "0")
    assert start().id != first.id


def test_continue_appends(start: Start) -> None:
    """continue_last_task keeps what is there and goes on after the last iteration."""
    first = start()
    first.upload_artifact("a", {"x": 1})
    for step in range(3):
        first.get_logger().report_scalar("t", "s", step, step)
    first.close()
    second = start(continue_last_task=True)
    assert second.id == first.id
    second.get_logger().report_scalar("t", "s", 10.0, 0)
    second.close()
    assert second.get_reported_scalars()["t"]["s"] == {"name": "s", "x": [0, 1, 2, 3], "y": [0.0, 1.0, 2.0, 10.0]}
    assert list(second.artifacts) == ["a"]
    assert [c["to"] for c in second.status_history] == ["in_progress", "completed", "in_progress", "completed"]


def test_continue_with_a_number(start: Start) -> None:
    """An integer is the offset itself; 0 shifts nothing."""
    first = start()
    first.get_logger().report_scalar("t", "s", 1.0, 5)
    first.close()
    second = start(continue_last_task=0)
    second.get_logger().report_scalar("t", "s", 2.0, 6)
    second.close()
    assert second.get_reported_scalars()["t"]["s"]["x"] == [5, 6]


def test_continue_by_id(start: Start) -> None:
    """A text continues that task, whatever its name is."""
    first = start(name="first")
    first.close()
    second = start(name="other", continue_last_task=first.id)
    assert second.id == first.id
    assert start(name="other", continue_last_task=first.id) is second
    assert start(name="first") is second


def test_continue_by_the_id_of_the_task_to_reuse(start: Start) -> None:
    """reuse_last_task_id says which task continue_last_task means, so that an id and an offset can both be given."""
    first = start(name="first")
    first.get_logger().report_scalar("t", "s", 1.0, 5)
    first.close()
    start(name="other", reuse_last_task_id=False).close()
    second = start(name="other", reuse_last_task_id=first.id, continue_last_task=0)
    assert second.id == first.id
    second.get_logger().report_scalar("t", "s", 2.0, 6)
    second.close()
    assert second.get_reported_scalars()["t"]["s"]["x"] == [5, 6]


def test_continue_after_one_iteration(start: Start) -> None:
    """A run whose only iteration is 0 goes on at 1."""
    first = start()
    first.get_logger().report_scalar("t", "s", 1.0, 0)
    first.close()
    second = start(continue_last_task=True)
    second.get_logger().report_scalar("t", "s", 2.0, 0)
    second.close()
    assert second.get_reported_scalars()["t"]["s"]["x"] == [0, 1]


def test_types_and_tags(start: Start) -> None:
    """Types by member or name, tags kept in order; an unknown type lists the members."""
    task = start(task_type=TaskTypes.testing, tags=["b", "a b"])
    assert task.task_type == "testing"
    assert task.get_tags() == ["b", "a b"]
    with pytest.raises(InvalidValueError, match="data_processing"):
        start(name="x", task_type="nonsense")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a/../../b",
        "x" * 300,
        "🔥 emoji 中文",
        "CON",
        "nul.txt",
        "a\x00b",
        "  ",
        ".",
        "A:B*C?",
        "naïve",
    ],
)
def test_any_name_is_data(start: Start, root: Path, name: str) -> None:
    """Any text is a name, comes back as it was, and never leads outside the store."""
    before = set(root.parent.rglob("*"))
    task = start(project=f"proj/{name}", name=name)
    assert task.name == name
    new = set(root.parent.rglob("*")) - before
    assert all(path == root or root in path.parents for path in new)
    assert all(len(part) <= 60 for path in new for part in path.relative_to(root.parent).parts)
    task.close()
    found = Task.get_task(project_name=f"proj/{name}", task_name=name)
    assert found is not None
    assert found.id == task.id


def test_names_that_differ_by_case(start: Start) -> None:
    """Two names that one file system takes for the same are two tasks."""
    upper = start(name="Model")
    upper.close()
    lower = start(name="model")
    lower.close()
    assert upper.id != lower.id
    found = Task.get_task(project_name="p", task_name="Model")
    assert found is not None
    assert found.id == upper.id


def test_get_task(start: Start) -> None:
    """By id, by prefix, by name: the last modified; none is None; an unknown id is an error that says what to do."""
    first = start(name="same", reuse_last_task_id=False)
    first.close()
    second = start(name="same", reuse_last_task_id=False)
    second.close()
    assert Task.get_task(project_name="p", task_name="same") == second
    first.set_comment("touched")
    assert Task.get_task(project_name="p", task_name="same") == first
    assert Task.get_task(task_id=first.id[:10]) == first
    assert Task.get_task(project_name="p", task_name="sam") is None
    with pytest.raises(TaskNotFoundError, match="localtrack ls"):
        Task.get_task(task_id="0" * 32)


def test_get_tasks_filters(root: Path) -> None:
    """Regex on names, exact projects, tag grammar, status, and no limit on the number."""
    made = [Task.create(project_name="many/sub", task_name=f"run {n}") for n in range(30)]
    for number, task in enumerate(made):
        task.set_tags(["even" if number % 2 == 0 else "odd", f"t{number % 3}"])
        task.set_parameters({"Args/lr": number / 10})
    assert len(Task.get_tasks(project_name="many/sub")) == 30
    assert Task.get_tasks(project_name="many") == []
    assert {t.name for t in Task.get_tasks(task_name=r"run \d$")} == {f"run {n}" for n in range(10)}
    assert len(Task.get_tasks(tags=["even", "-t0"])) == 10
    assert len(Task.get_tasks(tags=["__$all", "even", "t1"])) == 5
    assert Task.query_tasks(task_filter={"status": ["completed"]}) == []
    rows = Task.query_tasks(
        project_name="many/sub", additional_return_fields=["name"], task_filter={"order_by": ["-name"]}
    )
    assert rows[0]["name"] == "run 9"
    low = Task.query_tasks(task_filter={"parameters": {"Args/lr": [None, 0.35]}})
    assert len(low) == 4
    assert len(Task.get_tasks(task_ids=[made[0].id, made[3].id])) == 2


def test_clone(start: Start) -> None:
    """A clone is a draft named after its source, with its inputs and none of its outputs."""
    source = start(tags=["x"])
    source.connect({"lr": 0.1, "layers": [1, 2]})
    source.connect_configuration({"deep": {"a": (1, 2)}}, name="cfg")
    source.get_logger().report_scalar("t", "s", 1.0, 1)
    source.upload_artifact("a", [1])
    source.close()
    clone = Task.clone(source)
    assert (clone.name, clone.status, clone.parent) == ("Clone Of n", "created", source.id)
    assert clone.get_parameters(cast=True) == source.get_parameters(cast=True)
    assert clone.get_configuration_object_as_dict("cfg") == {"deep": {"a": (1, 2)}}
    assert clone.get_tags() == ["x"]
    assert clone.get_reported_scalars() == {}
    assert dict(clone.artifacts) == {}
    assert clone.get_last_scalar_metrics() == {}
    assert Task.clone(source, name="mine", project="other/place").get_project_name() == "other/place"


def test_pickle_of_a_task(task: Task) -> None:
    """A pickled task comes back as the same one."""
    assert pickle.loads(pickle.dumps(task)) is task


def test_create_needs_a_project(root: Path) -> None:
    """Without a project and without a running task there is none to take it from."""
    with pytest.raises(InvalidValueError, match="project_name"):
        Task.create(task_name="x")


def test_lost_runs_are_found_as_failed(root: Path) -> None:
    """A search by status knows a run whose process is gone as failed, not as running; order and paging hold."""
    from localtrack.records.status import Status
    from localtrack.services import lifecycle
    from localtrack.services.context import open_context

    made = [Task.create(project_name="p", task_name=f"n{n}") for n in range(3)]
    ctx = open_context()
    gone = {"writer": "w", "host": "here", "machine": "other", "boot": "b", "pid": 1, "start": "1"}
    for task in made[:2]:
        lifecycle.change_status(ctx, task.id, Status.IN_PROGRESS, owner=_dead_owner() if task is made[0] else gone)
    assert Task.query_tasks(task_filter={"status": ["failed"]}) == [made[0].id]
    assert Task.query_tasks(task_filter={"status": ["in_progress"]}) == [made[1].id]
    everything = {"status": ["failed", "in_progress", "created"], "order_by": ["-name"]}
    assert Task.query_tasks(task_filter=everything) == [task.id for task in reversed(made)]
    assert Task.query_tasks(task_filter={**everything, "page": 1, "page_size": 1}) == [made[1].id]


def _dead_owner() -> dict[str, object]:
    """Return what a process of this machine that has ended says of itself."""
    from localtrack.capture.host import capture_host

    host = capture_host()
    return {
        "writer": "w", "host": host.hostname, "machine": host.machine_id, "boot": host.boot_id, "pid": 2**22 + 1,
        "start": "1",
    }  # fmt: skip


def test_create_over_a_repository(root: Path, tmp_path: Path) -> None:
    """A repository without a named commit gives the one of its branch or HEAD; one without any is refused."""
    import subprocess

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=tmp_path / "repo", check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "repo").mkdir()
    git("init", "-q", "-b", "main")
    with pytest.raises(InvalidValueError, match="name a commit"):
        Task.create("p", "n", repo=str(tmp_path / "repo"), script="train.py")
    (tmp_path / "repo" / "train.py").write_text("print(1)")
    git("add", "-A")
    git("commit", "-qm", "x")
    for repo in (str(tmp_path / "repo"), f"file://{tmp_path / 'repo'}"):
        task = Task.create("p", "n", repo=repo, script="train.py", packages=["numpy"], docker="image")
        assert task.get_script()["version_num"] == git("rev-parse", "HEAD")
    assert Task.create("p", "n", repo=str(tmp_path / "repo"), branch="main").get_script()["branch"] == "main"
    with pytest.raises(InvalidValueError, match="nowhere"):
        Task.create("p", "n", repo=str(tmp_path / "repo"), branch="nowhere")


class OwnMonitor:
    """A monitor as a user writes one for ClearML."""

    made: list[OwnMonitor] = []

    def __init__(self, task, first_report_sec=None, report_mem_used_per_process=True, **more):
        self.task = task
        self.is_running = False
        type(self).made.append(self)

    def start(self):
        self.is_running = True
        self.task.get_logger().report_scalar(":monitor:machine", "fan", 42.0, 0)

    def stop(self):
        self.is_running = False


class TestResourceMonitoring:
    def test_a_class_replaces_the_monitor(self, start):
        """A class is called with the task, started, and stopped when the task is closed; ours does not run."""
        OwnMonitor.made.clear()
        task = start(auto_resource_monitoring=OwnMonitor)
        assert start(auto_resource_monitoring=OwnMonitor) is task
        (monitor,) = OwnMonitor.made
        assert monitor.task is task
        assert monitor.is_running
        assert task.get_reported_scalars()[":monitor:machine"]["fan"]["y"] == [42.0]
        assert task._session.options.monitor is None
        task.close()
        assert not monitor.is_running

    def test_a_class_that_fails_leaves_the_run_alone(self, start, capfd):
        """A monitor whose constructor raises is said once, and the task runs."""

        class Broken(OwnMonitor):
            def __init__(self, task, **options):
                raise RuntimeError("no sensor")

        task = start(auto_resource_monitoring=Broken)
        assert task.status == "in_progress"
        assert "Broken did not start: RuntimeError: no sensor" in capfd.readouterr().err

    @pytest.mark.parametrize("asked", [int, {"no_such_option": 1}])
    def test_what_is_no_monitor_is_refused_before_anything_is_made(self, start, root, asked):
        """A class without ``start`` and an unknown option are refused, and no task is made."""
        with pytest.raises(InvalidValueError, match="auto_resource_monitoring"):
            start(auto_resource_monitoring=asked)
        assert not root.exists()

    def test_a_dict_sets_the_options(self, start):
        """A dict reaches the monitor."""
        task = start(auto_resource_monitoring={"seconds_from_start": 7, "report_global_mem_used": True})
        options = task._session.options.monitor
        assert (options.first_report_s, options.is_global) == (7.0, True)


class TestOutputUri:
    @pytest.mark.parametrize(
        ("asked", "kept"),
        [
            (None, ""), (False, ""), (True, "."), ("True", "."), ("memory://bucket/models/", "memory://bucket/models"),
            ("{here}/out/", "file://{here}/out"), (Path("{here}/x/../out"), "file://{here}/out"),
            ("file://{here}/out", "file://{here}/out"), ("{here}/store/models", "."), (".", "file://{here}"),
            ("models", "file://{here}/models"),
        ],
    )  # fmt: skip
    def test_what_is_kept_of_it(self, start, tmp_path, monkeypatch, asked, kept):
        """True and what lies in it stand for the store, False for nothing; else it is kept as the task's setter keeps it."""
        monkeypatch.chdir(tmp_path)
        asked = type(asked)(str(asked).format(here=tmp_path)) if isinstance(asked, (str, Path)) else asked
        kept = kept.format(here=tmp_path)
        task = start(output_uri=asked)
        assert task._read().output_uri == kept
        task.output_uri = asked
        assert task._read().output_uri == kept

    @pytest.mark.parametrize("asked", [7, "a\0b"])
    def test_something_else_is_refused(self, start, root, asked):
        """A number is no place, and no task is made."""
        with pytest.raises(InvalidValueError, match="output_uri"):
            start(output_uri=asked)
        assert not root.exists()

    def test_a_place_that_takes_no_uploads_is_refused(self, start, tmp_path, monkeypatch):
        """A folder that can't be written, or a missing package, is an error of Task.init; no task is made."""
        (tmp_path / "file").write_text("")
        with pytest.raises(
            StorageError, match=rf"{tmp_path}/file/x can't take uploads .*; make it .* another output_uri"
        ):
            start(output_uri=tmp_path / "file" / "x")
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(ImportError, match=r"localtrack\[remote\]"):
            start(output_uri="s3://bucket/x")
        assert Task.get_tasks() == []

    @pytest.mark.parametrize("again", [{}, {"continue_last_task": True}], ids=["reused", "continued"])
    @pytest.mark.parametrize(("asked", "kept"), [(None, "file://{}/a"), ("b", "file://{}/b"), (False, ""), (True, ".")])
    def test_a_task_that_is_taken_up_again(self, start, tmp_path, monkeypatch, again, asked, kept):
        """Reused or continued, a task takes what the call says, and keeps what it has when that says nothing."""
        monkeypatch.chdir(tmp_path)
        first = start(output_uri="a")
        first.close()
        second = start(output_uri=asked, **again)
        assert second.id == first.id
        assert second._read().output_uri == kept.format(tmp_path)


def test_importing_task_is_light() -> None:
    """What only some calls need is loaded by them: sockets, archives, pickles, random numbers, every large library."""
    heavy = (
        "socket random tempfile shutil pickle gzip getpass zipfile subprocess multiprocessing numpy pandas pyarrow yaml"
    )
    code = f"""
        import sys
        import dataclasses, inspect, json, logging, pathlib, threading
        before = set(sys.modules)
        from localtrack import Logger, Task, TaskTypes
        print(*sorted(set({heavy.split()!r}) & (set(sys.modules) - before)))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_task_may_be_given_itself(draft: Task) -> None:
    """Where an id is asked for, the task itself will do, and blanks around an id; anything else is named."""
    assert Task.get_task(task_id=draft) == draft  # type: ignore[arg-type]
    assert Task.get_task(task_id=f" {draft.id} ") == draft
    assert Task.get_tasks(task_ids=[draft, draft.id]) == [draft, draft]  # type: ignore[list-item]
    child = Task.clone(draft, parent=draft)
    assert child.parent == draft.id
    child.set_comment(None)
    assert child.comment == ""
    with pytest.raises(InvalidValueError, match="not by 123"):
        Task.get_task(task_id=123)  # type: ignore[arg-type]


def test_threads_share_one_run(start: Callable[..., Task], root: Path) -> None:
    """Of several threads that call Task.init at once, one starts the run, and the others get the same."""
    gate, found = threading.Barrier(6), []

    def begin() -> None:
        gate.wait()
        found.append(start(reuse_last_task_id=False))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({id(task) for task in found}) == 1
    assert [task.id for task in Task.get_tasks()] == [found[0].id]


@pytest.mark.parametrize("nothing", [None, "", False])
def test_nothing_is_no_wish_to_go_on(start: Callable[..., Task], nothing: Any) -> None:
    """None and an empty text, which an option without a value gives, neither continue nor take up the last task."""
    first = start()
    first.get_logger().report_scalar("t", "s", 1.0, 1)
    first.close()
    assert start(continue_last_task=nothing, reuse_last_task_id=nothing).id != first.id


def test_copies_of_a_logger_report_to_its_task(task: Task) -> None:
    """A model or a trainer that holds the logger can be copied, and pickled for another process."""
    log = task.get_logger()
    assert copy.deepcopy({"log": log})["log"] is log
    assert pickle.loads(pickle.dumps(log)) is log


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "raise ValueError('no memory')", "sys.exit(3)"])
def test_a_run_that_failed_is_continued_after_its_last_iteration(
    start: Callable[..., Task], root: Path, end: str
) -> None:
    """What a killed run reported counts although it could not tell; a failed one goes on as a stopped one does."""
    code = f"""
        import os, sys
        from localtrack import Task
        task = Task.init(project_name="p", task_name="n", auto_connect_streams=False)
        for step in range(4):
            task.get_logger().report_scalar("t", "s", step, step)
        {end}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False)
    (first,) = Task.get_tasks()
    assert first.status == "failed"
    task = start(continue_last_task=True)
    task.get_logger().report_scalar("t", "s", 0.0, 0)
    assert (task.id, task.status, task.attempt) == (first.id, "in_progress", 2)
    assert task.get_reported_scalars()["t"]["s"]["x"] == [0, 1, 2, 3, 4]
    task.close()
    assert (task.status, task.get_last_iteration(), task.exit_info["code"]) == ("completed", 4, 0)
