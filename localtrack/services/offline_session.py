"""Takes over what ClearML's offline mode wrote: a folder, or a zip of it, becomes a task with all that is in it.

The session is somebody else's data: its paths must not lead out of its folder, its pickles are kept as files, and a
line that does not read is counted and left out.

Source: ClearML's Task.set_offline and import_offline_session; its folder's files, measured with clearml 2.1.12.
"""

from __future__ import annotations

import json
import mimetypes
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.ids import new_sortable_id
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import Json, TaskRecord
from localtrack.services import artifacts, lifecycle, reports, tasks, transfer
from localtrack.services.archives import extract_archive
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_copy, put_report
from localtrack.store.console import ConsoleLog
from localtrack.store.documents import stamp
from localtrack.store.journal import ScalarJournal
from localtrack.store.layout import TaskLayout
from localtrack.store.parts import fold

RECORD_LIMIT_BYTES = 256 << 20
SCALAR, PLOT, IMAGE = "training_stats_scalar", "plot", "training_debug_image"


def take_over(
    ctx: StoreContext, session: Path, previous_id: str = "", iteration_offset: int = 0
) -> tuple[str, list[str]]:
    """Make a task of a session, or add it to one.

    Args:
        ctx: the store.
        session: the session's folder or zip.
        previous_id: the task to go on with; empty for a new one.
        iteration_offset: added to every iteration.

    Returns:
        The task's id, and what could not be taken over.

    Raises:
        InvalidValueError: no session there.
        CorruptFileError: an archive that does not unpack.
        TaskNotFoundError: no such task.
    """
    with _opened(session) as folder:
        body = _record(folder)
        if previous_id:
            task_id = tasks.resolve(ctx, previous_id)
        else:
            name = str(body.get("name") or session.stem)
            task_id = tasks.create(ctx, name=name, project=transfer.project_of(body))[1].id
        where = tasks.folder_of(ctx, task_id)
        lifecycle.change_status(
            ctx, task_id, Status.IN_PROGRESS, reason="imported", force=True, folder=where, owner=None
        )
        inputs = transfer.imported(ctx, where, body, merge=bool(previous_id))
        tasks.edit(ctx, task_id, inputs, "offline session: inputs", folder=where, checked=False)
        taking = _Taking(ctx, folder, where, body, iteration_offset)
        entries = taking.artifacts()
        taking.reports()
        taking.console()

        def outputs(record: TaskRecord) -> TaskRecord:
            full = replace(record, artifacts={**record.artifacts, **entries})
            return reports.with_reported_metrics(full, where)

        tasks.edit(ctx, task_id, outputs, "offline session: outputs", folder=where, checked=False)
        lifecycle.change_status(
            ctx, task_id, Status.COMPLETED, reason="imported", message="an offline session of ClearML", folder=where,
            exit={"code": None, "signal": "", "failure_class": ""},
        )  # fmt: skip
        return task_id, taking.problems()


@contextmanager
def _opened(session: Path) -> Iterator[Path]:
    if session.is_dir():
        yield session
        return
    if not session.is_file():
        raise InvalidValueError(f"no offline session {session}: give the folder or its zip", path=str(session))
    with tempfile.TemporaryDirectory(prefix="localtrack-offline-") as place:
        yield extract_archive(session, Path(place) / "session")


def _record(folder: Path) -> Json:
    path = folder / "task.json"
    try:
        if path.is_symlink() or path.stat().st_size > RECORD_LIMIT_BYTES:
            raise ValueError("it is no file of a session")
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"{folder} is no offline session: task.json: {error}", path=str(folder)) from None
    transfer.check(body)
    return dict(body)


class _Taking:
    """Brings the outputs of one session into one task."""

    def __init__(self, ctx: StoreContext, session: Path, where: Path, body: Json, offset: int) -> None:
        self._ctx = ctx
        self._session = session.resolve()
        self._where = where
        self._body = body
        self._offset = offset
        self._writer = new_sortable_id()
        self._left_out: Counter[str] = Counter()

    def problems(self) -> list[str]:
        """Return what was left out, each with how often."""
        return [f"{reason} ({count} times)" if count > 1 else reason for reason, count in self._left_out.items()]

    def artifacts(self) -> dict[str, Json]:
        """Store the artifacts and return their entries."""
        entries = {}
        for item in (self._body.get("execution") or {}).get("artifacts") or []:
            name = str(item.get("key") or "")
            path = self._inside(str(item.get("uri") or ""))
            if not name or path is None:
                self._left_out[f"artifact {name!r}: its file is not in the session"] += 1
                continue
            preview = str((item.get("type_data") or {}).get("preview") or "")
            value = _artifact_value(path, str(item.get("type") or ""))
            entry = artifacts.upload(self._ctx, self._where, name, value, artifacts.Options(preview=preview or None))
            entries[name] = {**entry, "timestamp": stamp(float(item.get("timestamp") or 0))}
        return entries

    def reports(self) -> None:
        """Store scalars, plots and images; an event of another kind is counted."""
        layout, disk = TaskLayout(self._where), self._ctx.store.disk
        troubles: list[OSError] = []
        journal = ScalarJournal(disk, layout.scalars, self._writer, troubles.append)
        for event in self._events("metrics.jsonl"):
            try:
                self._report(event, journal, layout)
            except (KeyError, TypeError, ValueError) as error:
                self._left_out[f"an event that does not read: {type(error).__name__}"] += 1
        for path in journal.close():
            fold(disk, path, trusted=True)
        if troubles:
            raise troubles[0]

    def _report(self, event: Json, journal: ScalarJournal, layout: TaskLayout) -> None:
        title, series = str(event.get("metric", "")), str(event.get("variant", ""))
        step = int(event.get("iter") or 0)
        if step != reports.SINGLE_VALUE_ITERATION:
            step += self._offset
        at = stamp(float(event.get("timestamp") or 0) / 1000)
        kind = event.get("type")
        if kind == SCALAR:
            journal.report(title, series, float(event["value"]), step, int(float(event.get("timestamp") or 0) * 1000))
        elif kind == PLOT:
            body = {
                "schema": "localtrack/plot/1", "title": title, "series": series, "iteration": step, "kind": "plotly",
                "figure": json.loads(event["plot_str"]), "at": at, "writer": self._writer,
            }  # fmt: skip
            put_report(self._ctx.store.disk, layout.plots, body)
        elif kind == IMAGE:
            body = {"schema": "localtrack/media/1", "title": title, "series": series, "iteration": step, "at": at}
            self._media(
                {**body, "writer": self._writer}, str(event.get("url") or ""), str(event.get("key") or ""), layout
            )
        else:
            self._left_out[f"events of the kind {str(kind)[:40]!r}"] += 1

    def _media(self, body: Json, url: str, key: str, layout: TaskLayout) -> None:
        path = self._inside(url) or self._inside(f"data/{key}")
        disk, name = self._ctx.store.disk, new_sortable_id()
        disk.make_dir(layout.media)
        if path is None:
            body = {**body, "url": url}
        else:
            stored = put_copy(disk, self._where, layout.media / f"{name}{path.suffix[:16]}", path)
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            body = {**body, **stored.to_json(), "file": Path(stored.file).name, "content_type": kind}
        data = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
        disk.publish(data, layout.media / f"{name}.json")

    def console(self) -> None:
        """Store what was printed, with its times."""
        troubles: list[OSError] = []
        log = ConsoleLog(self._ctx.store.disk, TaskLayout(self._where).console, self._writer, troubles.append)
        for event in self._events("log.jsonl"):
            lines = str(event.get("msg") or "").splitlines()
            stream = "e" if str(event.get("level") or "").lower() in ("error", "critical", "warning") else "o"
            log.write(stream, lines, at=stamp(float(event.get("timestamp") or 0) / 1000))
        log.close()
        if troubles:
            raise troubles[0]

    def _events(self, name: str) -> Iterator[Json]:
        path = self._session / name
        if not path.is_file() or path.is_symlink():
            return
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    batch: Any = json.loads(line) if line.strip() else []
                except (ValueError, RecursionError):
                    self._left_out[f"a line of {name} that does not read"] += 1
                    continue
                for event in batch if isinstance(batch, list) else [batch]:
                    if isinstance(event, Mapping):
                        yield dict(event)

    def _inside(self, recorded: str) -> Path | None:
        """Return a file of the session by the path that was recorded where it was made; None for any other."""
        if not recorded or "\0" in recorded:
            return None
        made_in = str(self._body.get("offline_folder") or "").rstrip("/")
        text = recorded.removeprefix("file://")
        relative = text[len(made_in) + 1 :] if made_in and text.startswith(f"{made_in}/") else text
        path = (self._session / relative).resolve()
        return path if path.is_relative_to(self._session) and path.is_file() else None


def _artifact_value(path: Path, kind: str) -> Any:
    """Return the object of an artifact of a harmless kind, and the file itself of any other."""
    try:
        if kind in ("dict", "JSON") and path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if kind == "string" and path.suffix == ".txt":
            return path.read_text(encoding="utf-8")
        if kind == "numpy" and path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as arrays:
                return arrays[arrays.files[0]]
    except (ImportError, OSError, ValueError, IndexError, RecursionError):
        return path
    return path
