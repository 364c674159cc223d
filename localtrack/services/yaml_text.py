"""Values as YAML, with or without PyYAML.

Every JSON text is YAML as well, so a value can always be written; without PyYAML, YAML that others wrote can't be read.

Source: ClearML's Task.upload_artifact (``extension_name=".yaml"``); YAML 1.2, "Relation to JSON".
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError, MissingExtraError
from localtrack.records.values import decode, encode


def dump(value: Any, encoded: Any, sort_keys: bool) -> bytes:
    """Return a value as YAML: as people write it where it comes back as it is, else in the marks of the store.

    Args:
        value: the value.
        encoded: the same in strict JSON types.
        sort_keys: whether the keys of dicts are sorted.
    """
    yaml = _yaml()
    if yaml is not None:
        for candidate in (value, encoded):
            try:
                text = yaml.safe_dump(candidate, sort_keys=sort_keys, allow_unicode=True)
                if _same(decode(yaml.safe_load(text)), value):
                    return bytes(text.encode("utf-8"))
            except (yaml.YAMLError, TypeError, ValueError):
                continue
    return json.dumps(encoded, indent=4, ensure_ascii=True, sort_keys=sort_keys).encode()


def load(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        CorruptFileError: it is no YAML.
        MissingExtraError: it needs PyYAML.
    """
    data = path.read_bytes()
    try:
        return decode(json.loads(data))
    except ValueError:
        yaml = _yaml()
    if yaml is None:
        raise MissingExtraError(f"reading {path} needs PyYAML: pip install pyyaml")
    try:
        return decode(yaml.safe_load(data.decode("utf-8")))
    except (yaml.YAMLError, ValueError) as error:
        raise CorruptFileError(f"{path} is no YAML: {error}", path=str(path)) from None


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError:
        return None


def _same(one: Any, other: Any) -> bool:
    return json.dumps(encode(one), sort_keys=True) == json.dumps(encode(other), sort_keys=True)
