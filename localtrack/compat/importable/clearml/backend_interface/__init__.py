"""Modules of ClearML that clients name."""

from clearml.backend_interface import model, task

__all__ = ["model", "task"]
