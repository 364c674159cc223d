"""Hydra's overrides: from the command line to values by name, and stored values back to where they stood.

Source: Hydra's override grammar, https://hydra.cc/docs/advanced/override_grammar/basic, and its defaults list.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from localtrack.capture.native_values import is_same
from localtrack.records.plain import dataclass


@functools.lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _parse(text: str) -> Any:
    return _parser().parse_override(text)


def name_of(text: str) -> str:
    """Return what an override is about: its key without signs or value."""
    return text.partition("=")[0].strip().lstrip("+~")


def key_of(text: str) -> str:
    """Return the key under which an override is stored: an addition's plus signs go, a deletion keeps its tilde."""
    key = text.partition("=")[0].strip()
    return key if key.startswith("~") else key.lstrip("+")


def read_overrides(texts: list[str]) -> dict[str, Any]:
    """Return the values of overrides by their key.

    What has no value in JSON (a sweep, a glob) stays the text that was written.
    """
    found: dict[str, Any] = {}
    for text in texts:
        written = text.partition("=")[2]
        found[key_of(text)] = _value(text, written) if "=" in text else None
    return found


def _value(text: str, written: str) -> Any:
    from omegaconf import OmegaConf

    override = _parse(text)
    if override.is_sweep_override() or override.value_type is None:
        return written
    value = override.value()
    if isinstance(value, (list, dict)):
        return OmegaConf.to_container(OmegaConf.create(value), resolve=False)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value) if _stands(str(value)) else written


def _stands(text: str) -> bool:
    """Tell whether a text, written after an equals sign, means just itself."""
    try:
        override = _parse(f"key={text}")
        return not override.is_sweep_override() and override.value() == text
    except Exception:  # no legal value
        return False


@dataclass(frozen=True, slots=True)
class Composition:
    """How the application composes its configuration.

    Attributes:
        loader: Hydra's configuration loader.
        config_name: the primary configuration.
        mode: Hydra's ``RunMode``.
    """

    loader: Any
    config_name: str | None
    mode: Any

    def groups(self, overrides: list[str]) -> Any:
        """Return Hydra's repository, which knows its groups, also those on a search path of the configuration."""
        texts = [text for text in overrides if name_of(text) == "hydra.searchpath"]
        return self.loader._parse_overrides_and_create_caching_repo(self.config_name, texts)[1]

    def chosen_groups(self, overrides: list[str]) -> set[str]:
        """Return the groups that the defaults list has with some overrides: those that another may change."""
        found = self.loader.compute_defaults_list(self.config_name, without_sweeps(overrides), self.mode)
        return set(found.overrides.known_choices)

    def sweep_keys(self, overrides: list[str]) -> dict[str, str]:
        """Return what the configuration itself sweeps over: by name, as it is written there."""
        config = self.loader.load_configuration(
            config_name=self.config_name, overrides=overrides, run_mode=self.mode, validate_sweep_overrides=False
        )
        found = config.hydra.sweeper.get("params") or {}
        return {name_of(key): key for key in map(str, found)}


def fed_overrides(texts: list[str], stored: Mapping[str, Any], how: Composition) -> list[str]:
    """Return the overrides of a command line with stored values in their places, and those that it has not at its end.

    What is stored as it stands there stays as it was written. A group that is changed keeps its sign; one that is new is
    added to the defaults list where that has none of it.

    Args:
        texts: the command line's.
        stored: values by name, as :func:`read_overrides` gives them.
        how: what tells groups from values.
    """
    written = {key_of(text): text for text in texts}
    wanted = {key_of(key): value for key, value in stored.items()}
    for key in [key for key in wanted if key.startswith("~") and key[1:] in wanted and key[1:] not in written]:
        del wanted[key]  # what was taken away is given again
    names = {key.lstrip("~") for key in wanted}
    repository = how.groups(texts)
    fed: list[str | None] = []
    open_places: dict[int, tuple[str, Any]] = {}
    for text in texts:
        key = key_of(text)
        if name_of(text) not in names:
            fed.append(text)
        elif key in wanted and written[key] is text:
            value = wanted.pop(key)
            fed.append(text if is_same(_read(text), value) else write_override(_signed(text), value, repository))
    swept = how.sweep_keys([text for text in fed if text is not None]) if wanted and how.mode.name == "MULTIRUN" else {}
    for key, value in wanted.items():
        if key in swept:
            fed.append(f"{swept[key]}={_grammar(value)}")  # under its own sign, which makes it the same key
        elif _is_group(key, value, repository) and not key.startswith("~"):
            open_places[len(fed)] = (key, value)
            fed.append(None)
        else:
            fed.append(write_override(key, value, repository))
    while open_places:
        known = how.chosen_groups([text for text in fed if text is not None])
        place = next((place for place, (key, _) in open_places.items() if key in known), None)
        sign = "" if place is not None else "+"
        key, value = open_places.pop(place := next(iter(open_places)) if place is None else place)
        fed[place] = write_override(f"{sign}{key}", value, repository)
    return [text for text in fed if text is not None]


def without_sweeps(texts: list[str]) -> list[str]:
    """Return overrides without those that stand for many jobs."""
    return [text for text in texts if not _parse(text).is_sweep_override()]


def _read(text: str) -> Any:
    return next(iter(read_overrides([text]).values()))


def _signed(text: str) -> str:
    return text.partition("=")[0].strip()


def _is_group(key: str, value: Any, repository: Any) -> bool:
    group = key.lstrip("+~").partition("@")[0].split(":")[0]
    return repository is not None and not isinstance(value, dict) and bool(repository.group_exists(group))


def write_override(key: str, value: Any, repository: Any) -> str:
    """Return a stored value as an override that Hydra reads back to the same.

    Args:
        key: with its sign; only that of a group and of what is taken away counts.
        value: native.
        repository: Hydra's, which knows the groups; None: there are none.
    """
    is_group = _is_group(key, value, repository)
    if key.startswith("~"):
        return key if value is None else f"{key}={value if is_group else _grammar(value)}"
    if not is_group:
        return f"++{key.lstrip('+')}={_grammar(value)}"
    if isinstance(value, (list, tuple)):
        value = f"[{','.join(map(str, value))}]"
    return f"{key}={value if value is not None else 'null'}"


def _grammar(value: Any) -> str:
    """Return a value in Hydra's override grammar; a text stands as it was written, unless it then means something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_item, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(str(key))}:{_item(item)}" for key, item in value.items()) + "}"
    text = str(value)
    try:
        _parse(f"key={text}")
    except Exception:  # no legal value as it stands
        return _quoted(text)
    return text


def _item(value: Any) -> str:
    """Return a member of a list or dict in Hydra's grammar; here a text is a text."""
    return _quoted(value) if isinstance(value, str) else _grammar(value)


def _key(text: str) -> str:
    """Return a key of a dict, which takes no quotes: what has a meaning in the grammar is escaped."""
    return re.sub(r"[\\()\[\]{}:=, \t]", lambda found: f"\\{found[0]}", text)


def _quoted(text: str) -> str:
    """Return a text in quotes; only the backslashes before a quote count in Hydra's strings."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
