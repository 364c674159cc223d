"""Runs a client's script as its user would, under ``localtrack run``, and reads what arrived in the store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localtrack import Model
from localtrack.config import Settings
from localtrack.records.task import TaskRecord
from localtrack.services import parameters, reports, tasks
from localtrack.services.context import StoreContext
from localtrack.store.root import Store

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
LIMIT_S = 300
ENVIRONMENT = {
    "PYTHONPATH": str(HERE / "offline"), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "2",
}  # fmt: skip


@dataclass(frozen=True)
class Arrived:
    """The one task that a script left."""

    ctx: StoreContext
    record: TaskRecord
    folder: Path
    stdout: str

    def series(self, title: str, series: str) -> list[tuple[int, float]]:
        """Return a series' points as (iteration, value)."""
        points = reports.scalars(self.folder).series[title, series]
        return list(zip(points.iterations, points.values, strict=True))

    @property
    def titles(self) -> dict[str, set[str]]:
        """Return the reported series by title, without the machine's load."""
        found: dict[str, set[str]] = {}
        for title, series in reports.scalars(self.folder).series:
            if not title.startswith(":monitor:"):
                found.setdefault(title, set()).add(series)
        return found

    @property
    def summary(self) -> dict[str, float]:
        """Return the single values."""
        return reports.single_values(reports.scalars(self.folder))

    @property
    def values(self) -> dict[str, Any]:
        """Return the parameters."""
        return parameters.as_values(self.record)

    @property
    def plots(self) -> dict[tuple[str, str, int], dict[str, Any]]:
        """Return the figures by (title, series, iteration)."""
        return {(p["title"], p["series"], p["iteration"]): p for p in reports.plots(self.folder)[0]}

    @property
    def media(self) -> set[tuple[str, str, int]]:
        """Return the debug samples as (title, series, iteration)."""
        return {(m["title"], m["series"], m["iteration"]) for m in reports.media(self.folder)[0]}

    @property
    def console(self) -> str:
        """Return what it printed and reported as text."""
        return "\n".join(line.text for line in reports.console(self.folder))

    def configuration(self, name: str) -> Any:
        """Return a configuration object."""
        return parameters.parse_configuration((self.folder / self.record.configuration[name]["file"]).read_text())

    def model(self) -> Model:
        """Return the one model that it made."""
        (entry,) = self.record.output_models
        return Model(model_id=entry["id"])


@pytest.fixture
def arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Arrived]:
    """Return a function that runs a script of ``scripts/`` and returns the one task that it left."""

    def run(script: str, *arguments: str, **environment: str) -> Arrived:
        root = tmp_path / "store"
        command = [sys.executable, "-m", "localtrack", "run", "--root", str(root), str(SCRIPTS / script)]
        env = {**os.environ, **ENVIRONMENT, **environment}
        env.pop("PYTEST_CURRENT_TEST", None)  # ultralytics reports nothing while it believes that it is tested
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stderr[-6000:]
        monkeypatch.setenv("LOCALTRACK_ROOT", str(root))
        ctx = StoreContext(Store.open(root), Settings())
        (task_id,) = ctx.index.ids()
        folder = tasks.folder_of(ctx, task_id)
        record = tasks.read(ctx, task_id)
        assert record.script["as_clearml"] is True
        assert json.dumps(record.to_json())
        return Arrived(ctx, record, folder, done.stdout)

    return run
