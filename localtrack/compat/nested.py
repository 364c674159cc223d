"""Nested dictionaries as flat ones with paths for keys, and back, the way ClearML's ``proxy_object`` does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten_dictionary(a_dict: Mapping[Any, Any], prefix: str = "", sep: str = "/") -> dict[str, Any]:
    """Return the leaves of a nested dictionary by path; an empty dictionary is a leaf.

    Args:
        a_dict: the nested one.
        prefix: put before every path.
        sep: stands between the keys.
    """
    flat: dict[str, Any] = {}
    for key, value in a_dict.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten_dictionary(value, f"{path}{sep}", sep))
        else:
            flat[path] = value
    return flat


def nested_from_flat_dictionary(
    a_dict: dict[Any, Any], flat_dict: Mapping[str, Any], prefix: str = "", sep: str = "/"
) -> dict[Any, Any]:
    """Put the values of a flat dictionary into a nested one of the same keys, in place, and return it."""
    for key, value in list(a_dict.items()):
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            nested_from_flat_dictionary(value, flat_dict, f"{path}{sep}", sep)
        elif path in flat_dict:
            a_dict[key] = flat_dict[path]
    return a_dict


def naive_nested_from_flat_dictionary(flat_dict: Mapping[str, Any], sep: str = "/") -> dict[str, Any]:
    """Return the nested dictionary whose paths are the keys of a flat one."""
    nested: dict[str, Any] = {}
    for path, value in flat_dict.items():
        *parents, last = path.split(sep)
        place = nested
        for parent in parents:
            below = place.get(parent)
            if not isinstance(below, dict):
                below = place[parent] = {}
            place = below
        place[last] = value
    return nested
