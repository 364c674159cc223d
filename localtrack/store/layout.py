"""Every path of the format, and no I/O.

Source: docs/format/v1.md, "Layout".
"""

from __future__ import annotations

from pathlib import Path

from localtrack.records.ids import project_parts, slug, task_folder_name
from localtrack.records.plain import dataclass

GENERATION_DIGITS = 6
GENERATION_DIGITS_LIMIT = 18


@dataclass(frozen=True, slots=True)
class StoreLayout:
    """Paths of a store's own folders."""

    root: Path

    @property
    def manifest(self) -> Path:
        """``store.json``: format number, store id, features, sharing."""
        return self.root / "store.json"

    @property
    def projects(self) -> Path:
        """The project tree, with the task folders in it."""
        return self.root / "projects"

    @property
    def index(self) -> Path:
        """Derived search data: may be deleted at any time."""
        return self.root / "index"

    @property
    def queues(self) -> Path:
        """One folder a queue."""
        return self.root / "queues"

    @property
    def agents(self) -> Path:
        """One folder an agent."""
        return self.root / "agents"

    @property
    def models(self) -> Path:
        """Models that belong to no task's folder: imported ones, and published ones whose task is gone."""
        return self.root / "models"

    @property
    def launches(self) -> Path:
        """Where the ranks of a distributed launch meet: one folder a launch."""
        return self.root / "launches"

    @property
    def trash(self) -> Path:
        """What delete, reset and reuse replaced, until ``gc``."""
        return self.root / "trash"

    @property
    def tmp(self) -> Path:
        """Files that have no name yet."""
        return self.root / "tmp"

    def project(self, project: str) -> Path:
        """Return the folder under which tasks of ``project`` are filed."""
        return self.projects.joinpath(*project_parts(project)) if project else self.projects

    def task(self, project: str, name: str, task_id: str, id_digits: int = 8) -> Path:
        """Return the folder in which a new task is filed."""
        return self.project(project) / task_folder_name(name, task_id, id_digits)


@dataclass(frozen=True, slots=True)
class TaskLayout:
    """Paths in one task's folder."""

    folder: Path

    @property
    def metadata(self) -> Path:
        """``task/``: the numbered generations of the metadata."""
        return self.folder / "task"

    def generation(self, number: int) -> Path:
        """Return the file of metadata generation ``number``."""
        return self.metadata / generation_name(number)

    @property
    def code(self) -> Path:
        """``code/``: diff, script, packages, bundle; named by content."""
        return self.folder / "code"

    @property
    def configuration(self) -> Path:
        """``configuration/``: configuration objects, named by content."""
        return self.folder / "configuration"

    @property
    def scalars(self) -> Path:
        """``scalars/``: journals and Parquet parts."""
        return self.folder / "scalars"

    @property
    def console(self) -> Path:
        """``console/``: what the processes printed."""
        return self.folder / "console"

    @property
    def plots(self) -> Path:
        """``plots/``: one JSON file a plot."""
        return self.folder / "plots"

    @property
    def media(self) -> Path:
        """``media/``: images, audio, video, HTML, each with a JSON record."""
        return self.folder / "media"

    @property
    def artifacts(self) -> Path:
        """``artifacts/``: one numbered folder an upload."""
        return self.folder / "artifacts"

    @property
    def models(self) -> Path:
        """``models/``: one folder a model."""
        return self.folder / "models"

    @property
    def writers(self) -> Path:
        """``writers/``: one folder a process that wrote."""
        return self.folder / "writers"

    def heartbeat(self, writer: str) -> Path:
        """Return the heartbeat of a writer."""
        return self.writers / writer / "heartbeat"

    @property
    def requests(self) -> Path:
        """``requests/``: what others ask of the running owner."""
        return self.folder / "requests"


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """Paths in one model's folder; its own scalars and plots lie as in a task's folder."""

    folder: Path

    @property
    def metadata(self) -> Path:
        """``model/``: the numbered generations of the metadata."""
        return self.folder / "model"

    def generation(self, number: int) -> Path:
        """Return the file of metadata generation ``number``."""
        return self.metadata / generation_name(number)


def generation_name(number: int) -> str:
    """Return the file name of a generation, zero-padded so that names sort as numbers."""
    return f"{number:0{GENERATION_DIGITS}d}.json"


def parse_generation(name: str) -> int | None:
    """Return the number in a generation's file name; None for any other name."""
    digits = name.removesuffix(".json")
    is_number = digits != name and digits.isascii() and digits.isdigit()
    return int(digits) if is_number and GENERATION_DIGITS <= len(digits) <= GENERATION_DIGITS_LIMIT else None


def numbered_folder(parent: Path, name: str, number: int) -> Path:
    """Return ``parent/<slug of name>.<number>``."""
    return parent / f"{slug(name)}.{number}"


def content_name(stem: str, sha256: str, suffix: str) -> str:
    """Return a file name that says its content: the same bytes always get the same name."""
    return f"{stem}-{sha256[:12]}{suffix}"
