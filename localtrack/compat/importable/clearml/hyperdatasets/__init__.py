"""Hyper-datasets: a product of the server."""

from localtrack.compat.unsupported import DATASETS, unsupported_module

__getattr__ = unsupported_module(__name__, DATASETS)
