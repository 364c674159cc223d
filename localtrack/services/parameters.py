"""Parameters, configuration objects and user properties of a task.

Source: ClearML's get_parameters, set_parameters, update_parameters, connect_configuration, set_user_properties.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from pathlib import Path
from typing import Any

from localtrack.capture.secrets import is_masked, masked_argument
from localtrack.errors import InvalidValueError
from localtrack.records.ids import slug
from localtrack.records.parameters import (
    MISFITS,
    Entry,
    cast_like,
    declared_kind,
    entry,
    flatten,
    full_name,
    is_read_by_parser,
    nest,
    parse_override,
    parse_text,
    text_of,
    value_of,
)
from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.records.values import decode, encode
from localtrack.services.context import StoreContext
from localtrack.store.blobs import put_content, read_content

PROPERTIES = "properties"
CONFIGURATION_SUFFIX = {"dictionary": ".json", "json": ".json", "yaml": ".yaml", "text": ".txt"}


def merged(record: TaskRecord, entries: Mapping[str, Entry]) -> TaskRecord:
    """Return the record with parameters added or changed; a description that is there stays."""
    result = dict(record.parameters)
    for key, new in entries.items():
        old = result.get(key, {})
        if "description" in old and "description" not in new:
            new = {**new, "description": old["description"]}
        result[key] = new
    return record if result == record.parameters else replace(record, parameters=result)


def fed_values(record: TaskRecord, section: str) -> dict[str, Any]:
    """Return a section's stored values by their name in it, as a script gets them again: without those that were masked."""
    prefix = f"{section}/"
    stored = {key[len(prefix) :]: value_of(item) for key, item in record.parameters.items() if key.startswith(prefix)}
    return {name: value for name, value in stored.items() if not is_masked(value)}


def without_secrets(ctx: StoreContext, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return parsed arguments as they are stored: with their secrets masked, unless the settings say otherwise."""
    return {key: _masked(key, item) if ctx.settings.mask_secrets else item for key, item in entries.items()}


def _masked(key: str, item: Entry) -> Entry:
    value = value_of(item)
    masked = masked_argument(key, value)
    return item if masked == value else {**item, "value": encode(masked)}


def with_properties(record: TaskRecord) -> TaskRecord:
    """Return the record with its user properties among the parameters, section ``properties``, as ClearML shows them."""
    properties = {f"{PROPERTIES}/{name}": item for name, item in record.properties.items()}
    return replace(record, parameters={**record.parameters, **properties})


def placed(
    record: TaskRecord, entries: Mapping[str, Entry], *, alone: bool = False, as_given: bool = False
) -> TaskRecord:
    """Return the record with entries put where they belong: section ``properties`` to the user properties.

    Args:
        record: the task.
        entries: full names to stored entries.
        alone: the other parameters go; user properties stay in any case.
        as_given: a text stays a text, whatever the parameter was before.
    """
    if not as_given:
        entries = typed(with_properties(record), entries)
    prefix = f"{PROPERTIES}/"
    inputs = {key: item for key, item in entries.items() if not key.startswith(prefix)}
    properties = {key.removeprefix(prefix): item for key, item in entries.items() if key.startswith(prefix)}
    if properties:
        record = replace(record, properties={**record.properties, **properties})
    return replace(record, parameters=inputs) if alone else merged(record, inputs)


def typed(record: TaskRecord, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return entries in which a text for a parameter of another type is read as that type, where it fits.

    ``get_parameters`` gives texts, and scripts hand them back with one changed: the others must stay what they were.
    """
    return {key: _typed(key, new, record.parameters.get(key)) for key, new in entries.items()}


def _typed(key: str, new: Entry, old: Entry | None) -> Entry:
    value = value_of(new)
    if old is None or not isinstance(value, str):
        return new
    kept = {"description": old["description"], **new} if "description" in old else new
    if value == text_of(old):
        return {**kept, "value": old.get("value"), "type": old.get("type", "")}
    present = value_of(old)
    if present is None or isinstance(present, str):
        return kept
    parsed = parse_text(value) if not isinstance(present, bool) else value
    kind = declared_kind(key, old)
    if kind and is_read_by_parser(kind, parsed, present):
        return kept
    try:
        cast = cast_like(parsed, present)
    except MISFITS:
        return kept
    return {**kept, **entry(cast)}


def entries_of(*mappings: Mapping[str, Any] | Iterable[tuple[str, Any]], **values: Any) -> dict[str, Entry]:
    """Return stored entries for ClearML's argument forms: dicts, nested or flat, pairs and keywords; later ones win."""
    result: dict[str, Entry] = {}
    for mapping in (*mappings, values):
        for name, value in dict(mapping).items():
            key = str(name)
            if isinstance(value, Mapping) and value:
                result.update(flatten({key: value}, "General") if "/" not in key else _under(key, value))
            else:
                result[full_name(key)] = entry(value)
    return result


def sections_of(nested: Mapping[str, Any]) -> dict[str, Entry]:
    """Return stored entries for ``{section: {name: value}}``."""
    result: dict[str, Entry] = {}
    for section, values in nested.items():
        if isinstance(values, Mapping):
            result.update(flatten(values, section))
        else:
            result[full_name(section)] = entry(values)
    return result


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Entry]:
    section, _, rest = prefix.partition("/")
    return flatten({rest: values}, section)


def as_texts(record: TaskRecord) -> dict[str, str]:
    """Return flat parameters as text, as ClearML does without ``cast``: lists as JSON, those of parsers as Python's."""

    def text(key: str, stored: Entry) -> str:
        value = value_of(stored) if key.startswith("Args/") else None
        return str(value) if isinstance(value, list) else text_of(stored)

    return {key: text(key, stored) for key, stored in record.parameters.items()}


def as_values(record: TaskRecord) -> dict[str, Any]:
    """Return flat parameters in their own types."""
    return {key: value_of(stored) for key, stored in record.parameters.items()}


def as_nested(record: TaskRecord, *, cast: bool) -> dict[str, Any]:
    """Return parameters nested by section and ``/``."""
    return nest(as_values(record) if cast else as_texts(record))


def override(record: TaskRecord, assignments: Iterable[tuple[str, str]]) -> TaskRecord:
    """Return the record with parameters that a person typed; a name without a section finds its only bearer.

    Raises:
        InvalidValueError: a text that does not fit the parameter's type, or a name that several sections have.
    """
    changed: dict[str, Entry] = {}
    for name, text in assignments:
        key = find_key(record, name)
        value = parse_override(text, record.parameters.get(key), key)
        old = record.parameters.get(key, {})
        kind = None if value is None or not old else entry(value)["type"]
        changed[key] = {**entry(value, kind=kind)}
    return merged(record, changed)


def find_key(record: TaskRecord, name: str) -> str:
    """Return the flat key that a person means by ``name``.

    Raises:
        InvalidValueError: parameters of several sections end in it.
    """
    if name in record.parameters:
        return name
    hits = [key for key in record.parameters if key.partition("/")[2] == name]
    if len(hits) > 1:
        raise InvalidValueError(f"{name!r} may be {' or '.join(sorted(hits))}: give the section too", parameter=name)
    return hits[0] if hits else full_name(name)


def put_configuration(
    ctx: StoreContext, folder: Path, name: str, text: str, kind: str, description: str = ""
) -> dict[str, Any]:
    """Store a configuration object's text and return its metadata entry."""
    suffix = CONFIGURATION_SUFFIX.get(kind, kind if kind.startswith(".") and len(kind) < 10 else ".txt")
    stored = put_content(
        ctx.store.disk, folder, "configuration", slug(name), suffix, text.encode("utf-8", "surrogatepass")
    )
    return {**stored.to_json(), "type": kind, "description": description}


def configuration_text(folder: Path, record: TaskRecord, name: str) -> str | None:
    """Return the text of a configuration object; None when there is none of that name.

    Raises:
        CorruptFileError: its file is gone or altered.
    """
    stored = record.configuration.get(name)
    return None if stored is None else read_content(folder, stored).decode("utf-8", "surrogatepass")


def dump_configuration(value: Any) -> str:
    """Return a dict or list as the text of a configuration object: JSON with every type kept.

    An object that JSON has no place for is kept as its text, as with ClearML.

    Raises:
        InvalidValueError: it is neither a dict nor a list.
    """
    if not isinstance(value, (Mapping, MutableSequence)):
        raise InvalidValueError(f"the configuration can't be stored: a {type(value).__qualname__} is no dict or list")
    return json.dumps(encode(value, other_as_text=True), indent=2, ensure_ascii=False)


def parse_configuration(text: str) -> Any:
    """Return the value of a configuration object's text: JSON, YAML where that can be read, else the text itself."""
    try:
        return decode(json.loads(text))
    except ValueError:
        return _parse_yaml(text)


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        return text
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    return found if isinstance(found, (dict, list)) else text


def with_configuration(
    ctx: StoreContext, folder: Path, name: str, text: str, kind: str, description: str
) -> Callable[[TaskRecord], TaskRecord]:
    """Return the change that stores a configuration object: its file and its entry, so that both can be tried again."""

    def change(record: TaskRecord) -> TaskRecord:
        stored = put_configuration(ctx, folder, name, text, kind, description)
        return replace(record, configuration={**record.configuration, name: stored})

    return change
