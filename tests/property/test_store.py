"""A store against a model in memory: whatever is done to it, it shows what the model shows."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from localtrack.config import Settings
from localtrack.errors import IllegalTransitionError, NotEditableError, TaskNotFoundError, UsageError
from localtrack.records.filters import Query
from localtrack.records.ids import normal_project
from localtrack.records.parameters import value_of
from localtrack.records.status import ALLOWED, Status
from localtrack.services import lifecycle, parameters, tasks
from localtrack.services.context import StoreContext
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.root import Store

NAMES = st.sampled_from(["run", "Run", "run ", "é🚀", "..", "a/b", "x" * 300, "CON", "task", "\0", ""])
PROJECTS = st.sampled_from(["p", "P", "p/q", " p / q ", "../..", "task", "deep/" * 30 + "end", "a--b"])
TAGS = st.lists(st.sampled_from(["a", "b", "ü", "-x"]), max_size=3, unique=True)
VALUES = st.sampled_from([0, 1.5, float("inf"), None, True, "text", [1, "a"], (1, (2,)), {1: "a"}, b"\0", {}])
KEYS = st.sampled_from(["General/lr", "Args/n", "General/net/depth", "lr"])
STATES = st.sampled_from(list(Status))


@dataclass
class Known:
    """What the model knows of a task."""

    name: str
    project: str
    status: Status = Status.CREATED
    tags: tuple[str, ...] = ()
    parent: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    archived: bool = False
    changes: int = 0


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to a dict."""

    ids = Bundle("ids")
    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, Known] = {}
        self.trash: dict[str, tuple[str, Known]] = {}

    @initialize()
    def make(self) -> None:
        self.ctx = self._open(Store.create(self.folder / "store"))

    def _open(self, store: Store) -> StoreContext:
        store.disk.sync = False
        return StoreContext(store, Settings())

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(target=ids, name=NAMES, project=PROJECTS)
    def create(self, name: str, project: str) -> str:
        _, record = tasks.create(self.ctx, name=name, project=project)
        self.model[record.id] = Known(name, normal_project(project) or "Untitled")
        return record.id

    @rule(task_id=ids, tags=TAGS)
    def tag(self, task_id: str, tags: list[str]) -> None:
        if self._is_gone(task_id):
            return
        tasks.edit(self.ctx, task_id, lambda r: replace(r, tags=tuple(tags)), "tags")
        self.model[task_id].tags = tuple(tags)

    @rule(task_id=ids, key=KEYS, value=VALUES)
    def set_parameter(self, task_id: str, key: str, value: Any) -> None:
        if self._is_gone(task_id):
            return
        known = self.model[task_id]
        entries = parameters.entries_of({key: value})
        is_new = any(known.parameters.get(full, parameters) != _spelled(stored) for full, stored in entries.items())
        try:
            tasks.edit(self.ctx, task_id, lambda r: parameters.merged(r, entries), "set")
        except NotEditableError:
            assert known.status is not Status.CREATED
            assert is_new
            return
        assert known.status is Status.CREATED or not is_new
        known.parameters.update({full: _spelled(stored) for full, stored in entries.items()})

    @rule(task_id=ids, target_state=STATES)
    def change_status(self, task_id: str, target_state: Status) -> None:
        if self._is_gone(task_id):
            return
        known = self.model[task_id]
        try:
            lifecycle.change_status(self.ctx, task_id, target_state)
        except IllegalTransitionError as error:
            message = str(error)
            assert known.status.value in message
            assert target_state.value in message
            assert target_state not in ALLOWED[known.status]
            return
        assert target_state == known.status or target_state in ALLOWED[known.status]
        known.changes += target_state != known.status
        known.status = target_state

    @rule(target=ids, task_id=ids)
    def clone(self, task_id: str) -> str:
        if self._is_gone(task_id):
            return task_id
        source = self.model[task_id]
        record = tasks.clone(self.ctx, task_id)
        self.model[record.id] = Known(
            f"Clone Of {source.name}", source.project, Status.CREATED, source.tags, source.parent or task_id,
            dict(source.parameters),
        )  # fmt: skip
        return record.id

    @rule(target=entries, task_id=ids)
    def reset(self, task_id: str) -> str:
        if self._is_gone(task_id):
            return ""
        known = self.model[task_id]
        try:
            again = lifecycle.reset(self.ctx, task_id)
        except (IllegalTransitionError, UsageError):
            assert known.status in (Status.PUBLISHED, Status.IN_PROGRESS)
            return ""
        assert known.status not in (Status.PUBLISHED, Status.IN_PROGRESS)
        assert again.record.generation > 1
        old_changes = known.changes + (known.status is Status.QUEUED)
        old_status = Status.CREATED if known.status is Status.QUEUED else known.status
        self.trash[again.entry] = (task_id, replace(known, changes=old_changes, status=old_status))
        self.model[task_id] = replace(known, status=Status.CREATED, changes=1, parameters=dict(known.parameters))
        return again.entry

    @rule(task_id=ids, name=NAMES, project=PROJECTS)
    def rename(self, task_id: str, name: str, project: str) -> None:
        if self._is_gone(task_id):
            return
        tasks.rename(self.ctx, task_id, name=name, project=project)
        self.model[task_id].name = name
        self.model[task_id].project = normal_project(project) or "Untitled"

    @rule(task_id=ids, archived=st.booleans())
    def archive(self, task_id: str, archived: bool) -> None:
        if self._is_gone(task_id):
            return
        lifecycle.set_archived(self.ctx, task_id, archived)
        self.model[task_id].archived = archived

    @rule(target=entries, task_id=ids)
    def delete(self, task_id: str) -> str:
        if self._is_gone(task_id):
            return ""
        try:
            entry = tasks.delete(self.ctx, task_id)
        except UsageError:
            assert self.model[task_id].status in (Status.PUBLISHED, Status.IN_PROGRESS)
            return ""
        self.trash[entry] = (task_id, self.model.pop(task_id))
        return entry

    @rule(target=ids, entry=consumes(entries))
    def restore(self, entry: str) -> str:
        if entry not in self.trash:
            return "0" * 32
        task_id, known = self.trash.pop(entry)
        record = tasks.restore(self.ctx, entry)
        if task_id in self.model:
            assert record.id != task_id
            known = replace(known, name=f"{known.name} (restored)")
        else:
            assert record.id == task_id
        self.model[record.id] = known
        return record.id

    @rule()
    def open_again(self) -> None:
        self.ctx = self._open(Store.open(self.folder / "store"))

    @rule()
    def lose_the_index(self) -> None:
        shutil.rmtree(self.folder / "store" / "index", ignore_errors=True)

    @rule()
    def rebuild_the_index(self) -> None:
        assert self.ctx.index.rebuild() == len(self.model)

    @invariant()
    def shows_what_the_model_shows(self) -> None:
        if not hasattr(self, "ctx"):
            return
        assert sorted(self.ctx.index.ids()) == sorted(self.model)
        for task_id, known in self.model.items():
            self._compare(task_id, known)
        assert {note["entry"]: note["id"] for note in self.ctx.store.trash_entries()} == {
            entry: task_id for entry, (task_id, _) in self.trash.items()
        }

    @invariant()
    def searches_like_the_model(self) -> None:
        if not hasattr(self, "ctx"):
            return
        for status in (Status.CREATED, Status.QUEUED, Status.COMPLETED):
            found = {row.id for row in self.ctx.index.search(Query(task_filter={"status": [status.value]}))}
            expected = {task_id for task_id, known in self.model.items() if known.status is status}
            assert found == expected

    def _compare(self, task_id: str, known: Known) -> None:
        record = tasks.read(self.ctx, task_id)
        assert (record.name, record.project, record.status) == (known.name, known.project, known.status.value)
        assert (record.tags, record.parent) == (known.tags, known.parent)
        assert {key: _spelled(stored) for key, stored in record.parameters.items()} == known.parameters
        assert ("archived" in record.system_tags) == known.archived
        assert len(record.history) == known.changes
        folder = self.ctx.store.find_folder(task_id)
        assert self.ctx.index.locate(task_id) == folder
        numbers = metadata.generations(TaskLayout(folder))
        assert numbers[-1] == record.generation
        assert numbers == list(range(numbers[0], numbers[-1] + 1))

    def _is_gone(self, task_id: str) -> bool:
        if task_id in self.model:
            return False
        try:
            tasks.read(self.ctx, task_id)
        except TaskNotFoundError:
            return True
        raise AssertionError(f"{task_id} is still there")


def _spelled(stored: dict[str, Any]) -> str:
    value = value_of(stored)
    return f"{type(value).__name__} {value!r}"


TestStore = StoreMachine.TestCase
TestStore.__doc__ = "A store does what the model does, through every sequence of actions."
TestStore.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
