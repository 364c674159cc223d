"""Writing plots and media into a task's folder, or media to a destination of the user's.

One recorder a writer: the logger and the automatic captures of a run share it.

Source: docs/format/v1.md, "plots/" and "media/"; ClearML's report_image, report_media, set_default_upload_destination.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from localtrack.errors import StorageError, UsageError
from localtrack.fs.disk import Disk, remove_files
from localtrack.records.ids import new_sortable_id
from localtrack.records.late import late_logger
from localtrack.records.plain import dataclass
from localtrack.records.values import encode
from localtrack.services.figures import Figure
from localtrack.services.held_files import HeldFile, HeldFiles
from localtrack.store.blobs import StoredFile, put_copy, put_report, put_stream
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

LOG = late_logger()
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
SUFFIX_LIMIT = 16


class Keep(Protocol):
    """Runs a write, and decides what happens when the disk refuses it; nothing of that reaches the script."""

    def __call__(self, action: Callable[[], object]) -> bool:
        """Return whether the write was done; else it is done later, or given up."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a report belongs to: its title, its series and its iteration, any offset added."""

    title: str
    series: str
    iteration: int


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How one item is stored.

    Attributes:
        destination: folder or URL for the file, in place of the task's own folder; ``""`` for that.
        history: the user's limit for items of this title and series, 0 for none. Only items that this process
            reported under such a limit are ever removed.
    """

    destination: str = ""
    history: int = 0


class Recorder:
    """Stores one writer's plots and media.

    Args:
        disk: the store's disk.
        folder: returns the task's folder, wherever it lies now.
        writer: the writer's id.
        keep: what to do when the disk refuses.
        projects: the store's folder of projects: below a destination, files lie as the task does below this.
    """

    def __init__(self, disk: Disk, folder: Callable[[], Path], writer: str, keep: Keep, projects: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._writer = writer
        self._keep = keep
        self._projects = projects
        self.defaults = MediaOptions()  # what the script's logger was told, for captures that are told nothing
        self._limited: dict[tuple[str, str], deque[Callable[[], None]]] = {}
        self._lock = threading.Lock()
        self._held = HeldFiles()

    def plot(self, place: Place, figure: Figure, kind: str = "plotly", **more: Any) -> None:
        """Store a figure in JSON's types.

        Args:
            place: what it belongs to.
            figure: plotly's ``data`` and ``layout``.
            kind: ``plotly``, ``table`` or ``image``.
            more: further fields of the record, such as ``table``.
        """
        body = {**self._head("plot", place), "kind": kind, "figure": figure, **more}
        self._keep(lambda: put_report(self._disk, TaskLayout(self._folder()).plots, body))

    def picture(self, place: Place, data: bytes, suffix: str, figure: Figure | None = None) -> None:
        """Store a plot as a picture, and beside it as a figure where there is one.

        Args:
            place: what it belongs to.
            data: the picture.
            suffix: ``.png`` or ``.svg``.
            figure: the same plot as a plotly figure.
        """
        kind = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
        body = {**self._head("plot", place), "kind": "image" if figure is None else "plotly"}
        if figure is not None:
            body["figure"] = figure

        def store() -> None:
            folder = self._folder()
            name, plots = new_sortable_id(), TaskLayout(folder).plots
            self._disk.make_dir(plots)
            stored = put_stream(self._disk, folder, plots / f"{name}{suffix}", lambda sink: _fill(sink, data))
            image = {**stored.to_json(), "file": f"{name}{suffix}", "content_type": kind}
            self._disk.publish(_json({**body, "image": image}), plots / f"{name}.json")

        self._keep(store)

    def media_file(
        self, place: Place, path: Path, options: MediaOptions = MediaOptions(), *, delete: bool = False
    ) -> None:
        """Store a copy of a file. While the disk takes no writes, what the file holds now is kept, and stored later.

        Args:
            place: what it belongs to.
            path: the file.
            options: how.
            delete: whether the file is removed once the copy is whole and recorded, and only then.

        Raises:
            UsageError: there is no such file.
        """
        if not path.is_file():
            raise UsageError(f"no file {path} to report as {place.title!r}/{place.series!r}; check the path")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        held: HeldFile | None = None

        def store() -> None:
            nonlocal held
            source = path if held is None else held.source()
            if source is None:
                LOG.warning("%s changed before the disk took it: %s/%s is not kept", path, place.title, place.series)
                return
            try:
                self._store(place, source, path.suffix, kind, options, delete)
            except OSError:
                held = held or self._hold(path, place)
                if held is None:
                    return
                raise
            if delete and not _goes_later(options) and (held is None or held.is_unchanged()):
                remove_files([path])
            if held is not None:
                self._held.release(held)

        self._keep(store)

    def _hold(self, path: Path, place: Place) -> HeldFile | None:
        try:
            return self._held.hold(path)
        except OSError as error:
            LOG.warning("%s can't be read (%s): %s/%s is not kept", path, error.strerror, place.title, place.series)
            return None

    def media_bytes(
        self, place: Place, data: bytes, suffix: str, options: MediaOptions = MediaOptions(), kind: str = ""
    ) -> None:
        """Store bytes.

        Args:
            place: what they belong to.
            data: the file's content.
            suffix: the file's ending, with or without its dot.
            options: how.
            kind: the media type; guessed from the suffix without one.
        """
        ending = suffix if suffix.startswith(".") else f".{suffix}"
        kind = kind or mimetypes.guess_type(f"x{ending}")[0] or "application/octet-stream"
        self._keep(lambda: self._store(place, data, ending, kind, options))

    def media_url(self, place: Place, url: str, kind: str) -> None:
        """Record an item that lies elsewhere; nothing is downloaded."""
        body = {"url": url, "content_type": mimetypes.guess_type(url)[0] or kind}
        self._keep(lambda: self._publish(self._folder(), place, body, new_sortable_id()))

    def _store(
        self, place: Place, source: Path | bytes, suffix: str, kind: str, options: MediaOptions, delete: bool = False
    ) -> None:
        folder, name = self._folder(), new_sortable_id()
        target = TaskLayout(folder).media / f"{name}{_UNSAFE.sub('_', suffix)[:SUFFIX_LIMIT]}"
        self._disk.make_dir(target.parent)
        if options.destination:
            self._store_outside(place, source, target, kind, options, delete)
            return
        stored = self._put(folder, target, source)
        body = {**stored.to_json(), "file": target.name, "content_type": kind}
        record = self._publish(folder, place, body, name)
        self._trim(place, options, lambda: remove_files([record, target]))

    def _put(self, folder: Path, target: Path, source: Path | bytes) -> StoredFile:
        if isinstance(source, bytes):
            return put_stream(self._disk, folder, target, lambda sink: _fill(sink, source))
        return put_copy(self._disk, folder, target, source)

    def _store_outside(
        self, place: Place, source: Path | bytes, target: Path, kind: str, options: MediaOptions, delete: bool
    ) -> None:
        """Copy to the store's ``tmp`` first: what is uploaded is what was reported, whatever the script does next."""
        from localtrack.services import storage, uploads

        folder = target.parent.parent
        below = folder.relative_to(self._projects) if folder.is_relative_to(self._projects) else Path(folder.name)
        url = storage.join_url(options.destination, below.as_posix(), "media", target.name)
        digest = hashlib.sha256()
        size = 0

        def copy(sink: BinaryIO) -> None:
            nonlocal size
            for chunk in _chunks(source):
                digest.update(chunk)
                size += len(chunk)
                sink.write(chunk)

        temporary = self._disk.write_tmp(copy)

        def upload() -> None:
            try:
                storage.put_file(temporary, url)
            except StorageError as error:
                LOG.warning("%s; the file is kept in the task's folder instead", error)
                self._disk.publish_file(temporary, target)
                body: dict[str, Any] = {"file": target.name}
            else:
                body = {"url": url}
            finally:
                remove_files([temporary])
            body.update(content_type=kind, sha256=digest.hexdigest(), size_bytes=size)
            record = self._publish(folder, place, body, target.stem)
            self._trim(place, options, lambda: self._remove_outside(record, target, url))
            if delete and isinstance(source, Path):
                remove_files([source])

        if _goes_later(options):
            uploads.submit(upload, f"uploading {place.title}/{place.series} to {url}")
        else:
            upload()

    @staticmethod
    def _remove_outside(record: Path, target: Path, url: str) -> None:
        from localtrack.services import storage

        remove_files([record, target])
        try:
            storage.remove(url)
        except StorageError as error:
            LOG.warning("%s; it is beyond the history limit and no record names it any more", error)

    def _trim(self, place: Place, options: MediaOptions, remove: Callable[[], None]) -> None:
        """Remove the oldest items beyond the user's limit, records first."""
        if options.history < 1:
            return
        with self._lock:
            items = self._limited.setdefault((place.title, place.series), deque())
            items.append(remove)
            old = [items.popleft() for _ in range(len(items) - options.history)]
        for action in old:
            action()

    def _publish(self, folder: Path, place: Place, body: dict[str, Any], name: str) -> Path:
        media = TaskLayout(folder).media
        self._disk.make_dir(media)
        self._disk.publish(_json({**self._head("media", place), **body}), media / f"{name}.json")
        return media / f"{name}.json"

    def _head(self, what: str, place: Place) -> dict[str, Any]:
        return {
            "schema": f"localtrack/{what}/1", "title": place.title, "series": place.series,
            "iteration": place.iteration, "at": now(), "writer": self._writer,
        }  # fmt: skip


def _goes_later(options: MediaOptions) -> bool:
    from localtrack.services.storage import local_path

    return bool(options.destination) and local_path(options.destination) is None


def _fill(sink: BinaryIO, data: bytes) -> None:
    sink.write(data)


def _chunks(source: Path | bytes) -> Any:
    if isinstance(source, bytes):
        return [source]
    from localtrack.services.storage import read_chunks

    return read_chunks(open(source, "rb"), 1 << 20)


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(encode(body), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")


def record_figure(
    recorder: Recorder,
    place: Place,
    figure: Any,
    *,
    options: MediaOptions = MediaOptions(),
    as_sample: bool = False,
    interactive: bool = True,
) -> bool:
    """Store a matplotlib figure: always as a picture, and as a plotly figure where that shows the same.

    How the figure looks is noted on it, so that no automatic capture reports it again until it looks otherwise.

    Args:
        recorder: the run's recorder.
        place: what it belongs to.
        figure: a matplotlib figure, something that has one (axes, a seaborn grid), or pyplot.
        options: how the picture is stored, with ``as_sample``.
        as_sample: store the picture among the media instead of the plots.
        interactive: whether a plotly figure is wanted.

    Returns:
        Whether a plotly figure was stored.

    Raises:
        InvalidValueError: it is no figure.

    Source: ClearML's report_matplotlib_figure.
    """
    from localtrack.services import matplotlib_figures

    found = matplotlib_figures.figure_of(figure)
    data, suffix = matplotlib_figures.picture_of(found)
    matplotlib_figures.note_by_hand(found, data)
    if as_sample:
        recorder.media_bytes(place, data, suffix, options)
        return False
    converted = matplotlib_figures.interactive_of(found) if interactive else None
    recorder.picture(place, data, suffix, converted)
    return converted is not None
