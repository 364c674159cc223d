"""What a script asks, before ``Task.init``, about how its code and packages are recorded.

Source: ClearML's Task.add_requirements, ignore_requirements, force_requirements_env_freeze,
force_store_standalone_script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from localtrack.records.plain import dataclass, field, replace

if TYPE_CHECKING:
    from localtrack.capture.packages import PackageState


@dataclass(slots=True)
class CodeChoices:
    """The wishes of this process; a run takes them as they are when it starts.

    Attributes:
        added: requirement lines by the package's normalised name; None stands for the version that is installed.
        ignored: normalised names of packages to leave out.
        freeze: record all that is installed instead of what is imported.
        requirements_file: record this file's lines instead.
        standalone: store the script alone and no repository.
    """

    added: dict[str, str | None] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    freeze: bool = False
    requirements_file: Path | None = None
    standalone: bool = False

    def copy(self) -> CodeChoices:
        """Return the wishes as they are now."""
        return replace(self, added=dict(self.added), ignored=set(self.ignored))

    def add(self, package: str, version: str | None) -> None:
        """Add a package, or all lines of a requirements file.

        Args:
            package: its name, or the path of a file.
            version: ``2.4.0``, ``>=2.4``, ``""`` for any, None for the one that is installed.
        """
        if Path(package).is_file():
            for line in requirement_lines(Path(package)):
                self.added[_key(line)] = line
            return
        if version is None:
            self.added[_key(package)] = None
        elif version.strip() and version.strip()[0] in "=<>!~@":
            self.added[_key(package)] = f"{package}{' ' if version.strip()[0] == '@' else ''}{version.strip()}"
        else:
            self.added[_key(package)] = f"{package}=={version.strip()}" if version.strip() else package

    def ignore(self, package: str) -> None:
        """Leave a package out."""
        self.ignored.add(_key(package))

    def apply(self, found: PackageState) -> PackageState:
        """Return the packages as the script wishes them to be recorded."""
        if self.requirements_file is not None:
            lines: Iterable[str] = requirement_lines(self.requirements_file)
        else:
            lines = found.freeze if self.freeze else found.imported
        wanted = {_key(line): line for line in lines}
        installed = {_key(line): line for line in found.freeze}
        for key, line in self.added.items():
            wanted[key] = line if line is not None else installed.get(key, wanted.get(key, key))
        kept = [line for key, line in sorted(wanted.items()) if key not in self.ignored]
        return replace(found, imported=tuple(kept))


def requirement_lines(path: Path) -> list[str]:
    """Return the requirements of a file that hold on this machine; options such as ``-r`` stay as they are."""
    lines = []
    for raw in path.read_text(encoding="utf-8", errors="replace").splitlines():
        line = raw.split(" #")[0].strip()
        if line and not line.startswith("#") and _holds(line):
            lines.append(line)
    return lines


def _holds(line: str) -> bool:
    _, divided, marker = line.partition(";")
    if not divided:
        return True
    from packaging.markers import InvalidMarker, Marker

    try:
        return Marker(marker.strip()).evaluate()
    except InvalidMarker:
        return True


def _key(line: str) -> str:
    """Return the normalised name that a requirement line begins with; the line itself where there is none."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip())
    return re.sub(r"[-_.]+", "-", match[0]).lower().rstrip("-") if match else line.strip()


CHOICES = CodeChoices()
