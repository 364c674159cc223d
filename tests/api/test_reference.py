"""The reference pages of Task and Logger are made from their docstrings and never stale."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import pytest

from localtrack import InputModel, Logger, Model, OutputModel, StorageManager, Task
from localtrack.api.task import Artifact

DOCS = Path(__file__).parents[2] / "docs" / "reference"
PAGES: dict[str, list[tuple[str, type]]] = {
    "task.md": [("Task", Task), ("Artifact", Artifact)],
    "logger.md": [("Logger", Logger)],
    "storage.md": [("StorageManager", StorageManager)],
    "models.md": [("OutputModel", OutputModel), ("InputModel", InputModel), ("Model", Model)],
}


def render(classes: list[tuple[str, type]]) -> str:
    """Return a page: each public name with its signature and the first line of its docstring."""
    lines = ["<!-- Made by tests/api/test_reference.py; UPDATE_SNAPSHOTS=1 makes it anew. -->"]
    for title, kind in classes:
        lines += ["", f"# {title}", "", (inspect.getdoc(kind) or "").split("\n")[0]]
        for name in sorted(name for name in dir(kind) if not name.startswith("_")):
            member = inspect.getattr_static(kind, name)
            doc = (inspect.getdoc(member) or "").split("\n")[0]
            lines += ["", f"## {name}", "", *_signature(name, member), doc]
    return "\n".join(lines) + "\n"


def _signature(name: str, member: object) -> list[str]:
    if isinstance(member, property):
        return ["A property" + (", which can be set." if member.fset else "."), ""]
    function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
    if not inspect.isfunction(function):
        return []
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    shown = [f"{p.name}={p.default!r}" if p.default is not p.empty else str(p).split(":")[0] for p in parameters]
    return ["```python", f"{name}({', '.join(shown)})", "```", ""]


@pytest.mark.parametrize("page", PAGES)
def test_page_is_fresh(page: str) -> None:
    """The stored page is what the docstrings say now."""
    text = render(PAGES[page])
    path = DOCS / page
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.write_text(text)
    assert path.read_text() == text


@pytest.mark.parametrize("kind", [Task, Logger, Artifact, StorageManager, InputModel, Model, OutputModel])
def test_every_public_name_has_a_docstring(kind: type) -> None:
    """A public name without words is not public."""
    bare = [n for n in dir(kind) if not n.startswith("_") and not inspect.getdoc(inspect.getattr_static(kind, n))]
    assert bare == []
