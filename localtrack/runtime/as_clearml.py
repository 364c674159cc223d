"""Lets this process, and the ones that it starts, import localtrack under the name ``clearml``.

One entry on ``sys.path`` and in ``PYTHONPATH`` is all: no import hook, no ``.pth`` file, nothing on disk. It lasts as
long as the process and the children that inherit its environment.

Source: docs/how-to/switch-from-clearml.md.
"""

from __future__ import annotations

import importlib
import os
import sys

from localtrack.capture import clearml_package
from localtrack.errors import UsageError

PATH_VARIABLE = "PYTHONPATH"


def use_as_clearml(force: bool = False) -> None:
    """Answer ``import clearml`` with localtrack from now on, in this process and in those that it starts.

    Call it before anything imports ``clearml``. Calling it again changes nothing.

    Args:
        force: do so even where the real clearml is installed; it is not imported then, nor touched.

    Raises:
        UsageError: the real clearml is imported already, or it is installed and ``force`` is not set.

    Source: docs/how-to/switch-from-clearml.md.
    """
    imported = clearml_package.find_imported()
    if imported:
        raise UsageError(
            f"clearml is imported already, from {imported}: call localtrack.use_as_clearml() before anything imports it",
            path=imported,
        )
    if not clearml_package.is_answered():
        installed = "" if force else clearml_package.find_installed()
        if installed:
            raise UsageError(refusal(installed, "localtrack.use_as_clearml(force=True)"), path=installed)
        sys.path.insert(0, clearml_package.IMPORTABLE)
        importlib.invalidate_caches()
    _tell_children()


def refusal(installed: str, forced: str) -> str:
    """Return why localtrack does not stand in for an installed clearml, and what to do.

    Args:
        installed: where it lies.
        forced: what to write to have localtrack all the same.
    """
    return (
        f"the real clearml is installed: {installed}. Uninstall it, or say {forced} to have localtrack answer "
        "`import clearml` all the same"
    )


def _tell_children() -> None:
    folders = [folder for folder in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if folder]
    if clearml_package.IMPORTABLE not in folders:
        os.environ[PATH_VARIABLE] = os.pathsep.join([clearml_package.IMPORTABLE, *folders])
