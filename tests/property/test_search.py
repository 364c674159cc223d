"""A search of the index finds exactly what a scan of the tree finds, after any history and for any query."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from localtrack.index import search as search_module
from localtrack.index.rows import pack, unpack
from localtrack.index.search import Index, Row
from localtrack.records.fields import parse_field
from localtrack.records.filters import Query, parse_expression
from localtrack.records.ids import new_task_id
from localtrack.records.task import TaskRecord
from localtrack.records.values import encode
from localtrack.store import metadata
from localtrack.store.layout import TaskLayout
from localtrack.store.metadata import Author
from localtrack.store.root import Store

AUTHOR = Author("ada", "host", 1)

values = st.one_of(st.none(), st.integers(-3, 3), st.floats(), st.booleans(), st.sampled_from(["a", "0.5", ""]))
parameter_names = st.sampled_from(["Args/lr", "General/lr", "Zoo/lr", "Args/net.depth", "Args/lr.value", "net/depth"])
parameters = st.dictionaries(parameter_names, st.one_of(values, st.lists(st.integers(0, 2), max_size=2)), max_size=4)
summaries = st.fixed_dictionaries(
    {"last": st.one_of(st.floats(), st.integers(-3, 3))},
    optional={"min": st.floats(-3, 3), "max": st.floats(-3, 3), "mean": st.floats(-3, 3)},
)
titles = st.sampled_from(["loss", "acc", "loss.min", "a.b", "a"])
metrics = st.dictionaries(
    titles, st.dictionaries(st.sampled_from(["loss", "min", "b", "b.c"]), summaries, min_size=1, max_size=2), max_size=3
)
tags = st.lists(st.sampled_from(["a", "b", "c d", "-a", "é"]), max_size=3, unique=True).map(tuple)
times = st.sampled_from(["", "2024-01-01T00:00:00.000000Z", "2024-01-02T10:00:00+02:00", "2024-01-03T00:00:00.000001Z"])
task_values = st.fixed_dictionaries(
    {
        "tags": tags,
        "status": st.sampled_from(["created", "completed", "failed", "in_progress"]),
        "comment": st.sampled_from(["", "Über\nzwei", "x"]),
        "system_tags": st.sampled_from([(), ("hidden",), ("archived",)]),
        "created": times,
        "started": times,
        "ended": times,
        "last_iteration": st.integers(0, 3),
        "parameters": parameters.map(lambda flat: {k: {"value": encode(v), "type": ""} for k, v in flat.items()}),
        "last_metrics": metrics.map(encode),
        "script": st.sampled_from([{}, {"branch": "main"}]),
        "runtime": st.sampled_from([{}, {"x": 1}, {"queue": "fast"}]),
        "parent": st.sampled_from(["", "p1"]),
        "input_models": st.sampled_from([(), ({"id": "m1"},), ({"id": "m1"}, {"id": "m2"})]),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(["p", "p/q", "r"]), task_values),
        st.tuples(st.just("update"), st.integers(0, 9), task_values),
        st.tuples(st.sampled_from(["trash", "restore", "move", "corrupt"]), st.integers(0, 9), st.none()),
        st.tuples(st.sampled_from(["search", "fold", "delete index", "damage"]), st.none(), st.none()),
    ),
    min_size=1,
    max_size=12,
)
field_names = st.sampled_from(
    [
        "name", "created", "last_iteration", "active_duration", "status", "tags", "project", "script.branch",
        "runtime.x", "hyperparams.Args.lr", "parameters.lr", "params.net.depth", "params.lr.value",
        "metrics.loss", "metrics.loss.min", "last_metrics.a.b.c.max_value", "last_metrics.a.b", "metrics.acc.mean",
        "last_metrics.d1a1db6a7a4a0e47bb1ea2a4fa8d1b2f.loss.value",
    ]
)  # fmt: skip
ranges = st.tuples(st.one_of(st.none(), st.floats(-2, 0)), st.floats(0, 2)).map(list)
filter_values: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from([["completed"], ["-failed"], ["__$not", "failed"], [None, "created"]]),
    "created": st.sampled_from([">2024-01-01", ["2024-01-02", None], ["<2024-01-03", ">2024-01-01"]]),
    "last_iteration": st.sampled_from([[1, None], [None, 2], 1]),
    "parameters": st.dictionaries(st.sampled_from(["lr", "Args/lr", "net.depth"]), st.one_of(ranges, values)),
    "metrics": st.dictionaries(st.sampled_from(["loss", "loss.min", "a.b", "acc.mean"]), ranges, max_size=1),
    "search_text": st.sampled_from(["ü", "^n1", "x$"]),
    "_any_": st.sampled_from([{"fields": ["comment", "parameters.lr"], "pattern": "0|x"}]),
    "_and_": st.just({"fields": ["comment", "name"], "pattern": "[nx]"}),
    "_or_": st.just({"fields": ["created", "started"], "datetime": ["2024-01-02", None]}),
    "script.branch": st.sampled_from([["main"], [None]]),
    "hyperparams.Args.lr": st.one_of(ranges, values),
    "last_metrics.a.b.value": ranges,
    "parent": st.sampled_from(["p1", "", ["p1", None], ["-p1"]]),
    "models.input.model": st.sampled_from([["m2"], ["__$all", "m1", "m2"], ["-m1"], [None]]),
    "execution.queue": st.sampled_from([["fast"], [None]]),
    "last_update": st.just([">=2020-01-01", "<2100-01-01T00:00:00+02:00"]),
    "page": st.integers(0, 1),
    "page_size": st.integers(1, 3),
}
filters = st.lists(
    st.sampled_from(sorted(filter_values)).flatmap(lambda key: st.tuples(st.just(key), filter_values[key])), max_size=2
).map(dict)
expressions = st.sampled_from(
    ["", "params.lr < 1 or metrics.loss > 0", "'a' in tags and not status == failed", "params.lr != metrics.a.b"]
)
queries = st.builds(
    lambda expression, **rest: Query(conditions=parse_expression(expression), **rest),
    expression=expressions,
    project=st.sampled_from([None, "p", ["p/q", "r"]]),
    include_subprojects=st.booleans(),
    name=st.sampled_from([None, "1", "^n"]),
    tags=st.one_of(st.none(), st.lists(st.sampled_from(["a", "-b", "__$all", "é", None]), max_size=3)),
    task_filter=filters,
    order_by=st.one_of(
        st.none(), st.lists(st.tuples(st.sampled_from(["", "-"]), field_names).map("".join), max_size=2)
    ),
    limit=st.one_of(st.none(), st.integers(0, 4)),
    allow_archived=st.booleans(),
    search_hidden=st.booleans(),
)


def scan(store: Store) -> list[Row]:
    """Return the rows of a plain walk through the tree."""
    rows = []
    for folder in store.task_folders():
        try:
            record = metadata.read_latest(TaskLayout(folder))
        except (ValueError, LookupError):
            continue
        rows.append(unpack(pack(record, folder.relative_to(store.root).as_posix())))
    return rows


def as_seen(rows: list[Row]) -> list[Row]:
    """Return rows with every running task of an odd name lost, and a metric more than the index knows."""
    lost = {"status": "failed", "last_iteration": 7, "metrics": {"loss": {"loss": {"last": 0.25, "min": 0.5}}}}
    return [
        replace(row, **lost) if row.status == "in_progress" and row.name[-1] in "13579" else row  # type: ignore[arg-type]
        for row in rows
    ]


SHOWN = tuple(
    parse_field(name) for name in ("id", "status", "created", "metrics.loss", "parameters.lr", "script.branch")
)


class History:
    """A store and what was done to it."""

    def __init__(self, root: Path) -> None:
        self.store = Store.create(root)
        self.store.disk.sync = False
        self.index = Index(self.store)
        self.store.announce = self.index.announce
        self.live: list[tuple[Path, str]] = []
        self.trashed: list[tuple[str, str]] = []
        self.made = 0

    def run(self, step: tuple[Any, ...]) -> None:
        """Do one step."""
        name, where, given_values = step
        if name == "create":
            record = TaskRecord(id=new_task_id(), name=f"n{self.made}", project=where, **given_values)
            self.made += 1
            self.live.append((self.store.create_task(record, AUTHOR)[0], record.id))
        elif name in ("update", "trash", "move", "corrupt") and self.live:
            self._change(name, where % len(self.live), given_values)
        elif name == "restore" and self.trashed:
            entry, task_id = self.trashed.pop(where % len(self.trashed))
            self.live.append((self.store.restore_entry(entry, AUTHOR), task_id))
        elif name == "search":
            self.index.rows()
        elif name == "fold":
            self.index.rebuild()
        elif name == "delete index":
            shutil.rmtree(self.store.layout.index, ignore_errors=True)
        elif name == "damage":
            for path in self.store.layout.index.glob("segment-*"):
                path.write_bytes(path.read_bytes()[:-7])

    def _change(self, name: str, place: int, given_values: dict[str, Any] | None) -> None:
        folder, task_id = self.live[place]
        edits: dict[str, Callable[[TaskRecord], TaskRecord]] = {
            "update": lambda record: replace(record, **(given_values or {})),
            "move": lambda record: replace(record, project=f"{record.project}/m"),
        }
        if name in edits:
            record = self.store.update(folder, edits[name], AUTHOR, name)
            if name == "move":
                self.live[place] = self.store.move_task(folder, record), task_id
        elif name == "trash":
            record = metadata.read_latest(TaskLayout(folder))
            self.trashed.append((self.store.trash_task(folder, record, "deleted", "ada"), task_id))
            self.live.pop(place)
        else:
            self.live.pop(place)
            for path in (folder / "task").iterdir():
                path.write_bytes(b"{")


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(steps, st.lists(queries, min_size=1, max_size=4))
def test_search_equals_scan(history: list[tuple[Any, ...]], asked: list[Query]) -> None:
    """Whatever was created, changed, moved, trashed, restored, folded or damaged: index and tree give the same rows."""
    before = search_module.SEARCH_FOLD_DELTAS, search_module.CHECKED_HITS
    with tempfile.TemporaryDirectory() as folder:
        run = History(Path(folder) / "s")
        try:
            search_module.SEARCH_FOLD_DELTAS, search_module.CHECKED_HITS = 2, 0
            for step in history:
                if step[0] != "corrupt":
                    run.run(step)
            rows = scan(run.store)
            assert {repr(row) for row in run.index.rows()} == {repr(row) for row in rows}
            for query in asked:
                expected = query.plan().apply(rows)
                assert [repr(row) for row in run.index.search(query)] == [repr(row) for row in expected]
                assert [repr(row) for row in Index(run.store).search(query)] == [repr(row) for row in expected]
                seen = query.plan().apply(as_seen(rows))
                assert [repr(row) for row in run.index.search(query, as_seen)] == [repr(row) for row in seen]
                columns = run.index.select(query, SHOWN, as_seen)
                assert repr(columns) == repr([[one.read(row) for row in seen] for one in SHOWN])
        finally:
            search_module.SEARCH_FOLD_DELTAS, search_module.CHECKED_HITS = before


@settings(max_examples=6, deadline=None)
@given(steps)
def test_listing_survives_damaged_tasks(history: list[tuple[Any, ...]]) -> None:
    """Tasks whose metadata is damaged without a word are left out by a rebuilt index, as by the tree."""
    with tempfile.TemporaryDirectory() as folder:
        run = History(Path(folder) / "s")
        for step in history:
            run.run(step)
        run.index.rebuild()
        assert {repr(row) for row in run.index.rows()} == {repr(row) for row in scan(run.store)}
