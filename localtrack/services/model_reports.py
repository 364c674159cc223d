"""What a model itself reports: its own scalars and plots, in its folder, in the same files as a task's.

Source: docs/format/v1.md, "models/<name>--<id8>/"; ClearML's Model.report_scalar and the like.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from localtrack.records.ids import new_sortable_id
from localtrack.records.late import late_logger
from localtrack.services import figures, reports, tables
from localtrack.services.context import StoreContext
from localtrack.services.reports import SINGLE_VALUE_ITERATION, SUMMARY_TITLE
from localtrack.store.blobs import put_report
from localtrack.store.documents import now
from localtrack.store.journal import ScalarJournal
from localtrack.store.layout import TaskLayout
from localtrack.store.scalars import Scalars

OPEN_PENS = 16
LOG = late_logger()
_LOCK = threading.Lock()
_PENS: OrderedDict[tuple[int, Path], ModelPen] = OrderedDict()


class ModelPen:
    """Writes one process's reports of one model.

    Args:
        ctx: the store.
        folder: the model's folder.
    """

    def __init__(self, ctx: StoreContext, folder: Path) -> None:
        self.folder = folder
        self._disk = ctx.store.disk
        self._layout = TaskLayout(folder)
        self._id = new_sortable_id()
        self._scalars = ScalarJournal(
            ctx.store.disk, self._layout.scalars, self._id, self._on_trouble, ctx.settings.pending_points
        )

    def scalar(self, title: str, series: str, value: float, iteration: int) -> None:
        """Append one point; when this returns, it survives the death of the process."""
        self._scalars.report(title, series, value, iteration)

    def single_value(self, name: str, value: float) -> None:
        """Append a value that has no iteration."""
        self._scalars.report(SUMMARY_TITLE, name, value, SINGLE_VALUE_ITERATION)

    def plot(self, title: str, series: str, figure: Any, iteration: int | None, kind: str) -> None:
        """Store a plot; a disk that takes no more is said and not raised."""
        body = {
            "schema": "localtrack/plot/1", "title": str(title), "series": str(series), "iteration": int(iteration or 0),
            "kind": kind, "figure": figure, "at": now(), "writer": self._id,
        }  # fmt: skip
        try:
            put_report(self._disk, self._layout.plots, body)
        except OSError as error:
            self._on_trouble(error)

    def close(self) -> None:
        """Finish the journal; it is read as it is."""
        self._scalars.close()

    def forget(self) -> None:
        """Let go of a parent's files in a forked child."""
        self._scalars.forget()

    def _on_trouble(self, error: OSError) -> None:
        LOG.warning("reports of the model in %s are not stored: %s", self.folder, error)


def pen_of(ctx: StoreContext, folder: Path) -> ModelPen:
    """Return this process's pen for a model; the one used longest ago is closed when many are open."""
    key = (os.getpid(), folder)
    with _LOCK:
        pen = _PENS.get(key)
        if pen is None:
            pen = _PENS[key] = ModelPen(ctx, folder)
            while len(_PENS) > OPEN_PENS:
                (pid, _), old = _PENS.popitem(last=False)
                if pid == key[0]:
                    old.close()
                else:
                    old.forget()
        _PENS.move_to_end(key)
    return pen


def _renew() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew)


def table(
    title: str, series: str, source: Any, csv: str | None, url: str | None, extra_layout: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the figure of a table: of rows or a DataFrame, of a CSV file, or of a link to one.

    Raises:
        InvalidValueError: it is none.
    """
    if url is not None:
        return figures.linked_table_figure(title, series, url)
    if csv is not None:
        source = tables.table_of_csv(Path(csv).read_text("utf-8"))
    return figures.table_figure(title, series, source, extra_layout)


def scalars(folder: Path) -> Scalars:
    """Return every point that a model reported."""
    return reports.scalars(folder)


def plots(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the plots that a model reported, and what could not be read."""
    return reports.plots(folder)
