"""How a rank other than zero failed: it owns no status, so its word is kept beside that of rank zero.

Source: docs/explanation/distributed.md, "How a launch ends".
"""

from __future__ import annotations

from collections.abc import Callable

from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord

KEY = "rank_failures"


def rank_failed(rank: int, message: str) -> Callable[[TaskRecord], TaskRecord]:
    """Return the change that records a rank's failure; in the status message too, when rank zero has ended before."""

    def change(record: TaskRecord) -> TaskRecord:
        known = _failures(record)
        changed = replace(record, runtime={**record.runtime, KEY: {**known, str(rank): message}})
        if record.state in (Status.IN_PROGRESS, Status.QUEUED, Status.CREATED):
            return changed
        return replace(changed, status_message=_joined(record.status_message, {str(rank): message}))

    return change


def with_rank_failures(record: TaskRecord, message: str) -> str:
    """Return rank zero's last word with the failures of the others behind it."""
    return _joined(message, _failures(record))


def without_rank_failures(record: TaskRecord) -> TaskRecord:
    """Return the record for a new start; what failed before stays in its history."""
    if KEY not in record.runtime:
        return record
    return replace(record, runtime={key: value for key, value in record.runtime.items() if key != KEY})


def _failures(record: TaskRecord) -> dict[str, str]:
    known = record.runtime.get(KEY)
    return {str(rank): str(text) for rank, text in known.items()} if isinstance(known, dict) else {}


def _joined(message: str, failures: dict[str, str]) -> str:
    words = [
        f"rank {rank} ended with {failures[rank]}" for rank in sorted(failures, key=lambda rank: (len(rank), rank))
    ]
    return "; ".join([*([message] if message else []), *words])
