"""Contracts that the author of a plug-in runs against it, with pytest.

Source: docs/contributing.md.
"""
