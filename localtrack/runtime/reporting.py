"""Writes plots and media of this process's run into its task: what bindings report through.

Source: docs/format/v1.md, "plots/" and "media/".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localtrack.records.parameters import flatten
from localtrack.services.parameters import merged, with_configuration
from localtrack.services.recording import Place

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
        self.session.settle()
        return max(0, self.session.writer.last_iteration() - self.session.iteration_offset)

    def plot(self, title: str, series: str, figure: Mapping[str, Any], iteration: int, kind: str = "plotly") -> None:
        """Report a plotly figure, as a dict of JSON's types."""
        self.session.recorder.plot(self._place(title, series, iteration), dict(figure), kind)

    def picture(
        self, title: str, series: str, data: bytes, suffix: str, iteration: int, figure: dict[str, Any] | None = None
    ) -> None:
        """Report a plot as a picture, PNG or SVG by its suffix, and as a plotly figure beside it where there is one."""
        self.session.recorder.picture(self._place(title, series, iteration), data, suffix, figure)

    def media(self, title: str, series: str, data: bytes, suffix: str, content_type: str, iteration: int) -> None:
        """Report an image, audio, video or text by its bytes; ``suffix`` is that of its file, such as ``.png``.

        It goes where the script's logger was told that media go.
        """
        recorder = self.session.recorder
        place = self._place(title, series, iteration)
        recorder.media_bytes(place, data, suffix, recorder.defaults, content_type)

    def _place(self, title: str, series: str, iteration: int) -> Place:
        return Place(title, series, iteration + self.session.iteration_offset)

    def parameters(self, section: str, values: Mapping[str, Any], label: str) -> None:
        """Merge values into a section of the task's parameters; nested dicts become ``a/b`` names."""
        entries = flatten(values, section)
        if entries:
            self.session.record_inputs(lambda record: merged(record, entries), label, checked=False)

    def configuration(self, name: str, text: str, kind: str, description: str) -> None:
        """Store a configuration object as text; ``kind`` is how it is written, such as ``json``."""
        session = self.session
        change = with_configuration(session.ctx, session.folder, name, text, kind, description)
        session.record_inputs(change, f"configuration: {name}", checked=False)
