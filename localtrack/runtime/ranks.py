"""The ranks of one launch find each other in the store: rank zero starts the task, the others report to it.

Rank zero never waits. The others wait for it, bounded, and track on their own when it does not come.

Source: docs/decisions/0011-ranks-meet-in-the-store.md; docs/format/v1.md, "Launches"; ClearML's torchrun support.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from localtrack.capture.host import process_age_s
from localtrack.capture.launch import TORCHRUN, Launch, launcher_age_s
from localtrack.errors import CorruptFileError, LocaltrackError
from localtrack.fs.disk import list_names
from localtrack.queue.lease import LeaseObserver, Verdict
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.runtime import current
from localtrack.runtime.monitor import MonitorOptions
from localtrack.runtime.own_words import say
from localtrack.runtime.ownership import CHILD, agent_task, open_record, storable_frameworks
from localtrack.runtime.session import Session, SessionOptions
from localtrack.runtime.writer import process_identity
from localtrack.services import tasks
from localtrack.services.context import StoreContext
from localtrack.services.liveness import age_s, effective, owner_alive
from localtrack.store.launches import Launches, Meeting
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import read_latest

FIRST_PAUSE_S, LAST_PAUSE_S = 0.02, 0.5
SAY_AFTER_S = 2.0
_NOT_JOINED = frozenset({Status.PUBLISHED, Status.CREATED, Status.CLOSED, Status.UNKNOWN})
_met = 0  # the tasks that this process has started or joined in its launch


@dataclass(frozen=True, slots=True)
class Joined:
    """What a rank found: the task, where it lies, and what rank zero said of it."""

    record: TaskRecord
    folder: Path
    meeting: Meeting | None = None


def announce(ctx: StoreContext, launch: Launch, session: Session, offset: int) -> None:
    """On rank zero: tell the others which task this is. What can't be written is said, and the run goes on."""
    global _met
    _met += 1
    project, name, kind = session.asked
    options = session.options
    fields = {
        "ordinal": _met,
        "kind": launch.kind,
        "size": launch.size,
        "restarts": launch.restarts,
        "task": session.task_id,
        "folder": session.folder.relative_to(ctx.store.root).as_posix(),
        "asked": {"project": project, "name": name, "type": kind},
        "iteration_offset": offset,
        "captures": {
            "frameworks": storable_frameworks(options.frameworks),
            "streams": dict(options.streams),
            "monitor": options.monitor is not None,
        },
        "owner": session.writer.identity,
    }
    try:
        Launches(ctx.store).announce(launch.key, fields)
    except OSError as error:
        session.writer.say_once(
            "ranks",
            f"the other ranks of this launch were not told of task {session.task_id}: {error.strerror or error}",
        )


def earlier_attempt(ctx: StoreContext, launch: Launch, asked: tuple[str, str, str]) -> Meeting | None:
    """On rank zero: return what an earlier process of it started, which torchrun has started anew; else None."""
    if launch.kind != TORCHRUN:
        return None
    for meeting in reversed(Launches(ctx.store).meetings(launch.key)):
        # of several hosts each counts for itself, so that the count of this one may stand still
        is_again = launch.restarts > meeting.restarts or (not launch.is_unique and meeting.asked == asked)
        if meeting.ordinal != _met + 1 or not is_again or owner_alive(meeting.object("owner")) is True:
            continue
        return meeting if launch.is_unique or _is_younger(ctx, meeting, launcher_age_s()) else None
    return None


def join(ctx: StoreContext, launch: Launch, asked: tuple[str, str, str]) -> Joined | None:
    """On another rank: wait for the task that rank zero starts, and take this rank's seat there.

    Args:
        ctx: the store.
        launch: the launch.
        asked: project, name and type that this rank asks for.

    Returns:
        The task; None when rank zero did not come in time.
    """
    global _met
    _met += 1
    began = time.monotonic()
    wait_s, pause_s, is_said = ctx.settings.rank_wait_s, FIRST_PAUSE_S, False
    observer = LeaseObserver(ctx.store.disk, ctx.settings.lease_s)
    while True:
        found = _agents_task(ctx) if agent_task() else _sit_down(ctx, launch, asked, observer)
        waited_s = time.monotonic() - began
        if found is not None or waited_s >= wait_s:
            break
        if waited_s >= SAY_AFTER_S and not is_said:
            is_said = True
            _say(launch, f"waits up to {wait_s:g} s for rank 0 to call Task.init")
        time.sleep(min(pause_s, max(0.0, wait_s - waited_s)))
        pause_s = min(LAST_PAUSE_S, pause_s * 1.5)
    if found is None:
        _say(
            launch,
            f"found no task of rank 0 within {wait_s:g} s (LOCALTRACK_RANK_WAIT_S) and tracks on its own. If this process "
            "belongs to no launch, unset what makes it look so (RANK, WORLD_SIZE), or set LOCALTRACK_JOIN_RANKS=0",
        )
    elif found.meeting is not None and found.meeting.asked != asked:
        record = found.record
        _say(
            launch,
            f"reports to rank 0's task {record.project}/{record.name}, though it asked for {asked[0]}/{asked[1]}",
        )
    return found


def look(ctx: StoreContext, launch: Launch) -> Joined | None:
    """On another rank that only asks for the current task: return rank zero's, when it runs one now."""
    global _met
    found = _agents_task(ctx) if agent_task() else _sit_down(ctx, launch, None, None)
    if found is not None:
        _met += 1
    return found


def _agents_task(ctx: StoreContext) -> Joined | None:
    """Return the task that an agent started the launch for; it was there before any rank."""
    try:
        folder, record = open_record(ctx, agent_task())
    except (LocaltrackError, OSError):
        return None
    return Joined(record, folder)


def _sit_down(
    ctx: StoreContext, launch: Launch, asked: tuple[str, str, str] | None, observer: LeaseObserver | None
) -> Joined | None:
    """Take this rank's seat in the first meeting that can be its own; None when there is none yet."""
    launches = Launches(ctx.store)
    open_ones = [one for one in launches.meetings(launch.key) if launch.rank not in one.taken]
    if launch.is_unique:  # all ranks are started anew together
        open_ones = [one for one in open_ones if one.restarts == launch.restarts]
    if asked is None:
        wanted = open_ones[::-1]
    else:
        # names may differ from rank to rank, by the time of day for one; then the order of the calls decides
        named = [one for one in open_ones if one.asked == asked]
        wanted = sorted(named, key=lambda one: one.ordinal != _met)
        wanted += [one for one in open_ones if one.ordinal == _met and one.asked != asked]
    for meeting in wanted:
        found = _joinable(ctx, launch, meeting, observer)
        if found is not None and launches.take_seat(meeting, launch.rank, process_identity()):
            return found
    return None


def _joinable(ctx: StoreContext, launch: Launch, meeting: Meeting, observer: LeaseObserver | None) -> Joined | None:
    """Return a meeting's task if rank zero of *this* launch started it, as far as that can be known.

    Without an observer, for a single look, it must run now.
    """
    known = _task_of(ctx, meeting)
    if known is None:
        return None
    folder, record = known
    is_running = effective(record, folder, ctx.settings.lease_s, ctx.store.layout.tmp).state is Status.IN_PROGRESS
    if observer is None:
        is_own = is_running
    elif not is_running:
        is_own = record.state not in _NOT_JOINED and (launch.is_unique or _is_of_now(ctx, launch, meeting))
    elif launch.is_unique or owner_alive(record.owner or {}) or _is_of_now(ctx, launch, meeting):
        is_own = True
    else:  # of another host, and from before this process: an earlier launch that died a moment ago looks the same
        heartbeat = TaskLayout(folder).heartbeat(str((record.owner or {}).get("writer", "")))
        is_own = observer.judge(record.id, {}, heartbeat) is Verdict.ALIVE
    return Joined(record, folder, meeting) if is_own else None


def _is_of_now(ctx: StoreContext, launch: Launch, meeting: Meeting) -> bool:
    """Tell whether a meeting is younger than this process or its torchrun: what an earlier launch left is older.

    Ages are compared, no times: the file's by the store's clock, the process's by its own host's.
    """
    if _is_younger(ctx, meeting, process_age_s(os.getpid())):
        return True
    return launch.kind == TORCHRUN and _is_younger(ctx, meeting, launcher_age_s())


def _is_younger(ctx: StoreContext, meeting: Meeting, than_s: float | None) -> bool:
    age = age_s(meeting.path, ctx.store.layout.tmp)
    return age is not None and than_s is not None and age <= than_s


def _task_of(ctx: StoreContext, meeting: Meeting) -> tuple[Path, TaskRecord] | None:
    """Return folder and record of a meeting's task: where rank zero said it lies, else wherever it is now."""
    try:
        folder = _said_folder(ctx, meeting)
        if folder is not None:
            record = read_latest(TaskLayout(folder))
            if record.id == meeting.task_id:
                return folder, record
        folder = tasks.folder_of(ctx, meeting.task_id)
        return folder, read_latest(TaskLayout(folder))
    except (LocaltrackError, CorruptFileError, OSError):
        return None


def _said_folder(ctx: StoreContext, meeting: Meeting) -> Path | None:
    parts = str(meeting.body.get("folder", "")).split("/")
    if parts[0] != "projects" or any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
        return None
    folder = ctx.store.root.joinpath(*parts)
    return folder if "task" in list_names(folder) else None


def follow(ctx: StoreContext, launch: Launch, found: Joined, asked: SessionOptions | None = None) -> Session:
    """Start the session of a rank that reports to rank zero's task.

    Args:
        ctx: the store.
        launch: the launch.
        found: the task.
        asked: what this rank's ``Task.init`` says is captured; without one, what rank zero's said.
    """
    remote = bool(agent_task())
    said = found.meeting.object("captures") if found.meeting is not None else {}
    if asked is None:
        streams = said.get("streams")
        asked = SessionOptions(
            streams={name: bool(on) for name, on in streams.items()} if isinstance(streams, dict) else {},
            monitor=MonitorOptions() if said.get("monitor") else None,
            frameworks=said.get("frameworks", False),
        )
    options = SessionOptions(
        arguments=asked.arguments if remote else False,  # rank zero records them; stored ones go into every rank
        streams=asked.streams, monitor=asked.monitor, remote=remote, frameworks=asked.frameworks,
    )  # fmt: skip
    session = Session(ctx, found.record, found.folder, CHILD, options)
    session.launch, session.is_rank = launch, True
    session.iteration_offset = found.meeting.iteration_offset if found.meeting is not None else 0
    current.put(session)
    try:
        session.start(None)
    except BaseException:
        current.put(None)
        raise
    return session


def _say(launch: Launch, text: str) -> None:
    say(f"rank {launch.rank} of {launch.size} ({launch.kind}) {text}")
