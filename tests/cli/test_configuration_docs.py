"""docs/reference/configuration.md agrees with the code."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import localtrack
from localtrack.config import Settings

PACKAGE = Path(localtrack.__file__).parent
REFERENCE = PACKAGE.parent / "docs" / "reference" / "configuration.md"


def section_of(heading: str) -> str:
    """Return the text below a third-level heading."""
    found = re.search(
        rf"^### {heading}\n(.*?)(?=^##|\Z)", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"docs/reference/configuration.md has no heading for {heading}"
    return found[1]


def headings() -> set[str]:
    """Return all third-level headings."""
    return set(re.findall(r"^### (\S+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))


def variables() -> set[str]:
    """Return every environment variable of ours that the package names."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(re.findall(r"(?<![A-Z_])LOCALTRACK_[A-Z_]*[A-Z](?![A-Z_<])", path.read_text(encoding="utf-8")))
    return found


def test_every_setting_has_its_heading_and_its_default():
    """Each field of Settings has a heading, and its default stands below it."""
    for setting in fields(Settings):
        if setting.name == "source":
            continue
        text = section_of(setting.name)
        default = setting.default
        shown = "none" if default == "" else str(default).lower() if isinstance(default, bool) else f"{default:.12g}"
        assert re.search(rf"Default:? {re.escape(shown)}\b", text), f"{setting.name}: the default {shown} is not said"


def test_every_environment_variable_has_its_heading():
    """Each variable that the code names has a heading, or is a setting's."""
    of_settings = {f"LOCALTRACK_{setting.name.upper()}" for setting in fields(Settings)}
    missing = variables() - of_settings - headings()
    assert not missing


def test_no_heading_without_a_thing():
    """Each heading is a setting or a variable that the code knows."""
    known = {setting.name for setting in fields(Settings)} | variables() | {"NO_COLOR", "FORCE_COLOR"}
    assert headings() <= known
