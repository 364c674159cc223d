"""Datasets: not there yet."""

from localtrack.compat.unsupported import DATASETS, unsupported_module

__getattr__ = unsupported_module(__name__, DATASETS)
