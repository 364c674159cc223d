"""Runs a script as ``__main__`` the way an agent needs it: argument overrides in place before its first line.

``python -m localtrack.runtime.bootstrap script.py [args]`` and ``... -m package.module [args]`` behave as
``python script.py [args]`` and ``python -m package.module [args]`` do. ``--as-clearml`` before them lets the script
import localtrack under the name ``clearml``.

Source: runpy in the standard library; docs/how-to/agent.md.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import CodeType
from typing import Any

AS_CLEARML = "--as-clearml"


def main() -> None:
    """Become the script or module named on the command line."""
    arguments = sys.argv[1:]
    as_clearml = arguments[:1] == [AS_CLEARML]
    if as_clearml:
        del arguments[0]
    if not arguments or (arguments[0] == "-m" and len(arguments) < 2):
        raise SystemExit(
            "usage: python -m localtrack.runtime.bootstrap [--as-clearml] [-m MODULE | SCRIPT] [ARGUMENT ...]"
        )
    if as_clearml:
        from localtrack.runtime.as_clearml import use_as_clearml

        use_as_clearml(force=True)
    task_id = os.environ.get("LOCALTRACK_TASK_ID")
    if task_id:
        from localtrack.runtime.arguments import install_early

        install_early(task_id)
    if arguments[0] == "-m":
        sys.path.insert(0, os.getcwd())
        code, file, spec = _find_module(arguments[1])
        sys.argv = [file, *arguments[2:]]
    else:
        file, spec = arguments[0], None
        sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
        with open(file, "rb") as stream:
            code = compile(stream.read(), file, "exec", dont_inherit=True)  # this file's __future__ is not its
        sys.argv = list(arguments)
    _become(code, file, spec)


def _find_module(name: str) -> tuple[CodeType, str, ModuleSpec | None]:
    import runpy

    find: Any = runpy._get_module_details  # type: ignore[attr-defined]
    _, spec, code = find(name)
    return code, str(spec.origin), spec


def _become(code: CodeType, file: str, spec: ModuleSpec | None) -> None:
    names = sys.modules["__main__"].__dict__
    fresh = {
        "__name__": "__main__",
        "__file__": file,
        "__spec__": spec,
        "__builtins__": __builtins__,
        "__package__": spec.parent if spec is not None else None,
        "__doc__": None,
        "__loader__": spec.loader if spec is not None else None,
        "__cached__": None,
    }
    names.clear()
    names.update(fresh)
    exec(code, names)


if __name__ == "__main__":
    main()
