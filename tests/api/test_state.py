"""The life cycle through the facade."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localtrack import Task
from localtrack.errors import (
    IllegalTransitionError,
    InvalidValueError,
    NotEditableError,
    QueueNotFoundError,
    UsageError,
)
from localtrack.records.parameters import entry
from localtrack.runtime.reporting import SessionReports
from localtrack.services import parameters


def test_history_says_who_when_why(task: Task) -> None:
    """Each change is kept with both states, time, author, reason."""
    task.close()
    started, ended = task.status_history
    assert (started["from"], started["to"]) == ("created", "in_progress")
    assert (ended["from"], ended["to"]) == ("in_progress", "completed")
    assert "@" in ended["by"]
    assert ended["at"].endswith("Z")


def test_marks(task: Task) -> None:
    """mark_* change the status and let the process go on; close() leaves such a status alone."""
    task.mark_failed(status_message="bad data")
    assert (task.status, task.get_status_message()) == ("failed", "bad data")
    task.close()
    assert task.status == "failed"


@pytest.mark.parametrize("mark", ["mark_failed", "mark_stopped", "mark_completed"])
def test_what_the_run_was_given_is_recorded_after_a_mark(task: Task, mark: str) -> None:
    """What a capture finds out at the run's end is recorded though the script has said how it ended; published stays."""
    session = task._session
    assert session is not None
    reports = SessionReports(session)
    getattr(task, mark)()
    session.record_inputs(lambda old: parameters.merged(old, {"Args/lr": entry(1)}), "arguments")
    reports.parameters("General", {"x": 2}, "late")
    assert (task.get_parameter("Args/lr"), task.get_parameter("General/x")) == ("1", "2")
    with pytest.raises(NotEditableError):
        task.set_parameter("Args/lr", 3)
    task.publish()
    with pytest.raises(NotEditableError, match="published"):
        session.record_inputs(lambda old: parameters.merged(old, {"Args/lr": entry(4)}), "arguments")


def test_illegal_change_names_both_states(task: Task) -> None:
    """Published and a failed task back to running: refused, with both names."""
    task.close()
    task.publish()
    with pytest.raises(IllegalTransitionError, match="published to created"):
        task.reset()
    with pytest.raises(IllegalTransitionError, match="published to stopped"):
        task.mark_stopped()
    with pytest.raises(UsageError, match="published"):
        task.delete()


def test_publish_needs_an_end(draft: Task) -> None:
    """A draft can't be published: ignored or raised as asked."""
    draft.publish()
    assert draft.status == "created"
    with pytest.raises(IllegalTransitionError, match="created to published"):
        draft.publish(ignore_errors=False)


def test_reset_keeps_inputs(task: Task) -> None:
    """A reset task is a draft with its parameters and none of its results."""
    task.connect({"lr": 0.1})
    task.get_logger().report_scalar("t", "s", 1.0, 1)
    with pytest.raises(UsageError, match=r"close\(\)"):
        task.reset()
    task.close()
    task.reset()
    assert task.status == "created"
    assert task.get_parameters(cast=True) == {"General/lr": 0.1}
    assert task.get_reported_scalars() == {}
    assert task.get_last_scalar_metrics() == {}


def test_delete_and_names(draft: Task) -> None:
    """A deleted task is found no more; rename and move are seen by the next reader."""
    draft.set_name("other")
    draft.set_project(project_name="q/r")
    draft.set_archived(True)
    assert (draft.name, draft.get_project_name(), draft.get_archived()) == ("other", "q/r", True)
    assert draft.delete() is True
    assert Task.get_tasks(project_name="q/r") == []


def test_queue_round_trip(draft: Task) -> None:
    """Enqueue, count, dequeue; an unknown queue is named; name or id, not both."""
    Task.enqueue(draft, queue_name="default")
    assert draft.status == "queued"
    assert Task.get_num_enqueued_tasks("default") == 1
    Task.dequeue(draft)
    assert draft.status == "created"
    assert Task.get_num_enqueued_tasks("default") == 0
    with pytest.raises(QueueNotFoundError, match="nowhere"):
        Task.enqueue(draft, queue_name="nowhere")
    with pytest.raises(InvalidValueError, match="queue_name"):
        Task.enqueue(draft)
    assert draft.status == "created"


def test_dequeue_gives_a_failed_run_its_state_back(task: Task) -> None:
    """A failed run that was queued and taken back is failed again, not a draft with results."""
    task.mark_failed()
    task.close()
    Task.enqueue(task, queue_name="default")
    Task.dequeue(task)
    assert task.status == "failed"


def test_wait_for_status(task: Task) -> None:
    """Returns at a wanted state, raises at an unwanted one."""
    task.mark_failed()
    with pytest.raises(RuntimeError, match="failed"):
        task.wait_for_status(check_interval_sec=0.01)
    task.wait_for_status(status=("failed",), check_interval_sec=0.01)


def test_close_twice(start: Callable[..., Task]) -> None:
    """close() again does nothing."""
    task = start()
    task.close()
    task.close()
    assert task.status == "completed"


def test_waiting_for_no_state_is_refused(task: Task) -> None:
    """One state may be given as it is; one that does not exist is named, instead of waiting for it without end."""
    task.wait_for_status("in_progress", check_interval_sec=0.01)
    task.wait_for_status(Task.TaskStatusEnum.in_progress, check_interval_sec=0.01)
    with pytest.raises(InvalidValueError, match="no status 'complete': use one of created"):
        task.wait_for_status(["complete"], timeout_s=0.1)
    with pytest.raises(InvalidValueError, match="no status 'broken'"):
        task.wait_for_status(raise_on_status="broken", timeout_s=0.1)
