"""Search with optuna: not there yet."""

from localtrack.compat.unsupported import SEARCHES, unsupported

OptimizerOptuna = unsupported("OptimizerOptuna", SEARCHES)

__all__ = ["OptimizerOptuna"]
