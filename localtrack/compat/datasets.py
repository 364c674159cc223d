"""``Dataset``: it can be imported, since many scripts import more than they use, and says so when it is used."""

from __future__ import annotations

from localtrack.compat.unsupported import DATASETS, unsupported

__all__ = ["Dataset"]

Dataset = unsupported("Dataset", DATASETS)
