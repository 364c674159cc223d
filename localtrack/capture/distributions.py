"""The installed distributions, from the names of their folders, and which of them an import comes from.

Reading the metadata of every distribution takes a hundred times as long as listing the folders, so
files inside them are opened only where the folder's name does not say enough.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from urllib.parse import unquote, urlsplit

from localtrack.capture.clearml_package import IMPORTABLE
from localtrack.capture.redaction import storable_text, strip_userinfo
from localtrack.records.plain import dataclass, field

_SEPARATORS = re.compile(r"[-_.]+")
_EGG_INFO_PYTHON = re.compile(r"-py\d+(\.\d+)?(-.+)?$")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_PLAIN_VERSION = re.compile(
    r"(?:\d+!)?\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?(?:\.post\d+)?(?:\.dev\d+)?(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?\Z"
)
_PLAIN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+\Z")
_METADATA_VERSION = re.compile(r"^Version:[ \t]*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution; ``url`` is where it came from when that was not a package index."""

    name: str
    version: str
    url: str
    folder: str
    info: str

    @property
    def requirement(self) -> str:
        """The line that installs the same again."""
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True)
class InstalledSet:
    """All distributions on a path by normalised name, and what was left out and why."""

    by_name: Mapping[str, Distribution]
    errors: tuple[str, ...]


def normalise_name(name: str) -> str:
    """Return the form in which two spellings of a distribution's name are equal."""
    return _SEPARATORS.sub("-", name).lower()


def list_distributions(path: Sequence[str] | None = None) -> InstalledSet:
    """List the distributions in the folders of ``path`` (``sys.path``); the first of a name counts."""
    found: dict[str, Distribution] = {}
    eggs: dict[str, Distribution] = {}
    errors: list[str] = []
    for folder in dict.fromkeys(sys.path if path is None else path):
        if folder == IMPORTABLE:
            continue  # the clearml in there is localtrack itself, which is listed under its own name
        try:
            names = sorted(os.listdir(folder or "."))
        except (OSError, ValueError):
            continue  # zip files and folders that do not exist are ordinary on sys.path
        for name in names:
            if not name.endswith((".dist-info", ".egg-info")):
                continue
            is_egg = name.endswith(".egg-info")
            distribution = _read_folder(folder or ".", name, is_egg, errors)
            if distribution is not None:
                (eggs if is_egg else found).setdefault(normalise_name(distribution.name), distribution)
    # A source tree leaves an egg-info behind; where a real installation exists, that one is meant.
    return InstalledSet({**eggs, **found}, tuple(errors))


def _read_folder(folder: str, entry: str, is_egg: bool, errors: list[str]) -> Distribution | None:
    info = os.path.join(folder, entry)
    stem = entry.rpartition(".")[0]
    if is_egg:
        stem = _EGG_INFO_PYTHON.sub("", stem)
    name, _, version = stem.partition("-")
    name = name.replace("_", "-")
    if is_egg and not version:
        version = _read_egg_version(info)
    url = "" if is_egg else _read_direct_url(info, errors)
    problem = _explain_requirement(name, version, url)
    if problem:
        errors.append(storable_text(f"installed distribution {info}: {problem}; left out"))
        return None
    return Distribution(name, version, url, folder, info)


def _explain_requirement(name: str, version: str, url: str) -> str:
    """Return why the three make no valid requirement line, '' when they do."""
    if not _PLAIN_NAME.match(name):
        return f"{name!r} is no name of a distribution"
    if _PLAIN_URL.match(url) if url else _PLAIN_VERSION.match(version):
        return ""
    from packaging.requirements import InvalidRequirement, Requirement

    line = f"{name} @ {url}" if url else f"{name}=={version}"
    try:
        line.encode("utf-8")
        Requirement(line)
    except (InvalidRequirement, ValueError) as error:
        return str(error).partition("\n")[0] or "no valid requirement"
    return ""


def _read_egg_version(info: str) -> str:
    for candidate in (os.path.join(info, "PKG-INFO"), info):
        text = _read_text(candidate)
        match = _METADATA_VERSION.search(text) if text is not None else None
        if match:
            return match[1]
    return ""


def _read_text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _read_direct_url(info: str, errors: list[str]) -> str:
    """Return the URL requirement of a distribution that was not installed from an index, else ''."""
    text = _read_text(os.path.join(info, "direct_url.json"))
    if text is None:
        return ""
    try:
        data = json.loads(text)
        url = strip_userinfo(str(data["url"]))
        fragments: list[str] = []
        if vcs := data.get("vcs_info"):
            revision = vcs.get("commit_id") or vcs.get("requested_revision") or ""
            url = f"{vcs['vcs']}+{url}" + (f"@{revision}" if revision else "")
        elif archive := data.get("archive_info"):
            hashes = archive.get("hashes") or {}
            digest = f"sha256={hashes['sha256']}" if "sha256" in hashes else str(archive.get("hash") or "")
            fragments.extend([digest] if digest else [])
        if data.get("subdirectory"):
            fragments.append(f"subdirectory={data['subdirectory']}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        errors.append(storable_text(f"reading {info}/direct_url.json: {error!r}; recorded by its version instead"))
        return ""
    return url + ("#" + "&".join(fragments) if fragments else "")


@dataclass(slots=True)
class ImportResolver:
    """Finds the distribution an import belongs to: by name, then top_level.txt, then the list of its files."""

    installed: Mapping[str, Distribution]
    modules: Mapping[str, ModuleType]
    _top_levels: dict[str, list[Distribution]] | None = None
    _records: dict[str, bytes] = field(default_factory=dict)

    def resolve(self, names: Iterable[str]) -> dict[str, list[Distribution]]:
        """Map the first part of each dotted name in ``names`` to the distributions that hold it."""
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(name.partition(".")[0], []).append(name)
        return {top: self._resolve_top(top, dotted) for top, dotted in groups.items()}

    def _resolve_top(self, top: str, dotted: list[str]) -> list[Distribution]:
        if self._is_namespace(top):
            # Several distributions share the first part ("google"): each dotted name belongs to its own.
            owners = (self._find_owner(self._paths_of(name)) for name in sorted(dotted, key=len, reverse=True))
            if found := {owner.name: owner for owner in owners if owner is not None}:
                return list(found.values())
        named = self.installed.get(normalise_name(top))
        if named is not None:
            return [named]
        candidates = self._find_top_level(top)
        if len(candidates) == 1:
            return candidates
        owner = self._find_owner(self._paths_of(top), candidates or None) or self._find_source_tree(top)
        return [owner] if owner is not None else candidates

    def _is_namespace(self, top: str) -> bool:
        names = module_names(self.modules.get(top))
        return "__path__" in names and not names.get("__file__")

    def _find_top_level(self, top: str) -> list[Distribution]:
        if self._top_levels is None:
            self._top_levels = {}
            for distribution in self.installed.values():
                text = _read_text(os.path.join(distribution.info, "top_level.txt")) or ""
                for name in text.split():
                    self._top_levels.setdefault(name, []).append(distribution)
        return self._top_levels.get(top, [])

    def _paths_of(self, name: str) -> list[tuple[str, bytes]]:
        """Return where the module may be listed: (folder of installations or '', start of a line)."""
        file = module_names(self.modules.get(name)).get("__file__")
        if isinstance(file, str):
            for folder in {distribution.folder for distribution in self.installed.values()}:
                if file.startswith(os.path.join(folder, "")):
                    relative = os.path.relpath(file, folder).replace(os.sep, "/")
                    return [(folder, os.fsencode(relative) + b",")]
            return []
        base = os.fsencode(name.replace(".", "/"))
        return [("", base + b"/__init__.py,"), ("", base + b".py,"), ("", base + b".cpython"), ("", base + b".abi3")]

    def _find_owner(
        self, paths: list[tuple[str, bytes]], candidates: Iterable[Distribution] | None = None
    ) -> Distribution | None:
        for distribution in self.installed.values() if candidates is None else candidates:
            for folder, path in paths:
                if folder in ("", distribution.folder) and b"\n" + path in self._record_of(distribution):
                    return distribution
        return None

    def _record_of(self, distribution: Distribution) -> bytes:
        record = self._records.get(distribution.info)
        if record is None:
            try:
                with open(os.path.join(distribution.info, "RECORD"), "rb") as file:
                    record = b"\n" + file.read()
            except OSError:
                record = b""
            self._records[distribution.info] = record
        return record

    def _find_source_tree(self, top: str) -> Distribution | None:
        """Return the distribution installed from the local folder that the module was loaded from."""
        file = module_names(self.modules.get(top)).get("__file__")
        if not isinstance(file, str):
            return None
        for distribution in self.installed.values():
            if distribution.url.startswith("file://"):
                folder = unquote(urlsplit(distribution.url).path)
                if os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), "")):
                    return distribution
        return None


def module_names(module: object) -> Mapping[str, object]:
    """Return the namespace of ``module`` without triggering a lazy import, empty for anything odd."""
    if not isinstance(module, ModuleType):
        return {}
    names = object.__getattribute__(module, "__dict__")
    return names if isinstance(names, dict) else {}
