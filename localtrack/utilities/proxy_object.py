"""Nested dictionaries, under the module's name that ClearML has."""

from localtrack.compat.nested import (
    flatten_dictionary,
    naive_nested_from_flat_dictionary,
    nested_from_flat_dictionary,
)

__all__ = ["flatten_dictionary", "naive_nested_from_flat_dictionary", "nested_from_flat_dictionary"]
