"""Which ``clearml`` this process would import: localtrack's answer, a real installation, or none.

localtrack's answer is an ordinary package in a folder of its own, :data:`IMPORTABLE`; it is imported where that folder
stands on ``sys.path``, and nowhere else.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path

NAME = "clearml"
#: The folder to put on ``sys.path``: it holds the package ``clearml`` and the metadata of a distribution of that name.
IMPORTABLE = str(Path(__file__).resolve().parents[1] / "compat" / "importable")


def is_answered(path: Sequence[str] | None = None) -> bool:
    """Tell whether ``import clearml`` is answered by localtrack in this process.

    Args:
        path: the folders that are searched; ``sys.path`` when None.
    """
    return IMPORTABLE in (sys.path if path is None else path)


def find_imported() -> str:
    """Return where the real clearml was imported from, ``""`` when it was not imported."""
    module = sys.modules.get(NAME)
    return "" if module is None else _foreign(getattr(module, "__file__", None) or "an unknown place")


def find_installed() -> str:
    """Return where the real clearml lies, ``""`` when this Python would not find one."""
    folders = [folder for folder in sys.path if folder != IMPORTABLE]
    spec: importlib.machinery.ModuleSpec | None = None
    for finder in sys.meta_path:
        if finder is importlib.machinery.PathFinder:
            spec = importlib.machinery.PathFinder.find_spec(NAME, folders)
        elif hasattr(finder, "find_spec"):  # an editable installation has a finder of its own
            spec = finder.find_spec(NAME, None, None)
        if spec is not None:
            break
    return _foreign(spec.origin or "") if spec is not None else ""


def _foreign(file: str) -> str:
    return "" if file.startswith(os.path.join(IMPORTABLE, "")) else file
