"""Titles and series for the tags of TensorBoard's writers, as ClearML forms them, and steps that never go back.

A tag is divided at its slashes. Where writers of several folders use the same title and series, all but the first get
what their folder's path has and the first one's has not.

Source: ClearML's TensorBoard binding, measured.
"""

from __future__ import annotations

import re
import threading
from typing import Any

from localtrack.records.plain import dataclass
from localtrack.runtime import binding_options

_NOT_IN_TAGS = re.compile(r"[^-/\w\.]")
WRAPPED_BELOW = 0.9


def divided(tag: str, default: str | None = None) -> tuple[str, str]:
    """Return title and series of a scalar's tag; ``default`` is the title of one without a slash, else the tag itself."""
    parts = tag.split("/")
    return "_".join(parts[:-1]) or (tag if default is None else default), parts[-1]


class Steps:
    """Iterations of one series: where a script starts counting anew, they go on.

    A step below 90 % of the one before is taken for a new start: from then on the one before is added.
    """

    __slots__ = ("added", "last")

    def __init__(self) -> None:
        self.last: int | None = None
        self.added = 0

    def next(self, step: int) -> int:
        """Return the iteration for a step."""
        last = self.last
        if last is not None and step < WRAPPED_BELOW * last and step < last:
            self.added += last + (1 if step <= 0 else step)
        self.last = step
        return step + self.added

    def next_all(self, steps: Any) -> Any:
        """Return the iterations for an array of steps that follow each other."""
        import numpy

        if (self.last is not None and steps[0] < self.last) or (steps[1:] < steps[:-1]).any():
            return numpy.array([self.next(step) for step in steps.tolist()], numpy.int64)
        self.last = int(steps[-1])
        return steps + self.added if self.added else steps


@dataclass(frozen=True, slots=True)
class Graph:
    """Where the values of one tag of one folder go."""

    title: str
    series: str
    steps: Steps


class Names:
    """The names that the writers of one run have taken.

    Args:
        before: those that a process had taken before it was forked into this one.
    """

    def __init__(self, before: Names | None = None) -> None:
        self.lock = threading.RLock()
        self.taken: dict[tuple[str, str], str] = {} if before is None else dict(before.taken)
        self.steps: dict[tuple[str, str], Steps] = {}
        self._folders: dict[str, FolderNames] = {}

    def of(self, folder: str) -> FolderNames:
        """Return the names of a writer's folder."""
        found = self._folders.get(folder)
        if found is None:
            with self.lock:
                found = self._folders.setdefault(folder, FolderNames(self, folder.replace("\\", "/")))
        return found


class FolderNames:
    """The names of one folder's tags; two writers in one folder are one.

    Args:
        names: those of the whole run.
        folder: its path, with slashes.

    Attributes:
        readers: how many report tags of this folder, and count their steps together.
    """

    def __init__(self, names: Names, folder: str) -> None:
        self.readers = 0
        self._names = names
        self._folder = folder
        self._scalars: dict[str, Graph] = {}
        self._grouped = self._single = False
        self._others: dict[tuple[str, str], Graph] = {}

    def scalar(self, tag: str) -> Graph:
        """Return the graph of a scalar."""
        if (
            self._grouped is not binding_options.tensorboard_auto_group_scalars
            or self._single is not binding_options.tensorboard_single_series_per_graph
        ):
            self._grouped = binding_options.tensorboard_auto_group_scalars
            self._single = binding_options.tensorboard_single_series_per_graph
            self._scalars = {}
        return self._scalars.get(tag) or self._scalars.setdefault(tag, self._new_scalar(tag))

    def known(self, tag: str) -> Graph | None:
        """Return the graph that a scalar has had up to now, None where it needs a new one."""
        is_as_grouped = (
            self._grouped is binding_options.tensorboard_auto_group_scalars
            and self._single is binding_options.tensorboard_single_series_per_graph
        )
        return self._scalars.get(tag) if is_as_grouped else None

    def scalars(self) -> dict[str, Graph]:
        """Return the graphs of the scalars that there are, by tag."""
        return dict(self._scalars)

    def histogram(self, tag: str) -> Graph:
        """Return the plot of a histogram."""
        return self._other("Histograms", tag)

    def sample(self, kind: str, tag: str) -> Graph:
        """Return the sample that a tag is; ``kind`` is ``Images``, ``Audio`` or ``Text``."""
        return self._other(kind, tag)

    def curve(self, tag: str) -> Graph:
        """Return the plot of a curve of precision and recall, which has the whole tag as its title."""
        found = self._others.get(("Curves", tag))
        if found is None:
            found = self._others["Curves", tag] = self._graph(tag, "", "title")
        return found

    def chart(self, title: str, category: str) -> Graph:
        """Return the plot of one chart of a layout."""
        return self._graph(title, category, "title")

    def _other(self, kind: str, tag: str) -> Graph:
        key = (kind, tag)
        found = self._others.get(key)
        if found is None:
            parts = tag.split("/")
            last = 1 if kind == "Histograms" else min(3, max(1, len(parts) - 1))
            title = "_".join(parts[:-last]) or kind
            found = self._others[key] = self._graph(
                title, "_".join(parts[-last:]), "" if kind == "Histograms" else "title"
            )
        return found

    def _new_scalar(self, tag: str) -> Graph:
        single, default = self._single, "Scalars" if self._grouped else tag
        title, series = divided(tag, default)
        member = self._member(default)
        if not single:
            return self._graph(title, member or series, "front")
        graph = self._graph(title, series, "title")
        return Graph(graph.title + member, graph.series, graph.steps) if member else graph

    def _member(self, tag: str) -> str:
        """Return the name that ``add_scalars`` gave this folder: it writes each member of a group to a folder of its own."""
        name = _NOT_IN_TAGS.sub("_", self._folder).rpartition("/")[2].replace(tag, "", 1)
        return name[1:] if name.startswith("_") else ""

    def _graph(self, title: str, series: str, where: str) -> Graph:
        names = self._names
        with names.lock:
            owner = names.taken.setdefault((title, series), self._folder)
            if owner != self._folder:
                theirs = set(owner.split("/"))
                mine = "/".join(part for part in self._folder.split("/") if part not in theirs)
                mine = mine or self._folder.rpartition("/")[2]
                distinct = _with(title, series, mine, where)
                if names.taken.setdefault(distinct, self._folder) != self._folder:
                    distinct = _with(title, series, self._folder, where)
                    names.taken[distinct] = self._folder
                title, series = distinct
            return Graph(title, series, names.steps.setdefault((title, series), Steps()))


def _with(title: str, series: str, folder: str, where: str) -> tuple[str, str]:
    if where == "title":
        return f"{title} {folder}", series
    return (title, f"{folder}: {series}") if where == "front" else (title, f"{series} :{folder}")
