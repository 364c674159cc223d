"""Whether this process is the kernel of a notebook; nothing of IPython is imported to find out.

Source: ipykernel's ZMQInteractiveShell; docs/how-to/notebooks.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.capture.notebook_place import KernelTraits
    from localtrack.runtime.notebooks import NotebookWatch
    from localtrack.runtime.session import Session


def running_shell() -> Any:
    """Return the shell of the kernel that this process is; None for a script, and for IPython in a terminal."""
    module = sys.modules.get("IPython.core.getipython")
    find = getattr(module, "get_ipython", None)
    shell = find() if find is not None else None
    is_kernel = getattr(shell, "kernel", None) is not None and hasattr(shell, "events")
    return shell if is_kernel else None


def running_notebook(session: Session) -> NotebookWatch | None:
    """Return what watches the notebook that this process runs for a task; None in a script."""
    shell = running_shell()
    if shell is None:
        return None
    from localtrack.runtime.notebooks import NotebookWatch

    return NotebookWatch(session, shell)


def notebook_file() -> Path | None:
    """Return the notebook's file, or where it would be if its name were known; None in a script."""
    shell = running_shell()
    if shell is None:
        return None
    from localtrack.capture.notebook_place import find_notebook
    from localtrack.capture.script import NOTEBOOK_NAME

    return find_notebook(kernel_traits(shell), executed_sources(shell)) or Path(os.getcwd(), f"{NOTEBOOK_NAME}.ipynb")


def kernel_traits(shell: Any) -> KernelTraits:
    """Return what is known of a kernel by its shell."""
    from localtrack.capture.notebook_place import KernelTraits

    file = ""
    try:
        file = str(shell.config.IPKernelApp.connection_file or "")
    except AttributeError:
        pass
    if not file and "-f" in sys.argv[:-1]:
        file = sys.argv[sys.argv.index("-f") + 1]
    return KernelTraits(Path(os.getcwd()), shell.user_ns, dict(os.environ), file)


def executed_sources(shell: Any) -> list[str]:
    """Return what the kernel ran, the running cell included, as it was typed."""
    history = getattr(getattr(shell, "history_manager", None), "input_hist_raw", None)
    return [text for text in list(history or ())[1:] if isinstance(text, str)]
