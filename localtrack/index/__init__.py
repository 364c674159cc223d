"""Derived search data: may be deleted at any time, is never asked for a decision.

Source: docs/format/v1.md, "The index".
"""
