"""Small things that clients use."""

from clearml.utilities import proxy_object

__all__ = ["proxy_object"]
