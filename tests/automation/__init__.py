"""Tests of what starts tasks by itself."""
