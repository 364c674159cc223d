"""Reports what writers of TensorBoard are given into the task of this process.

Source: TensorBoard's summaries; ClearML's TensorBoard binding, measured.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext, observing
from localtrack.bindings.summaries import layouts
from localtrack.bindings.summaries.backlog import Backlog, Runs, Source
from localtrack.bindings.summaries.histograms import HistogramHistory
from localtrack.bindings.summaries.names import Graph, Names
from localtrack.services import figures
from localtrack.store.journal import Columns, Reported
from localtrack.store.scalars import SeriesPoints, read_scalars

if TYPE_CHECKING:
    from localtrack.runtime.reporting import SessionReports
    from localtrack.runtime.session import Session

SECTION = "TB_hparams"
LARGE = 1 << 61
POINTS_AT_ONCE = 500  # more would be objects for the garbage collector to look at
#: Points of one tag: where they go, and arrays of one length, not empty, of steps, values, and microseconds since 1970.
Curve = tuple[Graph, Any, Any, Any]
THRESHOLD_ROWS = ("TP", "FP", "TN", "FN", "Precision", "Recall")
_boards: weakref.WeakKeyDictionary[Any, Board] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class Board:
    """What one run's writers show.

    Steps are the script's own: an offset of a continued task is not added, since writers count on by themselves.

    Args:
        session: the run.
        reports: where to.
        failed: told of what can't be reported.
        before: names that were taken before this process was forked.
    """

    def __init__(
        self,
        session: Session,
        reports: SessionReports,
        failed: Callable[[str, Exception], None],
        before: Names | None = None,
    ) -> None:
        self.names = Names(before)
        self.process = os.getpid()
        self._session = session
        self._reports = reports
        self._scalars = session.writer.scalars
        self._points: list[Reported] = []
        self._columns: list[Columns] = []
        self._histograms: dict[tuple[str, str], HistogramHistory] = {}
        self._layouts: dict[str, list[layouts.Chart]] = {}
        self._lock = threading.Lock()
        self._failed = failed
        self.backlog = Backlog(self._do)

    def _do(self, runs: Runs) -> None:
        with observing():
            for source, items in self._left(runs):
                for start in range(0, len(items), POINTS_AT_ONCE):
                    self._read(source, items[start : start + POINTS_AT_ONCE])
                    if len(self._points) >= POINTS_AT_ONCE:
                        self._write_points()
            self._write_points()

    def _read(self, source: Source, items: list[Any]) -> None:
        for item in items:
            try:
                source.read(item)
            except Exception as error:  # the binding border
                self._failed("report", error)

    def _left(self, runs: Runs) -> Runs:
        """Read what can be read at once; return what is to be read one by one, in its order.

        What is read at once takes no new names, and counts steps with no other source: it need not wait for those before it.
        """
        by_source: dict[Source, list[Any]] = {}
        for source, items in runs if len(runs) > 1 else ():
            by_source.setdefault(source, []).extend(items)
        done = {source for source, items in (by_source.items() if by_source else runs) if self._read_all(source, items)}
        return [run for run in runs if run[0] not in done]

    def _read_all(self, source: Source, items: list[Any]) -> bool:
        try:
            return source.read_all(items)
        except Exception as error:  # the binding border
            self._failed("report", error)
        return False

    def _write_points(self) -> None:
        points, self._points = self._points, []
        columns, self._columns = self._columns, []
        try:
            if points:
                self._scalars.report_many(points)
        except Exception as error:  # the binding border
            self._failed("report", error)
        try:
            if columns:
                self._scalars.report_columns(columns)
        except Exception as error:  # the binding border
            self._failed("report", error)

    def scalar(self, graph: Graph, value: float, step: int, wall_time: float = 0.0) -> None:
        """Report one point of a curve, to be called by sources of the backlog: it is written with those after it.

        Args:
            graph: the curve.
            value: any float.
            step: its step.
            wall_time: seconds since 1970; 0 for now.
        """
        title, series, steps = graph.title, graph.series, graph.steps
        last = steps.last
        if last is not None and step < last:
            step = steps.next(step)
        else:
            steps.last = step
            step += steps.added
        self._points.append((title, series, value, step, int(wall_time * 1e6)))

    def scalars(self, curves: Sequence[Curve]) -> bool:
        """Report points of several curves as :meth:`scalar` would; none where two of them count their steps together.

        Args:
            curves: the points, each curve's in the order in which they came.

        Returns:
            Whether they were reported.
        """
        if len({id(graph.steps) for graph, *_ in curves}) < len(curves):
            return False
        if any(abs(graph.steps.added) + abs(graph.steps.last or 0) > LARGE for graph, *_ in curves):
            return False  # some are beyond 64 bits
        self._columns += [
            (graph.title, graph.series, values, graph.steps.next_all(steps), times_us)
            for graph, steps, values, times_us in curves
        ]
        return True

    def histogram(self, folder: str, tag: str, edges: Any, counts: Any, step: int) -> None:
        """Add a histogram to its tag's surface.

        Args:
            folder: the writer's.
            tag: its name.
            edges: (n + 1,) borders of the bars, growing.
            counts: (n,) how many values are in each.
            step: its step.
        """
        graph = self.names.of(folder).histogram(tag)
        with self._lock:
            key = (graph.title, graph.series)
            history = self._histograms.get(key)
            if history is None:
                history = self._histograms[key] = HistogramHistory(graph.title, graph.series)
            if history.add(graph.steps.next(step), edges, counts):
                self._show(history)

    def image(self, folder: str, tag: str, data: bytes, step: int) -> None:
        """Report an image or an animation, as its writer encoded it."""
        suffix, kind = ".png", "image/png"
        for start, found, mime in (
            (b"GIF8", ".gif", "image/gif"), (b"\xff\xd8", ".jpg", "image/jpeg"), (b"RIFF", ".webp", "image/webp"),
        ):  # fmt: skip
            if data.startswith(start):
                suffix, kind = found, mime
        self._sample("Images", folder, tag, data, suffix, kind, step)

    def audio(self, folder: str, tag: str, data: bytes, kind: str, step: int) -> None:
        """Report a sound, as its writer encoded it."""
        suffix = ".wav" if not kind or "wav" in kind else "." + kind.rpartition("/")[2].removeprefix("x-")
        self._sample("Audio", folder, tag, data, suffix, kind or "audio/wav", step)

    def text(self, folder: str, tag: str, texts: Iterable[bytes], step: int) -> None:
        """Report a text, or several as lines of one."""
        self._sample("Text", folder, tag, b"\n".join(texts), ".txt", "text/plain", step)

    def curve(self, folder: str, tag: str, name: str, values: Any, step: int) -> None:
        """Report a curve of precision and recall.

        Args:
            folder: the writer's.
            tag: the plot.
            name: the curve's name.
            values: (6, n) true and false positives, true and false negatives, precision and recall by threshold.
            step: its step.
        """
        count = values.shape[1]
        labels = [
            f"threshold {number / max(1, count - 1):.3f}"
            + "".join(f", {row} {value:.4g}" for row, value in zip(THRESHOLD_ROWS, values[:, number], strict=True))
            for number in range(count)
        ]
        line = {"name": name or tag, "data": values[[5, 4]].T, "labels": labels}
        title = self.names.of(folder).curve(tag).title
        self._plot(title, "", figures.line_figure(title, [line], "recall", "precision"), step)

    def layout(self, folder: str, charts: list[layouts.Chart]) -> None:
        """Keep the layout of a folder's charts as a configuration object; they are drawn when their curves are whole."""
        self._layouts.setdefault(folder, []).extend(charts)
        wanted = layouts.as_configuration(chart for charts in self._layouts.values() for chart in charts)
        self._reports.configuration(
            layouts.CONFIGURATION,
            json.dumps(wanted, indent=2, ensure_ascii=False),
            "json",
            "charts of add_custom_scalars",
        )

    def _draw_layouts(self) -> None:
        for folder, charts in self._layouts.items():
            graphs = self.names.of(folder).scalars()
            for chart in charts:
                tags = chart.matching(graphs)
                curves = {tag: self._points_of(graphs[tag]) for tag in tags}
                if curves:
                    last = max(points.iterations[-1] for points in curves.values())
                    graph = self.names.of(folder).chart(chart.title, chart.category)
                    self._plot(graph.title, graph.series, chart.figure(curves), last)

    def _points_of(self, graph: Graph) -> SeriesPoints:
        found = read_scalars(self._session.writer.layout.scalars, graph.title, graph.series)
        return found.of(graph.title, graph.series)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Merge hyper-parameters into the task's section ``TB_hparams``."""
        self._reports.parameters(SECTION, values, "hyper-parameters of TensorBoard")

    def finish(self) -> None:
        """Report what waits, and the surfaces that have grown since they were reported."""
        self.backlog.close()
        self._write_points()
        try:
            self._draw_layouts()
        except Exception as error:  # the binding border
            self._failed("layout", error)
        with self._lock:
            for history in self._histograms.values():
                if not history.is_reported:
                    self._show(history)

    def _show(self, history: HistogramHistory) -> None:
        self._plot(history.title, history.series, history.figure(), 0)

    def _plot(self, title: str, series: str, figure: figures.Figure, step: int) -> None:
        self._reports.plot(title, series, figure, step - self._session.iteration_offset)

    def _sample(self, what: str, folder: str, tag: str, data: bytes, suffix: str, kind: str, step: int) -> None:
        graph = self.names.of(folder).sample(what, tag)
        at = graph.steps.next(step) - self._session.iteration_offset
        self._reports.media(graph.title, graph.series, data, suffix, kind, at)


def board_of(ctx: BindingContext) -> Board | None:
    """Return the board of this process's run, shared by all front ends; None without a task."""
    session = ctx.session()
    if session is None:
        return None
    board = _boards.get(session)
    if board is None:
        with _lock:
            board = _boards.get(session)
            reports = ctx.reports()
            if board is None and reports is not None:
                board = _boards[session] = Board(session, reports, ctx.failed, _names_before(session))
                session.on_close.append(board.finish)
                session.on_settle.append(board.backlog.drain)
    return board


def _names_before(session: Session) -> Names | None:
    """Return the names that the process which was forked into this one had taken for the same task."""
    for other, board in list(_boards.items()):
        if board.process != os.getpid() and other.folder == session.folder:
            return board.names
    return None
