"""What watches frameworks."""

from clearml.binding import artifacts, frameworks, matplotlib_bind

__all__ = ["artifacts", "frameworks", "matplotlib_bind"]
