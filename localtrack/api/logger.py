"""The logger: scalars, single values, text, plots, tables, images and media.

Plots are kept as plotly figures whose titles show in current plotly.js; nothing is capped, nothing subsampled.

Source: ClearML's Logger.
"""

from __future__ import annotations

import io
import json
import logging
import mimetypes
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.errors import UsageError
from localtrack.records.ids import new_sortable_id
from localtrack.records.values import encode
from localtrack.runtime.writer import TaskWriter
from localtrack.services import figures, pictures, tables
from localtrack.services.reports import SINGLE_VALUE_ITERATION, SUMMARY_TITLE
from localtrack.store.blobs import put_copy, put_report, put_stream
from localtrack.store.documents import now
from localtrack.store.layout import TaskLayout

if TYPE_CHECKING:
    from localtrack.api.task.reports import ReportsSection


class Logger:
    """Reports to one task.

    Args:
        task: the task's facade.
    """

    def __init__(self, task: ReportsSection) -> None:
        self._task = task
        session = task._session
        self._writer: TaskWriter | None = session.writer if session is not None else None

    @classmethod
    def current_logger(cls) -> Logger | None:
        """Return the logger of this process's task; None when it has none."""
        from localtrack.api.task import Task

        task = Task.current_task()
        return task.get_logger() if task is not None else None

    def report_scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """Report one point of a curve. When this returns, it survives the death of the process.

        Args:
            title: the graph.
            series: the line in it.
            value: any float; NaN and infinities stay what they are.
            iteration: the x value, an integer.

        Raises:
            ValueError: a value that is no number, or an iteration that is no integer.
        """
        task = self._task
        writer = self._writer or self._open_writer()
        writer.scalars.report(title, series, value, iteration + task._iteration_offset)

    def report_single_value(self, name: str, value: float) -> None:
        """Report a value that has no iteration, such as a final accuracy.

        Raises:
            ValueError: a value that is no number.
        """
        writer = self._writer or self._open_writer()
        writer.scalars.report(SUMMARY_TITLE, name, value, SINGLE_VALUE_ITERATION)

    def report_text(self, msg: Any, level: int = logging.INFO, print_console: bool = True, *args: Any) -> None:
        """Add a text to the task's console, and print it unless told not to."""
        text = str(msg) % args if args else str(msg)
        writer = self._writer or self._open_writer()
        session = self._task._session
        printed = print_console and session is not None and any(session.options.streams.values())
        if print_console:
            sys.stdout.write(text + "\n")
        if not printed:
            writer.console.write("l", text.split("\n"))

    def report_plotly(self, title: str, series: str, figure: Any, iteration: int | None = None) -> None:
        """Report a plotly figure: the object, its dict, or its JSON. It is stored untouched.

        Raises:
            UsageError: it is none of these.
        """
        self._plot(title, series, figures.from_plotly(figure), iteration)

    def report_table(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        table_plot: Any = None,
        csv: str | None = None,
        url: str | None = None,
        extra_layout: dict[str, Any] | None = None,
        extra_data: dict[str, Any] | None = None,
    ) -> None:
        """Report a table: a DataFrame, a list of rows whose first is the header, or the path of a CSV file.

        Raises:
            UsageError: none of the sources, or several.
        """
        if sum(source is not None for source in (table_plot, csv, url)) != 1:
            raise UsageError("report_table takes exactly one of table_plot, csv and url")
        table = table_plot if table_plot is not None else tables.table_of_csv(Path(csv or url or "").read_text("utf-8"))
        figure = figures.table_figure(title, series, table, extra_layout, extra_data)
        self._plot(title, series, figure, iteration, kind="table")

    def report_confusion_matrix(
        self,
        title: str,
        series: str,
        matrix: Any,
        iteration: int | None = None,
        xaxis: str | None = None,
        yaxis: str | None = None,
        xlabels: Sequence[str] | None = None,
        ylabels: Sequence[str] | None = None,
        yaxis_reversed: bool = False,
        comment: str | None = None,
        extra_layout: dict[str, Any] | None = None,
    ) -> None:
        """Report a confusion matrix as a heat map.

        Args:
            title: the plot.
            series: the variant of it.
            matrix: (rows, columns) numbers.
            iteration: the iteration that it belongs to.
            xaxis: title of the x axis.
            yaxis: title of the y axis.
            xlabels: (columns,) labels.
            ylabels: (rows,) labels.
            yaxis_reversed: False puts the first row at the bottom, True at the top.
            comment: a text below the title.
            extra_layout: more of plotly's layout.
        """
        figure = figures.matrix_figure(
            title, series, matrix, xaxis, yaxis, xlabels, ylabels, yaxis_reversed, comment, extra_layout
        )
        self._plot(title, series, figure, iteration)

    def report_matrix(self, title: str, series: str, matrix: Any, iteration: int | None = None, **options: Any) -> None:
        """Report a matrix as a heat map; see :meth:`report_confusion_matrix`."""
        self.report_confusion_matrix(title, series, matrix, iteration, **options)

    def report_image(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        image: Any = None,
        matrix: Any = None,
        max_image_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """Report an image: a file, an array ``(H, W[, 1|3|4])`` of uint8 or of floats in 0..1, a PIL image, or a URL.

        Raises:
            UsageError: none of the sources, or several.
        """
        picture = image if image is not None else matrix
        if sum(source is not None for source in (local_path, picture, url)) != 1:
            raise UsageError("report_image takes exactly one of local_path, image and url")
        if url is not None:
            self._media_url(title, series, iteration, url, "image")
        elif local_path is not None:
            self._media_file(title, series, iteration, Path(local_path), delete_after_upload)
        else:
            data = pictures.png_bytes(picture)
            self._media_stream(title, series, iteration, io.BytesIO(data), ".png", "image/png")

    def report_media(
        self,
        title: str,
        series: str,
        iteration: int | None = None,
        local_path: str | None = None,
        stream: Any = None,
        file_extension: str | None = None,
        max_history: int | None = None,
        delete_after_upload: bool = False,
        url: str | None = None,
    ) -> None:
        """Report audio, video, HTML, text or any file: a path, a stream with its extension, or a URL.

        Raises:
            UsageError: none of the sources, or several; a stream without an extension.
        """
        if sum(source is not None for source in (local_path, stream, url)) != 1:
            raise UsageError("report_media takes exactly one of local_path, stream and url")
        if url is not None:
            self._media_url(title, series, iteration, url, "media")
        elif local_path is not None:
            self._media_file(title, series, iteration, Path(local_path), delete_after_upload)
        else:
            if not file_extension:
                raise UsageError("report_media: a stream needs file_extension, such as '.html'")
            suffix = file_extension if file_extension.startswith(".") else f".{file_extension}"
            data = stream if isinstance(stream, (str, bytes, bytearray)) else stream.read()
            data = data.encode() if isinstance(data, str) else bytes(data)
            kind = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
            self._media_stream(title, series, iteration, io.BytesIO(data), suffix, kind)

    def flush(self, wait: bool = False) -> bool:
        """Bring everything reported so far to the medium.

        Returns:
            True.
        """
        from localtrack.api.task.state import StateSection

        return StateSection.flush(self._task, wait)  # type: ignore[arg-type]

    def _open_writer(self) -> TaskWriter:
        """Return a writer for a task that this process does not run: reports may be added to any unpublished task."""
        from localtrack.api.adopt import late_writer

        self._writer = late_writer(self._task)
        return self._writer

    def _step(self, iteration: int | None) -> int:
        return int(iteration or 0) + self._task._iteration_offset

    def _plot(self, title: str, series: str, figure: Any, iteration: int | None, kind: str = "plotly") -> None:
        writer = self._writer or self._open_writer()
        body = {
            "schema": "localtrack/plot/1", "title": str(title), "series": str(series), "iteration": self._step(iteration),
            "kind": kind, "figure": figure, "at": now(), "writer": writer.id,
        }  # fmt: skip
        self._keep(lambda: put_report(self._task._ctx.store.disk, TaskLayout(self._task._where()).plots, body))

    def _media_file(self, title: str, series: str, iteration: int | None, path: Path, delete: bool) -> None:
        if not path.is_file():
            raise UsageError(f"no file {path} to report")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with open(path, "rb") as stream:
            self._media_stream(title, series, iteration, stream, path.suffix, kind, path)
        if delete:
            path.unlink()

    def _media_stream(
        self,
        title: str,
        series: str,
        iteration: int | None,
        stream: BinaryIO,
        suffix: str,
        kind: str,
        source: Path | None = None,
    ) -> None:
        disk, folder = self._task._ctx.store.disk, self._task._where()

        def store() -> None:
            name = new_sortable_id()
            target = TaskLayout(folder).media / f"{name}{suffix[:16]}"
            disk.make_dir(target.parent)
            if source is None:
                stream.seek(0)  # an earlier try may have read it
            if source is not None:
                stored = put_copy(disk, folder, target, source)
            else:
                stored = put_stream(disk, folder, target, lambda sink: shutil.copyfileobj(stream, sink))
            body = {**stored.to_json(), "file": target.name, "content_type": kind}
            self._media_record(title, series, iteration, body, f"{name}.json")

        self._keep(store, retry=source is None)

    def _media_url(self, title: str, series: str, iteration: int | None, url: str, kind: str) -> None:
        body = {"url": url, "content_type": mimetypes.guess_type(url)[0] or kind}
        self._keep(lambda: self._media_record(title, series, iteration, body, f"{new_sortable_id()}.json"))

    def _media_record(self, title: str, series: str, iteration: int | None, body: dict[str, Any], name: str) -> None:
        writer = self._writer or self._open_writer()
        layout = TaskLayout(self._task._where())
        record = {
            "schema": "localtrack/media/1", "title": str(title), "series": str(series),
            "iteration": self._step(iteration), **body, "at": now(), "writer": writer.id,
        }  # fmt: skip
        self._task._ctx.store.disk.make_dir(layout.media)
        data = json.dumps(encode(record), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._task._ctx.store.disk.publish(data, layout.media / name)

    def _keep(self, action: Callable[[], object], *, retry: bool = True) -> None:
        """Run a write; a disk that takes none is said once and never reaches the script.

        Args:
            action: the write.
            retry: whether it can be done later as well; a file of the user's may be gone by then.
        """
        writer = self._writer or self._open_writer()
        try:
            action()
        except OSError as error:
            if isinstance(error, UsageError):
                raise
            session = self._task._session
            if session is None or not retry:
                writer.say_once(f"report-{error.errno}", f"a report was not kept: {error}")
                return
            writer.on_trouble(error)
            session.edits.later(action)
