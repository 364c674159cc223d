"""Every path of the format."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from localtrack.store.layout import (
    StoreLayout,
    TaskLayout,
    content_name,
    generation_name,
    numbered_folder,
    parse_generation,
)

ROOT = Path("/store")


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_name_leads_outside(project: str, name: str) -> None:
    """Whatever project and task are called, the folder lies under projects and its path is short."""
    path = StoreLayout(ROOT).task(project, name, "0" * 32)

    relative = path.relative_to(ROOT / "projects")
    assert ".." not in relative.parts
    assert len(str(relative)) <= 160
    assert not any("--" in part for part in relative.parts[:-1])
    assert "--" in relative.parts[-1]


def test_the_tree() -> None:
    """The paths are those of the format's layout."""
    layout = TaskLayout(StoreLayout(ROOT).task("Vision/ResNet", "Run 1", "0123456789abcdef" * 2))

    assert layout.folder == ROOT / "projects/vision/resnet/run-1--01234567"
    assert layout.generation(7) == layout.folder / "task/000007.json"
    assert layout.heartbeat("w") == layout.folder / "writers/w/heartbeat"
    assert numbered_folder(layout.artifacts, "My data", 2) == layout.folder / "artifacts/my-data.2"
    assert content_name("diff", "ab" * 32, ".patch") == "diff-abababababab.patch"


def test_generation_names() -> None:
    """Numbers and names stand for each other; names sort as numbers up to a million."""
    assert [parse_generation(generation_name(n)) for n in (1, 999_999, 1_000_000)] == [1, 999_999, 1_000_000]
    assert parse_generation("1.json") is None
    assert parse_generation("000001.json\n") is None
