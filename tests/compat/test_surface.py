"""The manifest of ClearML's surface is true, both ways, and the page made of it is never stale."""

from __future__ import annotations

import inspect
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.api import policy
from localtrack.errors import UnsupportedError
from tests.compat import surface
from tests.compat.surface import Name

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
MARK = "<!-- Made from tests/compat/surface.toml below this line; UPDATE_SNAPSHOTS=1 makes it anew. -->"
NAMES = surface.manifest()
QUIET = {"auto_connect_streams": False, "auto_resource_monitoring": False, "auto_connect_arg_parser": False}


@pytest.mark.parametrize("name", [n for n in NAMES if n.status != "missing"], ids=str)
def test_name_has_clearmls_signature(name: Name) -> None:
    """What the manifest names is here, with ClearML's parameters in their order, by their names and defaults."""
    kind = surface.our_class(name.owner)
    assert kind is not None, f"localtrack has no {name.owner}"
    found = surface.member(kind, name.name)
    assert found is not None, f"{name} is not there"
    allowed = {
        "property": {"property", "settable property"},
        "settable property": {"settable property", "property" if name.status == "partial" else ""},
        "attribute": {"attribute", "class method" if name.status == "partial" else ""},
    }
    assert surface.kind_of(found) in allowed.get(name.kind, {name.kind})
    if name.kind == "attribute":
        return
    shown, _ = surface.parameters_of(found)
    assert shown == (name.ours or name.parameters)
    assert not name.ours or (name.status == "partial" and name.ours != name.parameters)


def test_missing_names_are_missing() -> None:
    """A name that came to be here is no longer called missing."""
    here = [
        str(name)
        for name in NAMES
        if name.status == "missing"
        and (kind := surface.our_class(name.owner)) is not None
        and surface.member(kind, name.name) is not None
    ]
    assert here == []


def test_every_public_name_is_accounted_for() -> None:
    """A public name of ours is ClearML's or stands among the extras, with its reason."""
    known = {(name.owner, name.name) for name in NAMES}
    extras = surface.extras()
    strange, stale = [], []
    for owner in dict.fromkeys(name.owner for name in NAMES):
        kind = surface.our_class(owner)
        ours = set(surface.public_names(kind)) if kind is not None else set()
        listed = set(extras.get(owner, {}))
        strange += [f"{owner}.{name}" for name in ours if (owner, name) not in known and name not in listed]
        stale += [f"{owner}.{name}" for name in listed if name not in ours or (owner, name) in known]
    assert (sorted(strange), sorted(stale)) == ([], [])


def test_statuses_are_known_and_explained() -> None:
    """Whatever is less than full says why."""
    assert {name.status for name in NAMES} <= set(surface.STATUSES)
    assert [str(name) for name in NAMES if name.status not in ("full", "missing") and not name.note] == []


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A draft, to call things on."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(tmp_path / "store"))
    return Task.create(project_name="p", task_name="draft")


def call(owner: str, found: str, task: Any) -> Any:
    """Look at a property, or call a method with a text for everything it needs."""
    kind = surface.our_class(owner)
    assert kind is not None
    target = task if owner == "Task" else kind
    stands = surface.member(kind, found)
    if isinstance(stands, property):
        return getattr(target, found)
    action: Callable[..., Any] = getattr(target, found)
    needed = [
        p for p in inspect.signature(action).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]  # fmt: skip
    return action(*("x" for _ in needed))


@pytest.mark.parametrize("name", [n for n in NAMES if n.status == "refused"], ids=str)
def test_refused_name_says_the_local_way(name: Name, task: Any) -> None:
    """What can't be had without a server raises, and says what to do instead."""
    with pytest.raises(UnsupportedError) as caught:
        call(name.owner, name.name, task)
    assert caught.value.instead
    assert caught.value.instead in str(caught.value)


@pytest.mark.parametrize("name", [n for n in NAMES if n.status == "no-op"], ids=str)
def test_noop_warns_once(
    name: Name, task: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What means nothing without a server says so once and does nothing."""
    monkeypatch.setattr(policy, "_said", set())
    before = task.export_task()
    with caplog.at_level(logging.WARNING, "localtrack"):
        call(name.owner, name.name, task)
        call(name.owner, name.name, task)
    assert [r.getMessage() for r in caplog.records if name.name in r.getMessage()] == [caplog.records[0].getMessage()]
    assert task.export_task() == before


def render() -> str:
    """Return the tables of the page."""
    counts = Counter((name.owner, name.status) for name in NAMES)
    lines = [
        "",
        "## Counts",
        "",
        f"| class | {' | '.join(surface.STATUSES)} |",
        "|---|" + "---|" * len(surface.STATUSES),
    ]
    owners = list(dict.fromkeys(name.owner for name in NAMES))
    for owner in owners:
        lines.append(f"| {owner} | {' | '.join(str(counts[owner, status]) for status in surface.STATUSES)} |")
    for owner in owners:
        lines += ["", f"## {owner}", "", "| ClearML's name | status | here |", "|---|---|---|"]
        for name in (n for n in NAMES if n.owner == owner):
            lines.append(f"| `{_shown(name)}` | {name.status} | {name.note} |")
        extras = surface.extras().get(owner, {})
        if extras:
            lines += ["", f"Names that only localtrack's {owner} has:", ""]
            lines += [f"- `{name}`: {why}" for name, why in extras.items()]
    return "\n".join(lines) + "\n"


def _shown(name: Name) -> str:
    return f"{name.name}({', '.join(name.parameters)})" if "method" in name.kind else name.name


def test_page_is_fresh() -> None:
    """The stored page is what the manifest says now."""
    text = PAGE.read_text()
    assert MARK in text
    wanted = text.partition(MARK)[0] + MARK + "\n" + render()
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted
