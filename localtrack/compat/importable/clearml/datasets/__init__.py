"""Datasets: not there yet."""

from localtrack.compat.unsupported import DATASETS, unsupported

Dataset = unsupported("Dataset", DATASETS)

__all__ = ["Dataset"]
