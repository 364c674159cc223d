"""Names of ClearML's Task that are small: each does what it says on a real task."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError, UsageError
from localtrack.runtime import seeds


@pytest.fixture
def unseeded() -> Iterator[None]:
    """Nothing is seeded before, nor after."""
    yield
    seeds.choose(None)


def test_tags_can_be_taken_away(draft: Task) -> None:
    """remove_tags: a text is split at blanks, a list item may hold some."""
    draft.set_tags(["a", "b", "c d"])
    draft.remove_tags("a x")
    draft.remove_tags(["c d"])
    assert draft.get_tags() == ["b"]


def test_projects_are_texts_with_attributes(draft: Task) -> None:
    """get_projects and get_project_object give texts that have ClearML's attributes too."""
    Task.create(project_name="a/b", task_name="x")
    assert Task.get_projects() == ["a/b", "p"]
    assert [(p.name, p.id, p.basename, p.parent) for p in Task.get_projects(name="^a")] == [("a/b", "a/b", "b", "a")]
    assert draft.get_project_object() == "p"


def test_which_task_is_the_main_one(start: Callable[..., Task], draft: Task) -> None:
    """Only the task that this process runs is the main one, and no longer once it is closed."""
    task = start()
    assert (task.is_main_task(), task.is_current_task(), draft.is_main_task()) == (True, True, False)
    task.close()
    assert not task.is_main_task()


def test_ids_and_pages(draft: Task) -> None:
    """normalize_id, resolve_id, reload, last_worker and the page of a task."""
    assert Task.normalize_id(f" {draft.id} ") == draft.id
    assert Task.normalize_id("") is None
    assert (Task.resolve_id(draft), Task.resolve_id("x")) == (draft.id, "x")
    assert Path(Task.get_task_output_log_web_page(draft.id)) == draft.get_offline_mode_folder()
    assert draft.last_worker is None
    assert not Task.is_offline()
    draft.delete()
    with pytest.raises(LookupError):
        draft.reload()


def test_seeds_are_asked_for_and_said(
    start: Callable[..., Task], unseeded: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is seeded without set_random_seed; with it the same numbers come, and what was seeded is said."""
    random.seed(99)
    np.random.seed(99)
    before = random.getstate(), repr(np.random.get_state())
    task = start()
    task.get_logger().report_scalar("a", "b", 1.0, 0)
    task.connect({"x": 1})
    task.upload_artifact("data", np.arange(3))
    assert task.get_random_seed() is None
    task.close()
    assert (random.getstate(), repr(np.random.get_state())) == before
    draws = []
    for _ in range(2):
        Task.set_random_seed(7)
        draws.append((random.random(), float(np.random.rand())))
    assert draws[0] == draws[1]
    assert task.get_random_seed() == 7
    said = capfd.readouterr().err
    assert "seeded random, numpy" in said
    assert "with 7" in said


def test_waiting_has_an_end(draft: Task) -> None:
    """wait_for_status returns when the status comes, raises on a bad one, and gives up after its time."""
    with pytest.raises(TimeoutError, match="still created"):
        draft.wait_for_status(check_interval_sec=0.05, timeout_s=0.2)
    draft.mark_started()
    later = threading.Timer(0.3, draft.mark_completed)
    later.start()
    began = time.monotonic()
    draft.wait_for_status([Task.TaskStatusEnum.completed], check_interval_sec=0.05)
    assert time.monotonic() - began < 10
    later.join()
    other = Task.create(project_name="p", task_name="bad")
    other.mark_started()
    other.mark_failed(status_message="broke")
    with pytest.raises(RuntimeError, match="broke"):
        other.wait_for_status()


def test_stop_requests_of_what_does_not_run(draft: Task, caplog: pytest.LogCaptureFixture) -> None:
    """stop_request passes a draft over, or raises where errors are not ignored."""
    draft.stop_request()
    assert "nothing to stop" in caplog.text
    with pytest.raises(UsageError):
        draft.stop_request(ignore_errors=False)


def test_abort_callbacks_need_a_run(start: Callable[..., Task], draft: Task) -> None:
    """Only the process that runs a task registers its callback, with a positive timeout; None takes it away."""
    with pytest.raises(UsageError):
        draft.register_abort_callback(lambda: None)
    task = start()
    with pytest.raises(InvalidValueError):
        task.register_abort_callback(lambda: None, 0)
    task.register_abort_callback(lambda: None, 5)
    assert task.data.runtime.abort_timeout_s == 5.0
    task.register_abort_callback(None)
    assert "abort_timeout_s" not in task.data.runtime


def test_publication_is_a_wish(draft: Task) -> None:
    """publish_on_completion publishes when the task is completed by anybody; taking it back does not."""
    draft.publish_on_completion()
    draft.publish_on_completion(False)
    draft.mark_started()
    draft.publish_on_completion()
    draft.mark_completed()
    assert draft.status == "published"
    with pytest.raises(Task.DeleteError):
        draft.delete()


def test_containers_in_every_form(draft: Task) -> None:
    """set_base_docker takes one text or its parts; get_base_docker gives image and arguments."""
    assert draft.get_base_docker() is None
    draft.set_base_docker("nvidia/cuda:12 -e A=1")
    assert draft.get_base_docker() == "nvidia/cuda:12 -e A=1"
    draft.set_base_docker(docker_image="i", docker_arguments=["-e", "B=2"], docker_setup_bash_script=["one", "two"])
    assert draft.get_base_docker() == "i -e B=2"
    assert draft.data.container.setup_script == "one\ntwo"


def test_function_tasks_refuse_what_can_not_be_told_apart(start: Callable[..., Task], draft: Task) -> None:
    """A function task needs a run, a function, and a name of its own."""

    def work() -> None:
        raise AssertionError("never here")

    with pytest.raises(UsageError):
        draft.create_function_task(work)
    task = start()
    made = task.create_function_task(work)
    assert made is not None
    assert made.name == "n <work>"
    with pytest.raises(InvalidValueError, match="func_name"):
        task.create_function_task(work)
    with pytest.raises(InvalidValueError):
        task.create_function_task("work")  # type: ignore[arg-type]


def test_relations_and_kinds(draft: Task) -> None:
    """Parent, type, project and pages of a task can be set and read."""
    other = Task.create(project_name="p", task_name="other")
    draft.set_parent(other)
    assert draft.parent == other.id
    with pytest.raises(InvalidValueError):
        draft.set_parent(draft)
    draft.set_task_type(Task.TaskTypes.qc)
    assert draft.task_type == "qc"
    assert draft.move_to_project(new_project_name="q/r")
    assert (draft.get_project_name(), Task.get_project_id("q/r"), Task.get_project_id("nowhere")) == (
        "q/r",
        "q/r",
        None,
    )
    assert draft.get_output_log_web_page() == draft.cache_dir
    draft.set_archived(True)
    assert draft.get_system_tags() == [Task.archived_tag]
    draft.set_progress(140)
    assert draft.get_progress() == 100.0


def test_queues_and_stops(draft: Task, start: Callable[..., Task]) -> None:
    """The queue of a task is known; a request to stop a queued one stops it, one that runs is asked."""
    assert draft.get_executed_queue() is None
    Task.enqueue(draft, "default")
    assert draft.get_executed_queue(return_name=True) == "default"
    draft.mark_stop_request(status_message="no")
    assert (draft.status, Task.get_num_enqueued_tasks("default")) == ("stopped", 0)
    other = Task.create(project_name="p", task_name="o")
    other.stopped(ignore_errors=True)
    assert other.status == "created"
    other.stopped(force=True, status_reason="r", status_message="m")
    assert (other.status, other.get_status_message()) == ("stopped", "m")


def test_the_monitor_can_be_told_to_wait(start: Callable[..., Task]) -> None:
    """The resource monitor of this run is there to be asked, and waits as it is told; without one nothing is set."""
    task = start()
    assert task.resource_monitor is None
    assert not Task.set_resource_monitor_iteration_timeout(1.0)
    assert task.report_subprocess_enabled is False
    task.close()
    task = start(auto_resource_monitoring={"report_frequency_sec": 0.1, "first_report_sec": 600})
    assert Task.set_resource_monitor_iteration_timeout(0.0, 600.0)
    task.resource_monitor.tick()
    assert "machine" not in str(task.get_all_reported_scalars())  # it waits for an iteration
    task.get_logger().report_scalar("loss", "train", 1.0, 1)
    deadline = time.monotonic() + 20
    while ":monitor:machine" not in task.get_all_reported_scalars() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ":monitor:machine" in task.get_all_reported_scalars()


def test_offsets_and_marks(start: Callable[..., Task]) -> None:
    """The initial iteration is added to what is reported; NotSet is none of the values that mean something."""
    task = start()
    assert task.set_initial_iteration(10) == 10
    assert task.get_initial_iteration() == 10
    task.get_logger().report_scalar("a", "b", 1.0, 2)
    assert task.get_last_iteration() == 12
    assert Task.NotSet not in (None, False, "", 0)
    assert task.labels_stats is not None
