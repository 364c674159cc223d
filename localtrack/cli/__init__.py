"""The command line: verbs over the services. Data goes to stdout, notes and progress to stderr.

Source: docs/reference/cli.md.
"""

from __future__ import annotations

from localtrack.cli.app import main

__all__ = ["main"]
