"""Reporters for other libraries: not there yet."""
