"""Garbage: what lies in a store and nobody can reach any more, found first and removed second.

Ages are measured by the store's own clock: a file made now is compared with the file in question, both stamped by
the same file server. What is younger than a day stays: an upload has its folder before its metadata.

Source: docs/format/v1.md, "The trash", "Garbage".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from localtrack.errors import CorruptFileError, LocaltrackError
from localtrack.fs.disk import list_names, read_bytes, remove_files, remove_tree
from localtrack.records.plain import dataclass
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import dead_letters, tasks
from localtrack.services.context import StoreContext
from localtrack.services.liveness import owner_alive
from localtrack.store.blobs import file_size
from localtrack.store.launches import Launches
from localtrack.store.layout import TaskLayout
from localtrack.store.models import model_folders, newest_generation, read_model

TRASH, ARTIFACT, MODEL, WEIGHTS, TEMPORARY = "trash", "artifact", "model", "weights", "temporary"
LAUNCH = "launch"
JOURNAL, PARTS = "journal", "parts"
WEIGHTS_FOLDER = re.compile(r"weights\.[0-9]{1,9}")
SNAPSHOT = re.compile(r"\.[0-9]{1,10}-.+")
GRACE_S = 24 * 3600.0
LAUNCH_GRACE_S = 7 * GRACE_S
LEASE_FACTOR = 10.0


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing that may go.

    Attributes:
        kind: ``trash`` entry, unreferenced ``artifact``, ``model`` or ``weights`` folder, ``temporary`` file, the
            ``journal`` of a dead writer, which is folded into Parquet and loses nothing, the many small ``parts`` of one,
            which are merged and lose nothing either (``path`` is the first of them), or the meeting place of a
            distributed ``launch``.
        path: the file or folder.
        size_bytes: what it holds.
        age_s: seconds since it was last changed, by the store's clock.
        about: what it is, for people.
    """

    kind: str
    path: Path
    size_bytes: int
    age_s: float
    about: str = ""


def find(ctx: StoreContext, *, older_than_s: float = 0.0) -> Iterator[Garbage]:
    """Yield what may go.

    Args:
        ctx: the store.
        older_than_s: trash younger than so many seconds stays.

    Raises:
        OSError: the store can't be written, so that its clock can't be read.
    """
    clock = _store_clock(ctx)
    yield from _trash(ctx, clock, older_than_s)
    for folder in ctx.store.task_folders():
        record = _try_read(ctx, folder)
        if record is not None:
            yield from _artifacts(folder, record, clock)
            yield from _models(folder, record, clock)
            yield from _snapshots(folder, record, clock)
            yield from _weights(TaskLayout(folder).models, f"{record.project}/{record.name}", clock)
            yield from _journals(ctx, folder, clock)
            yield from _parts(ctx, folder, clock)
    yield from _launches(ctx, clock)
    yield from _weights(ctx.store.layout.models, "no task", clock)
    yield from _temporary(ctx, clock)


def remove(ctx: StoreContext, item: Garbage) -> None:
    """Remove one thing that :func:`find` found; a journal is folded into a Parquet part, small parts are merged.

    Raises:
        OSError: it can't be removed.
        CorruptFileError: a journal that is none; it stays.
    """
    if item.kind == JOURNAL:
        _fold(ctx, item.path)
    elif item.kind == PARTS:
        from localtrack.store.merging import merge_parts

        merge_parts(ctx.store.disk, item.path.parent, item.path.name.rpartition("-")[0])
    elif item.path.is_dir() and not item.path.is_symlink():
        remove_tree(item.path)
    else:
        remove_files([item.path])


def _fold(ctx: StoreContext, journal: Path) -> None:
    """Fold a dead writer's journal, but keep one of which not a single point can be read: it may be mended by hand."""
    from localtrack.store.journal_records import HEADER, RECORD_BYTES, read_journal
    from localtrack.store.parts import fold

    _, points, _ = read_journal(journal)
    if not points and journal.stat().st_size >= HEADER.size + RECORD_BYTES:
        raise CorruptFileError(
            f"none of the points in {journal} can be read (its .series file may be missing); it stays as it is",
            path=str(journal),
        )
    fold(ctx.store.disk, journal, trusted=False)


def tidy_queues(ctx: StoreContext) -> tuple[int, int]:
    """Remove the records of entries that ended more than a week ago, and agents whose process is known to be gone.

    Returns:
        How many entries' records, and how many agents.

    Raises:
        OSError: the store can't be written.
    """
    from localtrack.queue.agents import Agents
    from localtrack.queue.lease import LeaseObserver, Verdict

    queues = [ctx.queues.get(name) for name in ctx.queues.names()]
    records = sum(queue.sweep() + dead_letters.sweep(ctx, queue) for queue in queues)
    agents = Agents(ctx.store)
    observer = LeaseObserver(ctx.store.disk, ctx.settings.lease_s, owner_alive)
    dead = [agent for agent in agents.list(observer, queues) if agent.verdict is Verdict.DEAD and not agent.current]
    for agent in dead:
        agents.remove(agent.id, observer)
    return records, len(dead)


def _store_clock(ctx: StoreContext) -> float:
    """Return the store's present time: the stamp that its file server gives to a new file."""
    probe = ctx.store.disk.write_tmp(lambda stream: None)
    try:
        return probe.stat().st_mtime
    finally:
        remove_files([probe])


def _trash(ctx: StoreContext, clock: float, older_than_s: float) -> Iterator[Garbage]:
    for name in sorted(list_names(ctx.store.layout.trash)):
        entry = ctx.store.layout.trash / name
        age_s = _age_s(entry / "trash.json", clock) if (entry / "trash.json").exists() else _age_s(entry, clock)
        if age_s is not None and age_s >= older_than_s:
            yield Garbage(TRASH, entry, file_size(entry), age_s, _trash_about(entry))


def _trash_about(entry: Path) -> str:
    try:
        note = json.loads(read_bytes(entry / "trash.json", 1 << 20))
        return f"{note['project']}/{note['name']} ({note['reason']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "an entry without a readable note"


def _artifacts(folder: Path, record: TaskRecord, clock: float) -> Iterator[Garbage]:
    used = {
        str(entry.get("file", "")).split("/")[1]
        for entry in record.artifacts.values()
        if "/" in str(entry.get("file", ""))
    }
    artifacts = TaskLayout(folder).artifacts
    for name in sorted(set(list_names(artifacts)) - used):
        path = artifacts / name
        ages = [_age_s(inner, clock) for inner in (path, *(path / child for child in list_names(path)))]
        age_s = min((age for age in ages if age is not None), default=0.0)
        if age_s >= GRACE_S:
            yield Garbage(ARTIFACT, path, file_size(path), age_s, f"artifact of {record.project}/{record.name}")


def _models(folder: Path, record: TaskRecord, clock: float) -> Iterator[Garbage]:
    """Yield models' folders that their task does not name: their maker died before it did."""
    named = {str(entry.get("id", "")) for entry in record.output_models}
    for path in model_folders(TaskLayout(folder).models):
        try:
            model = read_model(path)
        except (LocaltrackError, OSError):
            continue  # what can't be read now is nobody's garbage
        ages = [_age_s(inner, clock) for inner in (path, path / "model", *(path / name for name in list_names(path)))]
        age_s = min((age for age in ages if age is not None), default=0.0)
        if model.id not in named and age_s >= GRACE_S:
            yield Garbage(MODEL, path, file_size(path), age_s, f"model of {record.project}/{record.name}")


def _snapshots(folder: Path, record: TaskRecord, clock: float) -> Iterator[Garbage]:
    """Yield links to saved model files, and folders of them, whose process died before it had copied the files."""
    models = TaskLayout(folder).models
    for name in filter(SNAPSHOT.fullmatch, sorted(list_names(models))):
        path = models / name
        ages = [_age_s(one, clock) for one in (path, *(() if path.is_symlink() else path.rglob("*")))]
        age_s = min((age for age in ages if age is not None), default=0.0)
        if age_s >= GRACE_S:
            about = f"a snapshot of a model file of {record.project}/{record.name}, whose process is gone"
            yield Garbage(TEMPORARY, path, file_size(path), age_s, about)


def _weights(parent: Path, about: str, clock: float) -> Iterator[Garbage]:
    """Yield folders of weights that their model does not name: their maker died before it did, or left them out."""
    for folder in model_folders(parent):
        names = [name for name in sorted(list_names(folder)) if WEIGHTS_FOLDER.fullmatch(name)]
        try:
            model = read_model(folder)
        except (LocaltrackError, OSError):
            continue
        if model.generation != newest_generation(folder):
            continue  # a damaged generation may name what this one does not
        used = {str(one.get("file", "")).partition("/")[0] for one in (model.weights, *model.versions)}
        for path in (folder / name for name in names if name not in used):
            ages = [_age_s(inner, clock) for inner in (path, *(path / child for child in list_names(path)))]
            age_s = min((age for age in ages if age is not None), default=0.0)
            if age_s >= GRACE_S:
                yield Garbage(WEIGHTS, path, file_size(path), age_s, f"weights of {model.name}, model of {about}")


def _journals(ctx: StoreContext, folder: Path, clock: float) -> Iterator[Garbage]:
    layout = TaskLayout(folder)
    for name in sorted(list_names(layout.scalars)):
        if not name.endswith(".journal"):
            continue
        writer = name.removesuffix(".journal").rpartition("-")[0]
        path = layout.scalars / name
        if not _is_dead(ctx, layout, writer, clock):
            continue
        age_s = _age_s(path, clock)
        if age_s is not None:
            yield Garbage(JOURNAL, path, file_size(path), age_s, f"scalars of {folder.name}, whose process is gone")


def _parts(ctx: StoreContext, folder: Path, clock: float) -> Iterator[Garbage]:
    from localtrack.store.merging import mergeable_parts

    layout = TaskLayout(folder)
    for writer, parts in mergeable_parts(layout.scalars):
        if not _is_dead(ctx, layout, writer, clock):
            continue
        ages = [age_s for age_s in (_age_s(path, clock) for path in parts) if age_s is not None]
        about = f"{len(parts)} small parts of {folder.name}, which become one"
        yield Garbage(PARTS, parts[0], sum(map(file_size, parts)), min(ages, default=0.0), about)


def _is_dead(ctx: StoreContext, layout: TaskLayout, writer: str, clock: float) -> bool:
    """A process of this machine is asked for; one of another is dead when its heartbeat is many leases old."""
    try:
        identity = json.loads(read_bytes(layout.writers / writer / "writer.json", 1 << 20))
        alive = owner_alive(identity) if isinstance(identity, dict) else None
    except (OSError, ValueError):
        alive = None
    if alive is not None:
        return not alive
    age_s = _age_s(layout.heartbeat(writer), clock)
    if age_s is None:
        age_s = _age_s(layout.scalars, clock)
    return age_s is not None and age_s >= max(GRACE_S, LEASE_FACTOR * ctx.settings.lease_s)


def _launches(ctx: StoreContext, clock: float) -> Iterator[Garbage]:
    """Yield where the ranks of a launch met a week ago and more, if none of its tasks runs: torchrun may start them anew."""
    launches = Launches(ctx.store)
    for key in sorted(list_names(ctx.store.layout.launches)):
        folder = launches.folder(key)
        names = list_names(folder)
        ages = [_age_s(path, clock) for path in (folder, *(folder / name for name in names))]
        age_s = min((age for age in ages if age is not None), default=0.0)
        if age_s < LAUNCH_GRACE_S:
            continue
        found = [tasks.try_read(ctx, meeting.task_id) for meeting in launches.meetings(key)]
        if not any(record is not None and record.state is Status.IN_PROGRESS for record in found):
            yield Garbage(LAUNCH, folder, file_size(folder), age_s, "where the ranks of a launch met")


def _temporary(ctx: StoreContext, clock: float) -> Iterator[Garbage]:
    for name in sorted(list_names(ctx.store.layout.tmp)):
        path = ctx.store.layout.tmp / name
        age_s = _age_s(path, clock)
        if age_s is not None and age_s >= GRACE_S:
            yield Garbage(TEMPORARY, path, file_size(path), age_s, "a file that never got its name")


def _age_s(path: Path, clock: float) -> float | None:
    try:
        return max(0.0, clock - path.lstat().st_mtime)
    except OSError:
        return None


def _try_read(ctx: StoreContext, folder: Path) -> TaskRecord | None:
    """Return a task's record, None for one that can't be read or that runs: neither is anybody's garbage yet."""
    try:
        record = tasks.read(ctx, "", folder)
    except (LocaltrackError, OSError, CorruptFileError):
        return None
    return None if record.state is Status.IN_PROGRESS else record
