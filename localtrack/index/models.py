"""Finding models: which there are, the tasks and the store's ``models/`` folder say; what they are, a checkpoint.

A task's row names the models that it made, so a task that is deleted, reset, restored or moved takes its models along
with no word about them here. ``index/models-<n>.json`` keeps what the models' own metadata said; an announcement in
``index/model-deltas/``, written before a model's commit, has it read again. Both may be deleted at any time.

Source: docs/format/v1.md, "The index".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import CorruptFileError, LocaltrackError, ModelNotFoundError
from localtrack.fs.disk import Disk, list_names, read_bytes, remove_files
from localtrack.index.announcer import first_look
from localtrack.index.deltas import PENDING_LIMIT_S, Delta, make_folder, older_than, read_deltas, write_delta
from localtrack.records.ids import is_task_id
from localtrack.records.model import ARCHIVED_TAG, ModelRecord
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.models import find_folder, newest_generation, read_model
from localtrack.store.root import Store

if TYPE_CHECKING:
    from localtrack.index.rows import Row
    from localtrack.index.search import Index

VERSION = 2
FOLD_CHANGES = 64
COMMIT_FOLD_DELTAS = 200
COMMIT_LOOK_EVERY = 16
TOPS = ("projects", "models")
_CHECKPOINT = re.compile(r"models-(\d{1,18})\.json")
FIELDS = (
    "id", "name", "project", "task", "parent", "framework", "tags", "system_tags", "comment", "metadata", "weights",
    "published", "user", "created", "last_update",
)  # fmt: skip
_PLACES = {name: place for place, name in enumerate(("folder", "generation", *FIELDS))}
_fields_of = attrgetter(*FIELDS)
Packed = list[Any]


class ModelRow:
    """One model as a listing shows it: cheap to make by the ten thousand, a record when one is wanted.

    Args:
        packed: folder, generation, and the values of ``FIELDS``, as JSON has them.
    """

    __slots__ = ("packed",)

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    @classmethod
    def of(cls, record: ModelRecord, folder: str) -> ModelRow:
        """Return the row of a record."""
        return cls([folder, record.generation, *_fields_of(record)])

    def in_folder(self, folder: str) -> ModelRow:
        """Return the same row with another folder."""
        return ModelRow([folder, *self.packed[1:]])

    @property
    def folder(self) -> str:
        """Its folder, relative to the store's root; empty for a model that only its task's metadata knows."""
        return str(self.packed[0])

    @property
    def generation(self) -> int:
        """Number of the metadata generation that this was read from."""
        return int(self.packed[1])

    @property
    def id(self) -> str:
        """The model's id."""
        return str(self.packed[2])

    def value(self, name: str) -> Any:
        """Return one of ``FIELDS`` as JSON has it."""
        return self.packed[_PLACES[name]]

    @property
    def archived(self) -> bool:
        """Whether listings leave it out."""
        return ARCHIVED_TAG in self.packed[_PLACES["system_tags"]]

    @property
    def record(self) -> ModelRecord:
        """The model, without configuration, labels and earlier versions."""
        fields = dict(zip(FIELDS, self.packed[2:], strict=True))
        fields["tags"], fields["system_tags"] = tuple(fields["tags"]), tuple(fields["system_tags"])
        return ModelRecord(**fields, generation=self.generation)


class ModelIndex:
    """The index of a store's models. Holds no rows: every call looks at the disk.

    Attributes:
        problems: one line for each model that the last call could not read.

    Args:
        store: the opened store.
        tasks: the index of its tasks.
    """

    def __init__(self, store: Store, tasks: Index) -> None:
        self.store = store
        self.tasks = tasks
        self.folder = store.layout.index
        self.deltas = self.folder / "model-deltas"
        self.problems: list[str] = []
        self._disk = Disk(store.disk.tmp, store.disk.modes, sync=False)
        self._until_look = first_look()

    def announce(self, model_id: str, generation: int, folder: Path) -> None:
        """Announce that a model changes, before the change is committed.

        Raises:
            OSError: the disk is full or can't be written; the commit would fail as well.
        """
        write_delta(self.store.disk, self.deltas, self.store.root, model_id, generation, folder)
        self._until_look -= 1
        if self._until_look <= 0:
            self._until_look = COMMIT_LOOK_EVERY
            if len(list_names(self.deltas)) > COMMIT_FOLD_DELTAS:
                try:
                    self.rows()
                except (OSError, LocaltrackError):
                    pass  # the next one that looks tries again

    def rows(self) -> list[ModelRow]:
        """Return all models, archived ones too, in no order."""
        self.problems = []
        deltas = read_deltas(self.deltas, tops=TOPS)
        number, known = self._newest()
        announced: dict[str, int] = {}
        for delta in deltas:
            announced[delta.task_id] = max(announced.get(delta.task_id, 0), delta.generation)
        found: dict[str, ModelRow] = {}
        fresh = 0
        for model_id, row, is_fresh in self._live(known, announced):
            fresh += is_fresh
            if row is not None:
                found[model_id] = row
        if fresh >= FOLD_CHANGES or len(deltas) > FOLD_CHANGES or (fresh and not number):
            self._fold(number, found, deltas)
        return list(found.values())

    def refreshed(self, row: ModelRow) -> ModelRow | None:
        """Return a row as the disk has it now; None when the model is gone."""
        if not row.folder:
            return row
        folder = self.store.root / row.folder
        if newest_generation(folder) == row.generation:
            return row
        try:
            return ModelRow.of(read_model(folder), row.folder)
        except ModelNotFoundError:
            return None
        except (CorruptFileError, OSError) as error:
            self.problems.append(_line(error))
            return row

    def locate(self, model_id: str) -> Path | None:
        """Return the folder of a model; None for one that only its task's metadata knows.

        Raises:
            ModelNotFoundError: no such model.
        """
        for folder in self._likely(model_id):
            try:
                if read_model(folder).id == model_id:
                    return folder
            except (ModelNotFoundError, CorruptFileError, OSError):
                continue
        row = next((row for row in self.rows() if row.id == model_id), None)
        if row is None:
            raise ModelNotFoundError(
                f"no model {model_id} in the store {self.store.root}; `localtrack models` lists them", model_id=model_id
            )
        return self.store.root / row.folder if row.folder else None

    def resolve(self, prefix: str) -> list[str]:
        """Return the ids that begin with ``prefix``, sorted."""
        if is_task_id(prefix):
            try:
                self.locate(prefix)
            except ModelNotFoundError:
                return []
            return [prefix]
        return sorted(row.id for row in self.rows() if row.id.startswith(prefix))

    def _likely(self, model_id: str) -> Iterator[Path]:
        """Yield where a model may be, as deltas and the checkpoint say, if a live task still names it."""
        folders = [d.folder for d in read_deltas(self.deltas, tops=TOPS) if d.task_id == model_id]
        folders.append(self._hint(model_id))
        for relative in dict.fromkeys(folder for folder in folders if folder):
            folder = self.store.root / relative
            if relative.startswith("models/") or self._is_named(folder.parent.parent, model_id):
                yield folder

    def _is_named(self, task_folder: Path, model_id: str) -> bool:
        try:
            record = metadata.read_latest(TaskLayout(task_folder))
        except (LocaltrackError, OSError):
            return False
        return any(entry.get("id") == model_id for entry in record.output_models)

    # -- which models there are ----------------------------------------------------------------------------------

    def _live(
        self, known: dict[str, ModelRow], announced: dict[str, int]
    ) -> Iterator[tuple[str, ModelRow | None, bool]]:
        """Yield each model's id, its row, and whether that had to be read from the tree."""
        alone = {name for name in list_names(self.store.layout.models) if "--" in name}
        by_name = {Path(row.folder).name: row for row in known.values() if row.folder.startswith("models/")}
        for task in self.tasks.rows():
            for model_id in task.output_models:
                row = known.get(model_id)
                if row is not None and row.generation >= max(1, announced.get(model_id, 0)):
                    moved = self._moved(row, task.folder, alone)
                    if moved is not None:
                        yield model_id, moved, False
                        continue
                yield model_id, self._read_of_task(task, model_id), True
        for name in alone:
            row = by_name.get(name)
            if row is not None and row.generation >= announced.get(row.id, 0):
                yield row.id, row, False
                continue
            row = self._read_alone(self.store.layout.models / name)
            if row is not None:
                yield row.id, row, True

    @staticmethod
    def _moved(row: ModelRow, task_folder: str, alone: set[str]) -> ModelRow | None:
        """Return the row with the folder that its model has now; None when the tree must be asked."""
        name = Path(row.folder).name
        if row.folder.startswith("models/"):
            return row if name in alone else None
        folder = f"{task_folder}/models/{name}"
        if row.folder == folder:
            return row
        return row.in_folder(folder)

    def _read_of_task(self, task: Row, model_id: str) -> ModelRow | None:
        task_folder = self.store.root / task.folder
        for parent in (TaskLayout(task_folder).models, self.store.layout.models):
            folder = find_folder(parent, model_id)
            if folder is not None:
                return self._read_alone(folder)
        try:
            record = metadata.read_latest(TaskLayout(task_folder))
        except (LocaltrackError, OSError) as error:
            self.problems.append(_line(error))
            return None
        for entry in record.output_models:
            if entry.get("id") == model_id:
                if entry.get("folder"):
                    self.problems.append(
                        f"{task.folder}/{entry['folder']}: the model's metadata can't be read; shown is what its task says"
                    )
                return ModelRow.of(ModelRecord.from_entry(entry, record.id, record.project), "")
        return None

    def _read_alone(self, folder: Path) -> ModelRow | None:
        try:
            return ModelRow.of(read_model(folder), folder.relative_to(self.store.root).as_posix())
        except ModelNotFoundError:
            return None
        except (CorruptFileError, OSError) as error:
            self.problems.append(_line(error))
            return None

    # -- the checkpoint ------------------------------------------------------------------------------------------

    def _newest(self) -> tuple[int, dict[str, ModelRow]]:
        """Return number and rows of the newest checkpoint; 0 and nothing when there is none, or it is damaged."""
        number, data = self._read_newest()
        try:
            return number, _parse(data)
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            return number, {}

    def _read_newest(self) -> tuple[int, bytes]:
        for _ in range(5):
            numbers = self._numbers()
            if not numbers:
                break
            try:
                return numbers[-1], read_bytes(self.folder / f"models-{numbers[-1]}.json")
            except FileNotFoundError:
                continue  # folded meanwhile
            except OSError:
                return numbers[-1], b""
        return 0, b""

    def _hint(self, model_id: str) -> str:
        """Return the folder that the checkpoint has for a model, with only its line parsed; empty without one."""
        if not is_task_id(model_id):
            return ""
        data = self._read_newest()[1]
        mark = f',"{model_id}",'.encode()
        place = data.find(mark)
        while place >= 0:
            start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place)
            try:
                row = ModelRow(json.loads(data[start:end].rstrip(b",")))
                if row.id == model_id:
                    return row.folder
            except (ValueError, TypeError, IndexError, RecursionError):
                pass
            place = data.find(mark, max(end, place + 1))
        return ""

    def _numbers(self) -> list[int]:
        return sorted(int(match[1]) for name in list_names(self.folder) if (match := _CHECKPOINT.fullmatch(name)))

    def _fold(self, number: int, rows: dict[str, ModelRow], deltas: list[Delta]) -> None:
        """Publish a checkpoint, and only then remove the deltas that it contains; what fails is the next one's to try."""
        lines = [json.dumps(row.packed, separators=(",", ":")) for row in rows.values()]
        data = f'{{"version":{VERSION},"models":[\n' + ",\n".join(lines) + "\n]}\n"
        try:
            make_folder(self.store.disk, self.folder)
            if not self._disk.publish(data.encode(), self.folder / f"models-{number + 1}.json"):
                return
            settled = {
                delta.path
                for delta in deltas
                if (row := rows.get(delta.task_id)) is not None and row.generation >= delta.generation
            }
            waiting = [delta.path for delta in deltas if delta.path not in settled]
            remove_files(settled | older_than(self.store.disk, waiting, PENDING_LIMIT_S))
            remove_files(self.folder / f"models-{old}.json" for old in self._numbers()[:-2])
        except OSError:
            return


def _parse(data: bytes) -> dict[str, ModelRow]:
    """Return the rows of a checkpoint, one model a line."""
    body: dict[str, Any] = json.loads(data) if data else {"version": VERSION, "models": []}
    if body["version"] != VERSION or any(len(packed) != len(_PLACES) for packed in body["models"]):
        raise ValueError("of another version")
    return {packed[2]: ModelRow(packed) for packed in body["models"]}


def _line(error: Exception) -> str:
    text = error.message if isinstance(error, LocaltrackError) else str(error)
    return " ".join(text.split())
