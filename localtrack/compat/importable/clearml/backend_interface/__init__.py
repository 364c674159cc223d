"""Modules of ClearML that clients name."""
