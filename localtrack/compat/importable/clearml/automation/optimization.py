"""Hyper-parameter search: not there yet."""

from localtrack.compat.unsupported import SEARCHES, unsupported

HyperParameterOptimizer = unsupported("HyperParameterOptimizer", SEARCHES)
Objective = unsupported("Objective", SEARCHES)
SearchStrategy = unsupported("SearchStrategy", SEARCHES)
GridSearch = unsupported("GridSearch", SEARCHES)
RandomSearch = unsupported("RandomSearch", SEARCHES)

__all__ = ["GridSearch", "HyperParameterOptimizer", "Objective", "RandomSearch", "SearchStrategy"]
