"""Writes plots and media of this process's run into its task: what bindings report through.

Source: docs/format/v1.md, "plots/" and "media/".
"""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.records.ids import new_sortable_id
from localtrack.records.parameters import flatten
from localtrack.records.values import encode
from localtrack.services.parameters import merged
from localtrack.store.blobs import put_report, put_stream
from localtrack.store.documents import now

if TYPE_CHECKING:
    from localtrack.runtime.session import Session


class SessionReports:
    """The pen of one run. A disk that takes no writes never reaches the caller: what it refused is tried again.

    Args:
        session: the run.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def scalar(self, title: str, series: str, value: float, iteration: int, time_us: int = 0) -> None:
        """Report one point of a curve; ``time_us`` is in microseconds since 1970, 0 for now."""
        session = self.session
        session.writer.scalars.report(title, series, value, iteration + session.iteration_offset, time_us)

    def last_iteration(self) -> int:
        """Return the highest iteration that this process reported, without the run's offset; 0 before the first."""
        return max(0, self.session.writer.last_iteration() - self.session.iteration_offset)

    def plot(self, title: str, series: str, figure: Mapping[str, Any], iteration: int, kind: str = "plotly") -> None:
        """Report a plotly figure, as a dict of JSON's types."""
        session = self.session
        body = {
            "schema": "localtrack/plot/1", "title": title, "series": series, "kind": kind, "figure": figure,
            "iteration": iteration + session.iteration_offset, "at": now(), "writer": session.writer.id,
        }  # fmt: skip
        self._keep(lambda: put_report(session.ctx.store.disk, session.writer.layout.plots, body))

    def picture(self, title: str, series: str, data: bytes, suffix: str, iteration: int) -> None:
        """Report a plot as a picture, PNG or SVG by its suffix."""
        kind = "svg+xml" if suffix == ".svg" else suffix[1:]
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        place = {"x": 0, "y": 1, "sizex": 1, "sizey": 1, "xref": "paper", "yref": "paper", "sizing": "contain"}
        axes = {"visible": False}
        layout = {"images": [{"source": source, **place}], "xaxis": axes, "yaxis": axes, "title": {"text": title}}
        self.plot(title, series, {"data": [], "layout": layout}, iteration, "image")

    def media(self, title: str, series: str, data: bytes, suffix: str, content_type: str, iteration: int) -> None:
        """Report an image, audio, video or text by its bytes; ``suffix`` is that of its file, such as ``.png``."""
        session = self.session
        disk, layout = session.ctx.store.disk, session.writer.layout
        step = iteration + session.iteration_offset

        def store() -> None:
            name = new_sortable_id()
            disk.make_dir(layout.media)
            target = layout.media / f"{name}{suffix[:16]}"
            stored = put_stream(disk, session.folder, target, lambda sink: shutil.copyfileobj(io.BytesIO(data), sink))
            record = {
                "schema": "localtrack/media/1", "title": title, "series": series, "iteration": step,
                **stored.to_json(), "file": target.name, "content_type": content_type, "at": now(),
                "writer": session.writer.id,
            }  # fmt: skip
            text = json.dumps(encode(record), sort_keys=True, ensure_ascii=False)
            disk.publish(text.encode("utf-8", "surrogatepass"), layout.media / f"{name}.json")

        self._keep(store)

    def parameters(self, section: str, values: Mapping[str, Any], label: str) -> None:
        """Merge values into a section of the task's parameters; nested dicts become ``a/b`` names."""
        entries = flatten(values, section)
        if entries:
            self.session.update(lambda record: merged(record, entries), label, checked=False)

    def _keep(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.session.writer.on_trouble(error)
            self.session.edits.later(action)
