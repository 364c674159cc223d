"""Search with hpbandster: not there yet."""

from localtrack.compat.unsupported import SEARCHES, unsupported

OptimizerBOHB = unsupported("OptimizerBOHB", SEARCHES)

__all__ = ["OptimizerBOHB"]
