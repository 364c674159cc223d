"""The record of a task."""

from __future__ import annotations

import pickle
from dataclasses import fields
from typing import Any

import pytest

from localtrack.errors import CorruptFileError, IllegalTransitionError, NotEditableError
from localtrack.records.status import Status
from localtrack.records.task import _KINDS, OUTPUT_FIELDS, TaskRecord

RECORD = TaskRecord("0" * 32, "name", "project")


def test_every_field_is_read_and_written() -> None:
    """The table of kinds and the record have the same fields."""
    assert set(_KINDS) == {f.name for f in fields(TaskRecord)} - {"generation", "extra"} == set(RECORD.to_json())
    assert set(OUTPUT_FIELDS) <= set(_KINDS)


def test_round_trip_keeps_unknown_fields() -> None:
    """Fields of a newer format go through unharmed."""
    body = {**RECORD.to_json(), "hologram": {"a": [1]}, "generation": "odd name", "extra": 5}
    record = TaskRecord.from_json(body, 7, "here")

    assert record.to_json() == body
    assert record.generation == 7


@pytest.mark.parametrize("name", ["id", "name", "project", "status"])
def test_missing_fields_are_named(name: str) -> None:
    """A record without its identity is damaged; the message says where."""
    body = RECORD.to_json()
    del body[name]

    with pytest.raises(CorruptFileError, match=f"here: no field '{name}'"):
        TaskRecord.from_json(body, 1, "here")


@pytest.mark.parametrize("name", sorted(_KINDS))
def test_wrong_kinds_are_named(name: str) -> None:
    """A field of the wrong kind is damage, not an error later on."""
    with pytest.raises(CorruptFileError, match=f"'{name}' has a complex"):
        TaskRecord.from_json({**RECORD.to_json(), name: 1j}, 1, "here")


@pytest.mark.parametrize(
    ("name", "value"),
    [("tags", [1]), ("history", ["x"]), ("parameters", {"a": 1}), ("artifacts", {"a": []}), ("output_models", [None])],
)
def test_wrong_members_are_named(name: str, value: Any) -> None:
    """A member of the wrong kind is damage as well."""
    with pytest.raises(CorruptFileError, match=f"'{name}' holds a"):
        TaskRecord.from_json({**RECORD.to_json(), name: value}, 1, "here")


def test_unknown_status_is_shown_as_unknown() -> None:
    """A state of a newer format does not hide the task."""
    record = TaskRecord.from_json({**RECORD.to_json(), "status": "teleported"}, 1, "here")

    assert record.state is Status.UNKNOWN
    assert record.to_json()["status"] == "teleported"


def test_status_changes_write_history() -> None:
    """Each change says from, to, when, who and why, and moves the times."""
    running = RECORD.with_status(Status.IN_PROGRESS, at="t1", by="ada", reason="start")
    done = running.with_status(Status.COMPLETED, at="t2", by="ada", message="fine")
    again = done.with_status(Status.IN_PROGRESS, at="t3", by="bob")

    assert done.history[-1] == {
        "from": "in_progress", "to": "completed", "at": "t2", "by": "ada", "reason": "", "message": "fine",
    }  # fmt: skip
    assert (done.started, done.ended, done.status_changed, done.status_message) == ("t1", "t2", "t2", "fine")
    assert (again.started, again.ended, len(again.history)) == ("t1", "", 3)
    with pytest.raises(IllegalTransitionError):
        RECORD.with_status(Status.PUBLISHED, at="t", by="ada")


@pytest.mark.parametrize("status", list(Status))
def test_inputs_are_editable_in_drafts_only(status: Status) -> None:
    """A draft's inputs may change; a running task's own process may too; labels may always."""
    record = RECORD.with_status(status, at="t", by="ada", force=True)

    record.check_editable(frozenset({"tags", "name", "comment", "project"}))
    if status is Status.CREATED:
        record.check_editable(frozenset({"parameters"}))
        return
    with pytest.raises(
        NotEditableError, match=rf"is {status.value}: parameters, script can be changed only in a draft"
    ):
        record.check_editable(frozenset({"script", "parameters", "tags"}))
    if status is Status.IN_PROGRESS:
        record.check_editable(frozenset({"parameters"}), by_owner=True)
    else:
        with pytest.raises(NotEditableError):
            record.check_editable(frozenset({"parameters"}), by_owner=True)


def test_errors_survive_pickling() -> None:
    """An error that crosses a process boundary keeps its message and fields."""
    error = NotEditableError("no", task_id="t1")
    back = pickle.loads(pickle.dumps(error))

    assert (str(back), back.task_id, type(back)) == ("no", "t1", NotEditableError)
