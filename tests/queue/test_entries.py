"""Queue entries: names that sort in the order of their turn."""

from __future__ import annotations

import os

import pytest

from localtrack.errors import InvalidValueError
from localtrack.queue.entries import ENTRY_LIMIT_BYTES, encode_entry, new_ref, parse_name, read_entry
from localtrack.queue.entries import ForeignEntryError as Foreign
from localtrack.queue.trust import Trust
from localtrack.records.ids import new_task_id

TRUST = Trust(frozenset({os.getuid()}))


def test_a_name_says_priority_and_task() -> None:
    """A name can be read back to what it was made of."""
    task_id = new_task_id()
    ref = new_ref(task_id, 7, [])
    assert parse_name(ref.name) == ref
    assert (ref.priority, ref.task_id) == (7, task_id)


@pytest.mark.parametrize("name", ["", "x", ".nfs0001", "50000-x-y", "50000-" + "0" * 26 + "-" + "g" * 32, "a/b"])
def test_foreign_names_are_no_entries(name: str) -> None:
    """A name of another shape is none."""
    assert parse_name(name) is None


def test_a_sorted_listing_is_the_order() -> None:
    """Higher priority first, then first come first served, in a plain sorted listing."""
    seqs: list[str] = []
    names = []
    for priority in (0, 5, 0, -3, 5):
        ref = new_ref(new_task_id(), priority, seqs)
        seqs.append(ref.seq)
        names.append(ref.name)
    assert sorted(names) == [names[1], names[4], names[0], names[2], names[3]]


def test_the_order_does_not_rest_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is years behind still enqueues behind what it sees."""
    first = new_ref(new_task_id(), 0, [])
    monkeypatch.setattr("localtrack.queue.entries.time.time_ns", lambda: 10**18)
    second = new_ref(new_task_id(), 0, [first.seq])
    third = new_ref(new_task_id(), 0, [first.seq, second.seq])
    assert first.seq < second.seq < third.seq


@pytest.mark.parametrize("priority", [50_000, -50_000, 1.5, True, "1"])
def test_a_priority_out_of_range_is_refused(priority: object) -> None:
    """Only integers within five digits are priorities."""
    with pytest.raises(InvalidValueError, match="priority"):
        new_ref(new_task_id(), priority, [])  # type: ignore[arg-type]


def test_a_document_comes_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """What an entry carries is read back, with the uid of its file."""
    ref = new_ref(new_task_id(), 1, [])
    (tmp_path / ref.name).write_bytes(encode_entry(ref, 2, {"user": "ada"}, "2026-01-01T00:00:00.000000Z"))
    entry = read_entry(tmp_path / ref.name, ref, TRUST)
    assert (entry.ref, entry.attempt_limit, entry.enqueued_by) == (ref, 2, {"user": "ada"})
    assert entry.owner_uid == os.getuid()


def test_a_document_under_another_name_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A copy of an entry under another name does not run."""
    ref, other = new_ref(new_task_id(), 1, []), new_ref(new_task_id(), 1, [])
    (tmp_path / other.name).write_bytes(encode_entry(ref, 2, {}, ""))
    with pytest.raises(Foreign, match="not the entry"):
        read_entry(tmp_path / other.name, other, TRUST)


def test_a_huge_document_is_not_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A file longer than an entry can be is refused by its size."""
    ref = new_ref(new_task_id(), 0, [])
    with open(tmp_path / ref.name, "wb") as stream:
        stream.truncate(ENTRY_LIMIT_BYTES + 1)
    with pytest.raises(Foreign, match="longer than"):
        read_entry(tmp_path / ref.name, ref, TRUST)
