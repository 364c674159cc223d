"""Finding tasks: by id, by its beginning, by what they are.

A search looks at the newest checkpoint, reads every task again that a later delta names, and looks whether the hits
are still what the checkpoint says. Deltas are listed before the checkpoint is opened, so what a fold takes out of
the one is in the other. Everything here is derived from the tree: with no index at all the tree is scanned.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from localtrack.errors import CorruptFileError, LocaltrackError, StoreError, TaskNotFoundError
from localtrack.fs.disk import list_names, remove_files
from localtrack.fs.locks import advisory_lock
from localtrack.index.announcer import COMMIT_FOLD_DELTAS, Announcer
from localtrack.index.checkpoint import Checkpoint, Checkpoints
from localtrack.index.deltas import PENDING_LIMIT_S, Delta, make_folder, older_than, read_deltas
from localtrack.index.rows import Packed, Row, pack
from localtrack.index.segment import SegmentError
from localtrack.index.view import Hits, Reader, View
from localtrack.records.fields import Field
from localtrack.records.filters import Plan, Query
from localtrack.records.ids import is_task_id
from localtrack.records.status import Status
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store

__all__ = ["Index", "Row"]

_T = TypeVar("_T")
See = Callable[[list[Row]], list[Row]]
IDENTITY = (Field("plain", "id"), Field("plain", "folder"), Field("plain", "generation"))
STATUS = Field("plain", "status")
SEARCH_FOLD_DELTAS = 16
CHECKED_HITS = 200
COMMIT_MERGE_ROWS = 2000
SEARCH_MERGE_ROWS = 5000
MOVES_FOLLOWED = 3
SCANS = 3
REBUILD_LOCK_S = 30.0


class Index(Announcer):
    """The index of a store. Holds no rows: every call looks at the disk.

    Attributes:
        problems: one line for each task that the last call could not read.

    Args:
        store: the opened store.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.checkpoints = Checkpoints(self.folder, store.disk)
        self.problems: list[str] = []
        self._reader = Reader(store.root)
        self._left_over = 0

    def fold_if_many(self) -> None:
        """Fold the deltas when there are many; what goes wrong is the next one's to try."""
        if len(list_names(self.deltas)) > COMMIT_FOLD_DELTAS + self._left_over:
            self._fold_quietly()

    def locate(self, task_id: str) -> Path:
        """Return the folder of a task.

        Raises:
            TaskNotFoundError: no such task.
        """
        hint = self.hinted(task_id)
        if hint is not None:
            return hint
        folder = self._indexed_folder(task_id) or self.store.find_folder(task_id)
        self._hint(task_id, folder)
        return folder

    def resolve(self, prefix: str) -> list[str]:
        """Return the ids that begin with ``prefix``, sorted."""
        if is_task_id(prefix):
            try:
                self.locate(prefix)
            except TaskNotFoundError:
                return []
            return [prefix]
        return sorted(task_id for task_id in self.ids() if task_id.startswith(prefix))

    def ids(self) -> list[str]:
        """Return the ids of all tasks, in no order."""
        return self._look(lambda view: view.ids())

    def rows(self) -> list[Row]:
        """Return all tasks, archived and hidden ones too, sorted by id."""
        return self.search(Query(search_hidden=True, order_by="id"))

    def search(self, query: Query, see: See | None = None) -> list[Row]:
        """Return the tasks that a query asks for, in its order.

        Args:
            query: what to look for.
            see: given the rows of running tasks, returns them as a reader shall see them: some may have died.

        Raises:
            InvalidValueError: the query names an unknown field, or has a bad pattern, list or range.
        """
        plan = query.plan()
        return self._look(lambda view: view.rows(self._hits(view, plan, see, True)))

    def select(self, query: Query, fields: Sequence[Field], see: See | None = None) -> list[list[Any]]:
        """Return some fields of the tasks that a query asks for, a list for each field: much faster than whole rows.

        Args:
            query: what to look for.
            fields: which values.
            see: as for :meth:`search`.

        Raises:
            InvalidValueError: the query names an unknown field, or has a bad pattern, list or range.
        """
        plan = query.plan()
        shows = any(one.is_seen for one in fields)
        return self._look(lambda view: view.columns(self._hits(view, plan, see, shows), fields))

    def rebuild(self) -> int:
        """Read the whole tree and publish a new checkpoint; return how many tasks there are.

        Raises:
            StoreError: the index can't be written.
        """
        self.problems = []
        try:
            view = self._scan()
            self._fold(view, timeout_s=REBUILD_LOCK_S)
        except OSError as error:
            raise StoreError(
                f"rebuilding the index in {self.folder} failed: {error.strerror}: {error.filename}; "
                "make the folder writable or remove it",
                path=str(self.folder),
            ) from error
        return len(view.ids())

    def check(self) -> list[str]:
        """Compare index and tree; return the problems, one line each, with the path and the next step."""
        from localtrack.index.check import check_store

        return check_store(self)

    # -- looking ---------------------------------------------------------------------------------------------------

    def _look(self, use: Callable[[View], _T], merge_limit: int = SEARCH_MERGE_ROWS) -> _T:
        """Run ``use`` on the rows of now; on a damaged index, once more on a scan of the tree."""
        self.problems = []
        deltas = read_deltas(self.deltas)
        try:
            with self.checkpoints.open_newest() as base:
                if base is not None:
                    view = View(base, base.number + 1, deltas, watched=list(base.watched))
                    self._read_watched(view)
                    self._read_announced(view)
                    result = use(view)
                    self._fold_if_worth(view, merge_limit)
                    return result
        except SegmentError:
            self.problems = []
        for _ in range(SCANS):
            view = self._scan()
            if self.checkpoints.numbers()[-1:] in ([], [view.number - 1]):
                break  # else others have folded away deltas of moves that the scan may have missed
        result = use(view)
        self._fold_if_worth(view, merge_limit)
        return result

    def _scan(self) -> View:
        """Read the whole tree; tasks announced meanwhile are read again, since the scan may have missed a move."""
        numbers = self.checkpoints.numbers()
        view = View(Checkpoint(0, ()), (numbers[-1] if numbers else 0) + 1, is_scan=True)
        for folder in self.store.task_folders():
            relative = self._reader.relative(folder)
            appearance = self._reader.appearance(relative)
            try:
                record = metadata.read_latest(TaskLayout(folder))
            except TaskNotFoundError:
                view.watched.append((relative, appearance))
                continue
            except (CorruptFileError, OSError) as error:
                view.watched.append((relative, appearance))
                self.problems.append(_line(error))
                continue
            self._take(view, record.id, pack(record, relative))
        view.deltas = read_deltas(self.deltas)
        self._read_announced(view)
        return view

    def _take(self, view: View, task_id: str, row: Packed) -> None:
        """Keep a scanned row; of two folders with one id the newer counts, then the first by name."""
        other = view.changed.get(task_id)
        if other is not None:
            self.problems.append(
                f"task {task_id} lies in {other[1]} and in {row[1]}: remove the copy, or give it another id"
            )
            if (-other[2], other[1]) < (-row[2], row[1]):
                return
        view.changed[task_id] = row

    def _read_watched(self, view: View) -> None:
        for relative, before in list(view.watched):
            appearance = self._reader.appearance(relative)
            if appearance == before:
                if before != "empty":
                    self.problems.append(f"{relative}: its metadata can't be read; `localtrack index check` says why")
                continue
            view.watched.remove((relative, before))
            view.is_repaired = True
            if not appearance:
                continue
            try:
                record = metadata.read_latest(TaskLayout(self.store.root / relative))
            except (TaskNotFoundError, CorruptFileError, OSError) as error:
                view.watched.append((relative, appearance))
                self.problems.append(_line(error))
                continue
            known = view.packed(record.id)
            if known is None or known[2] <= record.generation:
                view.changed[record.id] = pack(record, relative)

    def _read_announced(self, view: View) -> None:
        """Read again every task that a delta names and the rows do not have yet."""
        announced: dict[str, list[Delta]] = {}
        for delta in view.deltas:
            announced.setdefault(delta.task_id, []).append(delta)
        missing = []
        for task_id, deltas in announced.items():
            row = view.packed(task_id)
            settled = row is not None and all(delta.is_settled(row[2], row[1]) for delta in deltas)
            if not settled and not self._read_again(view, task_id, deltas, row):
                missing.append(task_id)
        for _ in range(MOVES_FOLLOWED):
            missing = self._follow_moves(view, announced, missing)

    def _follow_moves(self, view: View, announced: dict[str, list[Delta]], missing: list[str]) -> list[str]:
        """Look once more for tasks that were not where they were announced: they may have moved since.

        Returns:
            Those that are still missing although a place was announced that had not been looked at.
        """
        if not missing:
            return []
        fresh = read_deltas(self.deltas, {delta.path.name for delta in view.deltas})
        view.deltas += fresh
        for delta in fresh:
            announced.setdefault(delta.task_id, []).append(delta)
        news = {delta.task_id for delta in fresh}
        hints = {task_id: self._read_hint(task_id) for task_id in missing}
        again = [t for t in missing if t in news or ((hint := hints[t]) is not None and hint.is_dir())]
        return [t for t in again if not self._read_again(view, t, announced[t], view.packed(t))]

    def _read_again(self, view: View, task_id: str, deltas: list[Delta], row: Packed | None) -> bool:
        """Read a task from where it may be; return whether it was found, or is there and can't be read."""
        deltas = sorted(deltas, key=lambda delta: -delta.generation)
        known = [delta.folder for delta in deltas if delta.folder] + ([row[1]] if row is not None else [])

        def folders() -> Iterator[str]:
            yield from dict.fromkeys(known)
            hint = self._read_hint(task_id)  # hardly ever needed, so that it is read last
            if hint is not None and self._reader.relative(hint) not in known:
                yield self._reader.relative(hint)

        newest = deltas[0].generation if deltas else 0
        try:
            found = self._reader.read(task_id, folders, newest)
            if found is None and not all(delta.folder for delta in deltas):
                found = self._read_anywhere(task_id)
        except (CorruptFileError, OSError) as error:
            self.problems.append(_line(error))
            return True
        if found is not None or row is not None:
            view.changed[task_id] = found
        return found is not None

    def _read_anywhere(self, task_id: str) -> Packed | None:
        try:
            folder = self.store.find_folder(task_id)
        except TaskNotFoundError:
            return None
        return self._reader.read(task_id, lambda: iter((self._reader.relative(folder),)), 0)

    def _hits(self, view: View, plan: Plan, see: See | None, shows: bool) -> Hits:
        """Return the hits, with dead runs as they shall be seen where what is asked or shown depends on that."""
        view.overlay = {}
        if see is not None and plan.is_seen:
            self._see(view, view.select(plan.running()), see)
        hits = self._checked(view, plan)
        if see is not None and shows and not plan.is_seen:
            (status,) = view.columns(hits, (STATUS,))
            running = hits.only([value == Status.IN_PROGRESS for value in status])
            if running.places and self._see(view, running, see):
                return view.select(plan)
        return hits

    def _see(self, view: View, hits: Hits, see: See) -> bool:
        before = view.rows(hits)
        view.overlay.update({row.id: row for row, old in zip(see(before), before, strict=True) if row is not old})
        return bool(view.overlay)

    def _checked(self, view: View, plan: Plan) -> Hits:
        """Return the hits; when they are few, each one is compared with the disk first."""
        checked: set[str] = set()
        while True:
            hits = view.select(plan)
            if len(hits.places) > CHECKED_HITS:
                return hits
            ids, folders, generations = view.columns(hits, IDENTITY)
            stale = [
                task_id
                for task_id, folder, generation in zip(ids, folders, generations, strict=True)
                if task_id not in checked and self._is_stale(folder, generation)
            ]
            checked.update(ids)
            if not stale:
                return hits
            view.is_repaired = True
            for task_id in stale:
                self._repair(view, task_id)

    def _is_stale(self, folder: str, generation: int) -> bool:
        numbers = metadata.generations(TaskLayout(self.store.root / folder))
        return not numbers or numbers[-1] != generation

    def _repair(self, view: View, task_id: str) -> None:
        """Read a task again that is not what its row says, wherever it is now."""
        view.overlay.pop(task_id, None)
        for _ in range(MOVES_FOLLOWED):
            deltas = [delta for delta in read_deltas(self.deltas) if delta.task_id == task_id]
            if self._read_again(view, task_id, deltas, view.packed(task_id)):
                return
            try:
                found = self._read_anywhere(task_id)
            except (CorruptFileError, OSError) as error:
                self.problems.append(_line(error))
                return
            if found is not None:
                view.changed[task_id] = found
                return

    # -- folding ---------------------------------------------------------------------------------------------------

    def _fold_if_worth(self, view: View, merge_limit: int) -> None:
        if not (view.is_scan or view.is_repaired or len(view.deltas) > SEARCH_FOLD_DELTAS):
            return
        try:
            self._fold(view, merge_limit=merge_limit)
        except OSError:
            return  # a store that can only be read is searched all the same

    def _fold_quietly(self) -> None:
        try:
            self._look(lambda view: None, COMMIT_MERGE_ROWS)
        except (OSError, LocaltrackError):
            return
        finally:
            self._left_over = len(list_names(self.deltas))

    def _fold(self, view: View, *, timeout_s: float = 0.0, merge_limit: int | None = None) -> None:
        """Publish a checkpoint of a view, and only then remove the deltas that it contains.

        Raises:
            OSError: the index can't be written.
            SegmentError: the checkpoint below is damaged.
        """
        settled = view.settled()
        if not (view.is_scan or view.is_repaired or len(settled) > SEARCH_FOLD_DELTAS):
            return
        make_folder(self.store.disk, self.folder)
        with advisory_lock(self.folder / "lock", timeout_s) as held:
            if not held:
                return
            base = None if view.is_scan else view.base
            if not self.checkpoints.publish(base, view.changed, tuple(view.watched), view.number, merge_limit):
                return
            done = {delta.path for delta in settled}
            waiting = [delta.path for delta in view.deltas if delta.path not in done]
            remove_files(done | older_than(self.store.disk, waiting, PENDING_LIMIT_S))
            self.checkpoints.clean()

    # -- hints -----------------------------------------------------------------------------------------------------

    def _indexed_folder(self, task_id: str) -> Path | None:
        row = self._look(lambda view: view.packed(task_id))
        folder = self.store.root / row[1] if row is not None else None
        return folder if folder is not None and self._holds(folder, task_id) else None


def _line(error: Exception) -> str:
    text = error.message if isinstance(error, LocaltrackError) else str(error)
    return " ".join(text.split())
