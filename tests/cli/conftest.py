"""The command line called in this process, and tasks to look at, made by the services."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from localtrack.cli import main
from localtrack.records.parameters import entry
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.records.values import encode
from localtrack.services import lifecycle, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.console import ConsoleLog
from localtrack.store.journal import ScalarJournal
from localtrack.store.layout import TaskLayout


@dataclass(frozen=True)
class Ran:
    """How a call of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The data on stdout."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no strict JSON"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], store_root: Path) -> Callable[..., Ran]:
    """Return a function that calls the command line on the test's store."""

    def call(*arguments: object, on_store: bool = True) -> Ran:
        root = ["--root", str(store_root)] if on_store else []
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*root, *map(str, arguments)])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def make(ctx: StoreContext) -> Callable[..., TaskRecord]:
    """Return a function that files a task with parameters, scalars, console lines, in a state."""

    def make_task(
        name: str = "base",
        project: str = "vision",
        *,
        parameters: dict[str, Any] | None = None,
        points: Iterable[tuple[str, str, float, int]] = (),
        lines: Iterable[str] = (),
        status: Status = Status.CREATED,
        **values: Any,
    ) -> TaskRecord:
        folder, record = tasks.create(ctx, name=name, project=project, **values)
        layout = TaskLayout(folder)
        journal = ScalarJournal(ctx.store.disk, layout.scalars, f"w-{record.id[:6]}", pytest.fail)
        for title, series, value, iteration in points:
            journal.report(title, series, value, iteration)
        console = ConsoleLog(ctx.store.disk, layout.console, f"w-{record.id[:6]}", pytest.fail)
        console.write("o", list(lines))
        console.close()
        stored = {key: entry(value) for key, value in (parameters or {}).items()}
        metrics = encode(reports.summarise(reports.scalars(folder)))

        def fill(record: TaskRecord) -> TaskRecord:
            return replace(record, parameters=stored, last_metrics=metrics)

        tasks.edit(ctx, record.id, fill, "filled")
        if status not in (Status.CREATED, Status.IN_PROGRESS, Status.QUEUED):
            lifecycle.change_status(ctx, record.id, Status.IN_PROGRESS)
        if status is not Status.CREATED:
            lifecycle.change_status(ctx, record.id, status, force=True)
        return tasks.read(ctx, record.id)

    return make_task
