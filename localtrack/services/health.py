"""What is wrong with a store, found by looking, with what follows and what to do.

Source: docs/reference/cli.md, "doctor".
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator

from localtrack.errors import LocaltrackError
from localtrack.fs.disk import list_names
from localtrack.fs.probe import BAD, GOOD, NOTE, FsFacts, probe_file_system
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import dead_letters, tasks
from localtrack.services.context import StoreContext
from localtrack.services.liveness import LOST_REASON
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        level: ``good``, ``note`` or ``bad``.
        found: what was found.
        consequence: what follows, and the next step; ``""`` when nothing does.
    """

    name: str
    level: str
    found: str
    consequence: str = ""


def examine(ctx: StoreContext) -> list[Finding]:
    """Look at the store's file system, its own files, its tasks and its queues."""
    findings = [Finding(v.name, v.level, v.found, v.consequence) for v in _probe(ctx).verdicts]
    findings += [_sharing(ctx), _nesting(ctx), _index(ctx)]
    found = list(_read_all(ctx))
    records = [record for record in found if isinstance(record, TaskRecord)]
    findings.append(_unreadable([problem for problem in found if isinstance(problem, str)], len(records)))
    findings.append(_lost(records))
    findings += _queues(ctx, records)
    findings.append(_trash(ctx))
    return findings


def _probe(ctx: StoreContext) -> FsFacts:
    tmp = ctx.store.layout.tmp
    return probe_file_system(tmp if tmp.is_dir() else ctx.store.root)


def _read_all(ctx: StoreContext) -> Iterator[TaskRecord | str]:
    """Yield each task's record, or why it can't be read."""
    for folder in ctx.store.task_folders():
        try:
            if not metadata.generations(TaskLayout(folder)):
                continue  # its creation has not ended, or never will; it is no task
            yield tasks.read(ctx, "", folder)
        except (LocaltrackError, OSError) as error:
            yield str(error)


def _sharing(ctx: StoreContext) -> Finding:
    mode = stat.S_IMODE(os.stat(ctx.store.root).st_mode)
    if not ctx.store.manifest.sharing:
        return Finding("sharing", GOOD, f"not shared (mode {mode:04o})")
    if not mode & stat.S_ISGID or not mode & stat.S_IWGRP:
        return Finding(
            "sharing", BAD, f"made for a group, but its folder has mode {mode:04o}",
            f"members lose access to what is new: chmod 2770 {ctx.store.root}",
        )  # fmt: skip
    return Finding("sharing", GOOD, f"shared with its group (mode {mode:04o})")


def _nesting(ctx: StoreContext) -> Finding:
    outer = next((folder for folder in ctx.store.root.parents if (folder / "store.json").is_file()), None)
    if outer is None:
        return Finding("nesting", GOOD, "not inside another store")
    return Finding(
        "nesting", NOTE, f"inside the store {outer}", "each keeps its own tasks; --root picks the one you mean"
    )


def _index(ctx: StoreContext) -> Finding:
    try:
        problems = [str(problem) for problem in ctx.index.check()]
    except (LocaltrackError, OSError) as error:
        problems = [str(error)]
    if problems:
        return Finding("index", BAD, _some(problems), "`localtrack index rebuild` makes it anew; nothing is lost")
    return Finding("index", GOOD, "agrees with the task folders")


def _unreadable(problems: list[str], count: int) -> Finding:
    if problems:
        return Finding("metadata", BAD, _some(problems), "the other tasks are not affected")
    return Finding("metadata", GOOD, f"{count} task{'s' * (count != 1)}, all readable")


def _lost(records: list[TaskRecord]) -> Finding:
    lost = [
        record.id[:8] for record in records if record.state is Status.FAILED and record.status_reason == LOST_REASON
    ]
    if not lost:
        return Finding("lost runs", GOOD, "none")
    return Finding("lost runs", NOTE, _some(lost), "their processes ended without a word; they are shown as failed")


def _queues(ctx: StoreContext, records: list[TaskRecord]) -> Iterator[Finding]:
    known = {record.id for record in records}
    queued = {record.id for record in records if record.state is Status.QUEUED}
    entries: set[str] = set()
    for name in ctx.queues.names():
        entries |= {ref.task_id for ref in ctx.queues.get(name).entries()}
    stranded = sorted(queued - entries)
    if stranded:
        yield Finding(
            "queued tasks", BAD, f"{_some([each[:8] for each in stranded])} in no queue",
            f"no agent will run them: `localtrack enqueue {stranded[0][:8]}` again, or `localtrack dequeue` it",
        )  # fmt: skip
    else:
        yield Finding("queued tasks", GOOD, f"{len(queued)}, each in a queue")
    orphans = sorted(entries - known)
    if orphans:
        yield Finding(
            "queue entries", NOTE, f"{_some([each[:8] for each in orphans])}: no such task here",
            "agents skip them; `localtrack queue clear NAME` takes them out",
        )  # fmt: skip
    dead = Counter(letter.queue for letter in dead_letters.open_letters(ctx))
    if dead:
        name = next(iter(dead))
        yield Finding(
            "dead letters", NOTE, _some([f"{count} in queue {queue}" for queue, count in dead.items()]),
            f"several agents died over each: `localtrack queue ls {name} --dead` says which and when, "
            f"`localtrack queue retry {name}` puts them back",
        )  # fmt: skip


def _trash(ctx: StoreContext) -> Finding:
    count = len(list_names(ctx.store.layout.trash))
    if not count:
        return Finding("trash", GOOD, "empty")
    return Finding("trash", GOOD, f"{count} entr{'ies' if count > 1 else 'y'}", "`localtrack gc` empties it for good")


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def has_failed(findings: list[Finding]) -> bool:
    """Tell whether anything is wrong."""
    return any(finding.level == BAD for finding in findings)
