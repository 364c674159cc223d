"""Hyper-datasets: a product of the server."""

from localtrack.compat.unsupported import DATASETS, unsupported

HyperDataset = unsupported("HyperDataset", DATASETS)
DataView = unsupported("DataView", DATASETS)

__all__ = ["DataView", "HyperDataset"]
