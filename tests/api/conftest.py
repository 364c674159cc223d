"""Tasks that the test process itself runs: started with few hooks, always closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.runtime import current

QUIET: dict[str, Any] = {
    "auto_connect_streams": False,
    "auto_resource_monitoring": False,
    "auto_connect_arg_parser": False,
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that the process finds."""
    place = tmp_path / "store"
    monkeypatch.setenv("LOCALTRACK_ROOT", str(place))
    return place


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Task]]:
    """Return ``Task.init`` with few hooks; the task is closed after the test."""

    def init(project: str = "p", name: str = "n", **options: Any) -> Task:
        return Task.init(project_name=project, task_name=name, **{**QUIET, **options})

    yield init
    session = current.get()
    if session is not None:
        session.close()
    current.put(None)


@pytest.fixture
def task(start: Callable[..., Task]) -> Task:
    """A running task."""
    return start()


@pytest.fixture
def draft(root: Path) -> Task:
    """A draft that nothing ran."""
    return Task.create(project_name="p", task_name="draft")
