"""TensorBoard."""

from localtrack.compat.frameworks import WeightsGradientHistHelper

__all__ = ["WeightsGradientHistHelper"]
