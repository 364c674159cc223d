"""The version of ClearML whose surface is followed."""

__version__ = "2.1.12"
