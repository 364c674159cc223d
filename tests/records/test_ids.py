"""Names become ids and slugs: nothing leads outside the store."""

from __future__ import annotations

import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.records.ids import (
    PROJECT_PATH_LIMIT,
    SLUG_LIMIT,
    is_task_id,
    new_sortable_id,
    new_task_id,
    normal_project,
    project_parts,
    slug,
    split_project,
    task_folder_name,
)

HOSTILE = [
    "..", "../..", "/etc/passwd", "a/../../b", "C:\\Windows", "\\\\?\\C:\\x", "a\0b", "\0", "", " ", ".", "...", "-", "--",
    "a--b", "x" * 300, "é" * 300, "🚀", "🚀 launch", "\u202eevil", "CON", "con", "NUL", "com1", "LPT9", "aux", "task",
    "trailing.", "trailing ", "new\nline", "tab\t", "%2e%2e%2f", "\ud800", "ﬁ", "İ", "ß",
]  # fmt: skip
RESERVED = {"con", "prn", "aux", "nul", *(f"{k}{n}" for k in ("com", "lpt") for n in range(10))}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_give_harmless_slugs(name: str) -> None:
    """Whatever a name is, its slug is a plain file name on every system."""
    text = slug(name)

    assert re.fullmatch(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?", text)
    assert 1 <= len(text) <= SLUG_LIMIT
    assert "--" not in text
    assert text not in RESERVED


@given(st.text(max_size=80))
def test_every_name_gives_a_harmless_slug(name: str) -> None:
    """No text at all makes a slug that leaves its folder or looks like a task's folder."""
    text = slug(name)

    assert re.fullmatch(r"[a-z0-9_-]{1,40}", text)
    assert "--" not in text
    assert slug(name) == text


def test_slugs_say_the_name() -> None:
    """An ordinary name is readable in its slug, accents aside."""
    assert slug("Fine-tune ResNet 50") == "fine-tune-resnet-50"
    assert slug("Café_crème") == "cafe_creme"


def test_names_that_a_slug_cannot_tell_apart_get_a_hash() -> None:
    """Long, reserved and empty ones end in digits of the whole name."""
    assert slug("x" * 300) != slug("x" * 301)
    assert slug("🚀") != slug("🌍")
    assert re.fullmatch(r"con-[0-9a-f]{6}", slug("CON"))


def test_folder_names() -> None:
    """A task's folder holds slug and id, divided by what no slug holds."""
    assert task_folder_name("My run", "0123456789abcdef" * 2) == "my-run--01234567"
    assert task_folder_name("My run", "0123456789abcdef" * 2, 12) == "my-run--0123456789ab"


def test_ids() -> None:
    """Ids are 32 random hexadecimal digits; sortable ones sort in the order of their making and never repeat."""
    assert is_task_id(new_task_id())
    assert not is_task_id("0123")
    assert not is_task_id(new_task_id().upper() + "\n")
    first = new_sortable_id()
    time.sleep(0.002)
    later = [new_sortable_id() for _ in range(100)]
    assert all(first < other for other in later)
    assert len(set(later)) == 100
    assert sorted(later) == later
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{26}", first)


def test_sortable_ids_of_forked_children_differ() -> None:
    """Children that fork within one millisecond make other ids than their parent and than each other."""
    readers = []
    made = [new_sortable_id()]
    for _ in range(4):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, " ".join(new_sortable_id() for _ in range(50)).encode())
            os._exit(0)
        os.close(writer)
        readers.append((pid, reader))
        made += [new_sortable_id() for _ in range(50)]
    for pid, reader in readers:
        with os.fdopen(reader, "rb") as stream:
            made += stream.read().decode().split()
        os.waitpid(pid, 0)
    assert len(set(made)) == len(made) == 1 + 4 * 100


def test_a_clock_that_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of making holds when the clock is set back."""
    first = new_sortable_id()
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    assert new_sortable_id() > first


def test_projects() -> None:
    """Projects nest by slashes; empty components, and what would climb out, do not count."""
    assert split_project("/a// b /c/") == ("a", "b", "c")
    assert normal_project(" a / b ") == "a/b"
    assert normal_project("///") == ""
    assert project_parts("Vision/ResNet 50") == ("vision", "resnet-50")
    for part in project_parts("../../etc"):
        assert part not in ("..", ".")


def test_deep_projects_end_in_a_hash() -> None:
    """However deep a project is, its path stays short, and two deep ones differ."""
    deep = "/".join(["level"] * 40)
    parts = project_parts(deep)

    assert len("/".join(parts)) <= PROJECT_PATH_LIMIT
    assert parts != project_parts(deep + "/x")
    assert parts[0] == "level"
