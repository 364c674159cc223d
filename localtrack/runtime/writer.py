"""One process's pen for one task: its journal, console, heartbeat, and the thread that tends them.

Source: docs/format/v1.md, "writers/<writer>/"; ClearML's reporter, of which only the API is kept.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack.capture.launch import find_launch
from localtrack.errors import LocaltrackError
from localtrack.fs.disk import list_names, read_bytes, refresh_names
from localtrack.records.ids import new_sortable_id
from localtrack.records.plain import replace
from localtrack.records.task import Json, TaskRecord
from localtrack.records.values import encode
from localtrack.runtime import substitutes
from localtrack.runtime.own_words import say
from localtrack.services.context import StoreContext, current_user, host_name
from localtrack.services.reports import SINGLE_VALUE_ITERATION
from localtrack.store.console import ConsoleLog
from localtrack.store.documents import now
from localtrack.store.journal import ScalarJournal
from localtrack.store.journal_records import SeriesState
from localtrack.store.layout import TaskLayout

TICK_S = 1.0
BALLAST_BYTES = 64 << 10
FOLD_BACKLOG = 4  # a short run then never imports pyarrow beside the script, only at its end
REQUEST_TICKS = 2
CLAIM_VARIABLE = "LOCALTRACK_CLAIM"


class TaskWriter:
    """Writes everything that this process reports to one task.

    Args:
        ctx: the store.
        task_id: the task.
        folder: its folder.
        role: ``owner`` for the process whose end is the task's end, else ``child``.
    """

    def __init__(self, ctx: StoreContext, task_id: str, folder: Path, role: str) -> None:
        self.ctx = ctx
        self.task_id = task_id
        self.folder = folder
        self.layout = TaskLayout(folder)
        self.role = role
        self.pid = os.getpid()
        self.id = new_sortable_id()
        self.created_at = now()
        disk, settings = ctx.store.disk, ctx.settings
        self.scalars = ScalarJournal(
            disk, self.layout.scalars, self.id, self.on_trouble, pending_limit=settings.pending_points
        )
        substitutes.adopt(self.scalars)
        self.console = ConsoleLog(
            disk, self.layout.console, self.id, self.on_trouble, limit_bytes=settings.console_limit_bytes
        )
        self.on_tick: list[Callable[[], object]] = []
        self.on_beat: Callable[[], None] = lambda: None
        self.on_request: Callable[[Json], None] = lambda request: None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._heartbeat_fd = -1
        self._beats = 0
        self._said: set[str] = set()
        self._seen_requests: set[str] = set()
        self._metrics_sent = -1
        self.identity = self._identify()

    def _identify(self) -> Json:
        launch = find_launch()
        return {
            **process_identity(), "writer": self.id, "role": self.role, "claim": os.environ.get(CLAIM_VARIABLE, ""),
            "rank": "" if launch is None else str(launch.rank), "at": self.created_at,
        }  # fmt: skip

    def register(self) -> None:
        """Write who this is and the first heartbeat; what can't be written is said once and tried no more.

        Raises:
            OSError: the store takes no writes.
        """
        self._seen_requests = set(list_names(self.layout.requests))  # those were meant for an earlier run
        folder = self.layout.writers / self.id
        self.ctx.store.disk.make_dirs(folder)
        data = json.dumps({"schema": "localtrack/writer/1", **self.identity}, sort_keys=True).encode()
        self.ctx.store.disk.create_small(data, folder / "writer.json")
        self._heartbeat_fd = self.ctx.store.disk.open_new(folder / "heartbeat")
        self._beat()

    def start(self) -> None:
        """Start the thread that tends the files."""
        self._thread = threading.Thread(target=self._run, name="localtrack-writer", daemon=True)
        self._thread.start()

    def drop_ballast(self) -> None:
        """Give the room back that was held for the last records."""
        (self.layout.writers / self.id / "ballast").unlink(missing_ok=True)

    def _take_ballast(self) -> None:
        fd = self.ctx.store.disk.open_new(self.layout.writers / self.id / "ballast")
        try:
            os.write(fd, os.urandom(BALLAST_BYTES))  # random, so that no file system compresses it away
        finally:
            os.close(fd)

    def last_iteration(self) -> int:
        """Return the highest iteration that this process reported, 0 before the first."""
        return max(
            (
                state.last_iteration
                for state in list(self.scalars.series.values())
                if state.count
                and state.last_iteration != SINGLE_VALUE_ITERATION
                and not state.title.startswith(":monitor:")
            ),
            default=0,
        )

    def metrics(self) -> Json:
        """Return last, lowest and highest values of what this process reported, as metadata holds them."""
        result: Json = {}
        for state in list(self.scalars.series.values()):
            if state.count:
                result.setdefault(state.title, {})[state.series] = _summary(state)
        return result

    def merge_metrics(self, record: TaskRecord) -> TaskRecord:
        """Return the record with this process's values merged into those of the task's other processes."""
        mine = self.metrics()
        if not mine:
            return record
        merged = merge_summaries(record.last_metrics, mine)
        return replace(record, last_metrics=merged, last_iteration=max(record.last_iteration, self.last_iteration()))

    def on_trouble(self, error: OSError) -> None:
        """Say once that the disk takes no writes; the reports wait in memory meanwhile."""
        if error.errno == errno.ENOENT and not self.folder.is_dir():
            self.say_gone()
            return
        self.say_once(
            f"writing-{error.errno}",
            f"writing to {error.filename or self.folder} failed: {error.strerror}. The script goes on; reports are kept "
            "in memory and written when the disk takes them again.",
        )

    def say_once(self, key: str, text: str) -> None:
        """Print one line to the process's own stderr, the first time only."""
        if key in self._said or "gone" in self._said:
            return
        self._said.add(key)
        say(text)

    def close(self, timeout_s: float = 5.0) -> list[Path]:
        """Stop the thread, write what waits, and return the finished journals, not yet folded."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        self.console.close()
        journals = self.scalars.close()
        if self.scalars.waiting or self.scalars.dropped or self.console.dropped_bytes:
            self.say_once(
                "lost",
                f"{self.scalars.waiting + self.scalars.dropped} points and {self.console.dropped_bytes} bytes of console "
                f"could not be written to {self.folder}: the disk took no more.",
            )
        if self._heartbeat_fd >= 0:
            os.close(self._heartbeat_fd)
            self._heartbeat_fd = -1
        return journals

    def forget(self) -> None:
        """In a forked child: let go of everything that is the parent's."""
        self.scalars.forget()
        self.console.forget()
        if self._heartbeat_fd >= 0:
            os.close(self._heartbeat_fd)
        self._heartbeat_fd = -1
        self._thread = None

    def fold(self, journals: list[Path], *, within_s: float = float("inf")) -> None:
        """Turn finished journals of this process into Parquet; one that can't be stays a journal, which reads as well.

        Args:
            journals: nobody writes to them any more.
            within_s: when so many seconds have passed, the rest stay journals; one is 2 MiB, and done in a moment. Small
                parts are merged in what is left of the time.
        """
        until = time.monotonic() + within_s
        if not journals or within_s <= 0:
            return
        from localtrack.store.merging import crowded_writers, merge_parts
        from localtrack.store.parts import fold

        def proceed() -> bool:
            is_called_off = threading.current_thread() is self._thread and self._stop.is_set()
            return time.monotonic() < until and not is_called_off

        for journal in journals:
            if time.monotonic() >= until:
                return
            try:
                fold(self.ctx.store.disk, journal, trusted=True)
            except (OSError, LocaltrackError) as error:
                self.say_once("fold", f"{journal} stays a journal: {error}")
        if self.id in crowded_writers(self.layout.scalars):
            try:
                merge_parts(self.ctx.store.disk, self.layout.scalars, self.id, proceed)
            except (OSError, LocaltrackError) as error:
                self.say_once("merge", f"the parts of {self.layout.scalars} stay as many as they are: {error}")

    def _run(self) -> None:
        ticks = 0
        settings = self.ctx.settings
        last_sync = last_beat = last_metrics = time.monotonic()
        if self.role == "owner":
            try:
                self._take_ballast()
            except OSError as error:
                self.on_trouble(error)
        while not self._stop.wait(TICK_S):
            if os.getpid() != self.pid:
                return
            ticks += 1
            moment = time.monotonic()
            try:
                self.scalars.drain()
                self.console.drain()
                if moment - last_beat >= settings.beat_s:
                    last_beat = moment
                    self._beat()
                    self._check_presence()
                    self.on_beat()
                if moment - last_sync >= settings.sync_interval_s:
                    last_sync = moment
                    self.scalars.sync()
                    self.console.sync()
                if moment - last_metrics >= settings.metrics_interval_s:
                    last_metrics = moment
                    self._send_metrics()
                if ticks % REQUEST_TICKS == 0 and self.role == "owner":
                    self._look_at_requests()
                if len(self.scalars.rolled) >= FOLD_BACKLOG:
                    self.fold(self.scalars.take_rolled())
            except OSError as error:
                self.on_trouble(error)
            except LocaltrackError as error:
                self.say_once(type(error).__name__, str(error))
            for action in self.on_tick:
                try:
                    action()
                except Exception as error:  # the capture border: the thread tends the journal too and must go on
                    self.say_once(f"tick-{type(error).__name__}", f"{type(error).__name__}: {error}")

    def _beat(self) -> None:
        if self._heartbeat_fd < 0:
            return
        self._beats += 1
        os.pwrite(self._heartbeat_fd, struct.pack("<Q", self._beats) + os.urandom(16), 0)
        if self._beats > 1:
            os.fsync(self._heartbeat_fd)

    def _check_presence(self) -> None:
        refresh_names(self.layout.metadata)
        if not self.folder.is_dir():
            try:
                self.folder = self.ctx.index.locate(self.task_id)
            except LocaltrackError:
                self.say_gone()

    def say_gone(self) -> None:
        """Say once that the task was taken away while it runs."""
        self.say_once(
            "gone",
            f"the task is gone from the store: {self.folder} was deleted or moved away. The script goes on; "
            "what it reports from now on is not kept. `localtrack restore` lists the trash.",
        )

    def _send_metrics(self) -> None:
        count = sum(state.count for state in list(self.scalars.series.values()))
        if count == self._metrics_sent:
            return
        self.ctx.store.update(self.folder, self.merge_metrics, self.ctx.author, "metrics")
        self._metrics_sent = count

    def _look_at_requests(self) -> None:
        for name in sorted(set(list_names(self.layout.requests)) - self._seen_requests):
            self._seen_requests.add(name)
            try:
                body: Any = json.loads(read_bytes(self.layout.requests / name, 1 << 20))
            except (OSError, ValueError):
                continue
            if isinstance(body, dict):
                self.on_request(body)


def process_identity() -> Json:
    """Return what names this process among all those of a store's hosts."""
    from localtrack.capture.host import capture_host

    host = capture_host()
    return {
        "host": host_name(), "machine": host.machine_id, "boot": host.boot_id, "pid": os.getpid(),
        "pidns": host.pid_namespace, "start": host.start_token, "user": current_user(),
    }  # fmt: skip


def _summary(state: SeriesState) -> Json:
    no_number = state.low > state.high
    return {
        "last": encode(float(state.last)),
        "last_iteration": int(state.last_iteration),
        "min": encode(float("nan") if no_number else float(state.low)),
        "min_iteration": int(state.low_iteration),
        "max": encode(float("nan") if no_number else float(state.high)),
        "max_iteration": int(state.high_iteration),
        "count": state.count,
    }


def merge_summaries(known: Json, new: Json) -> Json:
    """Return last, lowest and highest values by title and series, those of two processes merged."""
    merged = {title: dict(series) for title, series in known.items()}
    for title, series in new.items():
        target = merged.setdefault(title, {})
        for name, values in series.items():
            target[name] = merge_summary(target.get(name), values)
    return merged


def merge_summary(old: Json | None, new: Json) -> Json:
    """Return the summary of two processes' values, or of a run and its continuation; the later iteration is last."""
    if old is None:
        return new
    result = dict(new if new["last_iteration"] >= old.get("last_iteration", new["last_iteration"]) else old)
    for key, better in (("min", float.__lt__), ("max", float.__gt__)):
        values = [(side.get(key), side.get(f"{key}_iteration", 0)) for side in (old, new)]
        numbers = [(float(v), i) for v, i in values if isinstance(v, (int, float))]
        if numbers:
            best = numbers[0]
            for candidate in numbers[1:]:
                if better(candidate[0], best[0]):
                    best = candidate
            result[key], result[f"{key}_iteration"] = best
    result["count"] = max(int(old.get("count", 0)), int(new.get("count", 0)))
    return result
