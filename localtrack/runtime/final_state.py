"""What a run's end says in its task: its status, how the process ended, and the last metrics of all its writers.

Source: docs/format/v1.md, "Status"; ClearML's Task.close, measured.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from localtrack.errors import StoreError
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import Json, TaskRecord
from localtrack.runtime.exits import Outcome
from localtrack.runtime.ownership import OWNER, check_claim
from localtrack.runtime.rank_failures import rank_failed, with_rank_failures
from localtrack.runtime.writer import merge_summaries
from localtrack.services import lifecycle
from localtrack.store.documents import now

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

#: States that a script may give its task before its own end, which is when some captures know what it was given.
SAID_ENDED = frozenset({Status.STOPPED, Status.FAILED, Status.COMPLETED, Status.CLOSED})


class FinalState:
    """Commits the end of one run.

    Args:
        session: the run.

    Attributes:
        stop_message: why somebody asked the run to stop, and who; empty while nobody did.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._others: Json = {}
        self.stop_message = ""

    def stopped_by(self, name: str) -> Outcome:
        """Return how a run ends that the signal of that name ends."""
        message = self.stop_message or f"stopped by {name}"
        return Outcome("stopped", 128 + int(getattr(signal, name)), name, message, "stopped", name)

    def read_other_writers(self) -> None:
        """Find the last metrics that other processes of this task reported; the owner commits them with the end."""
        from localtrack.fs.disk import list_names

        writer = self._session.writer
        if self._session.role != OWNER:
            return
        if any(not name.startswith(writer.id) for name in list_names(writer.layout.scalars)):
            from localtrack.records.values import encode
            from localtrack.services import reports

            self._others = encode(reports.summarise(reports.scalars(writer.folder)))

    def commit(self, outcome: Outcome) -> None:
        """Commit the end.

        Raises:
            StoreError: the store takes no writes, also when the space was given back that is kept for this one.
        """
        if self._session.role == OWNER:
            self._commit_of_owner(outcome)
        else:
            self._commit_of_child(outcome)

    def _commit_of_child(self, outcome: Outcome) -> None:
        session = self._session
        if session.writer.metrics():
            session.update(session.writer.merge_metrics, "metrics of a child", checked=False)
        if session.is_rank and session.launch is not None and outcome.status == "failed":
            rank = session.launch.rank
            session.update(rank_failed(rank, outcome.message), f"rank {rank} failed", checked=False)

    def _commit_of_owner(self, outcome: Outcome) -> None:
        session, writer = self._session, self._session.writer
        others, self._others = self._others, {}
        by = session.ctx.author

        def intent(record: TaskRecord) -> TaskRecord:
            check_claim(record, str(writer.identity["claim"]))
            record = writer.merge_metrics(record)
            if others:
                record = replace(record, last_metrics=merge_summaries(record.last_metrics, others))
            owner = record.owner or {}
            how = {"code": outcome.code, "signal": outcome.signal, "failure_class": outcome.failure_class}
            if owner.get("writer") != writer.id:
                return record
            if record.state is not Status.IN_PROGRESS:  # the script set its own final state
                return replace(record, exit=how)
            ended = record.with_status(
                Status(outcome.status),
                at=now(),
                by=f"{by.user}@{by.host}",
                reason=outcome.reason,
                message=with_rank_failures(record, outcome.message),
            )
            ended = replace(ended, exit=how, progress=100.0 if outcome.status == "completed" else record.progress)
            return lifecycle.published_if_wished(ended, f"{by.user}@{by.host}")

        try:
            record = session.ctx.store.update(writer.folder, intent, by, f"end: {outcome.status}")
        except StoreError:
            writer.drop_ballast()  # room for the one record that must not be missing
            record = session.ctx.store.update(writer.folder, intent, by, f"end: {outcome.status}")
        lifecycle.with_models_published(session.ctx, record)
