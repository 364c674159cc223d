"""Measured figures: reported, never asserted. ``python -m tests.benchmarks`` runs them all."""
