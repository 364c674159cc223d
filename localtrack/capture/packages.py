"""Record which packages a run uses: those its code imports, and everything installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from localtrack.capture.distributions import (
    Distribution,
    ImportResolver,
    list_distributions,
    module_names,
    normalise_name,
)
from localtrack.capture.imports import ImportScan, scan_imports
from localtrack.capture.redaction import storable_text
from localtrack.records.plain import dataclass


@dataclass(frozen=True, slots=True)
class PackageState:
    """The packages of a run, as valid requirement lines sorted by name.

    Attributes:
        imported: The distributions that the script and the local modules import directly.
        freeze: Every distribution installed.
        local_files: Absolute paths of the local source files that were looked at.
        errors: Distributions left out and imports that belong to none, with the reason.
    """

    imported: tuple[str, ...]
    freeze: tuple[str, ...]
    local_files: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def capture_packages(
    entry: Path | None,
    roots: Sequence[Path],
    modules: Mapping[str, ModuleType],
    *,
    path: Sequence[str] | None = None,
    sources: Sequence[str] = (),
) -> PackageState:
    """Record the packages in use.

    Args:
        entry: The script that runs.
        roots: Folders whose modules are the user's own code, such as the repository.
        modules: ``sys.modules``; it is copied at once, as other threads import meanwhile.
        path: The folders where distributions are installed; ``sys.path`` when None.
        sources: Code of the user's that lies in no file of Python, such as a notebook's cells.
    """
    loaded = dict(modules)
    installed = list_distributions(path)
    errors = list(installed.errors)
    try:
        scan = scan_imports(entry, roots, loaded, sources=sources)
    except (OSError, ValueError, RuntimeError) as error:
        scan = ImportScan(frozenset(), (), (f"looking for the imports of {entry}: {error}",))
    errors.extend(scan.errors)
    resolver = ImportResolver(installed.by_name, loaded)
    used: dict[str, Distribution] = {}
    files = set(scan.files)
    for top, distributions in resolver.resolve(scan.names).items():
        used.update((distribution.name, distribution) for distribution in distributions)
        file = module_names(loaded.get(top)).get("__file__")
        if not distributions and isinstance(file, str) and file not in files:
            errors.append(storable_text(f"import {top}: {file} belongs to no installed distribution"))
    return PackageState(
        imported=_to_lines(used),
        freeze=_to_lines(installed.by_name),
        local_files=tuple(storable_text(file) for file in scan.files),
        errors=tuple(errors),
    )


def _to_lines(distributions: Mapping[str, Distribution]) -> tuple[str, ...]:
    ordered = sorted(distributions.values(), key=lambda distribution: normalise_name(distribution.name))
    return tuple(distribution.requirement for distribution in ordered)
