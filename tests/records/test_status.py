"""The life cycle's transition table."""

from __future__ import annotations

import itertools

import pytest

from localtrack.errors import IllegalTransitionError, InvalidValueError
from localtrack.records.status import ALLOWED, ENDED, Status, TaskTypes, check_transition, parse_status, parse_type


@pytest.mark.parametrize(("current", "target"), [*itertools.product(Status, Status)])
def test_every_pair_of_states(current: Status, target: Status) -> None:
    """Exactly the table's changes pass; every other one raises and names both states; force passes all."""
    if current == target or target in ALLOWED[current]:
        check_transition(current, target, "t1")
    else:
        with pytest.raises(IllegalTransitionError, match=rf"t1 .*{current.value} to {target.value}") as caught:
            check_transition(current, target, "t1")
        assert (caught.value.current, caught.value.target) == (current.value, target.value)
    check_transition(current, target, "t1", force=True)


def test_published_is_final() -> None:
    """Nothing leaves published, and every state is in the table."""
    assert ALLOWED[Status.PUBLISHED] == frozenset()
    assert set(ALLOWED) == set(Status)
    assert Status.IN_PROGRESS not in ENDED


def test_parsing() -> None:
    """Names are parsed; unknown ones raise and list what there is."""
    assert parse_status("queued") is Status.QUEUED
    assert parse_type(None) is TaskTypes.training
    assert parse_type("qc") is parse_type(TaskTypes.qc) is TaskTypes.qc
    with pytest.raises(InvalidValueError, match=r"'running'.*in_progress"):
        parse_status("running")
    with pytest.raises(InvalidValueError, match=r"'magic'.*training"):
        parse_type("magic")
