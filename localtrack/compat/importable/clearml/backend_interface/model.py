"""Models."""

from clearml.model import Model

__all__ = ["Model"]
