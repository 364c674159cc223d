"""The manifest of ClearML's surface, and how a signature of ours is put into its words."""

from __future__ import annotations

import enum
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import localtrack
from localtrack import TaskTypes, automation
from localtrack.automation import strategy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PATH = Path(__file__).parent / "surface.toml"
EXTRAS = "extras"
STATUSES = ("full", "partial", "no-op", "refused", "missing")


@dataclass(frozen=True, slots=True)
class Name:
    """One public name of ClearML: what it is there, and what it is here; ``ours`` where the signature differs."""

    owner: str
    name: str
    kind: str
    parameters: tuple[str, ...]
    status: str
    note: str
    ours: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


def manifest() -> list[Name]:
    """Return all names of the manifest."""
    return [
        Name(
            owner,
            name,
            entry["kind"],
            tuple(entry.get("parameters", ())),
            entry["status"],
            entry.get("note", ""),
            tuple(entry.get("ours", ())),
        )
        for owner, entries in _content().items()
        if owner != EXTRAS
        for name, entry in entries.items()
    ]


def extras() -> dict[str, dict[str, str]]:
    """Return the names of ours that ClearML does not have: class to name to the reason."""
    return dict(_content()[EXTRAS])


def _content() -> dict[str, Any]:
    with open(PATH, "rb") as stream:
        return tomllib.load(stream)


def our_class(owner: str) -> type | None:
    """Return localtrack's class of that name."""
    for home in (localtrack, automation, strategy):
        found = getattr(home, owner, None)
        if isinstance(found, type):
            return found
    return None


def public_names(kind: type) -> Iterator[str]:
    """Yield a class's public names; of an enumeration its members alone."""
    yield from TaskTypes.__members__ if kind is TaskTypes else (n for n in dir(kind) if not n.startswith("_"))


def member(kind: type, name: str) -> object:
    """Return a member as it stands in its class; ``None`` when there is none."""
    return inspect.getattr_static(kind, name, None)


def kind_of(found: object) -> str:
    """Return what a member is, in the manifest's words."""
    if isinstance(found, property):
        return "settable property" if found.fset else "property"
    if isinstance(found, (classmethod, staticmethod)):
        return "class method"
    return "method" if inspect.isfunction(found) else "attribute"


def parameters_of(found: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parameters of a method in the manifest's words, and the names of the keyword-only ones."""
    function = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
    if not inspect.isfunction(function):
        return (), ()
    shown, keywords = [], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords.append(parameter.name)
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={_text(parameter.default)}"
        shown.append(f"{stars}{parameter.name}{default}")
    return tuple(shown), tuple(keywords)


def _text(value: object) -> str:
    """Return a default as the manifest has it: a member of an enumeration by its value."""
    if isinstance(value, enum.Enum):
        return repr(value.value)
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return repr(value)
